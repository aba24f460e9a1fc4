"""How long the queue is, in seconds of work: beyond a bound nobody is promised anything."""

import threading
import time
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from app.core.errors import ServiceUnavailable
from app.core.timing import Timing
from app.db import heartbeats, overview

FRESH = 1.0  # seconds that one look is good for
UNKNOWN = 1.0  # seconds for a picture, before any was finished
ROUNDING = 60


class BacklogFull(ServiceUnavailable):
    """More waits than can be done in the time that people are asked to wait."""

    code = "backlog_full"


@dataclass
class Backlog:
    """Looks at the queue at most once a second, however many ask."""

    timing: Timing
    limit: float  # seconds of work
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _last: tuple[float, float] = (float("-inf"), 0.0)

    def check(self, session: Session) -> None:
        """Raise `BacklogFull` when the queue is longer than the limit."""
        waits = self.seconds(session)
        if waits > self.limit:
            minutes = round(waits / 60)
            raise BacklogFull(
                f"The queue is full: its end is {minutes} minutes of work away. Please try again later.",
                retry_after=min(ROUNDING * 10, max(ROUNDING, round(waits - self.limit))),
            )

    def seconds(self, session: Session) -> float:
        """The work that waits, in seconds of all warm workers together."""
        with self._lock:
            at, found = self._last
            if time.monotonic() - at > FRESH:
                children = heartbeats.online(session, "worker", timing=self.timing)
                waiting, _ = overview.queue_facts(session)
                found = waiting * (overview.recent_seconds(session) or UNKNOWN) / max(1, children)
                self._last = time.monotonic(), found
            return found
