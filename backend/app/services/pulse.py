"""A worker's pulse: a thread that shows that the process lives, and where it is, and prolongs the lease it holds.

It has its own database sessions and runs while native code computes (the engines release the GIL). A process that is
killed or stopped beats no more, its lease runs out, and the sweeper takes the task back.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from app.core.errors import AppError
from app.core.logging import get_logger
from app.core.states import Stage
from app.core.timing import Timing
from app.db import heartbeats, tasks
from app.db.base import Sessions
from app.db.tasks import Claim

GLIMPSE = 0.03  # seconds: nobody sees a stage that is over sooner

log = get_logger(__name__)


class Fenced(AppError):
    """The task is no longer this attempt's: cancelled, given to another, or past its bound."""

    code = "fenced"


class Grip:
    """What an attempt says between its stages, and asks: do I still hold the task?"""

    def __init__(self, held: Claim, wake: Callable[[], None]) -> None:
        self.held = held
        self._wake = wake
        self.lost = threading.Event()
        self._stage: Stage | None = None

    def lose(self) -> None:
        self.lost.set()

    def check(self) -> None:
        """Raise `Fenced` once the task has been found to be taken away."""
        if self.lost.is_set():
            raise Fenced("The task was taken away from this attempt.")

    def enter(self, stage: Stage) -> None:
        """Have it shown that the attempt is here now. Never waits for the database."""
        self.check()
        self._stage = stage
        self._wake()

    def entered(self) -> Stage | None:
        """The stage that is to be shown, once."""
        stage, self._stage = self._stage, None
        return stage


class Pulse:
    """Beats every `timing.heartbeat` seconds from `start` to `stop`."""

    def __init__(
        self, sessions: Sessions, process: str, timing: Timing, engine: Callable[[], str | None] = lambda: None
    ) -> None:
        """`engine`: what the process runs the network with, for those who ask what works here."""
        self._sessions = sessions
        self._engine = engine
        self._process = process
        self._timing = timing
        self._grip: Grip | None = None
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """Stop, and take the sign of life away at once."""
        self._stopped.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2)
        try:
            with self._sessions.begin() as session:
                heartbeats.remove(session, self._process)
        except SQLAlchemyError as error:
            log.warning("heartbeat_left_behind", error=type(error).__name__)

    @contextmanager
    def hold(self, held: Claim) -> Iterator[Grip]:
        """Prolong the lease of the claim, and show its stages, for as long as the block runs."""
        self._grip = grip = Grip(held, self._woken.set)
        try:
            yield grip
        finally:
            self._grip = None

    def _run(self) -> None:
        due = time.monotonic() + self._timing.heartbeat
        while not self._stopped.is_set():
            self._woken.wait(max(0.0, due - time.monotonic()))
            self._woken.clear()
            self._stopped.wait(GLIMPSE)
            self._show()
            if time.monotonic() >= due:
                self._beat()
                due = time.monotonic() + self._timing.heartbeat

    def _show(self) -> None:
        grip = self._grip
        stage = None if grip is None else grip.entered()
        if grip is None or stage is None:
            return
        try:
            with self._sessions.begin() as session:
                if not tasks.enter_stage(session, grip.held, stage):
                    grip.lose()
        except SQLAlchemyError as error:
            # It is only shown; whether the task is still held is asked again at the end.
            log.warning("stage_not_shown", stage=stage, error=type(error).__name__)

    def _beat(self) -> None:
        grip = self._grip
        try:
            with self._sessions.begin() as session:
                heartbeats.beat(session, self._process, "worker", engine=self._engine())
                if grip is not None and not tasks.beat(session, grip.held, timing=self._timing):
                    grip.lose()
        except SQLAlchemyError as error:
            # The lease outlives several beats; if the database stays away, it runs out and nothing is lost.
            log.warning("heartbeat_failed", error=type(error).__name__)
