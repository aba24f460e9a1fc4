"""A watch over the consumer: a worker that has gone deaf ends, so that its supervisor starts it anew.

Deaf is who, at every look for a minute, had room, received nothing, and yet messages lay in the broker and tasks were
overdue. A broker or a database that does not answer is not the worker's fault, and ends the count.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from app.core.logging import get_logger
from app.core.timing import Timing

EX_SOFTWARE = 70  # sysexits.h
LOOKS = 6  # in a row. Looks, not seconds: a process that was stopped for a while has not been deaf

log = get_logger(__name__)


@dataclass
class Watchdog:
    """What it asks: how many messages came so far, whether a child is free, how many messages wait in the broker, and
    for how many seconds the oldest due task has waited. The last two may raise."""

    timing: Timing
    received: Callable[[], int]
    has_room: Callable[[], bool]
    ready: Callable[[], int]
    oldest_due: Callable[[], float | None]
    _before: int = 0
    _deaf: int = 0
    _stopped: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def look(self) -> bool:
        """Whether the worker is deaf."""
        before, self._before = self._before, self.received()
        self._deaf = self._deaf + 1 if self._before == before and self._is_missed() else 0
        return self._deaf >= LOOKS

    def _is_missed(self) -> bool:
        try:
            overdue = LOOKS * self.timing.redispatch_after
            return self.has_room() and self.ready() > 0 and (self.oldest_due() or 0) > overdue
        except Exception as error:
            log.warning("watchdog_saw_nothing", error=type(error).__name__)
            return False

    def _run(self) -> None:
        while not self._stopped.wait(self.timing.redispatch_after):
            if self.look() and not self._stopped.is_set():
                log.error("worker_deaf", seconds=LOOKS * self.timing.redispatch_after)
                # Nothing gentler would be heard. The kernel ends the children; what they hold comes back by its lease.
                os._exit(EX_SOFTWARE)
