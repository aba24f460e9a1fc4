"""Accounts."""

from uuid import UUID

from sqlalchemy import select, update
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


def set_password_hash(session: Session, user_id: UUID, password_hash: str) -> None:
    session.execute(update(User).where(User.id == user_id).values(password_hash=password_hash))
