"""The studio's jobs on the wire. A job is a task, by the words of another program."""

from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field

from app.api.schemas.batches import RefusedOut
from app.core.states import Stage, TaskStatus
from app.db.models import Task

JobStatus = Literal["queued", "started", "finished", "failed", "canceled"]
JOB_STATUSES: dict[TaskStatus, JobStatus] = {
    TaskStatus.QUEUED: "queued",
    TaskStatus.RETRYING: "queued",
    TaskStatus.PROCESSING: "started",
    TaskStatus.COMPLETED: "finished",
    TaskStatus.FAILED: "failed",
    TaskStatus.CANCELLED: "canceled",
    TaskStatus.EXPIRED: "failed",
}


class JobQueued(BaseModel):
    job_id: UUID = Field(description="The task's id, too.")
    status: Literal["queued"] = "queued"


class JobsQueued(BaseModel):
    job_ids: list[UUID] = Field(description="In the order of the files that were taken in.")
    status: Literal["queued"] = "queued"
    refused: list[RefusedOut] = Field(description="What was refused on the way in, each by itself.")


class JobOut(BaseModel):
    """A job as its owner sees it."""

    job_id: UUID
    status: JobStatus
    progress: int = Field(ge=0, le=100)
    stage: Stage | None
    error: str | None = Field(description="Why it failed: a sentence.")
    download_url: str | None = Field(description="Where the picture is, once the job is finished; on this server.")

    @classmethod
    def of(cls, task: Task, *, error: str | None) -> Self:
        status = JOB_STATUSES[task.status]
        return cls(
            job_id=task.id,
            status=status,
            progress=task.progress,
            stage=task.stage,
            error=error,
            download_url=f"/api/jobs/{task.id}/download" if status == "finished" else None,
        )


class FailedJobs(BaseModel):
    jobs: list[JobOut] = Field(description="Newest first, 100 at most.")


class Deleted(BaseModel):
    deleted: int = Field(description="Objects: results and originals that were past their time.")
