"""The tables. What must always hold is a constraint here, not a hope in the code.

Every time is the database's `now()`: no clock of a worker or an API process enters a comparison.
"""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.core.options import ResultFormat
from app.core.states import TERMINAL, WAITING, Stage, TaskStatus, UploadStatus
from app.db.base import Base

Timestamp = DateTime(timezone=True)
NOW = text("now()")
# Ended tasks with attempts that came to nothing, and may have left an object.
UNTIDY = (
    "finished_at IS NOT NULL AND tidied_at IS NULL"
    " AND (status = 'completed' AND attempt > 1 OR status IN ('cancelled', 'failed') AND attempt > 0)"
)


def one_of(column: str, values: Any) -> str:
    """SQL for "column is one of these words"; the words are our own enumerations, never a user's."""
    return f"{column} IN ({', '.join(repr(str(v)) for v in sorted(values))})"


class User(Base):
    """An account. Without a password hash nobody can log in to it (the local user of the command line)."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(Text, unique=True)
    password_hash: Mapped[str | None] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text, server_default="user")
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    token_version: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)

    # Its own limits, 0 for none; null: those of the settings.
    requests_per_minute: Mapped[int | None]
    reads_per_minute: Mapped[int | None]
    megapixels_per_minute: Mapped[int | None]
    active_tasks: Mapped[int | None]
    images_per_month: Mapped[int | None]

    __table_args__ = (
        CheckConstraint(one_of("role", {"user", "admin"}), name="role"),
        CheckConstraint("email = lower(email)", name="email_lower"),
        CheckConstraint(
            "coalesce(least(requests_per_minute, reads_per_minute, megapixels_per_minute, active_tasks,"
            " images_per_month), 0) >= 0",
            name="limits",
        ),
    )


class Login(Base):
    """A family of refresh tokens: what a login began. One token of it holds at a time."""

    __tablename__ = "logins"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    token_id: Mapped[UUID]  # `jti` of the refresh token that holds
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    refreshed_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    revoked_at: Mapped[datetime | None] = mapped_column(Timestamp)

    __table_args__ = (Index("ix_logins_user_id", "user_id"), Index("ix_logins_expires_at", "expires_at"))


class ApiKey(Base):
    """A key for programs. Its secret is random, so a fast hash of it is enough."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    prefix: Mapped[str] = mapped_column(Text, unique=True)  # the part that may be shown
    secret_hash: Mapped[str] = mapped_column(Text)  # SHA-256
    name: Mapped[str] = mapped_column(Text)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    last_used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    revoked_at: Mapped[datetime | None] = mapped_column(Timestamp)

    __table_args__ = (Index("ix_api_keys_user_id", "user_id"),)


class LoginFailure(Base):
    """Wrong passwords of late, by account or by address (`subject`). Here and not in Redis, which may forget."""

    __tablename__ = "login_failures"

    subject: Mapped[str] = mapped_column(Text, primary_key=True)
    failures: Mapped[int]
    first_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    last_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    blocked_until: Mapped[datetime | None] = mapped_column(Timestamp)

    __table_args__ = (
        CheckConstraint("failures > 0", name="failures"),
        Index("ix_login_failures_last_at", "last_at"),
    )


class Usage(Base):
    """What an account has had done in a calendar month (UTC; `month` is its first day)."""

    __tablename__ = "usage"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
    images: Mapped[int] = mapped_column(server_default=text("0"))
    megapixels: Mapped[float] = mapped_column(Double, server_default=text("0"))


class Upload(Base):
    """An original. The row is written before the object, so that an orphan is found without a bucket scan."""

    __tablename__ = "uploads"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    status: Mapped[UploadStatus] = mapped_column(Text, server_default=UploadStatus.PENDING)
    key: Mapped[str] = mapped_column(Text, unique=True)
    filename: Mapped[str | None] = mapped_column(Text)
    format: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int]
    height: Mapped[int]
    sha256: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    purged_at: Mapped[datetime | None] = mapped_column(Timestamp)  # since when the object is known to be gone

    __table_args__ = (
        CheckConstraint(one_of("status", UploadStatus), name="status"),
        CheckConstraint("size_bytes > 0 AND width > 0 AND height > 0", name="measures"),
        Index("ix_uploads_pending", "created_at", postgresql_where=text("status = 'pending'")),
        Index("ix_uploads_stored", "created_at", postgresql_where=text("status = 'stored'")),
        Index("ix_uploads_unpurged", "id", postgresql_where=text("status = 'expired' AND purged_at IS NULL")),
        Index("ix_uploads_user_id", "user_id"),
    )


class Task(Base):
    """One removal. The row is the queue: Celery only rings a bell with its id."""

    __tablename__ = "tasks"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    upload_id: Mapped[UUID] = mapped_column(ForeignKey("uploads.id"))
    batch_id: Mapped[UUID | None]
    operation: Mapped[str] = mapped_column(Text)
    options: Mapped[dict[str, Any]] = mapped_column(JSONB)
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
    confidence: Mapped[float | None]
    processing_seconds: Mapped[float | None]
    purged_at: Mapped[datetime | None] = mapped_column(Timestamp)  # since when its objects are known to be gone
    tidied_at: Mapped[datetime | None] = mapped_column(Timestamp)  # since when those of its other attempts are
    deleted_at: Mapped[datetime | None] = mapped_column(Timestamp)  # its owner took it away; he sees it no more
    error_code: Mapped[str | None] = mapped_column(Text)
    error_message: Mapped[str | None] = mapped_column(Text)

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
    def result_format(self) -> ResultFormat:
        """What its result is written as; tasks of the time before there was a choice do not say it."""
        return ResultFormat(self.options.get("format", ResultFormat.PNG))

    @classmethod
    def is_waiting(cls) -> ColumnElement[bool]:
        return cls.status.in_(sorted(WAITING))

    @classmethod
    def is_due(cls) -> ColumnElement[bool]:
        """Waiting, and its time has come."""
        return cls.is_waiting() & (cls.run_at <= func.now())


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


class IdempotencyKey(Base):
    """A creating request that its client may repeat: who works on it, and what it was answered."""

    __tablename__ = "idempotency_keys"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    route: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Text)  # of what was sent: SHA-256
    holder: Mapped[UUID]  # the request that works on it
    locked_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)

    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)


class Counter(Base):
    """What all processes together have counted, for those who watch; never a reason for anything."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    labels: Mapped[str] = mapped_column(Text, primary_key=True, server_default="")
    value: Mapped[float] = mapped_column(Double, server_default=text("0"))


class WorkerHeartbeat(Base):
    """One row for each live process: a warm worker child, or a sweeper."""

    __tablename__ = "worker_heartbeats"

    id: Mapped[str] = mapped_column(Text, primary_key=True)  # host:pid
    kind: Mapped[str] = mapped_column(Text)
    engine: Mapped[str | None] = mapped_column(Text)  # of a worker: what it runs the network with, and why
    started_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    beat_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)

    __table_args__ = (CheckConstraint(one_of("kind", {"worker", "sweeper"}), name="kind"),)
