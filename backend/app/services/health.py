"""The dependency matrix: every part asked side by side, each answer in time, nothing secret in it."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as DeadlinePassed
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import text

from app.core.errors import StorageUnavailable
from app.core.logging import get_logger
from app.core.timing import Timing
from app.db import heartbeats, overview
from app.db.base import Sessions
from app.db.migrations import Schema, current_revision

Check = Literal["ok", "error", "timeout", "skipped"]
Status = Literal["healthy", "degraded", "unhealthy"]
Details = dict[str, Any]

DEADLINE = 1.5  # seconds for the whole matrix
FRESH = 2.0  # seconds that one matrix is good for: the route is open to strangers. What is amiss may end sooner.
NEEDED = ("database", "s3")  # without these nothing can be taken in

log = get_logger(__name__)


class NoneOnline(Exception):
    """No process of a kind has given a sign of life lately."""

    def __init__(self, details: Details) -> None:
        super().__init__()
        self.details = details


@dataclass(frozen=True)
class Matrix:
    status: Status
    checks: dict[str, Check]
    details: dict[str, Details]


@dataclass
class Health:
    """Asks every part. `ping_redis`, `check_store` and `check_broker` raise when theirs does not answer.

    There is no `check_broker` where the broker is the same Redis.
    """

    sessions: Sessions
    timing: Timing
    ping_redis: Callable[[], object]
    check_store: Callable[[], object]
    schema: Schema
    check_broker: Callable[[], object] | None = None
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16, "health"))
    # Its own: many who ask a database that does not answer must not keep the matrix from asking the others.
    _ready_pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "ready"))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _last: tuple[float, Matrix] | None = None  # good until then

    def matrix(self) -> Matrix:
        """The present state, at most `FRESH` seconds old, in at most `DEADLINE` seconds."""
        with self._lock:
            if self._last is None or time.monotonic() > self._last[0]:
                found = self._ask()
                self._last = time.monotonic() + (FRESH if found.status == "healthy" else FRESH / 4), found
            return self._last[1]

    def ready(self) -> bool:
        """Whether this API process can answer requests: the database is there and of this code's shape."""
        future = self._ready_pool.submit(self._migrated)
        try:
            return future.result(timeout=DEADLINE)
        except Exception:
            return False

    def close(self) -> None:
        for pool in (self._pool, self._ready_pool):
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self) -> Matrix:
        probes: dict[str, Callable[[], Details]] = {
            "database": self._database,
            "redis": self._redis,
            "s3": self._s3,
            "workers": self._workers,
            "sweeper": self._sweeper,
        }
        if (check_broker := self.check_broker) is not None:
            probes["broker"] = lambda: self._timed(check_broker)
        until = time.monotonic() + DEADLINE
        futures = {name: self._pool.submit(probe) for name, probe in probes.items()}
        answers = {name: _answer(name, future, until) for name, future in futures.items()}
        checks: dict[str, Check] = {"api": "ok"}
        checks |= {name: check for name, (check, _) in answers.items()}
        if checks["database"] != "ok":
            # Who lives is written in the database: without it there is nothing to say.
            checks["workers"] = checks["sweeper"] = "skipped"
        details = {name: found for name, (_, found) in answers.items() if found}
        return Matrix(_status(checks), checks, details)

    def _database(self) -> Details:
        return self._timed(lambda: self._run(text("SELECT 1")))

    def _redis(self) -> Details:
        return self._timed(self.ping_redis)

    def _s3(self) -> Details:
        return self._timed(self.check_store)

    def _timed(self, probe: Callable[[], object]) -> Details:
        begun = time.perf_counter()
        probe()
        return {"latency_ms": round((time.perf_counter() - begun) * 1000, 1)}

    def _run(self, statement: Any) -> None:
        with self.sessions.begin() as session:
            session.execute(statement)

    def _workers(self) -> Details:
        with self.sessions.begin() as session:
            online = heartbeats.online(session, "worker", timing=self.timing)
            engines = heartbeats.engines(session, timing=self.timing)
            queued, oldest = overview.queue_facts(session)
        details: Details = {
            "online": online,
            "engines": engines,
            "queued": queued,
            "oldest_queued_s": None if oldest is None else round(oldest, 1),
        }
        if not online:
            raise NoneOnline(details)
        return details

    def _sweeper(self) -> Details:
        with self.sessions.begin() as session:
            online = heartbeats.online(session, "sweeper", timing=self.timing)
            age = heartbeats.age(session, "sweeper")
        details: Details = {"last_tick_s": None if age is None else round(age, 1)}
        if not online:
            raise NoneOnline(details)
        return details

    def _migrated(self) -> bool:
        with self.sessions.begin() as session:
            return self.schema.fits(current_revision(session))


def _answer(name: str, future: Future[Details], until: float) -> tuple[Check, Details]:
    try:
        return "ok", future.result(timeout=max(0.0, until - time.monotonic()))
    except DeadlinePassed:
        return "timeout", {}
    except NoneOnline as none:
        return "error", none.details
    except Exception as error:
        reason = error.reason if isinstance(error, StorageUnavailable) else None
        log.warning("health_check_failed", check=name, error=type(error).__name__, reason=reason)
        return "error", {"reason": reason} if reason else {}


def _status(checks: dict[str, Check]) -> Status:
    if any(checks[name] != "ok" for name in NEEDED):
        return "unhealthy"
    return "healthy" if all(check == "ok" for check in checks.values()) else "degraded"
