"""Webhooks as an account sees them: its address, its secret, and what became of each message.

Messages follow the Standard Webhooks specification 1.0; `services.deliveries` delivers them.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from app.core.errors import Conflict, InvalidRequest, NotFound
from app.core.logging import get_logger
from app.db import usage, webhooks
from app.db.base import Sessions
from app.db.models import User, WebhookAttempt, WebhookDelivery
from app.outbound.urls import InvalidUrl, read_url
from app.services.status import make_cursor, read_cursor

PREFIX = "whsec_"
SECRET_BYTES = 32
OVERLAP = 86_400.0  # seconds that a replaced secret signs beside the new one

log = get_logger(__name__)


def checked(url: str, name: str = "webhook_url") -> str:
    """An address for webhooks, as it is stored. Raises `InvalidRequest`, which calls it by this name."""
    try:
        return str(read_url(url))
    except InvalidUrl as error:
        raise InvalidRequest(f"{name}: {error}", code=error.code) from error


def make_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def body_of(payload: Mapping[str, Any]) -> bytes:
    """The message as it is sent: the same bytes each time."""
    ordered = {name: payload[name] for name in ("type", "timestamp", "data") if name in payload} | dict(payload)
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()


def signed(message_id: UUID, timestamp: int, body: bytes, keys: Iterable[str]) -> dict[str, str]:
    """The headers that prove a body: one signature for each secret."""
    content = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": str(message_id),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(key, content) for key in keys),
    }


def _signature(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


@dataclass(frozen=True)
class Signing:
    """What an account's messages are signed with, and until when also with the secret before."""

    secret: str
    created_at: datetime
    previous_expires_at: datetime | None
    keys: Sequence[str]


@dataclass(frozen=True)
class Webhooks:
    """The use cases with the part that they work on. Another account's message is `NotFound`."""

    sessions: Sessions

    def signing(self, user_id: UUID) -> Signing:
        """The account's secrets; one is made if there is none."""
        with self.sessions.begin() as session:
            found = webhooks.secrets(session, user_id)
            if not found:
                usage.hold_account(session, user_id)
                found = webhooks.secrets(session, user_id)
            if not found:
                webhooks.add_secret(session, uuid4(), user_id, make_secret())
                found = webhooks.secrets(session, user_id)
        newest, *older = found
        previous = older[0].expires_at if older else None
        return Signing(newest.secret, newest.created_at, previous, [each.secret for each in found])

    def rotate(self, user_id: UUID) -> Signing:
        """A new secret. The one before signs beside it for a day, one before that no longer."""
        with self.sessions.begin() as session:
            usage.hold_account(session, user_id)
            webhooks.replace_secret(session, user_id, keep=OVERLAP)
            webhooks.add_secret(session, uuid4(), user_id, make_secret())
        log.info("webhook_secret_rotated", user_id=str(user_id))
        return self.signing(user_id)

    def page(
        self, user_id: UUID, *, limit: int, status: str | None, task_id: UUID | None, cursor: str | None
    ) -> tuple[Sequence[WebhookDelivery], str | None]:
        """The account's messages, newest first, and the cursor of the next page (None on the last one)."""
        before = None if cursor is None else read_cursor(cursor)
        with self.sessions.begin() as session:
            found = webhooks.list_owned(
                session, user_id, limit=limit + 1, status=status, task_id=task_id, before=before
            )
        page = found[:limit]
        return page, make_cursor(page[-1].created_at, page[-1].id) if len(found) > limit else None

    def get(self, delivery_id: UUID, user_id: UUID) -> tuple[WebhookDelivery, Sequence[WebhookAttempt]]:
        """A message and its tries, oldest first."""
        with self.sessions.begin() as session:
            found = webhooks.get_owned(session, delivery_id, user_id)
            if found is None:
                raise NotFound("There is no such delivery.", code="delivery_not_found")
            return found, webhooks.attempts(session, delivery_id)

    def redeliver(self, delivery_id: UUID, user: User) -> None:
        """Try an ended message again, at once and even at a disabled address; `Conflict` while it has not ended."""
        with self.sessions.begin() as session:
            again = webhooks.begin_again(session, delivery_id, user.id)
        if not again:
            self.get(delivery_id, user.id)
            raise Conflict("The message is still to be delivered.", code="delivery_pending")
