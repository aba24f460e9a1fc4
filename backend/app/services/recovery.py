"""The sweeper's tick: takes back what a dead worker held, and rings for whatever nobody rang for.

Any number of sweepers may run: one at a time holds the advisory lock of a tick, and none is special.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select

from app.core.logging import get_logger
from app.core.timing import Timing
from app.db import heartbeats, tasks
from app.db.base import Sessions

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

    def tick(self) -> Tick:
        ready = self._ready()
        with self.sessions.begin() as session:
            if not session.scalar(select(func.pg_try_advisory_xact_lock(LOCK))):
                return Tick()
            lost = tasks.reap(session, timing=self.timing)
            overdue = tasks.fail_overdue(session, timing=self.timing)
            heartbeats.forget_stale(session, timing=self.timing)
            bells = list(tasks.stamp_undispatched(session, timing=self.timing)) if ready is not None else []
            for queue, messages in (ready or {}).items():
                bells += tasks.stamp_unanswered(
                    session, queue=queue, ready=messages + _count(bells, queue), timing=self.timing
                )
        for task_id, status in lost:
            log.warning("lease_expired", task_id=str(task_id), status=status)
        for task_id, code in overdue:
            log.warning("task_overdue", task_id=str(task_id), error_code=code)
        return Tick(len(lost), len(overdue), self._ring(bells))

    def _ready(self) -> Mapping[str, int] | None:
        try:
            return self.ready()
        except Exception as error:
            # Without a broker the leases are still looked after; the bells wait for it.
            log.warning("broker_unreachable", error=type(error).__name__)
            return None

    def _ring(self, bells: Sequence[tuple[UUID, str]]) -> int:
        """Ring after the commit, as everybody does; what cannot be rung is given back to the next tick."""
        for number, (task_id, queue) in enumerate(bells):
            try:
                self.publish(task_id, queue)
            except Exception as error:
                log.warning("bell_failed", error=type(error).__name__, left=len(bells) - number)
                with self.sessions.begin() as session:
                    tasks.unstamp(session, [task_id for task_id, _ in bells[number:]])
                return number
        return len(bells)


def _count(bells: Sequence[tuple[UUID, str]], queue: str) -> int:
    return sum(1 for _, name in bells if name == queue)
