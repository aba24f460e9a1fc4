"""The sweeper's tick: takes back what a dead worker held, and rings for whatever nobody rang for.

Any number of sweepers may run: one at a time holds the advisory lock of a tick, and none is special.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import func, select

from app.core.failpoints import failpoint
from app.core.logging import get_logger
from app.core.states import TaskStatus
from app.core.timing import Timing
from app.db import batches, dispatch, heartbeats, tasks
from app.db.base import Sessions
from app.services.counting import REAPS, RINGS, TASKS_ENDED, Counts

LOCK = 0x5EE9

log = get_logger(__name__)


@dataclass(frozen=True)
class Tick:
    """What one tick did: nothing, while another sweeper had the lock."""

    lost: int = 0
    overdue: int = 0
    rung: int = 0


@dataclass(frozen=True)
class Recovery:
    """The use case with the parts that it works on.

    `ready` gives the number of messages that wait in each queue of the broker, `publish` sends one; both raise when
    the broker does not answer.
    """

    sessions: Sessions
    timing: Timing
    ready: Callable[[], Mapping[str, int]]
    publish: Callable[[UUID, str], None]
    counts: Counts = field(default_factory=Counts)

    def tick(self) -> Tick:
        ready = self._ready()
        with self.sessions.begin() as session:
            if not session.scalar(select(func.pg_try_advisory_xact_lock(LOCK))):
                return Tick()
            lost = tasks.reap(session, timing=self.timing)
            overdue = tasks.fail_overdue(session, timing=self.timing)
            batches.finish_ended(session)
            heartbeats.forget_stale(session, timing=self.timing)
            bells = list(dispatch.stamp_undispatched(session, timing=self.timing)) if ready is not None else []
            first = len(bells)
            for queue, messages in (ready or {}).items():
                bells += dispatch.stamp_unanswered(
                    session, queue=queue, ready=messages + _count(bells, queue), timing=self.timing
                )
        failpoint("sweep_committed")
        for task_id, status in lost:
            log.warning("lease_expired", task_id=str(task_id), status=status)
            self._count_reaped("worker_lost", over=status == TaskStatus.FAILED)
        for task_id, code in overdue:
            log.warning("task_overdue", task_id=str(task_id), error_code=code)
            self._count_reaped(code, over=True)
        rung = self._ring(bells)
        self.counts.add(RINGS, min(rung, first), by="sweeper", kind="first")
        self.counts.add(RINGS, max(0, rung - first), by="sweeper", kind="again")
        return Tick(len(lost), len(overdue), rung)

    def _count_reaped(self, code: str, *, over: bool) -> None:
        self.counts.add(REAPS, code=code)
        if over:
            self.counts.add(TASKS_ENDED, status=TaskStatus.FAILED, code=code)

    def _ready(self) -> Mapping[str, int] | None:
        try:
            return self.ready()
        except Exception as error:
            # Without a broker the leases are still looked after; the bells wait for it.
            log.warning("broker_unreachable", error=type(error).__name__)
            return None

    def _ring(self, bells: Sequence[tuple[UUID, str]]) -> int:
        """Ring after the commit, as everybody does; what cannot be rung in time is given back to the next tick."""
        until = time.monotonic() + self.timing.sweep_interval
        for number, (task_id, queue) in enumerate(bells):
            try:
                if time.monotonic() > until:
                    raise TimeoutError  # leases run out meanwhile
                self.publish(task_id, queue)
            except Exception as error:
                log.warning("bell_failed", error=type(error).__name__, left=len(bells) - number)
                with self.sessions.begin() as session:
                    dispatch.unstamp(session, [task_id for task_id, _ in bells[number:]])
                return number
        return len(bells)


def _count(bells: Sequence[tuple[UUID, str]], queue: str) -> int:
    return sum(1 for _, name in bells if name == queue)
