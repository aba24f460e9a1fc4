"""Webhooks: secrets, messages to be delivered, and how their addresses have taken them. Nothing here commits.

`attempts` of a message is also the fencing token of whoever tries to deliver it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Update, and_, case, delete, exists, func, literal, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookSecret
from app.db.tasks import seconds

# Host and port, as the URL names them. No regular expression: it is looked at for every message that waits.
HOST = func.split_part(func.split_part(func.split_part(WebhookDelivery.url, "/", 3), "?", 1), "#", 1)

Place = tuple[UUID, str]  # an account and a host


@dataclass(frozen=True)
class Claimed:
    """One try's hold on one message."""

    id: UUID
    user_id: UUID
    url: str
    host: str
    payload: dict[str, Any]
    attempt: int


@dataclass(frozen=True)
class Tried:
    """What came of it. `error` is one word; None: it was taken."""

    status_code: int | None
    error: str | None
    duration: float  # seconds


# ---- secrets


def secrets(session: Session, user_id: UUID) -> Sequence[WebhookSecret]:
    """Those that sign, the newest first."""
    live = WebhookSecret.expires_at.is_(None) | (WebhookSecret.expires_at > func.now())
    query = select(WebhookSecret).where(WebhookSecret.user_id == user_id, live)
    return session.scalars(query.order_by(WebhookSecret.expires_at.desc().nulls_first())).all()


def add_secret(session: Session, secret_id: UUID, user_id: UUID, secret: str) -> None:
    session.add(WebhookSecret(id=secret_id, user_id=user_id, secret=secret))
    session.flush()


def replace_secret(session: Session, user_id: UUID, *, keep: float) -> None:
    """End the one that signs, in `keep` seconds; one that was replaced before ends now."""
    own = WebhookSecret.user_id == user_id
    session.execute(delete(WebhookSecret).where(own, WebhookSecret.expires_at.is_not(None)))
    session.execute(update(WebhookSecret).where(own).values(expires_at=func.now() + seconds(keep)))


# ---- delivering


def claim(
    session: Session, *, lease: float, busy: Collection[Place] = (), full: Collection[UUID] = ()
) -> Claimed | None:
    """The message that has been due for longest, for `lease` seconds; none of a busy place or a full account.

    None for a disabled address either, unless it was asked for by hand: `end_disabled` ends those.
    """
    due = (
        select(WebhookDelivery.id)
        .where(WebhookDelivery.status == "pending", WebhookDelivery.next_at <= func.now())
        .where(WebhookDelivery.by_hand | ~exists().where(_is_disabled()))
        .where(WebhookDelivery.user_id.not_in(full), tuple_(WebhookDelivery.user_id, HOST).not_in(busy))
        .order_by(WebhookDelivery.next_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    taken = (
        update(WebhookDelivery)
        .where(WebhookDelivery.id == due.scalar_subquery())
        .values(attempts=WebhookDelivery.attempts + 1, next_at=func.now() + seconds(lease))
        .returning(
            WebhookDelivery.id,
            WebhookDelivery.user_id,
            WebhookDelivery.url,
            HOST,
            WebhookDelivery.payload,
            WebhookDelivery.attempts,
        )
        .execution_options(synchronize_session=False)
    )
    row = session.execute(taken).one_or_none()
    return None if row is None else Claimed(*row)


def hold(session: Session, claimed: Claimed) -> bool:
    """Lock the message until the commit. False: it is no longer this try's."""
    own = select(WebhookDelivery.id).where(
        WebhookDelivery.id == claimed.id,
        WebhookDelivery.attempts == claimed.attempt,
        WebhookDelivery.status == "pending",
    )
    return session.scalar(own.with_for_update()) is not None


def note(session: Session, claimed: Claimed, tried: Tried) -> None:
    """Write down a try of a message that is held."""
    session.add(
        WebhookAttempt(
            delivery_id=claimed.id,
            at=func.now() - seconds(tried.duration),
            status_code=tried.status_code,
            error=tried.error,
            duration_ms=round(tried.duration * 1000),
        )
    )


def deliver(session: Session, claimed: Claimed) -> None:
    """End a message that is held as delivered; its address works, whatever was before."""
    session.execute(_change(claimed).values(status="delivered", ended_at=func.now(), by_hand=False))
    own = (WebhookEndpoint.user_id == claimed.user_id) & (WebhookEndpoint.url == claimed.url)
    session.execute(delete(WebhookEndpoint).where(own))


def put_off(session: Session, claimed: Claimed, *, delay: float | None, gone: bool, give_up: float) -> str:
    """After a failure of a message that is held: its new status. None as the delay: that was its last try.

    Its address is disabled if it is `gone`, or has failed for `give_up` seconds.
    """
    now = func.now()
    failing = insert(WebhookEndpoint).values(
        user_id=claimed.user_id, url=claimed.url, failing_since=now, disabled_at=now if gone else None
    )
    over = or_(literal(gone), WebhookEndpoint.failing_since < now - seconds(give_up))
    failing = failing.on_conflict_do_update(
        index_elements=["user_id", "url"],
        set_={
            "failing_since": func.coalesce(WebhookEndpoint.failing_since, now),
            "disabled_at": func.coalesce(WebhookEndpoint.disabled_at, case((over, now))),
        },
    )
    is_disabled = session.scalar(failing.returning(WebhookEndpoint.disabled_at)) is not None
    if is_disabled or delay is None:
        status = "disabled" if is_disabled else "failed"
        session.execute(_change(claimed).values(status=status, ended_at=now, by_hand=False))
        return status
    session.execute(_change(claimed).values(next_at=now + seconds(delay), by_hand=False))
    return "pending"


def end_disabled(session: Session) -> int:
    """End what waits for disabled addresses, and was not asked for by hand. Returns how many."""
    ended = (
        update(WebhookDelivery)
        .where(WebhookDelivery.status == "pending", ~WebhookDelivery.by_hand, _is_disabled())
        .values(status="disabled", ended_at=func.now())
        .returning(WebhookDelivery.id)
        .execution_options(synchronize_session=False)
    )
    return len(session.scalars(ended).all())


def _is_disabled() -> ColumnElement[bool]:
    """Of a message: whether its address is."""
    return and_(_same_address(), WebhookEndpoint.disabled_at.is_not(None))


def _same_address() -> ColumnElement[bool]:
    return and_(WebhookEndpoint.user_id == WebhookDelivery.user_id, WebhookEndpoint.url == WebhookDelivery.url)


def _change(claimed: Claimed) -> Update:
    return update(WebhookDelivery).where(WebhookDelivery.id == claimed.id)


# ---- the owner's side


def get_owned(session: Session, delivery_id: UUID, user_id: UUID) -> WebhookDelivery | None:
    query = select(WebhookDelivery).where(WebhookDelivery.id == delivery_id, WebhookDelivery.user_id == user_id)
    return session.scalar(query.execution_options(populate_existing=True))


def attempts(session: Session, delivery_id: UUID) -> Sequence[WebhookAttempt]:
    """Its tries, oldest first."""
    query = select(WebhookAttempt).where(WebhookAttempt.delivery_id == delivery_id)
    return session.scalars(query.order_by(WebhookAttempt.id)).all()


def list_owned(
    session: Session,
    user_id: UUID,
    *,
    limit: int,
    status: str | None = None,
    task_id: UUID | None = None,
    before: tuple[datetime, UUID] | None = None,
) -> Sequence[WebhookDelivery]:
    """The account's messages, newest first, from just below `before` (created_at, id) on."""
    query = select(WebhookDelivery).where(WebhookDelivery.user_id == user_id)
    if status is not None:
        query = query.where(WebhookDelivery.status == status)
    if task_id is not None:
        query = query.where(WebhookDelivery.task_id == task_id)
    if before is not None:
        query = query.where(tuple_(WebhookDelivery.created_at, WebhookDelivery.id) < tuple_(*before))
    query = query.order_by(WebhookDelivery.created_at.desc(), WebhookDelivery.id.desc()).limit(limit)
    return session.scalars(query).all()


def begin_again(session: Session, delivery_id: UUID, user_id: UUID) -> bool:
    """Make an ended message due now, with all its tries. False: it has not ended, or is not the account's."""
    own = (WebhookDelivery.id == delivery_id) & (WebhookDelivery.user_id == user_id)
    again = (
        update(WebhookDelivery)
        .where(own, WebhookDelivery.ended_at.is_not(None))
        .values(status="pending", attempts=0, by_hand=True, next_at=func.now(), ended_at=None)
        .returning(WebhookDelivery.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalar(again) is not None


# ---- what is past its time


def forget_ended(session: Session, *, limit: int, keep: float) -> int:
    """Delete messages that ended more than `keep` seconds ago, with their tries. Returns how many."""
    ended = select(WebhookDelivery.id).where(WebhookDelivery.ended_at < func.now() - seconds(keep))
    chosen = ended.limit(limit).with_for_update(skip_locked=True)
    gone = delete(WebhookDelivery).where(WebhookDelivery.id.in_(chosen)).returning(WebhookDelivery.id)
    return len(session.scalars(gone.execution_options(synchronize_session=False)).all())


def forget_endpoints(session: Session, *, limit: int) -> int:
    """Forget how addresses fare that no message is left of. Returns how many."""
    used = exists().where(_same_address())
    key = tuple_(WebhookEndpoint.user_id, WebhookEndpoint.url)
    chosen = select(WebhookEndpoint.user_id, WebhookEndpoint.url).where(~used).limit(limit)
    gone = delete(WebhookEndpoint).where(key.in_(chosen.with_for_update(skip_locked=True)))
    forgotten = session.scalars(gone.returning(WebhookEndpoint.url).execution_options(synchronize_session=False)).all()
    return len(forgotten)


def forget_secrets(session: Session, *, limit: int) -> int:
    """Delete secrets that have come to their end. Returns how many."""
    chosen = select(WebhookSecret.id).where(WebhookSecret.expires_at < func.now())
    chosen = chosen.limit(limit).with_for_update(skip_locked=True)
    gone = delete(WebhookSecret).where(WebhookSecret.id.in_(chosen)).returning(WebhookSecret.id)
    return len(session.scalars(gone.execution_options(synchronize_session=False)).all())
