"""How long the queue is, in seconds of work: beyond a bound nobody is promised anything."""

import threading
import time
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from app.core.errors import ServiceUnavailable
from app.core.timing import Timing
from app.db import heartbeats, overview
from app.db.base import Sessions

FRESH = 1.0  # seconds that one look is good for
UNKNOWN = 1.0  # seconds for a picture, before any was finished
ROUNDING = 60


class BacklogFull(ServiceUnavailable):
    """More waits than can be done in the time that people are asked to wait."""

    code = "backlog_full"


@dataclass
class Backlog:
    """Looks at the queue at most once a second, however many ask, and never makes one wait for another's look."""

    sessions: Sessions
    timing: Timing
    limit: float  # seconds of work
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _looked: float = float("-inf")
    _found: float = 0.0

    def look(self) -> BacklogFull | None:
        """What a new upload is to be told, if the queue is longer than the limit."""
        if self._lock.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._lock.release()
        waits = self._found
        if waits <= self.limit:
            return None
        return BacklogFull(
            f"The queue is full: its end is {round(waits / 60)} minutes of work away. Please try again later.",
            retry_after=min(ROUNDING * 10, max(ROUNDING, round(waits - self.limit))),
        )

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked > FRESH:
            self._looked = now  # a look that fails is not repeated by everybody at once
            with self.sessions.begin() as session:
                self._found = seconds_of_work(session, self.timing)


def seconds_of_work(session: Session, timing: Timing) -> float:
    """What waits, in seconds of all warm workers together."""
    children = heartbeats.online(session, "worker", timing=timing)
    waiting, _ = overview.queue_facts(session)
    return waiting * (overview.recent_seconds(session) or UNKNOWN) / max(1, children)
