"""What there is, over all accounts: for administrators, for health and for metrics. Nothing here commits."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Double, func, literal, select, tuple_
from sqlalchemy import cast as cast_to
from sqlalchemy.orm import Session, contains_eager

from app.core.states import TaskStatus
from app.db.models import Task


def list_failed(
    session: Session, *, limit: int, error_code: str | None, before: tuple[datetime, UUID] | None
) -> Sequence[Task]:
    """Failed tasks of all accounts that their owners have not deleted, the latest first."""
    query = select(Task).join(Task.upload).options(contains_eager(Task.upload)).where(Task.status == TaskStatus.FAILED)
    if error_code is not None:
        query = query.where(Task.error_code == error_code)
    if before is not None:
        query = query.where(tuple_(Task.finished_at, Task.id) < tuple_(*before))
    return session.scalars(query.order_by(Task.finished_at.desc(), Task.id.desc()).limit(limit)).all()


def count_by_status(session: Session) -> dict[str, int]:
    found = dict.fromkeys(TaskStatus, 0)
    for status, number in session.execute(select(Task.status, func.count()).group_by(Task.status)):
        found[TaskStatus(status)] = number
    return {str(status): number for status, number in found.items()}


def queue_facts(session: Session) -> tuple[int, float | None]:
    """How many tasks wait, and for how many seconds the oldest due one has."""
    oldest_due = func.min(Task.run_at).filter(Task.run_at <= func.now())
    age = cast_to(func.extract("epoch", func.now() - oldest_due), Double)
    waiting, oldest = session.execute(select(func.count(), age).select_from(Task).where(Task.is_waiting())).one()
    return waiting, oldest


def waiting(session: Session) -> dict[str, int]:
    """How many tasks wait in each queue that has any."""
    found = session.execute(select(Task.queue, func.count()).where(Task.is_waiting()).group_by(Task.queue))
    return dict(found.all())


def recent_seconds(session: Session) -> float | None:
    """What the pictures of late took, each; None before there was any."""
    of_late = (
        select(Task.processing_seconds)
        .where(Task.status == TaskStatus.COMPLETED, Task.finished_at.is_not(None), Task.purged_at.is_(None))
        .order_by(Task.finished_at.desc())
        .limit(50)
        .subquery()
    )
    return session.scalar(select(func.avg(of_late.c.processing_seconds)))


def depths(session: Session) -> dict[tuple[str, str], int]:
    """How many tasks of each queue wait or are being worked on, by (queue, status)."""
    # Two queries, because each has its small index: one for all three statuses would read the whole table.
    waiting = select(Task.queue, Task.status, func.count()).where(Task.is_waiting()).group_by(Task.queue, Task.status)
    held = (
        select(Task.queue, literal(TaskStatus.PROCESSING.value), func.count())
        .where(Task.status == TaskStatus.PROCESSING)
        .group_by(Task.queue)
    )
    return {(queue, status): number for half in (waiting, held) for queue, status, number in session.execute(half)}
