"""How long the queue is, in seconds of work: beyond a bound nobody is promised anything."""

import threading
import time
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.errors import ServiceUnavailable
from app.core.timing import Timing
from app.db import heartbeats, overview, usage
from app.db.base import Sessions
from app.services.orders import Priority

FRESH = 1.0  # seconds that one look is good for
UNKNOWN = 1.0  # seconds for a picture, before any was finished
ROUNDING = 60


class BacklogFull(ServiceUnavailable):
    """More waits than can be done in the time that people are asked to wait."""

    code = "backlog_full"


@dataclass
class Backlog:
    """Looks at the queues at most once a second, however many ask, and never makes one wait for another's look."""

    sessions: Sessions
    timing: Timing
    limit: float  # seconds of work
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _looked: float = float("-inf")
    _found: dict[str, float] = field(default_factory=dict)

    def look(self, priority: Priority = Priority.INTERACTIVE) -> BacklogFull | None:
        """What a new task is to be told, if more than the limit is before it."""
        if self._lock.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._lock.release()
        # What is worked on last has to wait for everything.
        before = [priority] if priority == Priority.INTERACTIVE else list(Priority)
        waits = sum(self._found.get(each, 0.0) for each in before)
        return _judged(waits, self.limit, "The queue is full: its end is")

    def look_at(self, session: Session, user_id: UUID) -> BacklogFull | None:
        """Likewise for an account's batch: what it has may be half of what waits, so that others have room."""
        own = usage.waiting_in_batches(session, user_id) * seconds_of_one(session, self.timing)
        return _judged(own, self.limit / 2, "This account's batches fill the queue: their end is")

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked > FRESH:
            self._looked = now  # a look that fails is not repeated by everybody at once
            with self.sessions.begin() as session:
                each = seconds_of_one(session, self.timing)
                self._found = {queue: number * each for queue, number in overview.waiting(session).items()}


def _judged(waits: float, limit: float, begin: str) -> BacklogFull | None:
    if waits <= limit:
        return None
    return BacklogFull(
        f"{begin} {round(waits / 60)} minutes of work away. Please try again later.",
        retry_after=min(ROUNDING * 10, max(ROUNDING, round(waits - limit))),
    )


def seconds_of_work(session: Session, timing: Timing) -> float:
    """What waits, in seconds of all warm workers together."""
    return sum(overview.waiting(session).values()) * seconds_of_one(session, timing)


def seconds_of_one(session: Session, timing: Timing) -> float:
    """What a picture takes, in seconds of all warm workers together."""
    children = heartbeats.online(session, "worker", timing=timing)
    return (overview.recent_seconds(session) or UNKNOWN) / max(1, children)
