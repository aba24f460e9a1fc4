"""Wrong passwords of late, by whom they were for and where they came from. Nothing here commits.

A try is counted before its password is looked at, and taken back when the password was right: so of many tries at the
same moment no more come through than may.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.models import LoginFailure
from app.db.tasks import seconds


@dataclass(frozen=True)
class Rule:
    """`free` tries in a window; each further one waits twice as long as the one before."""

    free: int
    window: float = 900.0  # seconds
    first_wait: float = 30.0
    longest_wait: float = 900.0


def count(session: Session, subject: str, rule: Rule) -> float | None:
    """Count a try. What it has to wait for instead, in seconds, when there were too many: then it is not counted."""
    blocked_until = func.now() + seconds(rule.first_wait) if rule.free == 1 else None
    fresh = insert(LoginFailure).values(subject=subject, failures=1, blocked_until=blocked_until)
    over, failures = _is_over(rule), case((_is_over(rule), 1), else_=LoginFailure.failures + 1)
    counted = fresh.on_conflict_do_update(
        index_elements=[LoginFailure.subject],
        set_={
            "failures": failures,
            "first_at": case((over, func.now()), else_=LoginFailure.first_at),
            "last_at": func.now(),
            "blocked_until": case((failures >= rule.free, func.now() + _wait(failures, rule))),
        },
        where=or_(LoginFailure.blocked_until.is_(None), LoginFailure.blocked_until <= func.now()),
    ).returning(LoginFailure.failures)
    if session.scalar(counted) is not None:
        return None
    left = select(func.extract("epoch", LoginFailure.blocked_until - func.now()))
    return float(session.scalar(left.where(LoginFailure.subject == subject)) or 0)


def forget(session: Session, subject: str) -> None:
    session.execute(delete(LoginFailure).where(LoginFailure.subject == subject))


def take_back(session: Session, subject: str) -> None:
    """A try that was counted was none: its password was right."""
    own = LoginFailure.subject == subject
    # Others take back at the same moment: whoever had to wait for them looks at what they have left.
    fewer = update(LoginFailure).where(own, LoginFailure.failures > 1)
    fewer = fewer.values(failures=LoginFailure.failures - 1, blocked_until=None)
    if session.scalar(fewer.returning(LoginFailure.failures)) is None:
        session.execute(delete(LoginFailure).where(own, LoginFailure.failures == 1))


def forget_old(session: Session, *, limit: int, grace: float) -> int:
    """Delete what has been quiet for `grace` seconds."""
    old = select(LoginFailure.subject).where(LoginFailure.last_at < func.now() - seconds(grace))
    chosen = old.limit(limit).with_for_update(skip_locked=True)
    gone = delete(LoginFailure).where(LoginFailure.subject.in_(chosen)).returning(LoginFailure.subject)
    return len(session.scalars(gone).all())


def _is_over(rule: Rule) -> ColumnElement[bool]:
    """Whether the tries so far no longer count: the few after their window, the many after as long a quiet."""
    then = func.now() - seconds(rule.window)
    few = LoginFailure.failures < rule.free
    return case(
        (few, LoginFailure.first_at < then),
        else_=func.greatest(LoginFailure.last_at, LoginFailure.blocked_until) < then,
    )


def _wait(failures: ColumnElement[int], rule: Rule) -> ColumnElement[Any]:
    doubled = rule.first_wait * func.power(2, func.least(failures - rule.free, 30))
    return func.least(doubled, rule.longest_wait) * seconds(1)
