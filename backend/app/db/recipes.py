"""Options under a name, in versions. Versions of a deleted recipe are not given again: tasks name theirs for ever.

Nothing here commits.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.db.models import Recipe


def find(session: Session, user_id: UUID, name: str, version: int | None = None) -> Recipe | None:
    """This version of the account's recipe, or the newest one."""
    query = select(Recipe).where(_named(user_id, name), Recipe.deleted_at.is_(None))
    if version is not None:
        query = query.where(Recipe.version == version)
    return session.scalar(query.order_by(Recipe.version.desc()).limit(1))


def newest(session: Session, user_id: UUID) -> Sequence[Recipe]:
    """The newest version of each of the account's recipes, by name."""
    live = (Recipe.user_id == user_id) & Recipe.deleted_at.is_(None)
    query = select(Recipe).where(live).ext(distinct_on(Recipe.name)).order_by(Recipe.name, Recipe.version.desc())
    return session.scalars(query).all()


def versions(session: Session, user_id: UUID, name: str) -> Sequence[Recipe]:
    """All versions, the newest first."""
    query = select(Recipe).where(_named(user_id, name), Recipe.deleted_at.is_(None))
    return session.scalars(query.order_by(Recipe.version.desc())).all()


def count(session: Session, user_id: UUID) -> int:
    """How many names the account has given."""
    live = (Recipe.user_id == user_id) & Recipe.deleted_at.is_(None)
    return session.scalar(select(func.count(Recipe.name.distinct())).where(live)) or 0


def add(session: Session, user_id: UUID, name: str, options: Mapping[str, Any]) -> Recipe:
    """The next version. Whoever adds holds the account, so that two do not get the same number."""
    last = session.scalar(select(func.max(Recipe.version)).where(_named(user_id, name))) or 0
    made = Recipe(id=uuid4(), user_id=user_id, name=name, version=last + 1, options=dict(options))
    session.add(made)
    session.flush()
    return made


def delete(session: Session, user_id: UUID, name: str) -> bool:
    """False: there is none."""
    live = update(Recipe).where(_named(user_id, name), Recipe.deleted_at.is_(None))
    gone = live.values(deleted_at=func.now()).returning(Recipe.id).execution_options(synchronize_session=False)
    return bool(session.scalars(gone).all())


def _named(user_id: UUID, name: str) -> ColumnElement[bool]:
    return (Recipe.user_id == user_id) & (Recipe.name == name)
