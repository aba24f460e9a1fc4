"""An image comes in: probe → record the intent → store → record upload and task in one commit → ring the bell."""

import hashlib
import re
from dataclasses import dataclass
from typing import BinaryIO
from uuid import UUID, uuid4

from sqlalchemy.exc import SQLAlchemyError

from app.core.config import Settings
from app.core.errors import AppError, RejectedImage, ServiceUnavailable
from app.core.logging import get_logger
from app.core.options import Operation, RemovalOptions
from app.db import uploads
from app.db.base import Sessions
from app.db.models import Task, Upload
from app.imaging.errors import ImageError
from app.imaging.probe import ImageFacts, probe
from app.services.about import image_limits
from app.services.bell import Bell
from app.storage.base import ObjectStore, content_type, original_key

QUEUE = "interactive"
MAX_NAME = 200

log = get_logger(__name__)


@dataclass(frozen=True)
class Submission:
    upload_id: UUID
    task_id: UUID


@dataclass(frozen=True)
class Submissions:
    """The use case with the parts that it works on."""

    settings: Settings
    sessions: Sessions
    store: ObjectStore
    bell: Bell

    def submit(
        self,
        file: BinaryIO,
        *,
        user_id: UUID,
        filename: str | None,
        options: RemovalOptions,
        request_id: str | None = None,
    ) -> Submission:
        """Take an image in. Blocks on the database and the store: call it from a thread.

        Raises `RejectedImage` (nothing is kept then) and `StorageUnavailable`.
        """
        facts = self._probe(file)
        upload_id, task_id = uuid4(), uuid4()
        key = original_key(user_id, upload_id)
        upload = Upload(
            id=upload_id,
            user_id=user_id,
            key=key,
            filename=clean_filename(filename),
            format=facts.format,
            size_bytes=facts.size_bytes,
            width=facts.width,
            height=facts.height,
            sha256=_digest(file),
        )
        with self.sessions.begin() as session:
            session.add(upload)
        try:
            self.store.put(key, file, content_type(key))
        except Exception:
            self._take_back(upload_id, key)
            raise
        with self.sessions.begin() as session:
            if not uploads.mark_stored(session, upload_id):
                raise ServiceUnavailable("The upload took too long and was given up; send it again.")
            session.add(self._task(task_id, upload_id, user_id, options, request_id))
        self.bell.ring(task_id, QUEUE)
        return Submission(upload_id, task_id)

    def _probe(self, file: BinaryIO) -> ImageFacts:
        try:
            return probe(file, image_limits(self.settings))
        except ImageError as error:
            raise RejectedImage(str(error), code=error.code) from error

    def _task(
        self, task_id: UUID, upload_id: UUID, user_id: UUID, options: RemovalOptions, request_id: str | None
    ) -> Task:
        return Task(
            id=task_id,
            user_id=user_id,
            upload_id=upload_id,
            operation=Operation.REMOVE_BACKGROUND,
            options=options.model_dump(mode="json"),
            queue=QUEUE,
            request_id=request_id,
            max_retries=self.settings.task_max_retries,
        )

    def _take_back(self, upload_id: UUID, key: str) -> None:
        """Nothing was promised yet. A put that failed may have landed all the same: while the object cannot be
        deleted, its row stays `pending` and names it."""
        try:
            self.store.delete(key)
            with self.sessions.begin() as session:
                uploads.forget(session, upload_id)
        except (AppError, SQLAlchemyError) as error:
            log.warning("upload_left_pending", upload_id=str(upload_id), error=type(error).__name__)


def clean_filename(name: str | None) -> str | None:
    """The last part of the name that a client sent, without control characters and of bounded length."""
    if not name:
        return None
    base = re.split(r"[/\\]", name)[-1]
    printable = "".join(c for c in base if c.isprintable()).strip()
    return printable[:MAX_NAME] or None


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    file.seek(0)
    return digest.hexdigest()
