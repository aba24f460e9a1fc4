"""What is past its time, as conditions and moves: rows first, and objects only when their rows have let go of them.

A row whose `purged_at` is empty still names objects to delete, whoever crashed in between. Nothing here commits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from app.core.states import TERMINAL, TaskStatus, UploadStatus
from app.db.models import Task, Upload
from app.db.tasks import seconds

KEPT = (UploadStatus.STORED, UploadStatus.REMOTE)


@dataclass(frozen=True)
class Sum:
    rows: int
    objects: int
    size_bytes: int

    def __add__(self, other: "Sum") -> "Sum":
        return Sum(self.rows + other.rows, self.objects + other.objects, self.size_bytes + other.size_bytes)


# ---- what is past its time


def abandoned(grace: float) -> ColumnElement[bool]:
    """Uploads that never became one: their request died, or could not take them back."""
    return (Upload.status == UploadStatus.PENDING) & (Upload.created_at < func.now() - seconds(grace))


def spent(keep: float) -> ColumnElement[bool]:
    """Originals that no task needs or has needed within the last `keep` seconds."""
    then = func.now() - seconds(keep)
    needed = exists().where(Task.upload_id == Upload.id, Task.finished_at.is_(None) | (Task.finished_at >= then))
    return and_(Upload.status.in_(KEPT), Upload.created_at < then, ~needed)


def over(keep: float) -> ColumnElement[bool]:
    """Tasks that ended more than `keep` seconds ago."""
    ended = Task.status.in_(sorted(TERMINAL - {TaskStatus.EXPIRED}))
    return and_(_unpurged_task(), ended, Task.finished_at < func.now() - seconds(keep))


def let_go_task(grace: float) -> ColumnElement[bool]:
    """Expired tasks with objects to delete. An attempt that has lost its task may yet store one: it gets its time."""
    return _unpurged_task() & (Task.status == TaskStatus.EXPIRED) & _at_rest(grace)


def untidy(grace: float) -> ColumnElement[bool]:
    """Tasks with attempts that came to nothing, and may have left an object."""
    lost = or_(
        (Task.status == TaskStatus.COMPLETED) & (Task.attempt > 1),
        Task.status.in_([TaskStatus.CANCELLED, TaskStatus.FAILED]) & (Task.attempt > 0),
    )
    return and_(Task.finished_at.is_not(None), Task.tidied_at.is_(None), lost, _at_rest(grace))


def _at_rest(grace: float) -> ColumnElement[bool]:
    return Task.started_at.is_(None) | (Task.started_at < func.now() - seconds(grace))


def let_go_upload() -> ColumnElement[bool]:
    return (Upload.status == UploadStatus.EXPIRED) & Upload.purged_at.is_(None)


def _unpurged_task() -> ColumnElement[bool]:
    return Task.finished_at.is_not(None) & Task.purged_at.is_(None)


def sum_tasks(session: Session, where: ColumnElement[bool]) -> Sum:
    results = select(func.count(), func.count(Task.result_bytes), func.sum(Task.result_bytes))
    rows, objects, size = session.execute(results.select_from(Task).where(where)).one()
    return Sum(rows, objects, int(size or 0))


def sum_uploads(session: Session, where: ColumnElement[bool]) -> Sum:
    originals = select(func.count(), func.sum(Upload.size_bytes))
    rows, size = session.execute(originals.select_from(Upload).where(where)).one()
    return Sum(rows, rows, int(size or 0))


# ---- the moves


def expire_uploads(session: Session, where: ColumnElement[bool], *, limit: int) -> int:
    """Let go of originals; returns how many."""
    locked = session.scalars(select(Upload.id).where(where).limit(limit).with_for_update(skip_locked=True)).all()
    # Asked again under the lock: a task may have been begun anew since.
    moved = (
        update(Upload)
        .where(Upload.id.in_(locked), where)
        .values(status=UploadStatus.EXPIRED, source_url=None)
        .returning(Upload.id)
    )
    return len(session.scalars(moved.execution_options(synchronize_session=False)).all())


def hold_original(session: Session, upload_id: UUID) -> str | None:
    """Lock an original, and return its key; None when its row is gone.

    Before its tasks, as whoever begins one of them anew does.
    """
    return session.scalar(select(Upload.key).where(Upload.id == upload_id).with_for_update())


def expire_unused(session: Session, upload_id: UUID) -> bool:
    """Let go of an original that is held, if only deleted tasks have used it."""
    used = exists().where(Task.upload_id == upload_id, Task.deleted_at.is_(None))
    unused = update(Upload).where(Upload.id == upload_id, Upload.status.in_(KEPT), ~used)
    return session.scalar(unused.values(status=UploadStatus.EXPIRED, source_url=None).returning(Upload.id)) is not None


def expire_tasks(session: Session, where: ColumnElement[bool], *, limit: int) -> int:
    """End tasks for good: from here on nobody is led to their results. Returns how many."""
    chosen = select(Task.id).where(where).limit(limit).with_for_update(skip_locked=True)
    moved = (
        update(Task)
        .where(Task.id.in_(chosen))
        .values(status=TaskStatus.EXPIRED, result_key=None)
        .returning(Task.id)
        .execution_options(synchronize_session=False)
    )
    return len(session.scalars(moved).all())


def find_tasks(session: Session, where: ColumnElement[bool], *, after: UUID, limit: int) -> Sequence[Task]:
    """Tasks in the order of their ids, from behind `after` on."""
    return session.scalars(select(Task).where(where, Task.id > after).order_by(Task.id).limit(limit)).all()


def find_uploads(session: Session, where: ColumnElement[bool], *, after: UUID, limit: int) -> Sequence[Upload]:
    """Likewise, originals."""
    return session.scalars(select(Upload).where(where, Upload.id > after).order_by(Upload.id).limit(limit)).all()


def tasks_purged(session: Session, ids: Sequence[UUID]) -> None:
    """Their objects are gone. What its owner has deleted is forgotten altogether."""
    _hold_uploads(session, select(Task.upload_id).where(Task.id.in_(ids), Task.deleted_at.is_not(None)))
    deleted = delete(Task).where(Task.id.in_(ids), Task.deleted_at.is_not(None)).returning(Task.upload_id)
    uploads = session.scalars(deleted).all()
    session.execute(update(Task).where(Task.id.in_(ids)).values(purged_at=func.now()))
    session.execute(delete(Upload).where(Upload.id.in_(uploads), Upload.purged_at.is_not(None), _unused()))


def tasks_tidied(session: Session, ids: Sequence[UUID]) -> None:
    """The objects of attempts that came to nothing are gone, if there were any."""
    session.execute(update(Task).where(Task.id.in_(ids), Task.finished_at.is_not(None)).values(tidied_at=func.now()))


def uploads_purged(session: Session, ids: Sequence[UUID]) -> None:
    """Their objects are gone. What has no task is forgotten altogether; tasks keep the rows of theirs."""
    _hold_uploads(session, ids)
    session.execute(delete(Upload).where(Upload.id.in_(ids), _unused()))
    session.execute(update(Upload).where(Upload.id.in_(ids)).values(purged_at=func.now()))


def _hold_uploads(session: Session, ids: Any) -> None:
    """So that of two who clean up, the second sees what the first has done."""
    session.execute(select(Upload.id).where(Upload.id.in_(ids)).order_by(Upload.id).with_for_update(of=Upload))


def _unused() -> ColumnElement[bool]:
    return ~exists().where(Task.upload_id == Upload.id)


def now(session: Session) -> datetime:
    """By the database's clock."""
    return session.execute(select(func.now())).scalar_one()


def known_keys(session: Session, keys: Sequence[str], task_ids: Sequence[UUID]) -> set[str]:
    """Which of these objects a row stands for: originals by their keys, results by their tasks."""
    originals = select(Upload.key).where(Upload.key.in_(keys), Upload.purged_at.is_(None))
    results = select(Task.result_key).where(Task.id.in_(task_ids), Task.result_key.is_not(None))
    return set(session.scalars(originals.union_all(results)))
