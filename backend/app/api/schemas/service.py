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
    engines: dict[str, int] = Field(
        description="What the workers that are online run the network with, and why; and how many of them."
    )
    operations: list[str]
    limits: Limits


class Root(BaseModel):
    service: str = "quickbg-backend"
    status: Literal["running"] = "running"
    docs: str
