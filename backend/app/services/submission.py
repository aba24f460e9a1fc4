"""An image comes in: probe → record the intent → store → record upload and task in one commit → ring the bell."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO
from uuid import UUID, uuid4

from sqlalchemy.exc import SQLAlchemyError

from app.core.config import Settings
from app.core.errors import ServiceUnavailable, TooManyRequests
from app.core.failpoints import failpoint
from app.core.logging import get_logger
from app.core.names import clean_filename
from app.core.states import UploadStatus
from app.db import idempotency as db_idempotency
from app.db import tasks, uploads
from app.db.base import Sessions
from app.db.idempotency import Once
from app.db.models import Task, Upload, User
from app.services import idempotency
from app.services.addresses import check_url
from app.services.backlog import Backlog
from app.services.bell import Bell
from app.services.judging import judge
from app.services.limits import Limits
from app.services.orders import Order, Priority
from app.storage.base import ObjectStore, content_type, original_key

ROUTE = "uploads"

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
        order: Order,
        named: Mapping[str, str] | None = None,
    ) -> Submission:
        """Take an image in. Blocks on the database and the store: call it from a thread. `named` is how the request
        has named the picture, if it has not sent it: that makes two requests the same, then, and not the bytes.

        Raises `RejectedImage` (nothing is kept then), `StorageUnavailable`, `BacklogFull`, `TooManyRequests`, and
        what `services.idempotency` raises.
        """
        upload = self.judged(file, user, filename)
        task = self.new_task(upload, order)
        asked = _once(user, named or {"sha256": upload.sha256 or ""}, order)
        if earlier := self._intend(upload, user, order.priority, asked):
            return Submission(UUID(earlier["upload_id"]), UUID(earlier["task_id"]), replayed=True)
        failpoint("upload_intended")
        try:
            self.store.put(upload.key, file, content_type(upload.key))
        except Exception:
            self.give_back(asked)
            raise
        failpoint("upload_stored")
        self._accept(upload, user, task, asked)
        failpoint("upload_accepted")
        self.bell.ring(task.id, task.queue)
        return Submission(upload.id, task.id)

    def promise(self, url: str, *, user: User, filename: str | None, order: Order) -> Submission:
        """Take an image in that is still at its URL: the worker fetches it. Raises likewise."""
        upload = self.promised(user, url, filename)
        task = self.new_task(upload, order)
        asked = _once(user, {"image_url": url}, order)
        if earlier := self._intend(upload, user, order.priority, asked):
            return Submission(UUID(earlier["upload_id"]), UUID(earlier["task_id"]), replayed=True)
        self._accept(upload, user, task, asked)
        self.bell.ring(task.id, task.queue)
        return Submission(upload.id, task.id)

    def judged(self, file: BinaryIO, user: User, filename: str | None) -> Upload:
        """The row of an original that is not recorded yet. Raises `RejectedImage`."""
        sha256, facts = judge(file, self.settings)
        upload_id = uuid4()
        return Upload(
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

    def promised(self, user: User, url: str, filename: str | None) -> Upload:
        """The row of an original that is still at its URL, and is not recorded yet. Raises what `check_url` does."""
        check_url(url, self.settings)
        upload_id = uuid4()
        return Upload(
            id=upload_id,
            user_id=user.id,
            status=UploadStatus.REMOTE,
            key=original_key(user.id, upload_id),
            source_url=url,
            filename=clean_filename(filename),
        )

    def admit_image(self, user: User) -> None:
        """Raises `TooManyRequests` when the account's month has no room for another picture."""
        with self.sessions.begin() as session:
            self.limits.admit_image(session, user)

    def earlier(self, user: User, named: Mapping[str, str], order: Order) -> Submission | None:
        """What the same request was answered before: then its picture need not be fetched, and may be gone."""
        asked = _once(user, named, order)
        if asked is None:
            return None
        with self.sessions.begin() as session:
            said = idempotency.earlier(session, asked)
        return Submission(UUID(said["upload_id"]), UUID(said["task_id"]), replayed=True) if said else None

    def _intend(self, upload: Upload, user: User, priority: Priority, asked: Once | None) -> Mapping[str, Any] | None:
        """Record what is about to be stored. What an earlier request was answered, if this one repeats it."""
        refusal = self.backlog.look(priority) or self.limits.pixels(user, upload.pixels)
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
                if upload.source_url is None and not uploads.mark_stored(session, upload.id):
                    raise ServiceUnavailable("The upload took too long and was given up; send it again.")
                session.add(task)
                self.limits.count_images(session, user, [upload])
                if asked is not None:
                    said = {"upload_id": str(upload.id), "task_id": str(task.id)}
                    idempotency.finish(session, asked, said)
        except TooManyRequests:  # another one has taken the last place of the month meanwhile
            self.give_back(asked)
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

    def new_task(self, upload: Upload, order: Order) -> Task:
        """The row of a task that is not recorded yet."""
        return Task(
            id=uuid4(),
            user_id=upload.user_id,
            upload_id=upload.id,
            operation=order.options.operation,
            options=order.options.model_dump(mode="json"),
            recipe=order.recipe,
            webhook_url=order.webhook_url,
            queue=order.priority,
            request_id=order.request_id,
            max_retries=self.settings.task_max_retries,
            max_attempts=self.settings.task_max_retries + tasks.MORE_ATTEMPTS,
        )

    def give_back(self, asked: Once | None) -> None:
        """Nothing was promised, so the request may be repeated. Its upload stays `pending` until it is cleaned up: a
        put that failed may have landed all the same, and its row names the object."""
        if asked is None:
            return
        try:
            with self.sessions.begin() as session:
                db_idempotency.release(session, asked)
        except SQLAlchemyError as error:
            log.warning("idempotency_key_left", error=type(error).__name__)


def _once(user: User, named: Mapping[str, str], order: Order) -> Once | None:
    if order.idempotency_key is None:
        return None
    return idempotency.once(user.id, ROUTE, order.idempotency_key, {**named, **order.fingerprint})
