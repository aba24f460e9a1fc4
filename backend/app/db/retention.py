"""What is past its time, as conditions and moves: rows first, and objects only when their rows have let go of them.

A row whose `purged_at` is empty still names objects to delete, whoever crashed in between. Nothing here commits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, exists, func, select, update
from sqlalchemy.orm import Session

from app.core.states import TERMINAL, TaskStatus, UploadStatus
from app.db.models import Task, Upload
from app.db.tasks import seconds

ABANDONED_AFTER = 3600.0  # seconds; no request lasts so long


@dataclass(frozen=True)
class Sum:
    rows: int
    objects: int
    size_bytes: int

    def __add__(self, other: "Sum") -> "Sum":
        return Sum(self.rows + other.rows, self.objects + other.objects, self.size_bytes + other.size_bytes)


# ---- what is past its time


def abandoned() -> ColumnElement[bool]:
    """Uploads that never became one: their request died, or could not take them back."""
    return (Upload.status == UploadStatus.PENDING) & (Upload.created_at < func.now() - seconds(ABANDONED_AFTER))


def spent(keep: float) -> ColumnElement[bool]:
    """Originals that no task needs or has needed within the last `keep` seconds."""
    then = func.now() - seconds(keep)
    needed = exists().where(Task.upload_id == Upload.id, Task.finished_at.is_(None) | (Task.finished_at >= then))
    return and_(Upload.status == UploadStatus.STORED, Upload.created_at < then, ~needed)


def over(keep: float) -> ColumnElement[bool]:
    """Tasks that ended more than `keep` seconds ago."""
    ended = Task.status.in_(sorted(TERMINAL - {TaskStatus.EXPIRED}))
    return and_(_unpurged_task(), ended, Task.finished_at < func.now() - seconds(keep))


def let_go_task() -> ColumnElement[bool]:
    return _unpurged_task() & (Task.status == TaskStatus.EXPIRED)


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
    chosen = select(Upload.id).where(where).limit(limit).with_for_update(skip_locked=True)
    moved = update(Upload).where(Upload.id.in_(chosen)).values(status=UploadStatus.EXPIRED).returning(Upload.id)
    return len(session.scalars(moved.execution_options(synchronize_session=False)).all())


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


def let_go_tasks(session: Session, *, after: UUID, limit: int) -> Sequence[Task]:
    """Expired tasks with objects to delete, in the order of their ids from behind `after` on."""
    query = select(Task).where(let_go_task(), Task.id > after).order_by(Task.id).limit(limit)
    return session.scalars(query).all()


def let_go_uploads(session: Session, *, after: UUID, limit: int) -> Sequence[Upload]:
    """Likewise, expired originals."""
    query = select(Upload).where(let_go_upload(), Upload.id > after).order_by(Upload.id).limit(limit)
    return session.scalars(query).all()


def tasks_purged(session: Session, ids: Sequence[UUID]) -> None:
    """Their objects are gone."""
    session.execute(update(Task).where(Task.id.in_(ids)).values(purged_at=func.now()))


def uploads_purged(session: Session, ids: Sequence[UUID]) -> None:
    """Their objects are gone. What never had a task is forgotten altogether; tasks keep the rows of theirs."""
    unused = ~exists().where(Task.upload_id == Upload.id)
    session.execute(delete(Upload).where(Upload.id.in_(ids), unused))
    session.execute(update(Upload).where(Upload.id.in_(ids)).values(purged_at=func.now()))
