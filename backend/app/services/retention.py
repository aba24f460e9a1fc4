"""What is past its time goes: uploads that never became one, results and originals that have been kept long enough,
what attempts have left that came to nothing.

Rows first, objects after. A row that has let go of its objects names them until they are known to be gone, so whatever
a run leaves, by a crash or a store that is away, the next one finds. Any number of runs may go on at once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import product
from uuid import UUID

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from app.core.config import DAY, Settings
from app.core.errors import AppError
from app.core.logging import get_logger
from app.db import api_keys, idempotency, login_failures, logins, mattes, pipelines, retention, webhooks
from app.db.base import Sessions
from app.db.models import Matte, Task, Upload
from app.services.throttle import KEPT
from app.storage.base import IMPORTS, ObjectStore, StoredObject, matte_key, result_key

BATCH = 200
PATIENCE = 3  # objects in a row that cannot be deleted: the store is away
FIRST = UUID(int=0)
ENDED_KEYS = 30 * DAY  # their owners still see when they ended
ENDED_WEBHOOKS = 30 * DAY  # likewise how they went
ANSWERED_JOBS = 30 * DAY  # longer than any broker hands out a message again
IMPORT_SECONDS = 86_400.0  # that an object which a client has put is kept for

log = get_logger(__name__)


@dataclass(frozen=True)
class Cleaned:
    """What a run did, or would do."""

    expired: int  # tasks that came to the end of their time
    abandoned: int  # uploads that never became one
    objects: int
    bytes: int
    left: int = 0  # rows whose objects could not be deleted; the next run finds them


@dataclass(frozen=True)
class _Doomed:
    id: UUID
    keys: Sequence[str]
    objects: int
    size_bytes: int


@dataclass(frozen=True)
class Retention:
    """The use case with the parts that it works on."""

    settings: Settings
    sessions: Sessions
    store: ObjectStore

    def preview(self) -> Cleaned:
        """What `clean` would do now; nothing is changed."""
        with self.sessions.begin() as session:
            over = retention.sum_tasks(session, self._over())
            abandoned = retention.sum_uploads(session, self._abandoned())
            rest = (
                retention.sum_uploads(session, self._spent()),
                retention.sum_tasks(session, self._let_go()),
                retention.sum_uploads(session, retention.let_go_upload()),
                mattes.sum_of(session, self._unused()),
                mattes.sum_of(session, mattes.let_go(self._grace)),
            )
        imports = [retention.Sum(1, 1, entry.size_bytes) for entry in self._old_imports()]
        total = sum((*rest, *imports), over + abandoned)
        return Cleaned(over.rows, abandoned.rows, total.objects, total.size_bytes)

    def clean(self) -> Cleaned:
        """Let go of everything that is past its time, and delete the objects."""
        expired = self._all(partial(retention.expire_tasks, where=self._over()))
        abandoned = self._all(partial(retention.expire_uploads, where=self._abandoned()))
        self._all(partial(retention.expire_uploads, where=self._spent()))
        self._all(partial(mattes.drop_some, where=self._unused()))
        self._purge(self._leftovers, retention.tasks_tidied)
        gone = self._purge(self._results, retention.tasks_purged)
        gone += self._purge(self._originals, retention.uploads_purged)
        gone += self._purge(self._mattes, mattes.purged)
        gone += self._purge_imports()
        self._all(idempotency.forget_old)
        # Access tokens of a login that has come to its end may outlive it by their own time.
        self._all(partial(logins.forget_ended, grace=DAY + self.settings.access_token_ttl_seconds))
        self._all(partial(api_keys.forget_ended, grace=ENDED_KEYS))
        self._all(partial(login_failures.forget_old, grace=KEPT))
        self._all(partial(webhooks.forget_ended, keep=ENDED_WEBHOOKS))
        self._all(webhooks.forget_endpoints)
        self._all(partial(pipelines.forget_answered, keep=ANSWERED_JOBS))
        self._all(webhooks.forget_secrets)
        with self.sessions.begin() as session:
            left = retention.sum_tasks(session, self._let_go())
            left += retention.sum_tasks(session, retention.untidy(self._grace))
            left += retention.sum_uploads(session, retention.let_go_upload())
            left += mattes.sum_of(session, mattes.let_go(self._grace))
        return Cleaned(expired, abandoned, gone.objects, gone.size_bytes, left.rows)

    @property
    def _grace(self) -> float:
        """Seconds after which a request or an attempt has surely ended, and what it has left is nobody's."""
        return max(self.settings.orphan_grace_seconds, self.settings.timing.attempt_bound)

    def _abandoned(self) -> ColumnElement[bool]:
        return retention.abandoned(self._grace)

    def _let_go(self) -> ColumnElement[bool]:
        return retention.let_go_task(self._grace)

    def _over(self) -> ColumnElement[bool]:
        return retention.over(self.settings.result_retention_seconds)

    def _spent(self) -> ColumnElement[bool]:
        return retention.spent(self.settings.original_retention_seconds)

    def _unused(self) -> ColumnElement[bool]:
        return mattes.past(self._grace, self.settings.original_retention_seconds)

    def _all(self, step: Callable[..., int]) -> int:
        """In short transactions, so that nobody waits for the rows of thousands."""
        total = 0
        while True:
            with self.sessions.begin() as session:
                moved = step(session, limit=BATCH)
            total += moved
            if moved < BATCH:
                return total

    def _purge(
        self,
        find: Callable[[UUID], Sequence[_Doomed]],
        confirm: Callable[[Session, Sequence[UUID]], None],
    ) -> retention.Sum:
        """Delete the objects of what has been let go; no transaction is open meanwhile."""
        total, after, failures = retention.Sum(0, 0, 0), FIRST, 0
        while failures < PATIENCE and (batch := find(after)):
            after, done = batch[-1].id, []
            for doomed in batch:
                try:
                    for key in doomed.keys:
                        self.store.delete(key)
                except AppError as error:
                    log.warning("object_not_deleted", row=str(doomed.id), error=str(error))
                    failures += 1
                    if failures == PATIENCE:
                        break
                    continue
                failures = 0
                done.append(doomed.id)
                total += retention.Sum(1, doomed.objects, doomed.size_bytes)
            with self.sessions.begin() as session:
                confirm(session, done)
        return total

    def _old_imports(self) -> Iterator[StoredObject]:
        """No row knows of them: they are found by looking, and a store that may not be listed keeps them."""
        with self.sessions.begin() as session:
            then = retention.now(session) - timedelta(seconds=IMPORT_SECONDS)
        try:
            yield from (entry for entry in self.store.list(IMPORTS) if entry.modified_at < then)
        except AppError as error:
            log.warning("imports_not_listed", error=str(error))

    def _purge_imports(self) -> retention.Sum:
        total = retention.Sum(0, 0, 0)
        for entry in self._old_imports():
            try:
                self.store.delete(entry.key)
            except AppError as error:  # the next run finds it
                log.warning("object_not_deleted", key=entry.key, error=str(error))
                break
            total += retention.Sum(1, 1, entry.size_bytes)
        return total

    def _results(self, after: UUID) -> Sequence[_Doomed]:
        return self._tasks(self._let_go(), after, _result)

    def _leftovers(self, after: UUID) -> Sequence[_Doomed]:
        return self._tasks(retention.untidy(self._grace), after, _leftover)

    def _tasks(self, where: ColumnElement[bool], after: UUID, doom: Callable[[Task], _Doomed]) -> Sequence[_Doomed]:
        with self.sessions.begin() as session:
            return [doom(task) for task in retention.find_tasks(session, where, after=after, limit=BATCH)]

    def _originals(self, after: UUID) -> Sequence[_Doomed]:
        with self.sessions.begin() as session:
            found = retention.find_uploads(session, retention.let_go_upload(), after=after, limit=BATCH)
            return [_original(upload) for upload in found]

    def _mattes(self, after: UUID) -> Sequence[_Doomed]:
        with self.sessions.begin() as session:
            found = mattes.find_some(session, mattes.let_go(self._grace), after=after, limit=BATCH)
            return [_matte(matte) for matte in found]


def _result(task: Task) -> _Doomed:
    return _Doomed(task.id, attempt_keys(task), int(task.result_bytes is not None), task.result_bytes or 0)


def _leftover(task: Task) -> _Doomed:
    return _Doomed(task.id, [key for key in attempt_keys(task) if key != task.result_key], 0, 0)


def attempt_keys(task: Task) -> Sequence[str]:
    """Every object that the task's attempts may have stored: also one that lost its task may have left one."""
    attempts = range(1, task.attempt + 1)
    return [result_key(task.user_id, task.id, *each) for each in product(attempts, task.format.results)]


def _matte(matte: Matte) -> _Doomed:
    key = matte_key(matte.user_id, matte.id)
    return _Doomed(matte.id, [key], int(matte.size_bytes is not None), matte.size_bytes or 0)


def _original(upload: Upload) -> _Doomed:
    return _Doomed(upload.id, [upload.key], 1, upload.size_bytes or 0)
