"""Pictures and what is done with them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.core.options import Format, ResultFormat
from app.core.states import TERMINAL, WAITING, Stage, TaskStatus, UploadStatus
from app.db.base import Base
from app.db.models.columns import NOW, Timestamp, one_of

# Ended tasks with attempts that came to nothing, and may have left an object.
UNTIDY = (
    "finished_at IS NOT NULL AND tidied_at IS NULL"
    " AND (status = 'completed' AND attempt > 1 OR status IN ('cancelled', 'failed') AND attempt > 0)"
)


class Upload(Base):
    """An original. The row is written before the object, so that an orphan is found without a bucket scan."""

    __tablename__ = "uploads"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    status: Mapped[UploadStatus] = mapped_column(Text, server_default=UploadStatus.PENDING)
    key: Mapped[str] = mapped_column(Text, unique=True)
    filename: Mapped[str | None] = mapped_column(Text)
    source_url: Mapped[str | None] = mapped_column(Text)  # where a worker fetches it from
    in_batch: Mapped[bool] = mapped_column(server_default=text("false"))
    # Known once it is here.
    format: Mapped[str | None] = mapped_column(Text)
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    width: Mapped[int | None]
    height: Mapped[int | None]
    sha256: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    purged_at: Mapped[datetime | None] = mapped_column(Timestamp)  # since when the object is known to be gone

    __table_args__ = (
        CheckConstraint(one_of("status", UploadStatus), name="status"),
        CheckConstraint("size_bytes > 0 AND width > 0 AND height > 0", name="measures"),
        CheckConstraint("(status IN ('pending', 'stored')) <= (sha256 IS NOT NULL)", name="facts"),
        CheckConstraint("(status = 'remote') <= (source_url IS NOT NULL)", name="remote"),
        Index("ix_uploads_sha256", "user_id", "sha256"),
        Index("ix_uploads_pending", "created_at", postgresql_where=text("status = 'pending'")),
        Index("ix_uploads_kept", "created_at", postgresql_where=text("status IN ('stored', 'remote')")),
        Index("ix_uploads_unpurged", "id", postgresql_where=text("status = 'expired' AND purged_at IS NULL")),
        Index("ix_uploads_user_id", "user_id"),
    )

    @property
    def pixels(self) -> int:
        """0 as long as it is not here."""
        return (self.width or 0) * (self.height or 0)


class Task(Base):
    """One removal. The row is the queue: Celery only rings a bell with its id."""

    __tablename__ = "tasks"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    upload_id: Mapped[UUID] = mapped_column(ForeignKey("uploads.id"))
    batch_id: Mapped[UUID | None] = mapped_column(ForeignKey("batches.id"))
    item: Mapped[int | None]  # its place in the batch, from 0 on
    name: Mapped[str | None] = mapped_column(Text)  # in the batch; with folders, as in the archive
    operation: Mapped[str] = mapped_column(Text)
    options: Mapped[dict[str, Any]] = mapped_column(JSONB)
    recipe: Mapped[str | None] = mapped_column(Text)  # whose options these are, as name@version
    webhook_url: Mapped[str | None] = mapped_column(Text)  # told when it ends, by a trigger
    queue: Mapped[str] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)

    status: Mapped[TaskStatus] = mapped_column(Text, server_default=TaskStatus.QUEUED)
    stage: Mapped[Stage | None] = mapped_column(Text)
    progress: Mapped[int] = mapped_column(server_default=text("0"))

    attempt: Mapped[int] = mapped_column(server_default=text("0"))  # counts claims; the fencing token
    retries: Mapped[int] = mapped_column(server_default=text("0"))  # counts failures
    max_retries: Mapped[int]
    max_attempts: Mapped[int] = mapped_column(server_default=text("10"))
    worker: Mapped[str | None] = mapped_column(Text)

    run_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    queued_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    dispatched_at: Mapped[datetime | None] = mapped_column(Timestamp)
    started_at: Mapped[datetime | None] = mapped_column(Timestamp)
    lease_until: Mapped[datetime | None] = mapped_column(Timestamp)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)

    result_key: Mapped[str | None] = mapped_column(Text)
    result_bytes: Mapped[int | None] = mapped_column(BigInteger)
    result_width: Mapped[int | None]
    result_height: Mapped[int | None]
    # Left, top, width and height in pixels: of the subject in the original as displayed, and of it in the result.
    subject_box: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    result_box: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    confidence: Mapped[float | None]
    processing_seconds: Mapped[float | None]
    purged_at: Mapped[datetime | None] = mapped_column(Timestamp)  # since when its objects are known to be gone
    tidied_at: Mapped[datetime | None] = mapped_column(Timestamp)  # since when those of its other attempts are
    deleted_at: Mapped[datetime | None] = mapped_column(Timestamp)  # its owner took it away; he sees it no more
    error_code: Mapped[str | None] = mapped_column(Text)
    error_message: Mapped[str | None] = mapped_column(Text)
    charged: Mapped[bool] = mapped_column(server_default=text("true"))  # False: its picture was taken off the month

    upload: Mapped[Upload] = relationship(lazy="raise")

    __table_args__ = (
        CheckConstraint(one_of("status", TaskStatus), name="status"),
        CheckConstraint(one_of("stage", Stage), name="stage"),
        CheckConstraint(one_of("queue", {"interactive", "bulk"}), name="queue"),
        CheckConstraint("(status = 'processing') = (lease_until IS NOT NULL)", name="lease"),
        CheckConstraint("(status = 'completed') = (result_key IS NOT NULL)", name="result"),
        CheckConstraint("(status = 'completed') <= (progress = 100)", name="completed_progress"),
        CheckConstraint(f"({one_of('status', TERMINAL)}) = (finished_at IS NOT NULL)", name="finished"),
        CheckConstraint("(status = 'failed') <= (error_code IS NOT NULL)", name="failed_code"),
        CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
        CheckConstraint("(deleted_at IS NOT NULL) <= (status = 'expired')", name="deleted"),
        CheckConstraint("attempt BETWEEN 0 AND max_attempts", name="attempt"),
        CheckConstraint("retries BETWEEN 0 AND max_retries", name="retries"),
        CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence"),
        Index("ix_tasks_due", "run_at", postgresql_where=text(one_of("status", WAITING))),
        Index(
            "ix_tasks_undispatched",
            "run_at",
            postgresql_where=text(f"{one_of('status', WAITING)} AND dispatched_at IS NULL"),
        ),
        # By account: each has its turns.
        Index(
            "ix_tasks_unrung",
            *("user_id", "queue", "run_at"),
            postgresql_where=text(f"{one_of('status', WAITING)} AND dispatched_at IS NULL"),
        ),
        Index(
            "ix_tasks_rung",
            *("user_id", "queue"),
            postgresql_where=text(f"{one_of('status', WAITING)} AND dispatched_at IS NOT NULL"),
        ),
        Index("ix_tasks_lease", "lease_until", postgresql_where=text("status = 'processing'")),
        Index(
            "ix_tasks_active",
            "user_id",
            postgresql_where=text("finished_at IS NULL AND batch_id IS NULL"),
        ),
        Index("ix_tasks_user", "user_id", text("created_at DESC"), text("id DESC")),
        Index(
            "ix_tasks_unpurged",
            "finished_at",
            postgresql_where=text("finished_at IS NOT NULL AND purged_at IS NULL"),
        ),
        Index(
            "ix_tasks_untidied",
            "finished_at",
            postgresql_where=text(UNTIDY),
        ),
        Index("ix_tasks_upload_id", "upload_id"),
        Index("ix_tasks_batch_id", "batch_id", postgresql_where=text("batch_id IS NOT NULL")),
    )

    @property
    def format(self) -> Format:
        """What was asked for; tasks of the time before there was a choice do not say it."""
        return Format(self.options.get("format", Format.PNG))

    @property
    def result_format(self) -> ResultFormat:
        """What its result is written as. Until there is one, the first of what it may be."""
        if self.result_key is None:
            return self.format.results[0]
        return ResultFormat(self.result_key.rpartition(".")[2])

    @classmethod
    def is_waiting(cls) -> ColumnElement[bool]:
        return cls.status.in_(sorted(WAITING))

    @classmethod
    def is_due(cls) -> ColumnElement[bool]:
        """Waiting, and its time has come."""
        return cls.is_waiting() & (cls.run_at <= func.now())


class PipelineJob(Base):
    """A `process_pipeline` that another Celery client has sent: who is to be told what a batch has come to, and how."""

    __tablename__ = "pipeline_jobs"

    id: Mapped[str] = mapped_column(Text, primary_key=True)  # Celery's
    batch_id: Mapped[UUID] = mapped_column(ForeignKey("batches.id"))
    request: Mapped[dict[str, Any]] = mapped_column(JSONB)
    callback_url: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    answered_at: Mapped[datetime | None] = mapped_column(Timestamp)

    __table_args__ = (
        Index("ix_pipeline_jobs_batch_id", "batch_id"),
        Index("ix_pipeline_jobs_unanswered", "created_at", postgresql_where=text("answered_at IS NULL")),
    )


class TaskEvent(Base):
    """The history of every task, written by a trigger on `tasks`; nothing changes or deletes a line by itself."""

    __tablename__ = "task_events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    from_status: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    stage: Mapped[str | None] = mapped_column(Text)
    worker: Mapped[str | None] = mapped_column(Text)
    error_code: Mapped[str | None] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("clock_timestamp()"))

    __table_args__ = (Index("ix_task_events_task_id", "task_id", "id"),)


class Batch(Base):
    """Many pictures at once. Its items are tasks; what was refused on the way in has none, and is listed here."""

    __tablename__ = "batches"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str | None] = mapped_column(Text)
    total: Mapped[int]  # tasks
    refused: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    webhook_url: Mapped[str | None] = mapped_column(Text)  # told when all have ended, by a trigger
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)

    __table_args__ = (
        CheckConstraint("total >= 0", name="total"),
        Index("ix_batches_user", "user_id", text("created_at DESC"), text("id DESC")),
        Index("ix_batches_unfinished", "created_at", postgresql_where=text("finished_at IS NULL")),
    )


class Matte(Base):
    """A matte that was found once, for other options and for the same picture again. The row is written first: whoever
    else needs it waits a moment for him who makes it."""

    __tablename__ = "mattes"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    sha256: Mapped[str] = mapped_column(Text)  # of the original's file
    model: Mapped[str] = mapped_column(Text)
    level: Mapped[str] = mapped_column(Text)
    confidence: Mapped[float | None]
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    stored_at: Mapped[datetime | None] = mapped_column(Timestamp)
    dropped_at: Mapped[datetime | None] = mapped_column(Timestamp)  # nobody uses it any more; its object is to go
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)

    __table_args__ = (
        Index(
            "ix_mattes_wanted",
            *("user_id", "sha256", "model", "level"),
            unique=True,
            postgresql_where=text("dropped_at IS NULL"),
        ),
        Index("ix_mattes_dropped", "id", postgresql_where=text("dropped_at IS NOT NULL")),
    )
