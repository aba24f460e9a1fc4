"""How the whole fleet does, as the database knows it: what was counted, what waits, who lives."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product

from app.core.logging import get_logger
from app.core.states import WAITING, TaskStatus
from app.core.timing import Timing
from app.db import counters, heartbeats, overview
from app.db.base import Sessions
from app.db.counters import Key
from app.services.backlog import seconds_of_work

FRESH = 1.0  # seconds that one look is good for: the route is open to strangers
QUEUES = ("interactive", "bulk")  # the broker's; here, so that an empty one is shown, too
SHOWN = (*sorted(WAITING), TaskStatus.PROCESSING)

log = get_logger(__name__)


@dataclass(frozen=True)
class Facts:
    """What one look found. `sweeper_age`: None without a sweeper."""

    totals: Mapping[Key, float]
    depths: Mapping[tuple[str, str], int]  # by queue and status
    oldest_due: float
    backlog: float
    workers: int
    sweeper_age: float | None


@dataclass
class Fleet:
    """Looks at most once a second, however many ask, and never twice at the same time."""

    sessions: Sessions
    timing: Timing
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "fleet"))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _looked: float = float("-inf")
    _found: "Future[Facts | None] | None" = None

    def look(self) -> "Future[Facts | None]":
        """The facts as soon as they are there; None when the database cannot be read."""
        with self._lock:
            if self._found is None or (self._found.done() and time.monotonic() - self._looked > FRESH):
                self._looked = time.monotonic()
                self._found = self._pool.submit(self._read)
            return self._found

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self) -> Facts | None:
        try:
            with self.sessions.begin() as session:
                _, oldest = overview.queue_facts(session)
                return Facts(
                    totals=counters.totals(session),
                    depths=dict.fromkeys(product(QUEUES, SHOWN), 0) | overview.depths(session),
                    oldest_due=max(0.0, oldest or 0.0),
                    backlog=seconds_of_work(session, self.timing),
                    workers=heartbeats.online(session, "worker", timing=self.timing),
                    sweeper_age=heartbeats.age(session, "sweeper"),
                )
        except Exception as error:
            log.warning("fleet_not_seen", error=type(error).__name__)
            return None
