"""When a child dies: the worker's main process gives its task back at once, not when the lease has run out.

Celery tells the main process in `Request.on_failure`, once for each death, with the process that had the task. One
thread does the writing, never Celery's own loop. It tries once: what cannot be written now, the lease looks after.
"""

import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from uuid import UUID

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery.exceptions import TimeLimitExceeded, WorkerLostError
from celery.worker.request import Request
from kombu.transport import virtual
from sqlalchemy.exc import SQLAlchemyError

from app.core.capacity import CGROUP
from app.core.logging import get_logger
from app.core.states import TaskStatus
from app.core.timing import Timing
from app.db import tasks
from app.db.base import Sessions
from app.services.counting import REAPS, TASKS_ENDED, Counts

RETIRED = 155  # what a child exits with that makes way for a fresh one: billiard's own code for it
KILLED = f"signal {signal.SIGKILL.value} "

log = get_logger(__name__)


@dataclass(frozen=True)
class Death:
    """`pid` no longer works on the task, since `seen` (of the monotonic clock)."""

    task_id: UUID
    pid: int
    code: str
    seen: float


class TakingBack:
    """The thread that gives dead children's tasks back."""

    def __init__(
        self, sessions: Sessions, timing: Timing, retry_delay: float, oom_kills: Callable[[], int] | None = None
    ) -> None:
        """`retry_delay`: base of the back-off where the task itself may be at fault. `oom_kills`: as below."""
        self._sessions = sessions
        self._timing = timing
        self._retry_delay = retry_delay
        self._deaths: SimpleQueue[Death] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="taking-back", daemon=True)
        self._count = oom_kills or count_oom_kills
        self._killed = self._count()
        self._counts = Counts()

    def start(self) -> None:
        self._thread.start()

    def report(self, task_id: UUID, pid: int, error: BaseException) -> None:
        """Hand over a failure that left a child, if it ended the child or its attempt."""
        if code := self._code(error):
            self._deaths.put(Death(task_id, pid, code, time.monotonic()))

    def _code(self, error: BaseException) -> str | None:
        if isinstance(error, TimeLimitExceeded):
            return "timeout"
        if isinstance(error, MemoryError):
            return "oom"
        if not isinstance(error, WorkerLostError | SystemExit):
            return None
        return "oom" if KILLED in str(error) and self._kernel_killed() else "worker_lost"

    def _kernel_killed(self) -> bool:
        """Whether the kernel has killed somebody of our control group for memory since the last time."""
        before, self._killed = self._killed, self._count()
        return self._killed > before

    def _run(self) -> None:
        while True:
            self._take_back(self._deaths.get())

    def _take_back(self, death: Death) -> None:
        worker = f"{socket.gethostname()}:{death.pid}"
        base = self._timing.lost_retry_base if death.code == "worker_lost" else self._retry_delay
        try:
            with self._sessions.begin() as session:
                status = tasks.take_back(
                    session,
                    death.task_id,
                    worker=worker,
                    before=time.monotonic() - death.seen,
                    code=death.code,
                    message=self._message(death.code),
                    delay=base,
                    timing=self._timing,
                )
        except SQLAlchemyError as error:
            log.warning("take_back_failed", task_id=str(death.task_id), error=type(error).__name__)
            return
        if status is None:
            return
        log.warning("task_taken_back", task_id=str(death.task_id), pid=death.pid, code=death.code, status=status)
        self._counts.add(REAPS, code=death.code)
        if status == TaskStatus.FAILED:
            self._counts.add(TASKS_ENDED, status=status, code=death.code)
        self._counts.flush(self._sessions)

    def _message(self, code: str) -> str:
        return {
            "timeout": f"The image was not finished within {self._timing.hard_limit} seconds.",
            "oom": "The worker ran out of memory.",
        }.get(code, "The worker stopped before the image was finished.")


def count_oom_kills(cgroup: Path = CGROUP, own: Path = Path("/proc/self/cgroup")) -> int:
    """How many processes of our control group the kernel has killed for memory; 0 where it does not say."""
    try:
        path = next(line[3:] for line in own.read_text().splitlines() if line.startswith("0::"))
        events = (cgroup / path.strip("/") / "memory.events").read_text()
        return next(int(line.split()[1]) for line in events.splitlines() if line.startswith("oom_kill "))
    except (OSError, StopIteration):
        return 0


taking_back: TakingBack | None = None  # the main process's


class ReportedRequest(Request):  # type: ignore[misc]  # Celery carries no types
    """A message in the main process's hands that reports the death of the child that has it."""

    def acknowledge(self) -> None:
        """Be done with the message, whether the broker hears of it or not.

        Celery only logs that it did not, and counts the message as being worked on for as long as the worker lives: a
        child would have nothing to do ever after. The broker hands it out once more, much later, and nobody takes it.
        """
        super().acknowledge()
        qos = getattr(self.message.channel, "qos", None)
        if isinstance(qos, virtual.QoS) and not self.message.acknowledged:
            virtual.QoS.ack(qos, self.message.delivery_tag)

    def on_failure(self, exc_info: ExceptionInfo, send_failed_event: bool = True, return_ok: bool = False) -> None:
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if isinstance(error, SystemExit) and error.code == RETIRED:
            self.on_success((False, None, 0.0))  # its attempt is over and written
            return
        if taking_back is not None and self.worker_pid is not None:
            with suppress(ValueError):  # a message that is none of ours
                taking_back.report(UUID(self.id), self.worker_pid, error)
        if isinstance(error, MemoryError):
            # Celery would raise it here, and end the main process.
            exc_info = self._worker_lost_info(error)
        super().on_failure(exc_info, send_failed_event, return_ok)
