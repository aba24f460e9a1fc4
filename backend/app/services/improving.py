"""Pictures that an account leaves for the operator to learn from, since they were cut out badly.

They are his: no row knows of them, nothing cleans them, and no address of ours hands them out.
"""

import io
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

from app.core.config import Settings
from app.core.errors import AppError, Forbidden
from app.core.logging import get_logger
from app.core.names import clean_filename
from app.db.models import User
from app.services.imports import SentFile
from app.services.judging import judge
from app.services.limits import Limits
from app.storage.base import ObjectStore, content_type, improve_key

MAX_TAG = 200  # characters that are kept of it

log = get_logger(__name__)


@dataclass(frozen=True)
class Improving:
    """The use case with the parts that it works on."""

    settings: Settings
    store: ObjectStore
    limits: Limits

    def check(self) -> None:
        """Raise `Forbidden` unless such pictures are taken in."""
        if not self.settings.improve_enabled:
            raise Forbidden("This server takes in no pictures to improve.", code="improve_disabled")

    def keep(self, sent: SentFile, *, user: User, filename: str | None, tag: str | None) -> UUID:
        """Store the picture and what is known of it. Blocks: call it from a thread.

        Raises `RejectedImage`, `TooManyRequests` after so many in a day, `StorageUnavailable`.
        """
        sha256, facts = judge(sent.file, self.settings)
        self.limits.improvement(user)
        picture_id = uuid4()
        key = improve_key(user.id, picture_id)
        known = {
            "filename": clean_filename(filename or sent.filename),
            "tag": tag[:MAX_TAG] if tag else None,
            "received_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "sha256": sha256,
            "format": facts.format,
            "width": facts.width,
            "height": facts.height,
        }
        # Last the picture: where there is one, that is there, too.
        self.store.put(f"{key}.json", io.BytesIO(json.dumps(known).encode()), "application/json")
        try:
            self.store.put(key, sent.file, content_type(key))
        except AppError:
            with suppress(AppError):
                self.store.delete(f"{key}.json")
            raise
        log.info("improvement_kept", user_id=str(user.id), picture_id=str(picture_id))
        return picture_id
