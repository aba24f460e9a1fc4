"""What an owner does to his tasks: cancel, run again, make something else of the original, delete."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.errors import AppError, Conflict, NotFound
from app.core.logging import get_logger
from app.core.states import TaskStatus
from app.db import idempotency as db_idempotency
from app.db import mattes, retention, tasks, uploads, usage
from app.db.base import Sessions
from app.db.models import Task, User
from app.services import idempotency
from app.services.bell import Bell
from app.services.limits import Limits
from app.services.orders import Order
from app.services.retention import attempt_keys
from app.services.submission import Submission, Submissions
from app.storage.base import ObjectStore, matte_key

MOMENT = 3.0  # seconds
RENDERS = "renders"  # for its idempotency keys

log = get_logger(__name__)


@dataclass(frozen=True)
class Control:
    """The use cases with their parts. Another account's task is `NotFound`, as one that is not there."""

    sessions: Sessions
    store: ObjectStore
    bell: Bell
    limits: Limits
    submissions: Submissions

    def cancel(self, task_id: UUID, user_id: UUID) -> None:
        """End the task; `Conflict` once it has ended otherwise."""
        with self.sessions.begin() as session:
            _owned(session, task_id, user_id)
            if tasks.cancel(session, task_id):
                return
            task = _owned(session, task_id, user_id)
            if task.status != TaskStatus.CANCELLED:
                raise Conflict(f"The task is over: its status is {task.status}.", code="task_over")

    def retry(self, task_id: UUID, user: User) -> None:
        """Begin a failed or cancelled task anew; `Conflict` for any other, and when its original is gone.

        Counts towards what the account may have at work, and not towards its month, unless its picture was taken off
        that. Raises `TooManyRequests`.
        """
        with self.sessions.begin() as session:
            task = _owned(session, task_id, user.id)
            if task.status not in tasks.REVIVABLE:
                raise _not_revivable(task)
            pixels = task.upload.pixels
        if refusal := self.limits.pixels(user, pixels):
            raise refusal
        with self.sessions.begin() as session:
            if task.batch_id is None:
                self.limits.admit_task(session, user)
            task = _owned(session, task_id, user.id)
            if not tasks.requeue(session, task_id):
                raise _not_revivable(_owned(session, task_id, user.id))
            if usage.charge_again(session, task_id):
                self.limits.count_images(session, user, [task.upload])
        self.bell.ring(task_id, task.queue)

    def render(self, task_id: UUID, user: User, order: Order) -> Submission:
        """Make a new task of the same original; `Conflict` when that is gone.

        Counts as `retry` does. Raises also what `services.idempotency` raises, and `BacklogFull`.
        """
        with self.sessions.begin() as session:
            upload = _owned(session, task_id, user.id).upload
        task = self.submissions.new_task(upload, order)
        key, sent = order.idempotency_key, {"task_id": task_id, **order.fingerprint}
        asked = idempotency.once(user.id, RENDERS, key, sent) if key is not None else None
        refusal = self.submissions.backlog.look(order.priority) or self.limits.pixels(user, upload.pixels)
        with self.sessions.begin() as session:
            if asked is not None and (earlier := idempotency.begin(session, asked)):
                return Submission(UUID(earlier["upload_id"]), UUID(earlier["task_id"]), replayed=True)
            if refusal is not None:
                raise refusal
            self.limits.admit_task(session, user)
            if not uploads.hold_kept(session, upload.id):
                raise _original_missing()
            session.add(task)
            if asked is not None:
                idempotency.finish(session, asked, {"upload_id": str(upload.id), "task_id": str(task.id)})
        self.bell.ring(task.id, task.queue)
        return Submission(upload.id, task.id)

    def delete(self, task_id: UUID, user_id: UUID) -> None:
        """Take the task and its objects away, and the original too when no other task uses it."""
        with self.sessions.begin() as session:
            upload_id = _owned(session, task_id, user_id).upload_id
            original = retention.hold_original(session, upload_id)
            task = _owned(session, task_id, user_id, lock=True)  # whoever cleans up may have been here meanwhile
            tasks.cancel(session, task_id)
            doomed = list(attempt_keys(task))
            tasks.delete(session, task_id)
            # A request that is repeated after this is a new one.
            db_idempotency.forget(session, user_id, task_id)
            if original is not None and retention.expire_unused(session, upload_id):
                doomed.append(original)
                if task.upload.sha256 is not None:
                    unused = mattes.drop_unused(session, user_id, task.upload.sha256)
                    doomed += [matte_key(user_id, matte_id) for matte_id in unused]
        self._delete_objects(doomed)

    def _delete_objects(self, keys: Sequence[str]) -> None:
        """As many as can be in a moment; the rest is found by whoever cleans up."""
        until = time.monotonic() + MOMENT
        try:
            for key in keys:
                if time.monotonic() > until:
                    return
                self.store.delete(key)
        except AppError as error:
            log.warning("objects_left_behind", error=type(error).__name__)


def _owned(session: Session, task_id: UUID, user_id: UUID, *, lock: bool = False) -> Task:
    task = tasks.get_owned(session, task_id, user_id, lock=lock)
    if task is None:
        raise NotFound("There is no such task.", code="task_not_found")
    return task


def _not_revivable(task: Task) -> Conflict:
    if task.status not in tasks.REVIVABLE:
        return Conflict(
            f"Only a failed or cancelled task can run again: its status is {task.status}.", code="task_not_retryable"
        )
    return _original_missing()


def _original_missing() -> Conflict:
    return Conflict("The original image is no longer stored. Please upload it again.", code="original_missing")
