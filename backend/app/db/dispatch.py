"""Whom to ring for: rows that wait, and what the broker was told of them. Nothing here commits.

`dispatched_at` says that a message is on its way. Of each account's tasks only a few have one at a time, so that in a
queue which is first in, first out, a thousand pictures of one account are not in front of the one of another.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.orm import Session, aliased

from app.core.states import WAITING
from app.core.timing import Timing
from app.db.models import Task
from app.db.tasks import seconds

WINDOW = 8  # messages of one account in one queue; a claim makes room for the next

Bell = tuple[UUID, str]  # the task, and its queue


def stamp_new(session: Session, task_id: UUID) -> bool:
    """Mark a new task as rung for. False: somebody has, or its account has to wait for a turn."""
    rung = _rung_of(Task.user_id, Task.queue)
    stamped = session.scalar(
        update(Task)
        .where(Task.id == task_id, Task.is_due(), Task.dispatched_at.is_(None), rung < WINDOW)
        .values(dispatched_at=func.now())
        .returning(Task.id)
        .execution_options(synchronize_session=False)
    )
    return stamped is not None


def stamp_next(session: Session, user_id: UUID, queue: str) -> UUID | None:
    """Mark the account's longest waiting task as rung for, if there is room for one."""
    mine = (Task.user_id == user_id) & (Task.queue == queue)
    unrung = mine & Task.is_due() & Task.dispatched_at.is_(None)
    chosen = (
        select(Task.id)
        .where(unrung, _rung_of(user_id, queue) < WINDOW)
        .order_by(Task.run_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    return session.scalar(
        update(Task)
        .where(Task.id == chosen)
        .values(dispatched_at=func.now())
        .returning(Task.id)
        .execution_options(synchronize_session=False)
    )


def _rung_of(user_id: object, queue: object) -> ColumnElement[int]:
    other = aliased(Task)
    rung = (
        select(func.count())
        .select_from(other)
        .where(other.user_id == user_id, other.queue == queue)
        .where(other.status.in_(sorted(WAITING)), other.dispatched_at.is_not(None))
    )
    return rung.scalar_subquery()


def is_awaited(session: Session, queue: str) -> bool:
    """Whether a task of this queue was rung for, and nobody has begun with it."""
    rung = (Task.queue == queue) & Task.is_due() & Task.dispatched_at.is_not(None)
    return session.scalar(select(exists().where(rung))) is True


def stamp_undispatched(session: Session, *, timing: Timing, limit: int = 300) -> Sequence[Bell]:
    """Mark due tasks that nobody has rung for, as far as their accounts have room; return them as they are to be
    rung: each account's first, then each one's second."""
    # A task that has just been queued belongs to the API's own bell.
    waited = Task.updated_at < func.now() - seconds(timing.dispatch_grace)
    account = Task.user_id, Task.queue
    place = func.row_number().over(partition_by=account, order_by=Task.run_at).label("place")
    unrung = select(Task.id, *account, place).where(Task.is_due(), Task.dispatched_at.is_(None), waited).cte("unrung")
    rung = (
        select(*account, func.count().label("messages"))
        .where(Task.is_waiting(), Task.dispatched_at.is_not(None))
        .group_by(*account)
        .cte("rung")
    )
    same = (rung.c.user_id == unrung.c.user_id) & (rung.c.queue == unrung.c.queue)
    chosen = (
        select(unrung.c.id, unrung.c.place)
        .outerjoin_from(unrung, rung, same)
        .where(unrung.c.place + func.coalesce(rung.c.messages, 0) <= WINDOW)
        .order_by(unrung.c.place)
        .limit(limit)
        .cte("chosen")
    )
    rows = session.execute(
        update(Task)
        .where(Task.id == chosen.c.id, Task.is_waiting(), Task.dispatched_at.is_(None))
        .values(dispatched_at=func.now())
        .returning(Task.id, Task.queue, chosen.c.place)
        .execution_options(synchronize_session=False)
    ).all()
    return [(row.id, row.queue) for row in sorted(rows, key=lambda row: int(row.place))]


def stamp_unanswered(session: Session, *, queue: str, ready: int, timing: Timing, limit: int = 300) -> Sequence[Bell]:
    """Mark as rung again the oldest tasks of a queue whose message must be lost; return them.

    `ready` is the number of messages in the broker. More rung tasks than messages means that messages are gone; only
    as many are rung for as are missing, so that a long backlog is never flooded with duplicates.
    """
    rung = (Task.queue == queue) & Task.is_due() & Task.dispatched_at.is_not(None)
    missing = (session.scalar(select(func.count()).select_from(Task).where(rung)) or 0) - ready
    if missing <= 0:
        return []
    unanswered = rung & (Task.dispatched_at < func.now() - seconds(timing.redispatch_after))
    chosen = (
        select(Task.id)
        .where(unanswered)
        .order_by(Task.run_at)
        .limit(min(missing, limit))
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    rows = session.execute(
        update(Task)
        .where(Task.id == chosen.c.id)
        .values(dispatched_at=func.now())
        .returning(Task.id, Task.queue)
        .execution_options(synchronize_session=False)
    )
    return [(row.id, row.queue) for row in rows]


def unstamp(session: Session, task_ids: Sequence[UUID]) -> None:
    """The bell could not be rung after all: the next tick tries again."""
    session.execute(
        update(Task)
        .where(Task.id.in_(task_ids), Task.is_waiting())
        .values(dispatched_at=None)
        .execution_options(synchronize_session=False)
    )
