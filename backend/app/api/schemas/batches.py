"""Batches on the wire."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.core.states import TaskStatus
from app.db.models import Task
from app.services.batches import View

Text = Annotated[str, Field(min_length=1, max_length=2048)]


class NewBatch(BaseModel):
    """Pictures by their names. Options stand beside them, by the names of the form's fields."""

    model_config = ConfigDict(extra="allow")

    image_urls: list[Text] = Field([], examples=[["https://example.com/cup.jpg", "https://example.com/chair.jpg"]])
    s3_keys: list[Text] = []
    name: str | None = Field(None, max_length=200, examples=["autumn catalogue"])


class RefusedOut(BaseModel):
    """What was no picture, or none that is taken."""

    item: int | None = Field(None, description="Its place among what was sent, from 0 on.")
    name: str
    code: str
    detail: str


class BatchOut(BaseModel):
    """A batch as its owner sees it."""

    batch_id: UUID
    name: str | None
    status: str = Field(description="`processing`, or `finished` when all of its tasks have ended.")
    total: int = Field(description="Pictures that were taken in; each is a task.")
    counts: dict[TaskStatus, int] = Field(description="Tasks by status; those that were deleted are in none.")
    refused: list[RefusedOut] = Field(description="What was refused on the way in, each by itself.")
    progress: int = Field(ge=0, le=100)
    eta_seconds: int | None = Field(description="By the speed of the last minute; null while that cannot be told.")
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, view: View) -> "BatchOut":
        batch, counts = view.batch, view.counts
        return cls(
            batch_id=batch.id,
            name=batch.name,
            status="processing" if counts.unfinished else "finished",
            total=batch.total,
            counts=dict(counts.by_status),
            refused=[RefusedOut.model_validate(entry) for entry in batch.refused],
            progress=int(counts.progress),
            eta_seconds=view.eta,
            created_at=batch.created_at,
            finished_at=batch.finished_at,
        )


class ItemOut(BaseModel):
    """One picture of a batch; `GET /tasks/{task_id}` has all of it."""

    item: int = Field(description="Its place among what was sent, from 0 on.")
    name: str | None
    task_id: UUID
    status: TaskStatus
    progress: int
    error_code: str | None
    error_message: str | None

    @classmethod
    def of(cls, task: Task) -> "ItemOut":
        return cls(
            item=task.item or 0,
            name=task.name,
            task_id=task.id,
            status=task.status,
            progress=task.progress,
            error_code=task.error_code,
            error_message=task.error_message,
        )


class BatchWithItems(BatchOut):
    items: list[ItemOut]


class BatchPage(BaseModel):
    batches: list[BatchOut]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page; null on the last one.")


def batch_request(single: dict[str, Any]) -> dict[str, Any]:
    """The description of the request: a form, or names as JSON."""
    described = batch_form(single)
    described["requestBody"]["content"]["application/json"] = {"schema": NewBatch.model_json_schema()}
    return described


def batch_form(single: dict[str, Any], *, files: str = "file") -> dict[str, Any]:
    """The description of the form, out of that of a single upload: the endpoint reads it by itself, after it knows
    who is calling. `files`: the name of the field that brings the files."""
    properties = single["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    options = {name: field for name, field in properties.items() if name not in {"file", "image_url", "s3_key"}}
    file = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "description": "Pictures; zip archives of pictures; CSV lists with a column image_url or s3_key, name, options",
    }
    named = {"type": "array", "items": {"type": "string", "maxLength": 2048}}
    members = {"image_url": named, "s3_key": named, "name": {"type": "string", "maxLength": 200}}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {files: file} | members | options,
                    }
                }
            },
        }
    }
