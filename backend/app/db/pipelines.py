"""Jobs of other Celery clients, and the batches that they have become. Nothing here commits."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, contains_eager

from app.db.models import Batch, PipelineJob, Task, WebhookDelivery
from app.db.tasks import seconds


def task_ids(session: Session, batch_id: UUID) -> Sequence[UUID]:
    """The batch's tasks, in its order."""
    return session.scalars(select(Task.id).where(Task.batch_id == batch_id).order_by(Task.item)).all()


def batch(session: Session, batch_id: UUID) -> Batch:
    return session.scalars(select(Batch).where(Batch.id == batch_id)).one()


def tasks(session: Session, batch_id: UUID) -> Sequence[Task]:
    """All of the batch's with their originals, in its order; also those that their owner has deleted."""
    query = select(Task).join(Task.upload).options(contains_eager(Task.upload))
    return session.scalars(query.where(Task.batch_id == batch_id).order_by(Task.item)).all()


def has(session: Session, job_id: str) -> bool:
    return session.scalar(select(PipelineJob.id).where(PipelineJob.id == job_id)) is not None


def add(session: Session, job_id: str, batch_id: UUID, request: dict[str, Any], callback_url: str | None) -> None:
    """A job, unless it is there already: its message may come twice."""
    made = insert(PipelineJob).values(id=job_id, batch_id=batch_id, request=request, callback_url=callback_url)
    session.execute(made.on_conflict_do_nothing())


def ended(session: Session, *, limit: int) -> Sequence[PipelineJob]:
    """Jobs that are still to be answered and whose batches have ended, the oldest first."""
    query = select(PipelineJob).join(Batch, Batch.id == PipelineJob.batch_id)
    query = query.where(PipelineJob.answered_at.is_(None), Batch.finished_at.is_not(None))
    return session.scalars(query.order_by(PipelineJob.created_at).limit(limit)).all()


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
