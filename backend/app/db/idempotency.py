"""Requests that a client may repeat: one of many does the work, the others learn what it was answered.

Nothing here commits: a request's answer is written in the transaction that makes it true.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.models import IdempotencyKey
from app.db.tasks import seconds

LOCK = 60.0  # seconds; a request that has not been heard of for longer is taken for dead
KEEP = 86_400.0  # seconds


@dataclass(frozen=True)
class Once:
    """One request's hold on a key. `fingerprint` tells what was sent."""

    user_id: UUID
    route: str
    key: str
    fingerprint: str
    holder: UUID


def hold(session: Session, once: Once) -> IdempotencyKey | None:
    """Take the key. None: it is ours. Else the row as it stands: answered, or another request's."""
    row = IdempotencyKey
    insertion = insert(row).values(
        user_id=once.user_id, route=once.route, key=once.key, fingerprint=once.fingerprint, holder=once.holder
    )
    abandoned = row.answer.is_(None) & (row.locked_at < func.now() - seconds(LOCK))
    taking = insertion.on_conflict_do_update(
        index_elements=[row.user_id, row.route, row.key],
        set_={"holder": once.holder, "locked_at": func.now()},
        where=abandoned & (row.fingerprint == once.fingerprint),
    ).returning(row.holder)
    while session.scalar(taking) is None:
        found = find(session, once)
        if found is not None:
            return found
        # Its holder gave it back between our two questions.
    return None


def keep(session: Session, once: Once) -> bool:
    """The request is still at work. False: it was taken for dead, and another one has the key."""
    kept = update(IdempotencyKey).where(*_mine(once)).values(locked_at=func.now()).returning(IdempotencyKey.key)
    return session.scalar(kept.execution_options(synchronize_session=False)) is not None


def find(session: Session, once: Once) -> IdempotencyKey | None:
    """The key as it stands, whoever holds it."""
    return session.get(IdempotencyKey, (once.user_id, once.route, once.key))


def answer(session: Session, once: Once, said: dict[str, Any]) -> bool:
    """Keep what the request was answered. False: it took so long that another one has the key."""
    kept = update(IdempotencyKey).where(*_mine(once)).values(answer=said).returning(IdempotencyKey.key)
    return session.scalar(kept.execution_options(synchronize_session=False)) is not None


def release(session: Session, once: Once) -> bool:
    """Nothing came of the request: the next one begins anew. False: something did, or another one has the key."""
    gone = delete(IdempotencyKey).where(*_mine(once)).returning(IdempotencyKey.key)
    return session.scalar(gone.execution_options(synchronize_session=False)) is not None


def _mine(once: Once) -> tuple[Any, ...]:
    row = IdempotencyKey
    named = row.user_id == once.user_id, row.route == once.route, row.key == once.key
    return *named, row.holder == once.holder, row.answer.is_(None)


def leave(session: Session, once: Once, said: dict[str, Any]) -> None:
    """Keep an answer that nobody was there to hear, for whoever asks for the same."""
    row = IdempotencyKey
    left = insert(row).values(
        user_id=once.user_id, route=once.route, key=once.key, fingerprint=once.fingerprint, holder=once.holder
    )
    session.execute(left.values(answer=said).on_conflict_do_nothing())


def pick_up(session: Session, user_id: UUID, route: str, fingerprint: str, *, within: float) -> dict[str, Any] | None:
    """The oldest answer that was left for this request in so many seconds; of several who ask, each gets another."""
    row = IdempotencyKey
    left = (
        select(row.key)
        .where(row.user_id == user_id, row.route == route, row.fingerprint == fingerprint)
        .where(row.created_at > func.now() - seconds(within))
        .order_by(row.created_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    taken = delete(row).where(row.user_id == user_id, row.route == route, row.key == left.scalar_subquery())
    return session.scalar(taken.returning(row.answer).execution_options(synchronize_session=False))


def forget(session: Session, user_id: UUID, task_id: UUID) -> None:
    """Clear the keys whose answer was this task: it is there no more."""
    row = IdempotencyKey
    answered = row.answer["task_id"].astext == str(task_id)
    session.execute(delete(row).where(row.user_id == user_id, answered).execution_options(synchronize_session=False))


def forget_old(session: Session, *, limit: int) -> int:
    """Clear keys that nobody repeats any more; returns how many."""
    row = IdempotencyKey
    primary = tuple_(row.user_id, row.route, row.key)
    old = select(row.user_id, row.route, row.key).where(row.created_at < func.now() - seconds(KEEP)).limit(limit)
    gone = delete(row).where(primary.in_(old)).returning(row.key).execution_options(synchronize_session=False)
    return len(session.scalars(gone).all())
