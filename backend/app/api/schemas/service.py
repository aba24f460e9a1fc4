"""The service about itself, on the wire."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.services.health import Check, Status


class HealthOut(BaseModel):
    status: Status
    service: str = "quickbg-backend"
    version: str
    checks: dict[str, Check]
    details: dict[str, dict[str, Any]]


class Alive(BaseModel):
    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    status: Literal["ready"] = "ready"


class ModelInfo(BaseModel):
    name: str
    licences: list[str]
    commercial: bool = Field(description="Whether its licences are clear for commercial use.")


class EngineInfo(BaseModel):
    name: str = Field(description="What runs the network, and in which precision.", examples=["openvino bf16"])
    reason: str = Field(description="Why it is this one.")
    workers: int = Field(description="How many of the workers that are online run it.")


class OperationInfo(BaseModel):
    name: str = Field(examples=["remove-background"])
    summary: str = Field(description="What it makes of a picture.")


class Limits(BaseModel):
    max_image_bytes: int
    min_image_side: int
    max_image_side: int
    max_image_pixels: int
    formats: list[str]


class Info(BaseModel):
    service: str = "quickbg-backend"
    version: str
    models: list[ModelInfo]
    engines: list[EngineInfo]
    operations: list[OperationInfo]
    limits: Limits


class Root(BaseModel):
    service: str = "quickbg-backend"
    status: Literal["running"] = "running"
    docs: str | None = Field(description="The page that shows the API, unless it is switched off.")
