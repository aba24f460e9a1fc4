"""A worker's pulse: a thread that shows that the process lives and prolongs the lease of what it holds.

It has its own database sessions and runs while native code computes (the engines release the GIL). A process that is
killed or stopped beats no more, its lease runs out, and the sweeper takes the task back.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from app.core.errors import AppError
from app.core.logging import get_logger
from app.core.timing import Timing
from app.db import heartbeats, tasks
from app.db.base import Sessions
from app.db.tasks import Claim

log = get_logger(__name__)


class Fenced(AppError):
    """The task is no longer this attempt's: cancelled, given to another, or past its bound."""

    code = "fenced"


class Grip:
    """What an attempt asks between its stages: do I still hold the task?"""

    def __init__(self, held: Claim) -> None:
        self.held = held
        self.lost = threading.Event()

    def lose(self) -> None:
        self.lost.set()

    def check(self) -> None:
        """Raise `Fenced` once a heartbeat has found the task taken away."""
        if self.lost.is_set():
            raise Fenced("The task was taken away from this attempt.")


class Pulse:
    """Beats every `timing.heartbeat` seconds from `start` to `stop`."""

    def __init__(self, sessions: Sessions, process: str, timing: Timing, engine: str | None = None) -> None:
        """`engine`: what the process runs the network with, for those who ask what works here."""
        self._sessions = sessions
        self._engine = engine
        self._process = process
        self._timing = timing
        self._grip: Grip | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """Stop, and take the sign of life away at once."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2)
        try:
            with self._sessions.begin() as session:
                heartbeats.remove(session, self._process)
        except SQLAlchemyError as error:
            log.warning("heartbeat_left_behind", error=type(error).__name__)

    @contextmanager
    def hold(self, held: Claim) -> Iterator[Grip]:
        """Prolong the lease of the claim for as long as the block runs."""
        self._grip = grip = Grip(held)
        try:
            yield grip
        finally:
            self._grip = None

    def _run(self) -> None:
        while not self._stopped.wait(self._timing.heartbeat):
            self._beat()

    def _beat(self) -> None:
        grip = self._grip
        try:
            with self._sessions.begin() as session:
                heartbeats.beat(session, self._process, "worker", engine=self._engine)
                if grip is not None and not tasks.beat(session, grip.held, timing=self._timing):
                    grip.lose()
        except SQLAlchemyError as error:
            # The lease outlives several beats; if the database stays away, it runs out and nothing is lost.
            log.warning("heartbeat_failed", error=type(error).__name__)
