"""What administrators see of everybody's tasks, and do to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.db import overview, tasks
from app.db.base import Sessions
from app.db.models import Task
from app.services.bell import Bell
from app.services.status import make_cursor, read_cursor


@dataclass(frozen=True)
class Stats:
    """How many tasks there are of each status, how long the oldest due one has waited, in seconds."""

    tasks: dict[str, int]
    oldest_queued_s: float | None


@dataclass(frozen=True)
class Administration:
    """The use cases with the parts that they work on."""

    sessions: Sessions
    bell: Bell

    def failed(self, *, limit: int, error_code: str | None, cursor: str | None) -> tuple[Sequence[Task], str | None]:
        """Failed tasks of all accounts, the latest first, and the cursor of the next page (None on the last one)."""
        before: tuple[datetime, UUID] | None = None if cursor is None else read_cursor(cursor)
        with self.sessions.begin() as session:
            found = overview.list_failed(session, limit=limit + 1, error_code=error_code, before=before)
        page = found[:limit]
        last = page[-1] if len(found) > limit else None
        return page, None if last is None or last.finished_at is None else make_cursor(last.finished_at, last.id)

    def requeue(self, task_ids: Sequence[UUID]) -> Sequence[UUID]:
        """Begin failed or cancelled tasks anew. Returns those that could be: others are neither, or have lost their
        original."""
        begun: list[tuple[UUID, str]] = []
        for task_id in task_ids:  # one at a time: each holds its rows for a moment only
            with self.sessions.begin() as session:
                task = tasks.get(session, task_id)
                if task is not None and tasks.requeue(session, task_id):
                    begun.append((task_id, task.queue))
        for task_id, queue in begun:
            self.bell.ring(task_id, queue)
        return [task_id for task_id, _ in begun]

    def stats(self) -> Stats:
        with self.sessions.begin() as session:
            _, oldest = overview.queue_facts(session)
            return Stats(overview.count_by_status(session), None if oldest is None else round(oldest, 1))
