"""Administration on the wire."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from app.db.models import Task


class FailedTask(BaseModel):
    task_id: UUID
    user_id: UUID
    upload_id: UUID
    filename: str | None
    error_code: str | None
    error_message: str | None
    attempt: int
    retries: int
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, task: Task) -> "FailedTask":
        return cls(
            task_id=task.id,
            user_id=task.user_id,
            upload_id=task.upload_id,
            filename=task.upload.filename,
            error_code=task.error_code,
            error_message=task.error_message,
            attempt=task.attempt,
            retries=task.retries,
            created_at=task.created_at,
            finished_at=task.finished_at,
        )


class FailedPage(BaseModel):
    tasks: list[FailedTask]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page; null on the last one.")


class Requeue(BaseModel):
    model_config = ConfigDict(extra="forbid")

    task_ids: Annotated[list[UUID], Field(min_length=1, max_length=500)]


class Requeued(BaseModel):
    requeued: list[UUID]
    refused: list[UUID] = Field(description="Neither failed nor cancelled, or without an original by now.")


class Cleanup(BaseModel):
    model_config = ConfigDict(extra="forbid")

    dry_run: StrictBool = Field(False, description="Only say what would be deleted.")


class CleanupOut(BaseModel):
    expired: int = Field(description="Tasks that came to the end of their time.")
    abandoned: int = Field(description="Uploads that never became one.")
    objects: int
    bytes: int
    left: int = Field(description="Rows whose objects could not be deleted; the next run finds them.")


class StatsOut(BaseModel):
    tasks: dict[str, int] = Field(description="By status.")
    oldest_queued_s: float | None = Field(description="How long the oldest due task has waited, in seconds.")
