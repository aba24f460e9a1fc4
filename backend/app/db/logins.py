"""Logins: families of refresh tokens, of which one token holds at a time. Nothing here commits."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.models import Login, User
from app.db.tasks import seconds


@dataclass(frozen=True)
class Rotated:
    """A login that has a new token, with the account as it is."""

    user: User
    expires_at: datetime


def begin(session: Session, login_id: UUID, user_id: UUID, token_id: UUID, *, ttl: float) -> datetime:
    """A new login, whose first refresh token is this one. Returns when it ends, whatever is refreshed."""
    made = insert(Login).values(id=login_id, user_id=user_id, token_id=token_id, expires_at=func.now() + seconds(ttl))
    return session.execute(made.returning(Login.expires_at)).scalar_one()


def account(session: Session, user_id: UUID, login_id: UUID | None) -> User | None:
    """The account, as long as the login (if the credential belongs to one) has not been revoked."""
    query = select(User).where(User.id == user_id)
    if login_id is not None:
        holds = (Login.user_id == User.id) & (Login.id == login_id) & Login.revoked_at.is_(None)
        query = query.join(Login, holds)
    return session.scalar(query)


def rotate(session: Session, login_id: UUID, *, user_id: UUID, version: int, used: UUID, new: UUID) -> Rotated | None:
    """Put a new token in the place of the one that was used. None: that one does not hold (any more)."""
    row = session.execute(
        update(Login)
        .where(Login.id == login_id, Login.user_id == user_id, Login.token_id == used)
        .where(Login.revoked_at.is_(None), Login.expires_at > func.now())
        .where(User.id == Login.user_id, User.is_active, User.token_version == version)
        .values(token_id=new, refreshed_at=func.now())
        .returning(User, Login.expires_at)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return None if row is None else Rotated(row[0], row[1])


def revoke_reused(session: Session, login_id: UUID, *, used: UUID) -> bool:
    """End a login one of whose former tokens has come back: two people have them, and one is a thief."""
    return _end(session, (Login.id == login_id) & (Login.token_id != used))


def revoke(session: Session, login_id: UUID) -> bool:
    return _end(session, Login.id == login_id)


def forget_ended(session: Session, *, limit: int, grace: float) -> int:
    """Delete what ended more than `grace` seconds ago: without its row a token does not hold either."""
    then = func.now() - seconds(grace)
    ended = select(Login.id).where((Login.expires_at < then) | (Login.revoked_at < then))
    chosen = ended.limit(limit).with_for_update(skip_locked=True)
    return len(session.scalars(delete(Login).where(Login.id.in_(chosen)).returning(Login.id)).all())


def _end(session: Session, where: ColumnElement[bool]) -> bool:
    ended = update(Login).where(where, Login.revoked_at.is_(None)).values(revoked_at=func.now()).returning(Login.id)
    return session.scalar(ended.execution_options(synchronize_session=False)) is not None
