"""Uploads and tasks on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.api.schemas.options import WISHES, described
from app.api.schemas.values import Numeric
from app.core.states import Stage, TaskStatus
from app.db.models import TaskEvent
from app.services.status import TaskView


class Accepted(BaseModel):
    upload_id: UUID
    task_id: UUID
    status: TaskStatus = TaskStatus.QUEUED
    message: str = "Image queued for processing"


class PresignIn(BaseModel):
    """What is going to be put into the store."""

    model_config = ConfigDict(extra="forbid")

    size_bytes: Annotated[
        int,
        Field(ge=1, le=1 << 40, examples=[482_113], description="Exactly; the signature holds for no other size."),
        Numeric,
    ]
    content_type: str = Field(
        "application/octet-stream",
        pattern=r"^(image/[A-Za-z0-9.+-]{1,64}|application/octet-stream)$",
        examples=["image/jpeg"],
        description="Signed too. What the picture is, its bytes will tell.",
    )


class PresignOut(BaseModel):
    """Where to put it, and how."""

    s3_key: str = Field(description="Name it in `POST /uploads` once the picture is there.")
    url: str
    method: Literal["PUT"] = "PUT"
    headers: dict[str, str] = Field(description="To be sent exactly so.")
    expires_at: datetime


class TaskOut(BaseModel):
    """A task as its owner sees it."""

    task_id: UUID
    upload_id: UUID
    status: TaskStatus
    stage: Stage | None
    progress: int = Field(ge=0, le=100)
    result_url: str | None = Field(description="The object's own address; it answers only when it is signed.")
    presigned_url: str | None = Field(description="Downloads the result; signed when it is read, for a limited time.")
    error_message: str | None
    error_code: str | None
    attempt: int = Field(description="How often the task was begun.")
    retries: int = Field(description="How often it was put off after a fault.")
    processing_time: float | None = Field(description="Seconds from the last beginning to the end.")
    confidence: float | None = Field(description="0 to 1: how surely the picture has a subject.")
    subject_box: list[int] | None = Field(
        description="Where the subject is in the original, as it is displayed: left, top, width and height in pixels. "
        "Null until the task is completed.",
        examples=[[412, 96, 655, 880]],
    )
    result_box: list[int] | None = Field(description="Likewise in the result.", examples=[[10, 10, 655, 880]])
    recipe: str | None = Field(description="Whose options it was made with, as name@version.")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, view: TaskView) -> "TaskOut":
        task = view.task
        return cls(
            task_id=task.id,
            upload_id=task.upload_id,
            status=task.status,
            stage=task.stage,
            progress=task.progress,
            result_url=view.result_url,
            presigned_url=view.presigned_url,
            error_message=task.error_message,
            error_code=task.error_code,
            attempt=task.attempt,
            retries=task.retries,
            processing_time=None if task.processing_seconds is None else round(task.processing_seconds, 3),
            confidence=None if task.confidence is None else round(task.confidence, 4),
            subject_box=task.subject_box,
            result_box=task.result_box,
            recipe=task.recipe,
            created_at=task.created_at,
            updated_at=task.updated_at,
        )


class TaskPage(BaseModel):
    tasks: list[TaskOut]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page; null on the last one.")


class EventOut(BaseModel):
    """One change of a task."""

    at: datetime
    status: TaskStatus
    stage: Stage | None
    attempt: int
    error_code: str | None

    @classmethod
    def of(cls, event: TaskEvent) -> "EventOut":
        return cls.model_validate(event, from_attributes=True)


class History(BaseModel):
    events: list[EventOut] = Field(description="Oldest first.")


def upload_form() -> dict[str, Any]:
    """The description of the upload's form: the endpoint reads it by itself, after it knows who is calling."""
    options = described() | {name: dict(wish) for name, wish in WISHES.items()}
    for option in options.values():
        if "enum" in option:
            option["enum"] = [*option["enum"], ""]  # sent empty, as browsers do: the default
    file = {"type": "string", "format": "binary", "description": "JPEG, PNG, WEBP or BMP, told by its bytes"}
    named = {
        "image_url": {"type": "string", "maxLength": 2048, "description": "A public http or https URL of the picture."},
        "s3_key": {"type": "string", "maxLength": 1024, "description": "The key of an object of yours in the bucket."},
    }
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": one_of({"file": file} | named, options)},
                "application/x-www-form-urlencoded": {"schema": one_of(named, options)},
            },
        }
    }


def one_of(ways: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """A form with a picture in exactly one of the ways, and options beside it."""
    # The other texts may be there, but empty, as browsers send them.
    texts = [name for name, way in ways.items() if way.get("format") != "binary"]
    exactly_one = [
        {"required": [name], "properties": {t: {"minLength": 1} if t == name else {"maxLength": 0} for t in texts}}
        for name in ways
    ]
    return {"type": "object", "properties": ways | options, "oneOf": exactly_one}
