"""`Idempotency-Key`: a client that did not hear our answer asks again, and one thing has been done, not two."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from app.core.errors import Conflict, InvalidRequest, ServiceUnavailable
from app.db import idempotency
from app.db.idempotency import Once
from app.db.models import IdempotencyKey

KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


def once(user_id: UUID, route: str, key: str, sent: Mapping[str, object]) -> Once:
    """One request under the key that its client chose. `sent` is what makes two requests the same."""
    if not KEY.fullmatch(key):
        raise InvalidRequest(
            "Idempotency-Key: 1 to 255 printable ASCII characters are expected.", code="malformed_idempotency_key"
        )
    return Once(user_id, route, key, fingerprint(sent), holder=uuid4())


def fingerprint(sent: Mapping[str, object]) -> str:
    """Tells one request from another: SHA-256."""
    return hashlib.sha256(json.dumps(sent, sort_keys=True, default=str).encode()).hexdigest()


def begin(session: Session, asked: Once) -> Mapping[str, Any] | None:
    """Take the key for this request. What an earlier one was answered, if there was one.

    Raises `InvalidRequest` when the earlier one sent something else, `Conflict` while it is still at work.
    """
    found = idempotency.hold(session, asked)
    return None if found is None else _answered(found, asked)


def earlier(session: Session, asked: Once) -> Mapping[str, Any] | None:
    """What an earlier request was answered, if it was; the key is not taken. Raises `InvalidRequest` likewise."""
    found = idempotency.find(session, asked)
    return None if found is None or found.answer is None else _answered(found, asked)


def _answered(earlier: IdempotencyKey, asked: Once) -> Mapping[str, Any]:
    if earlier.fingerprint != asked.fingerprint:
        raise InvalidRequest(
            "Idempotency-Key: this key was used for another request; choose a new one.", code="idempotency_key_reused"
        )
    if earlier.answer is None:
        raise Conflict("A request with this Idempotency-Key is still at work.", code="idempotency_key_in_use")
    return earlier.answer


def finish(session: Session, asked: Once, said: dict[str, Any]) -> None:
    """Keep the answer, in the transaction that makes it true."""
    if not idempotency.answer(session, asked, said):
        raise ServiceUnavailable("The request took too long and was given up; send it again.")
