"""Who is told of what, and how that went."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.db.models.columns import NOW, Timestamp, one_of


class WebhookSecret(Base):
    """What an account's webhooks are signed with. One that was replaced signs beside the new one for a while."""

    __tablename__ = "webhook_secrets"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    secret: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    expires_at: Mapped[datetime | None] = mapped_column(Timestamp)

    __table_args__ = (Index("ix_webhook_secrets_user_id", "user_id"),)


class WebhookEndpoint(Base):
    """How an address has taken its messages of late. No row: well."""

    __tablename__ = "webhook_endpoints"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    url: Mapped[str] = mapped_column(Text, primary_key=True)
    failing_since: Mapped[datetime | None] = mapped_column(Timestamp)
    disabled_at: Mapped[datetime | None] = mapped_column(Timestamp)


class WebhookDelivery(Base):
    """A message to be delivered; a trigger writes it in the transaction in which the task or the batch ends."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    task_id: Mapped[UUID | None]
    batch_id: Mapped[UUID | None]
    url: Mapped[str] = mapped_column(Text)
    type: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[str] = mapped_column(Text, server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default=text("0"))  # since it was begun, or asked for again
    by_hand: Mapped[bool] = mapped_column(server_default=text("false"))  # asked for: tried at a disabled address, too
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    next_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)

    __table_args__ = (
        CheckConstraint(one_of("status", {"pending", "delivered", "failed", "disabled"}), name="status"),
        CheckConstraint("(status = 'pending') = (ended_at IS NULL)", name="ended"),
        Index("ix_webhook_deliveries_due", "next_at", postgresql_where=text("status = 'pending'")),
        Index("ix_webhook_deliveries_pending", "user_id", "url", postgresql_where=text("status = 'pending'")),
        Index("ix_webhook_deliveries_ended_at", "ended_at"),
        Index("ix_webhook_deliveries_task_id", "task_id"),
        Index("ix_webhook_deliveries_user", "user_id", text("created_at DESC"), text("id DESC")),
    )


class WebhookAttempt(Base):
    """One try to deliver a message."""

    __tablename__ = "webhook_attempts"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    delivery_id: Mapped[UUID] = mapped_column(ForeignKey("webhook_deliveries.id", ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    status_code: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(Text)
    duration_ms: Mapped[int]

    __table_args__ = (Index("ix_webhook_attempts_delivery_id", "delivery_id", "id"),)
