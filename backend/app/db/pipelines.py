"""Jobs of other Celery clients, and the batches that they have become. Nothing here commits."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.models import Batch, PipelineJob, WebhookDelivery
from app.db.tasks import seconds


def batch(session: Session, batch_id: UUID) -> Batch:
    return session.scalars(select(Batch).where(Batch.id == batch_id)).one()


def has(session: Session, job_id: str) -> bool:
    return session.scalar(select(PipelineJob.id).where(PipelineJob.id == job_id)) is not None


def add(session: Session, job_id: str, batch_id: UUID, request: dict[str, Any], callback_url: str | None) -> None:
    """A job, unless it is there already: its message may come twice."""
    made = insert(PipelineJob).values(id=job_id, batch_id=batch_id, request=request, callback_url=callback_url)
    session.execute(made.on_conflict_do_nothing())


def ended(session: Session, *, limit: int) -> Sequence[PipelineJob]:
    """Jobs that are still to be answered and whose batches have ended: with a callback first, then the oldest."""
    query = select(PipelineJob).join(Batch, Batch.id == PipelineJob.batch_id)
    query = query.where(PipelineJob.answered_at.is_(None), Batch.finished_at.is_not(None))
    order = PipelineJob.callback_url.is_(None), PipelineJob.created_at
    return session.scalars(query.order_by(*order).limit(limit)).all()


def forget_callback(session: Session, job_id: str) -> None:
    """Its message is written."""
    own = update(PipelineJob).where(PipelineJob.id == job_id)
    session.execute(own.values(callback_url=None).execution_options(synchronize_session=False))


def answer(session: Session, job_id: str) -> bool:
    """Mark a job as answered, and forget its images' addresses. False: somebody else has answered it."""
    own = (PipelineJob.id == job_id) & PipelineJob.answered_at.is_(None)
    done = update(PipelineJob).where(own).values(answered_at=func.now(), request={}).returning(PipelineJob.id)
    return session.scalar(done.execution_options(synchronize_session=False)) is not None


def tell(
    session: Session,
    delivery_id: UUID,
    user_id: UUID,
    url: str,
    kind: str,
    payload: dict[str, Any],
    batch_id: UUID | None = None,
) -> None:
    """A message to be delivered, unless it is there already."""
    made = insert(WebhookDelivery).values(
        id=delivery_id, user_id=user_id, batch_id=batch_id, url=url, type=kind, payload=payload
    )
    session.execute(made.on_conflict_do_nothing())


def forget_answered(session: Session, *, limit: int, keep: float) -> int:
    """Delete jobs that were answered more than `keep` seconds ago. Returns how many."""
    old = select(PipelineJob.id).where(PipelineJob.answered_at < func.now() - seconds(keep))
    chosen = old.limit(limit).with_for_update(skip_locked=True)
    gone = delete(PipelineJob).where(PipelineJob.id.in_(chosen)).returning(PipelineJob.id)
    return len(session.scalars(gone.execution_options(synchronize_session=False)).all())
