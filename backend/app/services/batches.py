"""Many pictures at once: taken in together, worked on one by one, handed out together.

A batch is promised as a whole, in one commit: until then nothing of it is at work. What is no picture is refused by
itself, and listed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast
from uuid import UUID, uuid4

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.core.config import MIB, Settings
from app.core.errors import Forbidden, InvalidRequest, NotFound, RejectedImage, ServiceUnavailable
from app.core.logging import get_logger
from app.core.names import clean_path, shown
from app.core.states import UploadStatus
from app.db import batches, uploads
from app.db import idempotency as db_idempotency
from app.db.base import Sessions
from app.db.dispatch import WINDOW
from app.db.idempotency import Once
from app.db.models import Batch, Task, Upload, User
from app.services import archives, idempotency, manifests
from app.services.bell import Bell
from app.services.imports import ImageUrl, Imports, S3Key, SentFile
from app.services.judging import digest
from app.services.limits import UNKNOWN_PIXELS, Limits
from app.services.orders import Order, Orders, Priority
from app.services.status import Statuses, TaskView, make_cursor, read_cursor
from app.services.submission import Submissions
from app.storage.base import ObjectStore, content_type

ROUTE = "batches"
HEAD = 4
UNPACKED = 4  # times the size of the largest request: what its archives may hold

log = get_logger(__name__)

Part = SentFile | ImageUrl | S3Key


@dataclass(frozen=True)
class Wanted:
    """What a request asks for, besides its pictures. `fields`: as they are named, for `Orders.read`."""

    fields: Mapping[str, object]
    name: str | None = None
    request_id: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class View:
    """A batch as its owner sees it. `eta`: seconds until it is done, by the speed of the last minute; None: unknown."""

    batch: Batch
    counts: batches.Counts
    eta: int | None


@dataclass
class _Intake:
    """What has been taken in so far. `asked`: the request's hold on its key, which is kept as long as this goes on."""

    user: User
    batch: Batch
    wanted: Wanted
    asked: Once | None
    items: list[Task] = field(default_factory=list)
    uploads: list[Upload] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)

    @property
    def number(self) -> int:
        """The place of the next one."""
        return len(self.items) + len(self.refused)

    def refuse(self, name: str, code: str, detail: str) -> None:
        self.refused.append({"item": self.number, "name": name, "code": code, "detail": detail})


@dataclass(frozen=True)
class Batches:
    """The use cases with the parts that they work on."""

    settings: Settings
    sessions: Sessions
    store: ObjectStore
    bell: Bell
    limits: Limits
    submissions: Submissions
    imports: Imports
    orders: Orders
    statuses: Statuses

    def submit(self, user: User, parts: Sequence[Part], wanted: Wanted) -> tuple[UUID, bool]:
        """Take a batch in. Blocks, for a minute with a thousand pictures: call it from a thread.

        Returns its id, and whether an earlier request with the same Idempotency-Key has made it. Raises
        `InvalidRequest` when there is no picture in it at all, or too many, and otherwise what `Submissions.submit`
        does.
        """
        order = self.orders.read(user, wanted.fields, priority=Priority.BULK, request_id=wanted.request_id)
        asked = self._asked(user, parts, wanted)
        backlog = self.submissions.backlog
        refusal = backlog.look(order.priority)
        with self.sessions.begin() as session:
            if asked is not None and (earlier := idempotency.begin(session, asked)):
                return UUID(earlier["batch_id"]), True
            # A repeated request is answered whatever waits. A month that is full is told before all is stored.
            if refusal := refusal or backlog.look_at(session, user.id):
                raise refusal
            self.limits.admit_image(session, user)
        try:
            return self._take_in(user, parts, wanted, order, asked), False
        except OSError as error:
            self.submissions.give_back(asked)
            raise ServiceUnavailable("There is no room for uploads at the moment.", code="no_space") from error
        except Exception:
            self.submissions.give_back(asked)
            raise

    def _take_in(self, user: User, parts: Sequence[Part], wanted: Wanted, order: Order, asked: Once | None) -> UUID:
        batch = Batch(id=uuid4(), user_id=user.id, name=shown(wanted.name or "") or None, webhook_url=order.webhook_url)
        intake = _Intake(user, batch, wanted, asked)
        each = replace(order, webhook_url=None)  # whoever is told, is told of the whole
        for part in parts:
            self._take_part(part, each, intake)
        if not intake.items:
            said = f" The first: {intake.refused[0]['detail']}" if intake.refused else ""
            raise InvalidRequest(f"There is no picture in this batch that can be taken in.{said}", code="batch_empty")
        if refusal := self.limits.pixels(user, sum(upload.pixels or UNKNOWN_PIXELS for upload in intake.uploads)):
            raise refusal
        batch.total, batch.refused = len(intake.items), intake.refused
        try:
            self._promise(intake)
        except SQLAlchemyError:
            if not self._was_kept(intake):
                raise
            log.warning("commit_was_kept", batch_id=str(batch.id))
        log.info("batch_taken_in", batch_id=str(batch.id), total=batch.total, refused=len(intake.refused))
        for task in intake.items[:WINDOW]:  # the others have their turns
            self.bell.ring(task.id, task.queue)
        return batch.id

    def _promise(self, intake: _Intake) -> None:
        """All of it, in one commit."""
        with self.sessions.begin() as session:
            session.add(intake.batch)
            session.flush()
            session.add_all(upload for upload in intake.uploads if upload.status == UploadStatus.REMOTE)
            here = [upload.id for upload in intake.uploads if upload.status != UploadStatus.REMOTE]
            if uploads.mark_all_stored(session, here) < len(here):
                raise ServiceUnavailable("The batch took too long and was given up; send it again.")
            self.limits.count_images(session, intake.user, intake.uploads)
            session.flush()
            session.add_all(intake.items)
            if intake.asked is not None:
                idempotency.finish(session, intake.asked, {"batch_id": str(intake.batch.id)})

    def _was_kept(self, intake: _Intake) -> bool:
        """Whether a commit whose answer was lost has been made."""
        try:
            with self.sessions.begin() as session:
                if intake.asked is not None:
                    # Waits for a commit that is still on its way; if there is none, the next request begins anew.
                    db_idempotency.release(session, intake.asked)
                return batches.get_owned(session, intake.batch.id, intake.user.id) is not None
        except SQLAlchemyError:
            return False

    def _take_part(self, part: Part, order: Order, intake: _Intake) -> None:
        if isinstance(part, SentFile):
            head = part.file.read(HEAD)
            part.file.seek(0)
            name = part.filename or ""
            if archives.is_archive(head):
                self._take_archive(part.file, order, intake)
            elif name.lower().endswith(".csv"):
                self._take_manifest(part.file, intake)
            else:
                self._take_one(part, part.filename, order, intake)
        else:
            self._take_one(part, None, order, intake)

    def _take_archive(self, file: BinaryIO, order: Order, intake: _Intake) -> None:
        most = self.settings.max_batch_bytes * UNPACKED
        for entry in archives.entries(file, max_bytes=self.settings.max_image_bytes, max_total=most):
            if isinstance(entry, archives.LeftOut):
                intake.refuse(entry.name, entry.code, entry.sentence)
                self._check_number(intake)
            else:
                self._take_one(SentFile(entry.file, entry.name), entry.name, order, intake)

    def _take_manifest(self, file: BinaryIO, intake: _Intake) -> None:
        wanted = intake.wanted
        named = {name: value for name, value in wanted.fields.items() if name != "webhook_url"}
        for row in list(manifests.rows(file)):  # all of it is judged before anything is stored
            source: Part = ImageUrl(row.value) if row.source == "image_url" else S3Key(row.value)
            try:
                fields = {**named, **row.options}
                order = self.orders.read(intake.user, fields, priority=Priority.BULK, request_id=wanted.request_id)
            except (InvalidRequest, NotFound, Forbidden) as error:
                intake.refuse(row.name or shown(row.value), error.code, error.message)
                self._check_number(intake)
                continue
            self._take_one(source, row.name, order, intake)

    def _take_one(self, source: Part, name: str | None, order: Order, intake: _Intake) -> None:
        """One picture, which is refused by itself."""
        number = intake.number
        try:
            upload = self._upload(source, intake)
        except (RejectedImage, NotFound, InvalidRequest, Forbidden) as error:
            called = clean_path(name) or _called(source) or f"item {number + 1}"
            intake.refuse(called, error.code, error.message)
            self._check_number(intake)
            return
        intake.uploads.append(upload)
        task = self.submissions.new_task(upload, order)
        task.batch_id, task.item = intake.batch.id, number
        task.name = clean_path(name) or upload.filename
        intake.items.append(task)
        self._check_number(intake)

    def _check_number(self, intake: _Intake) -> None:
        if intake.number > self.settings.max_batch_files:
            message = f"A batch may have {self.settings.max_batch_files} pictures; send the others in another one."
            raise InvalidRequest(message, code="too_many_files")

    def _upload(self, source: Part, intake: _Intake) -> Upload:
        """The original, recorded and stored, or promised by its URL. Nothing is at work yet."""
        if isinstance(source, ImageUrl):
            return self.submissions.promised(intake.user, source.url, source.filename)
        if isinstance(source, SentFile):
            return self._stored(source.file, source.filename, intake)
        with SpooledTemporaryFile(max_size=MIB) as spooled:
            file = cast(BinaryIO, spooled)
            self.imports.bring(source, intake.user.id, file)
            file.seek(0)
            return self._stored(file, source.filename, intake)

    def _stored(self, file: BinaryIO, filename: str | None, intake: _Intake) -> Upload:
        upload = self.submissions.judged(file, intake.user, filename)
        upload.in_batch = True
        with self.sessions.begin() as session:
            if intake.asked is not None and not db_idempotency.keep(session, intake.asked):
                raise ServiceUnavailable("The batch took too long and was given up; send it again.")
            session.add(upload)
        self.store.put(upload.key, file, content_type(upload.key))
        return upload

    def _asked(self, user: User, parts: Sequence[Part], wanted: Wanted) -> Once | None:
        if wanted.idempotency_key is None:
            return None
        sent = [
            {"sha256": digest(part.file), "name": part.filename} if isinstance(part, SentFile) else part.named
            for part in parts
        ]
        asked = {"parts": sent, "fields": dict(wanted.fields), "name": wanted.name}
        return idempotency.once(user.id, ROUTE, wanted.idempotency_key, asked)

    # ---- what became of it

    def get(self, batch_id: UUID, user_id: UUID) -> View:
        """The caller's batch; `NotFound` for one that is not there, which another account's is."""
        with self.sessions.begin() as session:
            batch = _owned(session, batch_id, user_id)
            return _view(batch, batches.counts(session, [batch.id])[batch.id])

    def page(self, user_id: UUID, *, limit: int, cursor: str | None) -> tuple[Sequence[View], str | None]:
        """The caller's batches, newest first, and the cursor of the next page (None on the last one)."""
        before = None if cursor is None else read_cursor(cursor)
        with self.sessions.begin() as session:
            found = batches.page(session, user_id, limit=limit + 1, before=before)
            counts = batches.counts(session, [batch.id for batch in found])
        page = [_view(batch, counts[batch.id]) for batch in found[:limit]]
        last = page[-1].batch if len(found) > limit else None
        return page, None if last is None else make_cursor(last.created_at, last.id)

    def items(self, batch_id: UUID, user_id: UUID) -> Sequence[Task]:
        """The caller's batch's tasks, in its order."""
        with self.sessions.begin() as session:
            _owned(session, batch_id, user_id)
            return batches.items(session, batch_id)

    def results(self, batch_id: UUID, user_id: UUID) -> Sequence[TaskView]:
        """Likewise, with the addresses of their results."""
        return [self.statuses.view(task) for task in self.items(batch_id, user_id)]

    def cancel(self, batch_id: UUID, user_id: UUID) -> int:
        """End what has not ended; returns how many tasks those were. One that is over is left as it is."""
        with self.sessions.begin() as session:
            _owned(session, batch_id, user_id)
            return batches.cancel(session, batch_id)


def _owned(session: Session, batch_id: UUID, user_id: UUID) -> Batch:
    batch = batches.get_owned(session, batch_id, user_id)
    if batch is None:
        raise NotFound("There is no such batch.", code="batch_not_found")
    return batch


def _view(batch: Batch, counts: batches.Counts) -> View:
    left = counts.unfinished
    eta = 0 if not left else ceil(left * min(60.0, counts.age) / counts.lately) if counts.lately else None
    return View(batch, counts, eta)


def _called(source: Part) -> str | None:
    match source:
        case SentFile():
            return clean_path(source.filename)
        case ImageUrl():
            return shown(source.url)
        case S3Key():
            return shown(source.key)
