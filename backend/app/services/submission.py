"""An image comes in: probe → record the intent → store → record upload and task in one commit → ring the bell."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import SEEK_END
from typing import Any, BinaryIO
from uuid import UUID, uuid4

from sqlalchemy.exc import SQLAlchemyError

from app.core.config import Settings
from app.core.errors import RejectedImage, ServiceUnavailable, TooManyRequests
from app.core.failpoints import failpoint
from app.core.logging import get_logger
from app.core.options import Operation, RemovalOptions
from app.db import idempotency as db_idempotency
from app.db import tasks, uploads
from app.db.base import Sessions
from app.db.idempotency import Once
from app.db.models import Task, Upload, User
from app.imaging.errors import ImageError
from app.imaging.formats import HEAD_BYTES, sniffed
from app.imaging.probe import ImageFacts, probe
from app.services import idempotency
from app.services.about import image_limits
from app.services.backlog import Backlog
from app.services.bell import Bell
from app.services.limits import Limits
from app.storage.base import ObjectStore, content_type, original_key

QUEUE = "interactive"
ROUTE = "uploads"
MAX_NAME = 200

log = get_logger(__name__)


@dataclass(frozen=True)
class Submission:
    upload_id: UUID
    task_id: UUID
    replayed: bool = False  # an earlier request with the same Idempotency-Key has made them


@dataclass(frozen=True)
class Submissions:
    """The use case with the parts that it works on."""

    settings: Settings
    sessions: Sessions
    store: ObjectStore
    bell: Bell
    backlog: Backlog
    limits: Limits

    def submit(
        self,
        file: BinaryIO,
        *,
        user: User,
        filename: str | None,
        options: RemovalOptions,
        request_id: str | None = None,
        idempotency_key: str | None = None,
        named: Mapping[str, str] | None = None,
    ) -> Submission:
        """Take an image in. Blocks on the database and the store: call it from a thread. `named` is how the request
        has named the picture, if it has not sent it: that makes two requests the same, then, and not the bytes.

        Raises `RejectedImage` (nothing is kept then), `StorageUnavailable`, `BacklogFull`, `TooManyRequests`, and
        what `services.idempotency` raises.
        """
        sha256 = _digest(file)
        facts = self._judge(file, sha256)
        upload_id, task_id = uuid4(), uuid4()
        upload = Upload(
            id=upload_id,
            user_id=user.id,
            key=original_key(user.id, upload_id),
            filename=clean_filename(filename),
            format=facts.format,
            size_bytes=facts.size_bytes,
            width=facts.width,
            height=facts.height,
            sha256=sha256,
        )
        asked = _once(user, idempotency_key, named or {"sha256": sha256}, options)
        if earlier := self._intend(upload, user, asked):
            return Submission(UUID(earlier["upload_id"]), UUID(earlier["task_id"]), replayed=True)
        failpoint("upload_intended")
        try:
            self.store.put(upload.key, file, content_type(upload.key))
        except Exception:
            self._give_back(asked)
            raise
        failpoint("upload_stored")
        self._accept(upload, user, self._task(task_id, upload, options, request_id), asked)
        failpoint("upload_accepted")
        self.bell.ring(task_id, QUEUE)
        return Submission(upload_id, task_id)

    def admit_image(self, user: User) -> None:
        """Raises `TooManyRequests` when the account's month has no room for another picture."""
        with self.sessions.begin() as session:
            self.limits.admit_image(session, user)

    def earlier(
        self, user: User, idempotency_key: str | None, named: Mapping[str, str], options: RemovalOptions
    ) -> Submission | None:
        """What the same request was answered before: then its picture need not be fetched, and may be gone."""
        asked = _once(user, idempotency_key, named, options)
        if asked is None:
            return None
        with self.sessions.begin() as session:
            said = idempotency.earlier(session, asked)
        return Submission(UUID(said["upload_id"]), UUID(said["task_id"]), replayed=True) if said else None

    def _intend(self, upload: Upload, user: User, asked: Once | None) -> Mapping[str, Any] | None:
        """Record what is about to be stored. What an earlier request was answered, if this one repeats it."""
        refusal = self.backlog.look() or self.limits.pixels(user, upload.pixels)
        with self.sessions.begin() as session:
            if asked is not None and (earlier := idempotency.begin(session, asked)):
                return earlier
            # A repeated request is answered whatever waits; a new one would join the queue's end.
            if refusal is not None:
                raise refusal
            self.limits.admit_image(session, user)
            self.limits.admit_task(session, user)
            session.add(upload)
        return None

    def _accept(self, upload: Upload, user: User, task: Task, asked: Once | None) -> None:
        """The promise, in one commit. A commit whose answer is lost may have been kept: then it was."""
        try:
            with self.sessions.begin() as session:
                if not uploads.mark_stored(session, upload.id):
                    raise ServiceUnavailable("The upload took too long and was given up; send it again.")
                session.add(task)
                self.limits.count_image(session, user, upload)
                if asked is not None:
                    said = {"upload_id": str(upload.id), "task_id": str(task.id)}
                    idempotency.finish(session, asked, said)
        except TooManyRequests:  # another one has taken the last place of the month meanwhile
            self._give_back(asked)
            raise
        except SQLAlchemyError:
            if not self._was_kept(task.id, asked):
                raise
            log.warning("commit_was_kept", task_id=str(task.id))

    def _was_kept(self, task_id: UUID, asked: Once | None) -> bool:
        try:
            with self.sessions.begin() as session:
                if asked is not None:
                    # Waits for a commit that is still on its way; if there is none, the next request begins anew.
                    db_idempotency.release(session, asked)
                return tasks.get(session, task_id) is not None
        except SQLAlchemyError:
            return False

    def _judge(self, file: BinaryIO, sha256: str) -> ImageFacts:
        """Accepted or not, every picture leaves a line that says which it was."""
        log_picture = log.bind(sha256=sha256, format=sniffed(file.read(HEAD_BYTES)), size_bytes=file.seek(0, SEEK_END))
        try:
            facts = probe(file, image_limits(self.settings))
        except ImageError as error:
            log_picture.info("image_judged", decision=error.code)
            raise RejectedImage(str(error), code=error.code) from error
        log_picture.info("image_judged", decision="accepted", width=facts.width, height=facts.height)
        return facts

    def _task(self, task_id: UUID, upload: Upload, options: RemovalOptions, request_id: str | None) -> Task:
        return Task(
            id=task_id,
            user_id=upload.user_id,
            upload_id=upload.id,
            operation=Operation.REMOVE_BACKGROUND,
            options=options.model_dump(mode="json"),
            queue=QUEUE,
            request_id=request_id,
            max_retries=self.settings.task_max_retries,
            max_attempts=self.settings.task_max_retries + tasks.MORE_ATTEMPTS,
        )

    def _give_back(self, asked: Once | None) -> None:
        """Nothing was promised, so the request may be repeated. Its upload stays `pending` until it is cleaned up: a
        put that failed may have landed all the same, and its row names the object."""
        if asked is None:
            return
        try:
            with self.sessions.begin() as session:
                db_idempotency.release(session, asked)
        except SQLAlchemyError as error:
            log.warning("idempotency_key_left", error=type(error).__name__)


def _once(user: User, key: str | None, named: Mapping[str, str], options: RemovalOptions) -> Once | None:
    if key is None:
        return None
    return idempotency.once(user.id, ROUTE, key, {**named, "options": options.model_dump(mode="json")})


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
