"""What became of a task: the caller's own tasks, with addresses that are signed when they are read."""

import base64
import binascii
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast
from uuid import UUID

from app.core.config import MIB
from app.core.errors import Conflict, Gone, InvalidRequest, NotFound, ObjectNotFound
from app.core.states import TaskStatus
from app.db import tasks
from app.db.base import Sessions
from app.db.models import Task, TaskEvent
from app.storage.base import ObjectStore, content_type, disposition


@dataclass(frozen=True)
class TaskView:
    """A task as its owner sees it."""

    task: Task
    result_url: str | None
    presigned_url: str | None


@dataclass(frozen=True)
class Picture:
    """A result to be sent: in memory when it is small, else on disk. Whoever has it closes the file."""

    file: BinaryIO
    size_bytes: int
    content_type: str
    disposition: str


@dataclass(frozen=True)
class Statuses:
    """The use case with the parts that it works on."""

    sessions: Sessions
    store: ObjectStore

    def get(self, task_id: UUID, user_id: UUID) -> TaskView:
        """The caller's task; `NotFound` for one that is not there, which another account's is."""
        with self.sessions.begin() as session:
            task = tasks.get_owned(session, task_id, user_id)
        if task is None:
            raise NotFound("There is no such task.", code="task_not_found")
        return self.view(task)

    def among(self, task_ids: Sequence[UUID], user_id: UUID) -> dict[UUID, TaskView]:
        """Those of these tasks that are the caller's, by their ids."""
        with self.sessions.begin() as session:
            found = tasks.owned_among(session, task_ids, user_id)
        return {task.id: self.view(task) for task in found}

    def history(self, task_id: UUID, user_id: UUID) -> Sequence[TaskEvent]:
        """What happened to the caller's task, oldest first."""
        self.get(task_id, user_id)
        with self.sessions.begin() as session:
            return tasks.history(session, task_id)

    def page(
        self,
        user_id: UUID,
        *,
        limit: int,
        status: TaskStatus | None = None,
        batch_id: UUID | None = None,
        created_after: datetime | None = None,
        cursor: str | None = None,
    ) -> tuple[Sequence[TaskView], str | None]:
        """The caller's tasks, newest first, and the cursor of the next page (None on the last one)."""
        before = None if cursor is None else read_cursor(cursor)
        with self.sessions.begin() as session:
            found = tasks.list_owned(
                session,
                user_id,
                limit=limit + 1,
                status=status,
                batch_id=batch_id,
                created_after=created_after,
                before=before,
            )
        page = found[:limit]
        more = make_cursor(page[-1].created_at, page[-1].id) if len(found) > limit else None
        return [self.view(task) for task in page], more

    def result_url(self, task_id: UUID, user_id: UUID, *, attachment: bool) -> str:
        """A presigned address of the finished picture; `Conflict` while there is none."""
        view = self.get(task_id, user_id)
        return self.store.presign(_result_key(view.task), filename=result_name(view.task), attachment=attachment)

    def open_result(self, task_id: UUID, user_id: UUID) -> Picture:
        """The finished picture itself. Raises as `result_url` does, and `StorageUnavailable`."""
        task = self.get(task_id, user_id).task
        key = _result_key(task)
        with ExitStack() as opened:
            file = cast(BinaryIO, opened.enter_context(SpooledTemporaryFile(max_size=MIB)))
            try:
                self.store.read(key, file, max_bytes=task.result_bytes or self.store.size(key))
            except ObjectNotFound as error:  # deleted at this moment
                raise _expired() from error
            size = file.tell()
            file.seek(0)
            opened.pop_all()
        return Picture(file, size, content_type(key), disposition(result_name(task), attachment=True))

    def view(self, task: Task, *, at_least: int = 0) -> TaskView:
        """The task, with its upload, and addresses that are signed now, for so many seconds `at_least`."""
        if task.result_key is None:
            return TaskView(task, None, None)
        presigned = self.store.presign(task.result_key, filename=result_name(task), at_least=at_least)
        return TaskView(task, presigned.partition("?")[0], presigned)


def _result_key(task: Task) -> str:
    if task.status == TaskStatus.EXPIRED:
        raise _expired()
    if task.result_key is None:
        raise Conflict(f"The task has no result: its status is {task.status}.", code="task_not_completed")
    return task.result_key


def _expired() -> Gone:
    return Gone("The result was kept for its time and is no longer stored.", code="task_expired")


def result_name(task: Task) -> str:
    """`photo.jpg` comes back as `photo-cutout.png`, or whatever was asked for."""
    stem = PurePath(task.upload.filename).stem if task.upload.filename else str(task.id)
    return f"{stem}-cutout.{task.result_format}"


def make_cursor(created_at: datetime, task_id: UUID) -> str:
    """An opaque place in the list. It says nothing secret: a page is filtered by account whatever it names."""
    return base64.urlsafe_b64encode(json.dumps([created_at.isoformat(), str(task_id)]).encode()).decode()


def read_cursor(cursor: str) -> tuple[datetime, UUID]:
    """The place that `make_cursor` wrote; `InvalidRequest` for anything else."""
    try:
        created_at, task_id = json.loads(base64.b64decode(cursor.encode(), altchars=b"-_", validate=True))
        at = datetime.fromisoformat(created_at)
        if at.tzinfo is None:
            raise ValueError(cursor)
        return at, UUID(task_id)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, binascii.Error) as error:
        raise InvalidRequest("The cursor is not one that this server gave out.", code="invalid_cursor") from error
