"""Accounts, their credentials and what they have had."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.db.models.columns import NOW, Timestamp, one_of


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


class Recipe(Base):
    """Options under a name. A change is a new version: tasks name the one that they were made with."""

    __tablename__ = "recipes"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    options: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    deleted_at: Mapped[datetime | None] = mapped_column(Timestamp)

    __table_args__ = (
        CheckConstraint("version > 0", name="version"),
        UniqueConstraint("user_id", "name", "version"),
    )
