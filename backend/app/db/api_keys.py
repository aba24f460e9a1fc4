"""API keys. Nothing here commits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.models import ApiKey, User
from app.db.tasks import seconds


@dataclass(frozen=True)
class Found:
    """A key and its account. `is_stale`: its use has not been noted for a while."""

    key: ApiKey
    user: User
    is_stale: bool


def add(
    session: Session,
    key_id: UUID,
    user_id: UUID,
    *,
    prefix: str,
    digest: str,
    name: str,
    scopes: Sequence[str],
    expires: datetime | timedelta | None,
) -> ApiKey | None:
    """A new key, which ends at a time or after a while, or not at all. None: the prefix is taken."""
    made = insert(ApiKey).values(
        id=key_id,
        user_id=user_id,
        prefix=prefix,
        secret_hash=digest,
        name=name,
        scopes=list(scopes),
        expires_at=func.now() + expires if isinstance(expires, timedelta) else expires,
    )
    return session.scalar(made.on_conflict_do_nothing(index_elements=["prefix"]).returning(ApiKey))


def find(session: Session, prefix: str, *, touch_every: float) -> Found | None:
    """A live key with its account."""
    stale = ApiKey.last_used_at.is_(None) | (ApiKey.last_used_at < func.now() - seconds(touch_every))
    query = select(ApiKey, User, stale).join(User, User.id == ApiKey.user_id).where(ApiKey.prefix == prefix, _live())
    row = session.execute(query).one_or_none()
    return None if row is None else Found(row[0], row[1], row[2])


def touch(session: Session, found: Found) -> None:
    """Note that a key is in use, unless somebody else has since it was found."""
    was = ApiKey.last_used_at.is_not_distinct_from(found.key.last_used_at)
    used = update(ApiKey).where(ApiKey.id == found.key.id, was).values(last_used_at=func.now())
    session.execute(used.execution_options(synchronize_session=False))


def listed(session: Session, user_id: UUID, *, limit: int) -> Sequence[ApiKey]:
    """The account's keys that have not been revoked: the live ones first, then the newest."""
    query = select(ApiKey).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
    return session.scalars(query.order_by(_live().desc(), ApiKey.created_at.desc()).limit(limit)).all()


def count_live(session: Session, user_id: UUID) -> int:
    """Exact until the commit: others who would add one to the account wait."""
    session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    return session.execute(select(func.count()).where(ApiKey.user_id == user_id, _live())).scalar_one()


def revoke(session: Session, key_id: UUID, user_id: UUID) -> bool:
    """False: the account has no such key."""
    own = (ApiKey.id == key_id) & (ApiKey.user_id == user_id) & ApiKey.revoked_at.is_(None)
    return session.scalar(update(ApiKey).where(own).values(revoked_at=func.now()).returning(ApiKey.id)) is not None


def forget_ended(session: Session, *, limit: int, grace: float) -> int:
    """Delete what was revoked, or came to its end, more than `grace` seconds ago."""
    then = func.now() - seconds(grace)
    ended = select(ApiKey.id).where((ApiKey.expires_at < then) | (ApiKey.revoked_at < then))
    chosen = ended.limit(limit).with_for_update(skip_locked=True)
    return len(session.scalars(delete(ApiKey).where(ApiKey.id.in_(chosen)).returning(ApiKey.id)).all())


def _live() -> ColumnElement[bool]:
    return ApiKey.revoked_at.is_(None) & (ApiKey.expires_at.is_(None) | (ApiKey.expires_at > func.now()))
