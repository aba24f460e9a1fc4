"""Accounts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.models import User


def by_email(session: Session, email: str) -> User | None:
    """`email` in the form that accounts are kept in (lower case)."""
    return session.scalar(select(User).where(User.email == email))


def by_id(session: Session, user_id: UUID) -> User | None:
    return session.get(User, user_id)


def create(
    session: Session, user_id: UUID, email: str, *, password_hash: str | None = None, role: str = "user"
) -> User | None:
    """The new account; None when the address is taken, also by a request at the same moment."""
    return session.scalar(
        insert(User)
        .values(id=user_id, email=email, password_hash=password_hash, role=role)
        .on_conflict_do_nothing()
        .returning(User)
    )


def replace_password_hash(session: Session, user_id: UUID, old: str, new: str) -> None:
    """Another hash of the same password, unless the password has changed meanwhile."""
    session.execute(update(User).where(User.id == user_id, User.password_hash == old).values(password_hash=new))


def change_password(session: Session, user_id: UUID, password_hash: str, *, version: int) -> User | None:
    """Another password, which ends every token. None: the account is no longer the one that was seen."""
    return session.scalar(
        update(User)
        .where(User.id == user_id, User.is_active, User.token_version == version)
        .values(password_hash=password_hash, token_version=User.token_version + 1)
        .returning(User)
    )


def change(session: Session, user_id: UUID, changes: Mapping[str, Any]) -> User | None:
    """The account with other columns. One that is disabled has no token left, also when it is enabled again."""
    ended = {} if changes.get("is_active", True) else {"token_version": User.token_version + 1}
    return session.scalar(update(User).where(User.id == user_id).values(**changes, **ended).returning(User))


def hold_administrators(session: Session) -> Sequence[UUID]:
    """Who may administer, as it is until the commit."""
    query = select(User.id).where(User.role == "admin", User.is_active).order_by(User.id)
    return session.scalars(query.with_for_update()).all()


def page(
    session: Session, *, limit: int, beginning: str = "", before: tuple[datetime, UUID] | None = None
) -> Sequence[User]:
    """Accounts whose address begins like this, newest first, from just below `before` (created_at, id) on."""
    query = select(User).where(User.email.startswith(beginning, autoescape=True))
    if before is not None:
        query = query.where(tuple_(User.created_at, User.id) < tuple_(*before))
    return session.scalars(query.order_by(User.created_at.desc(), User.id.desc()).limit(limit)).all()
