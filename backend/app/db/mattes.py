"""Mattes that are kept: who makes one writes its row first, and whoever needs it meanwhile waits for him.

A row that is let go of (`dropped_at`) is found by nobody any more, and names its object until that is known to be gone.
Nothing here commits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core.states import UploadStatus
from app.db.models import Matte, Upload
from app.db.retention import Sum, spent
from app.db.tasks import seconds


@dataclass(frozen=True)
class Wanted:
    """What makes two mattes the same. `sha256`: of the original's file."""

    user_id: UUID
    sha256: str
    model: str
    level: str


def find(session: Session, wanted: Wanted) -> Matte | None:
    """The matte, or the promise of one (`stored_at` is empty)."""
    return session.scalar(select(Matte).where(_is(wanted)).execution_options(populate_existing=True))


def promise(session: Session, matte_id: UUID, wanted: Wanted, *, patience: float) -> bool:
    """Write down that this matte is being made. False: it is there, or somebody makes it since less than `patience`
    seconds."""
    late = and_(_is(wanted), Matte.stored_at.is_(None), Matte.created_at < func.now() - seconds(patience))
    _drop(session, late)
    values = {"user_id": wanted.user_id, "sha256": wanted.sha256, "model": wanted.model, "level": wanted.level}
    made = insert(Matte).values(id=matte_id, **values).on_conflict_do_nothing().returning(Matte.id)
    return session.scalar(made) is not None


def mark_stored(session: Session, matte_id: UUID, *, confidence: float, size_bytes: int) -> bool:
    """False: it was let go of meanwhile, and its object is nobody's."""
    promised = (Matte.id == matte_id) & Matte.dropped_at.is_(None)
    values = {"confidence": confidence, "size_bytes": size_bytes, "stored_at": func.now()}
    return session.scalar(update(Matte).where(promised).values(values).returning(Matte.id)) is not None


def drop(session: Session, matte_id: UUID) -> None:
    """Let go of one: nothing came of it, or its object is not what it should be."""
    _drop(session, Matte.id == matte_id)


def drop_unused(session: Session, user_id: UUID, sha256: str) -> Sequence[UUID]:
    """Let go of those of a picture, if the account has no such original any more. Returns their ids."""
    return _drop(session, and_(Matte.user_id == user_id, Matte.sha256 == sha256, _without_original()))


def drop_some(session: Session, where: ColumnElement[bool], *, limit: int) -> int:
    """Let go of some that are past their time; returns how many."""
    chosen = select(Matte.id).where(where).limit(limit).with_for_update(skip_locked=True)
    return len(_drop(session, Matte.id.in_(chosen)))


def _drop(session: Session, where: ColumnElement[bool]) -> Sequence[UUID]:
    dropped = update(Matte).where(where, Matte.dropped_at.is_(None)).values(dropped_at=func.now()).returning(Matte.id)
    return session.scalars(dropped.execution_options(synchronize_session=False)).all()


def past(grace: float, keep: float) -> ColumnElement[bool]:
    """Without an original that is to be kept, or promised so long ago that nobody makes it any more."""
    stale = Matte.stored_at.is_(None) & _is_old(grace)
    return Matte.dropped_at.is_(None) & or_(_without_original(~spent(keep)), stale)


def let_go(grace: float) -> ColumnElement[bool]:
    """Those with objects to delete. One that was only promised may yet be stored: it gets its time."""
    return Matte.dropped_at.is_not(None) & or_(Matte.stored_at.is_not(None), _is_old(grace))


def sum_of(session: Session, where: ColumnElement[bool]) -> Sum:
    query = select(func.count(), func.count(Matte.size_bytes), func.sum(Matte.size_bytes))
    rows, objects, size = session.execute(query.select_from(Matte).where(where)).one()
    return Sum(rows, objects, int(size or 0))


def find_some(session: Session, where: ColumnElement[bool], *, after: UUID, limit: int) -> Sequence[Matte]:
    """In the order of their ids, from behind `after` on."""
    return session.scalars(select(Matte).where(where, Matte.id > after).order_by(Matte.id).limit(limit)).all()


def purged(session: Session, ids: Sequence[UUID]) -> None:
    """Their objects are gone."""
    session.execute(delete(Matte).where(Matte.id.in_(ids), Matte.dropped_at.is_not(None)))


def find_all(session: Session, ids: Sequence[UUID]) -> Sequence[Matte]:
    """Those of these that there are rows of, promised and let go of ones too."""
    return session.scalars(select(Matte).where(Matte.id.in_(ids))).all()


def _is(wanted: Wanted) -> ColumnElement[bool]:
    return and_(
        Matte.user_id == wanted.user_id,
        Matte.sha256 == wanted.sha256,
        Matte.model == wanted.model,
        Matte.level == wanted.level,
        Matte.dropped_at.is_(None),
    )


def _is_old(grace: float) -> ColumnElement[bool]:
    return Matte.created_at < func.now() - seconds(grace)


def _without_original(*which: ColumnElement[bool]) -> ColumnElement[bool]:
    here = Upload.status.in_([UploadStatus.STORED, UploadStatus.REMOTE])
    return ~exists().where(Upload.user_id == Matte.user_id, Upload.sha256 == Matte.sha256, here, *which)
