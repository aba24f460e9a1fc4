"""Every move of a task, as one guarded UPDATE (compare and set), and the ways to read tasks.

A claim hands out `attempt`, the fencing token: whatever an attempt writes carries it in the WHERE clause, so an
attempt that was taken for dead can write nothing more. Zero rows means "no longer yours", never an error. All times
are the database's. Nothing here commits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from sqlalchemy import CursorResult, Update, case, func, select, tuple_, update
from sqlalchemy.orm import Session, contains_eager

from app.core.states import PROGRESS, TERMINAL, TRANSITIONS, Stage, TaskStatus, UploadStatus
from app.core.timing import Timing
from app.db.models import Task, TaskEvent, Upload

REVIVABLE = sorted(status for status in TERMINAL if TaskStatus.QUEUED in TRANSITIONS[status])
MORE_ATTEMPTS = 10  # claims beyond its retries: those that end with the worker being told to stop


@dataclass(frozen=True)
class Claim:
    """One attempt's hold on one task."""

    task_id: UUID
    attempt: int


@dataclass(frozen=True)
class Result:
    """What a finished attempt leaves in the row."""

    key: str
    size_bytes: int
    width: int
    height: int
    confidence: float
    subject_box: Sequence[int] | None = None
    result_box: Sequence[int] | None = None


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def _hits(session: Session, statement: Update) -> bool:
    result = cast(CursorResult[Any], session.execute(statement.execution_options(synchronize_session=False)))
    return result.rowcount == 1


def _held(claim: Claim) -> Update:
    """An UPDATE that only the attempt that still holds the task can make."""
    return update(Task).where(
        Task.id == claim.task_id, Task.attempt == claim.attempt, Task.status == TaskStatus.PROCESSING
    )


# ---- the attempt's side


def claim(session: Session, task_id: UUID, *, worker: str, timing: Timing) -> Claim | None:
    """Begin an attempt. None: finished, not due, or somebody else's. One of many racing claims wins."""
    attempt = session.scalar(
        update(Task)
        .where(Task.id == task_id, Task.is_due(), Task.attempt < Task.max_attempts)
        .values(
            status=TaskStatus.PROCESSING,
            attempt=Task.attempt + 1,
            worker=worker,
            started_at=func.now(),
            lease_until=func.now() + seconds(timing.lease),
            stage=Stage.DOWNLOADING,
            progress=PROGRESS[Stage.DOWNLOADING],
            error_code=None,
            error_message=None,
        )
        .returning(Task.attempt)
        .execution_options(synchronize_session=False)
    )
    return None if attempt is None else Claim(task_id, attempt)


def beat(session: Session, held: Claim, *, timing: Timing) -> bool:
    """Prolong the lease. False: the task was taken away, cancelled, or has run past its bound."""
    in_time = func.now() < Task.started_at + seconds(timing.attempt_bound)
    return _hits(session, _held(held).where(in_time).values(lease_until=func.now() + seconds(timing.lease)))


def enter_stage(session: Session, held: Claim, stage: Stage) -> bool:
    """Show what the attempt does now; progress never goes back within an attempt."""
    progress = func.greatest(Task.progress, PROGRESS[stage])
    return _hits(session, _held(held).values(stage=stage, progress=progress))


def complete(session: Session, held: Claim, result: Result) -> bool:
    return _hits(
        session,
        _held(held).values(
            status=TaskStatus.COMPLETED,
            stage=None,
            progress=100,
            lease_until=None,
            finished_at=func.now(),
            result_key=result.key,
            result_bytes=result.size_bytes,
            result_width=result.width,
            result_height=result.height,
            confidence=result.confidence,
            subject_box=result.subject_box,
            result_box=result.result_box,
            processing_seconds=func.extract("epoch", func.now() - Task.started_at),
        ),
    )


def delivers(session: Session, task_id: UUID, key: str) -> bool:
    """Whether the task names this object as its result."""
    return session.scalar(select(Task.result_key).where(Task.id == task_id)) == key


def fail(session: Session, held: Claim, *, code: str, message: str) -> bool:
    """End the task for good: trying again cannot help."""
    return _hits(
        session,
        _held(held).values(
            status=TaskStatus.FAILED,
            stage=None,
            lease_until=None,
            finished_at=func.now(),
            error_code=code,
            error_message=message,
        ),
    )


def retry_later(
    session: Session, held: Claim, *, code: str, message: str, delay: float, timing: Timing
) -> TaskStatus | None:
    """Give the task back after a passing fault: `retrying`, or `failed` once the retries are used up.

    None: the task is no longer this attempt's. `delay` is the base of the back-off, in seconds.
    """
    status = session.scalar(
        _held(held)
        .values(_after_fault(delay, timing) | {"error_code": code, "error_message": message})
        .returning(Task.status)
        .execution_options(synchronize_session=False)
    )
    return None if status is None else TaskStatus(status)


def release(session: Session, held: Claim) -> bool:
    """Put an interrupted attempt's task back in the queue. It was not at fault: no retry is used up."""
    return _hits(session, _held(held).values(_queued_again()))


def put_off(session: Session, held: Claim, delay: float) -> bool:
    """Likewise, for a moment: what it needs is taken."""
    none = {"max_attempts": Task.max_attempts + 1}  # that is what this attempt was
    return _hits(session, _held(held).values(_queued_again(delay) | none))


def _queued_again(delay: float = 0) -> dict[str, Any]:
    return {
        "status": TaskStatus.QUEUED,
        "stage": None,
        "progress": 0,
        "lease_until": None,
        "run_at": func.now() + seconds(delay),
        "dispatched_at": None,
    }


def _after_fault(delay: float, timing: Timing) -> dict[str, Any]:
    """The columns of a faulted attempt: exponential back-off with +-50 % jitter, so that retries spread out."""
    exhausted = Task.retries >= Task.max_retries
    wait = func.least(delay * func.power(2, Task.retries), timing.retry_cap) * (0.5 + func.random())
    return {
        "status": case((exhausted, TaskStatus.FAILED), else_=TaskStatus.RETRYING),
        "retries": func.least(Task.retries + 1, Task.max_retries),
        "stage": None,
        "progress": 0,
        "lease_until": None,
        "run_at": func.now() + wait * seconds(1),
        "dispatched_at": None,
        "finished_at": case((exhausted, func.now())),
    }


# ---- the owner's side


def cancel(session: Session, task_id: UUID) -> bool:
    """End a task that is not over; an attempt that still works on it finds itself fenced."""
    return _hits(
        session,
        update(Task)
        .where(Task.id == task_id, Task.finished_at.is_(None))
        .values(status=TaskStatus.CANCELLED, stage=None, lease_until=None, finished_at=func.now()),
    )


def give_up(session: Session, task_id: UUID) -> bool:
    """End a task for good that waits for another attempt, for the reason for which it does."""
    waiting = update(Task).where(Task.id == task_id, Task.status == TaskStatus.RETRYING)
    return _hits(session, waiting.values(status=TaskStatus.FAILED, stage=None, finished_at=func.now()))


def requeue(session: Session, task_id: UUID) -> bool:
    """Begin a failed or cancelled task anew, with all its retries. False: it is neither, or its original is gone.

    The original's row is locked first: whoever lets go of originals asks again under that lock.
    """
    stored = Upload.status.in_([UploadStatus.STORED, UploadStatus.REMOTE]) & (Upload.id == Task.upload_id)
    original = select(Upload.id).join(Task, stored).where(Task.id == task_id).with_for_update(of=Upload)
    if session.scalar(original) is None:
        return False
    nothing = dict.fromkeys(("dispatched_at", "finished_at", "tidied_at", "error_code", "error_message"))
    return _hits(
        session,
        update(Task)
        .where(Task.id == task_id, Task.status.in_(REVIVABLE))
        .values(
            status=TaskStatus.QUEUED,
            progress=0,
            retries=0,
            max_attempts=Task.attempt + Task.max_retries + MORE_ATTEMPTS,
            queued_at=func.now(),
            run_at=func.now(),
            **nothing,
        ),
    )


def delete(session: Session, task_id: UUID) -> bool:
    """Take an ended task away from its owner, for good; whoever cleans up deletes its objects, then its row."""
    return _hits(
        session,
        update(Task)
        .where(Task.id == task_id, Task.finished_at.is_not(None), Task.deleted_at.is_(None))
        .values(status=TaskStatus.EXPIRED, result_key=None, deleted_at=func.now(), purged_at=None),
    )


# ---- the sweeper's side


def reap(session: Session, *, timing: Timing, limit: int = 100) -> Sequence[tuple[UUID, str]]:
    """Take back tasks whose lease has run out: their worker is gone. Returns (id, new status) of each."""
    lost = (
        select(Task.id)
        .where(Task.status == TaskStatus.PROCESSING, Task.lease_until < func.now())
        .order_by(Task.lease_until)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("lost")
    )
    rows = session.execute(
        update(Task)
        .where(Task.id == lost.c.id)
        .values(
            _after_fault(timing.lost_retry_base, timing)
            | {
                "error_code": "worker_lost",
                "error_message": "The worker stopped before the image was finished.",
            }
        )
        .returning(Task.id, Task.status)
        .execution_options(synchronize_session=False)
    )
    return [(row.id, row.status) for row in rows]


def fail_overdue(session: Session, *, timing: Timing, limit: int = 500) -> Sequence[tuple[UUID, str]]:
    """End tasks that can never be claimed again, or that waited too long. Returns (id, error code) of each."""
    exhausted = Task.attempt >= Task.max_attempts
    too_old = Task.queued_at < func.now() - seconds(timing.max_queue_age)
    overdue = (
        select(Task.id)
        .where(Task.is_waiting(), exhausted | too_old)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("overdue")
    )
    rows = session.execute(
        update(Task)
        .where(Task.id == overdue.c.id)
        .values(
            status=TaskStatus.FAILED,
            stage=None,
            finished_at=func.now(),
            error_code=case((exhausted, "max_attempts"), else_="queue_timeout"),
            error_message=case(
                (exhausted, "The task was started too many times."),
                else_="The task waited in the queue for too long.",
            ),
        )
        .returning(Task.id, Task.error_code)
        .execution_options(synchronize_session=False)
    )
    return [(row.id, row.error_code) for row in rows]


def take_back(
    session: Session,
    task_id: UUID,
    *,
    worker: str,
    before: float,
    code: str,
    message: str,
    delay: float,
    timing: Timing,
) -> TaskStatus | None:
    """Take back a task whose worker has been gone for `before` seconds. None: it did not hold it, or not by then."""
    status = session.scalar(
        update(Task)
        .where(Task.id == task_id, Task.worker == worker, Task.status == TaskStatus.PROCESSING)
        .where(Task.started_at <= func.now() - seconds(before))
        .values(_after_fault(delay, timing) | {"error_code": code, "error_message": message})
        .returning(Task.status)
        .execution_options(synchronize_session=False)
    )
    return None if status is None else TaskStatus(status)


# ---- reading


def get(session: Session, task_id: UUID) -> Task | None:
    """The task with its upload, for processes of our own."""
    return session.scalar(select(Task).join(Task.upload).options(contains_eager(Task.upload)).where(Task.id == task_id))


def get_owned(session: Session, task_id: UUID, user_id: UUID, *, lock: bool = False) -> Task | None:
    """The caller's own task with its upload, as it is now; another account's is None like one that is not there."""
    query = (
        select(Task)
        .join(Task.upload)
        .options(contains_eager(Task.upload))
        .where(Task.id == task_id, Task.user_id == user_id, Task.deleted_at.is_(None))
        .execution_options(populate_existing=True)
    )
    return session.scalar(query.with_for_update(of=Task) if lock else query)


def owned_among(session: Session, task_ids: Sequence[UUID], user_id: UUID) -> Sequence[Task]:
    """Those of these tasks that are the caller's own, with their uploads, in no order."""
    query = (
        select(Task)
        .join(Task.upload)
        .options(contains_eager(Task.upload))
        .where(Task.id.in_(task_ids), Task.user_id == user_id, Task.deleted_at.is_(None))
    )
    return session.scalars(query).all()


def list_owned(
    session: Session,
    user_id: UUID,
    *,
    limit: int,
    status: TaskStatus | None = None,
    batch_id: UUID | None = None,
    created_after: datetime | None = None,
    before: tuple[datetime, UUID] | None = None,
) -> Sequence[Task]:
    """The caller's tasks, newest first, from just below `before` (created_at, id) on."""
    query = select(Task).join(Task.upload).options(contains_eager(Task.upload))
    query = query.where(Task.user_id == user_id, Task.deleted_at.is_(None))
    if status is not None:
        query = query.where(Task.status == status)
    if batch_id is not None:
        query = query.where(Task.batch_id == batch_id)
    if created_after is not None:
        query = query.where(Task.created_at > created_after)
    if before is not None:
        query = query.where(tuple_(Task.created_at, Task.id) < tuple_(*before))
    query = query.order_by(Task.created_at.desc(), Task.id.desc()).limit(limit)
    return session.scalars(query).all()


def history(session: Session, task_id: UUID) -> Sequence[TaskEvent]:
    return session.scalars(select(TaskEvent).where(TaskEvent.task_id == task_id).order_by(TaskEvent.id)).all()
