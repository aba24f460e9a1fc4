"""Pipelines on the wire."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from app.core.operations import operations
from app.services.pipelines import PipelineRequest, SourceImage


class Box(BaseModel):
    """In pixels of the original as it is displayed."""

    x1: int
    y1: int
    x2: int
    y2: int


class AlgorithmName(BaseModel):
    name: str = Field(examples=["Random"])
    key: str = Field(examples=["random"])


class Algorithm(AlgorithmName):
    task_type: str = Field(examples=["segmentation"])
    description: str
    version: str


class Detection(BaseModel):
    """What was made of an image."""

    source_image_id: str
    bbox: Box | None = Field(description="Where the subject is.")
    inference_time: float | None = Field(description="Seconds that a worker has worked on it.")
    algorithm: AlgorithmName
    timestamp: datetime
    crop_image_url: str | None = Field(description="The result, at an address that is signed now.")
    score: float | None = Field(description="How sure the network is of its subject; null where none was asked.")
    classifications: list[Any] = Field(description="None: nothing is told apart.")


class ImageError(BaseModel):
    """Why there is nothing of an image."""

    source_image_id: str
    code: str | None
    detail: str


class PipelineOut(BaseModel):
    """What the images have come to, so far."""

    pipeline: str
    batch_id: UUID
    total_time: float = Field(description="Seconds since they were taken in.")
    source_images: list[SourceImage]
    detections: list[Detection]
    algorithms: dict[str, Algorithm] = Field(description="By their keys.")
    errors: list[ImageError]


def described() -> dict[str, Any]:
    """The request's schema, whole: the endpoint reads the body by itself."""
    schema = PipelineRequest.model_json_schema()
    schema["properties"]["source_images"]["items"] = schema.pop("$defs")["SourceImage"]
    schema["properties"]["pipeline"]["enum"] = list(operations())
    return schema
