"""Batches and their items. Nothing here commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Double, cast, exists, func, select, tuple_, update
from sqlalchemy.orm import Session, contains_eager

from app.core.states import TERMINAL, TaskStatus
from app.db.models import Batch, Task

LATELY = timedelta(seconds=60)


@dataclass(frozen=True)
class Counts:
    """How far a batch is. `progress`: 0 to 100, of all tasks together. `lately`: how many ended within a minute.
    `age`: seconds since the first of them was begun."""

    by_status: Mapping[TaskStatus, int]
    progress: float
    lately: int
    age: float

    @property
    def unfinished(self) -> int:
        return sum(number for status, number in self.by_status.items() if status not in TERMINAL)


def get_owned(session: Session, batch_id: UUID, user_id: UUID) -> Batch | None:
    """The caller's own batch; another account's is None like one that is not there."""
    return session.scalar(select(Batch).where(Batch.id == batch_id, Batch.user_id == user_id))


def page(
    session: Session, user_id: UUID, *, limit: int, before: tuple[datetime, UUID] | None = None
) -> Sequence[Batch]:
    """The caller's batches, newest first, from just below `before` (created_at, id) on."""
    query = select(Batch).where(Batch.user_id == user_id)
    if before is not None:
        query = query.where(tuple_(Batch.created_at, Batch.id) < tuple_(*before))
    return session.scalars(query.order_by(Batch.created_at.desc(), Batch.id.desc()).limit(limit)).all()


def counts(session: Session, batch_ids: Sequence[UUID]) -> dict[UUID, Counts]:
    """How far each is. What its owner has deleted of one is in no count."""
    lately = func.count().filter(Task.finished_at > func.now() - LATELY)
    done = func.sum(Task.progress).filter(Task.finished_at.is_(None))
    age = cast(func.extract("epoch", func.now() - func.min(Task.started_at)), Double)
    rows = session.execute(
        select(Task.batch_id, Task.status, func.count(), lately, func.coalesce(done, 0), age)
        .where(Task.batch_id.in_(batch_ids), Task.deleted_at.is_(None))
        .group_by(Task.batch_id, Task.status)
    ).all()
    found: dict[UUID, Counts] = {}
    for batch_id in batch_ids:
        mine = [row for row in rows if row[0] == batch_id]
        number = sum(row[2] for row in mine)
        ended = sum(row[2] for row in mine if TaskStatus(row[1]) in TERMINAL)
        progress = (100.0 * ended + sum(row[4] for row in mine)) / number if number else 100.0
        by_status = {TaskStatus(row[1]): row[2] for row in mine}
        age_s = max((row[5] for row in mine if row[5] is not None), default=0.0)
        found[batch_id] = Counts(by_status, progress, sum(row[3] for row in mine), age_s)
    return found


def items(session: Session, batch_id: UUID, *, with_deleted: bool = False) -> Sequence[Task]:
    """Its tasks with their originals, in the order of the batch; also those that their owner has deleted, if asked."""
    query = select(Task).join(Task.upload).options(contains_eager(Task.upload)).where(Task.batch_id == batch_id)
    if not with_deleted:
        query = query.where(Task.deleted_at.is_(None))
    return session.scalars(query.order_by(Task.item, Task.id)).all()


def cancel(session: Session, batch_id: UUID) -> int:
    """End all of its tasks that are not over; returns how many."""
    # In the order in which whoever rings for them locks them, or each might wait for the other.
    open_ones = (
        select(Task.id).where(Task.batch_id == batch_id, Task.finished_at.is_(None)).order_by(Task.run_at, Task.id)
    )
    ended = (
        update(Task)
        .where(Task.id.in_(open_ones.with_for_update()), Task.finished_at.is_(None))
        .values(status=TaskStatus.CANCELLED, stage=None, lease_until=None, finished_at=func.now())
        .returning(Task.id)
        .execution_options(synchronize_session=False)
    )
    return len(session.scalars(ended).all())


def finish_ended(session: Session, *, limit: int = 100) -> int:
    """Mark batches whose tasks have all ended, which tells whoever wants to be told; returns how many.

    A task that is run again afterwards does not open its batch anew.
    """
    at_work = exists().where(Task.batch_id == Batch.id, Task.finished_at.is_(None))
    chosen = (
        select(Batch.id)
        .where(Batch.finished_at.is_(None), ~at_work)
        .order_by(Batch.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ended = update(Batch).where(Batch.id.in_(chosen)).values(finished_at=func.now()).returning(Batch.id)
    return len(session.scalars(ended.execution_options(synchronize_session=False)).all())
