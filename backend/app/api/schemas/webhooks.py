"""Webhooks on the wire."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field

from app.db.models import WebhookAttempt, WebhookDelivery
from app.services.webhooks import Signing


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    DISABLED = "disabled"


class WebhookSecretOut(BaseModel):
    """What the account's webhooks are signed with."""

    secret: str = Field(description="`whsec_` and 32 bytes in Base64, as libraries of Standard Webhooks take it.")
    created_at: datetime
    previous_expires_at: datetime | None = Field(description="Until then the secret before signs, too.")

    @classmethod
    def of(cls, signing: Signing) -> Self:
        return cls.model_validate(signing, from_attributes=True)


class DeliveryOut(BaseModel):
    """A message, and how far it has come."""

    delivery_id: UUID = Field(description="The message's `webhook-id`, the same at each try.")
    type: str = Field(examples=["task.completed"])
    status: DeliveryStatus
    url: str = Field(examples=["https://shop.example.com/hooks/quickbg"])
    task_id: UUID | None
    batch_id: UUID | None
    attempts: int = Field(description="Tries since it was begun, or asked for again.")
    created_at: datetime
    next_at: datetime | None = Field(description="The next try, while it is pending.")
    ended_at: datetime | None

    @classmethod
    def values(cls, delivery: WebhookDelivery) -> dict[str, Any]:
        found = {name: getattr(delivery, name, None) for name in DeliveryOut.model_fields}
        pending = delivery.status == DeliveryStatus.PENDING
        return found | {"delivery_id": delivery.id, "next_at": delivery.next_at if pending else None}

    @classmethod
    def of(cls, delivery: WebhookDelivery) -> "DeliveryOut":
        return cls(**cls.values(delivery))


class DeliveryPage(BaseModel):
    deliveries: list[DeliveryOut]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page; null on the last one.")


class TryOut(BaseModel):
    """One try. What else the receiver has answered is not kept."""

    at: datetime
    status_code: int | None = Field(description="null: there was no answer.", examples=[503])
    error: str | None = Field(
        description="`unreachable`, `redirected`, `refused`, `gone`, `internal_error`; null: it was taken.",
        examples=["refused"],
    )
    duration_ms: int

    @classmethod
    def of(cls, attempt: WebhookAttempt) -> "TryOut":
        return cls.model_validate(attempt, from_attributes=True)


class DeliveryDetail(DeliveryOut):
    payload: dict[str, Any] = Field(
        description="What is sent.",
        examples=[
            {
                "type": "task.completed",
                "timestamp": "2026-11-22T10:15:00.123Z",
                "data": {
                    "task_id": "6f3f3c0e-6a37-4be3-9d0b-1f3f0c6f2c55",
                    "upload_id": "0a0f5b7e-34a1-4d6a-8d55-4f8f6a2f9b10",
                    "batch_id": None,
                    "status": "completed",
                    "error_code": None,
                },
            }
        ],
    )
    tries: list[TryOut] = Field(description="Oldest first.")

    @classmethod
    def told(cls, delivery: WebhookDelivery, attempts: Any) -> Self:
        tries = [TryOut.of(attempt) for attempt in attempts]
        return cls(**cls.values(delivery), payload=delivery.payload, tries=tries)
