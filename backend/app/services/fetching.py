"""A picture that is still at its URL comes in: fetched by the worker that is to work on it, and checked like any
other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.core.config import MIB, Settings
from app.core.errors import AppError, RejectedImage
from app.core.logging import get_logger
from app.core.states import UploadStatus
from app.db import fetches, heartbeats, uploads, usage
from app.db.base import Sessions
from app.db.models import Task
from app.imaging.errors import FileTooLarge
from app.outbound.client import BodyTooLarge, Outbound
from app.services.accounts import is_of_the_house
from app.services.bell import Bell
from app.services.judging import judge
from app.storage.base import ObjectStore, content_type

log = get_logger(__name__)


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
    bell: Bell

    @contextmanager
    def place(self, task: Task, *, wanted: bool) -> Iterator[None]:
        """A place among those who fetch, if the task wants one; its account's next one is called afterwards.

        Raises `NoPlace`.
        """
        wanted = wanted or task.upload.status == UploadStatus.REMOTE
        if wanted:
            with self.sessions.begin() as session:
                if not self._has_place(session, task):
                    raise NoPlace("Other pictures are being fetched at the moment.")
        try:
            yield
        finally:
            if wanted:
                self._call_next(task.user_id)

    def bring(self, task: Task, check: Callable[[], None]) -> None:
        """Fetch the task's original, if it is not here, and record it. Blocks for 30 seconds at most.

        `check` raises when the attempt has lost its task. Raises `UrlNotFetched` (which says whether to try again),
        `RejectedImage`, `StorageUnavailable`.
        """
        upload = task.upload
        with self.sessions.begin() as session:
            uploads.refresh(session, upload)  # somebody else may have fetched it, until there was a place
        if upload.status != UploadStatus.REMOTE or upload.source_url is None:
            return
        with SpooledTemporaryFile(max_size=MIB) as spooled:
            file = cast(BinaryIO, spooled)
            try:
                self.outbound.fetch(upload.source_url, file, max_bytes=self.settings.max_image_bytes)
            except BodyTooLarge as error:
                large = FileTooLarge(error.size_bytes, self.settings.max_image_bytes)
                raise RejectedImage(str(large), code=large.code) from error
            file.seek(0)
            sha256, facts = judge(file, self.settings)
            check()
            self.store.put(upload.key, file, content_type(upload.key))
        upload.sha256, upload.format, upload.size_bytes = sha256, facts.format, facts.size_bytes
        upload.width, upload.height = facts.width, facts.height
        with self.sessions.begin() as session:
            arrived = uploads.arrived(session, upload)
            if arrived:
                usage.add_megapixels(session, task.user_id, upload.pixels / 1e6)
            wanted = arrived or uploads.is_stored(session, upload.id)
        if not wanted:  # deleted meanwhile: nobody would ever find it
            self.store.delete(upload.key)

    def _has_place(self, session: Session, task: Task) -> bool:
        """One fetch of each account at a time, and never all of several workers: a slow site is to keep nobody else
        waiting. Behind an account of the house are many."""
        own, others = fetches.before(session, task)
        if own and not is_of_the_house(session, task.user_id):
            return False
        return own + others < max(1, heartbeats.online(session, "worker", timing=self.settings.timing) - 1)

    def _call_next(self, user_id: UUID) -> None:
        try:
            with self.sessions.begin() as session:
                following = fetches.call_next(session, user_id)
        except SQLAlchemyError as error:  # it comes by itself in a few seconds
            log.warning("fetch_not_called", error=type(error).__name__)
            return
        if following is not None:
            self.bell.ring(*following)
