"""Tasks that fetch something from a URL: how many do, and whose turn it is. Nothing here commits."""

from uuid import UUID

from sqlalchemy import exists, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from app.core.states import Stage, TaskStatus, UploadStatus
from app.db.models import Task, Upload
from app.db.tasks import seconds

# Its original, or its background.
FETCHES = or_(
    exists().where(Upload.id == Task.upload_id, Upload.status == UploadStatus.REMOTE),
    Task.options["background"].astext.like("http%"),
)


def before(session: Session, task: Task) -> tuple[int, int]:
    """How many tasks fetch for its account, and for all others, that were begun before it: so that of two which come
    at the same moment one goes first, and not none."""
    own = func.count().filter(Task.user_id == task.user_id)
    query = (
        select(own, func.count())
        .select_from(Task)
        .where(Task.status == TaskStatus.PROCESSING, Task.stage == Stage.DOWNLOADING, FETCHES)
        .where(tuple_(Task.started_at, Task.id) < tuple_(task.started_at, task.id))
    )
    mine, every = session.execute(query).one()
    return mine, every - mine


def put_off(session: Session, user_id: UUID, queue: str, delay: float) -> None:
    """The account's waiting tasks that fetch would find no place either: they wait until they are called."""
    mine = (Task.user_id == user_id) & (Task.queue == queue)
    # In the order in which a batch that is cancelled locks them.
    waiting = select(Task.id).where(mine, Task.is_due(), FETCHES).order_by(Task.run_at, Task.id).with_for_update()
    session.execute(
        update(Task)
        .where(Task.id.in_(waiting))
        .values(run_at=func.now() + seconds(delay), dispatched_at=None)
        .execution_options(synchronize_session=False)
    )


def call_next(session: Session, user_id: UUID) -> tuple[UUID, str] | None:
    """The task that was put off and has waited for longest is due now: rather a single one than one of a batch, and one
    of another account's than one of this, which has just had its turn. Which, and its queue."""
    waiting = (
        select(Task.id)
        .where(Task.status == TaskStatus.QUEUED, Task.run_at > func.now())
        .order_by(Task.queue.desc(), Task.user_id == user_id, Task.queued_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    called = (
        update(Task)
        .where(Task.id == waiting.scalar_subquery())
        .values(run_at=func.now())
        .returning(Task.id, Task.queue)
        .execution_options(synchronize_session=False)
    )
    row = session.execute(called).one_or_none()
    return None if row is None else (row[0], row[1])
