"""Rows that tests start from."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, update

from app.core.config import Settings
from app.core.operations import REMOVE_BACKGROUND
from app.core.options import RemovalOptions
from app.core.states import UploadStatus
from app.core.timing import Timing
from app.db import tasks
from app.db.base import Sessions
from app.db.models import Batch, Task, Upload
from app.db.tasks import Claim, Result
from app.services.counting import Counts
from app.services.limiter import Limiter
from app.services.limits import Limits
from app.storage.base import original_key

TIMING = Timing.from_timeout(300)
RESULT = Result("processed/a/b/1.png", 1234, 80, 60, 0.9, [5, 6, 60, 40], [10, 10, 60, 40])


def make_batch(sessions: Sessions, user_id: UUID) -> UUID:
    batch_id = uuid4()
    with sessions.begin() as session:
        session.add(Batch(id=batch_id, user_id=user_id, total=1, refused=[]))
    return batch_id


def make_task(
    sessions: Sessions, user_id: UUID, *, age: float = 0, upload_id: UUID | None = None, **columns: Any
) -> UUID:
    """A queued task with its upload (or another's), `age` seconds old: past every grace, where that matters."""
    task_id, uses = uuid4(), upload_id or uuid4()
    then = func.now() - timedelta(seconds=age)
    upload = Upload(
        id=uses,
        user_id=user_id,
        status=UploadStatus.STORED,
        key=original_key(user_id, uses),
        filename="photo.jpg",
        format="JPEG",
        size_bytes=1000,
        width=100,
        height=80,
        sha256="0" * 64,
    )
    values: dict[str, Any] = dict.fromkeys(("run_at", "queued_at", "created_at", "updated_at"), then)
    values |= {"queue": "interactive", "max_retries": 3, "options": RemovalOptions().model_dump()} | columns
    task = Task(
        id=task_id,
        user_id=user_id,
        upload_id=uses,
        operation=REMOVE_BACKGROUND,
        **values,
    )
    with sessions.begin() as session:
        if upload_id is None:
            session.add(upload)
            session.flush()
        session.add(task)
    return task_id


def claim(sessions: Sessions, task_id: UUID, worker: str = "w:1", timing: Timing = TIMING) -> Claim | None:
    with sessions.begin() as session:
        return tasks.claim(session, task_id, worker=worker, timing=timing)


def row(sessions: Sessions, task_id: UUID) -> Task:
    with sessions.begin() as session:
        task = tasks.get(session, task_id)
    assert task is not None
    return task


def change(sessions: Sessions, task_id: UUID, **columns: Any) -> None:
    """Set columns by hand, such as a time into the past."""
    with sessions.begin() as session:
        session.execute(update(Task).where(Task.id == task_id).values(**columns))


def ago(seconds: float) -> Any:
    return func.now() - timedelta(seconds=seconds)


def make_limits(settings: Settings) -> Limits:
    """Those of the settings, with counts of their own."""
    counts = Counts()
    return Limits(settings, Limiter(settings.redis_url.get_secret_value(), counts), counts)


class Silence:
    """A bell that nobody hears; it remembers who was rung for."""

    def __init__(self) -> None:
        self.rung: list[UUID] = []

    def ring(self, task_id: UUID, queue: str) -> None:
        self.rung.append(task_id)

    def ring_next(self, user_id: UUID, queue: str) -> None:
        """There is no next one."""
