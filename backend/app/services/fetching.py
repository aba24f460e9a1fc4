"""A picture that is still at its URL comes in: fetched by the worker that is to work on it, and checked like any
other."""

from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from sqlalchemy.orm import Session

from app.core.config import MIB, Settings
from app.core.errors import AppError, RejectedImage
from app.db import heartbeats, uploads, usage
from app.db.base import Sessions
from app.db.models import Task
from app.imaging.errors import FileTooLarge
from app.outbound.client import BodyTooLarge, Outbound
from app.services.judging import judge
from app.storage.base import ObjectStore, content_type


class NoPlace(AppError):
    """As many fetch already as may; it is tried again in a moment."""

    code = "fetching_put_off"


@dataclass(frozen=True)
class Fetching:
    """The use case with the parts that it works on."""

    settings: Settings
    sessions: Sessions
    store: ObjectStore
    outbound: Outbound

    def bring(self, task: Task) -> None:
        """Fetch the task's original, if it is not here, and record it. Blocks for 30 seconds at most.

        Raises `NoPlace`, `UrlNotFetched` (which says whether to try again), `RejectedImage`, `StorageUnavailable`.
        """
        upload = task.upload
        if upload.sha256 is not None or upload.source_url is None:
            return
        with self.sessions.begin() as session:
            if not self._has_place(session, task):
                raise NoPlace("Other pictures are being fetched at the moment.")
        with SpooledTemporaryFile(max_size=MIB) as spooled:
            file = cast(BinaryIO, spooled)
            try:
                self.outbound.fetch(upload.source_url, file, max_bytes=self.settings.max_image_bytes)
            except BodyTooLarge as error:
                large = FileTooLarge(error.size_bytes, self.settings.max_image_bytes)
                raise RejectedImage(str(large), code=large.code) from error
            file.seek(0)
            sha256, facts = judge(file, self.settings)
            self.store.put(upload.key, file, content_type(upload.key))
        upload.sha256, upload.format, upload.size_bytes = sha256, facts.format, facts.size_bytes
        upload.width, upload.height = facts.width, facts.height
        with self.sessions.begin() as session:
            if uploads.arrived(session, upload):
                usage.add_megapixels(session, task.user_id, upload.pixels / 1e6)

    def _has_place(self, session: Session, task: Task) -> bool:
        """One fetch of each account at a time, and never all workers: a slow site is to keep nobody else waiting."""
        own, others = uploads.being_fetched(session, task.user_id, but=task.id)
        return own == 0 and own + others < max(1, heartbeats.online(session, "worker", timing=self.settings.timing) - 1)
