"""Turns at the cores: the children of this machine run the network one after the other, each with all the threads.

They also get ready one after the other: the first one is at work sooner then.

Two runs side by side with all the threads each take far more than twice as long; with half of the threads each, a
single picture takes twice as long although nobody else is there.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.imaging.engines.base import Engine

PATIENCE = 20.0  # seconds; whoever holds a turn for longer is stopped or hung, and must not stop the others
COURTESY = 2.0  # seconds that a batch's picture waits before each of its stages, while others go first
PAUSE = 0.005


class TakingTurns:
    """An `Engine` that runs another one when it is its turn.

    A turn is a lock on a file, which the kernel takes back from a process that dies.
    """

    def __init__(self, engine: Engine, folder: Path, runs: int) -> None:
        self._engine = engine
        self._folder = folder
        self._runs = runs
        self.name, self.precision = engine.name, engine.precision

    def infer(self, blob: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with turn(self._folder, "inference", self._runs):
            return self._engine.infer(blob)


class GoingFirst:
    """A `Precedence`: whoever goes first shares a lock on a file, and the others wait until nobody has it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".first.lock"

    @contextmanager
    def going_first(self) -> Iterator[None]:
        with ExitStack() as held:
            with suppress(OSError):  # a courtesy: nobody fails for want of it
                file = held.enter_context(self._path.open("a"))
                # Whoever gives way holds it alone for the blink of a look.
                self._wait_for(file.fileno(), fcntl.LOCK_SH, 10 * PAUSE)
            yield

    def give_way(self) -> None:
        with suppress(OSError), self._path.open("a") as file:
            self._wait_for(file.fileno(), fcntl.LOCK_EX, COURTESY)

    @staticmethod
    def _wait_for(file: int, kind: int, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not _lock(file, kind) and time.monotonic() < until:
            time.sleep(PAUSE)


@contextmanager
def turn(folder: Path, name: str, places: int = 1) -> Iterator[None]:
    """Entered when one of the places is free, or when patience is over."""
    folder.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + PATIENCE
    with ExitStack() as stack:
        handles = [stack.enter_context((folder / f".{name}-{number}.lock").open("a")) for number in range(places)]
        while not any(_lock(handle.fileno()) for handle in handles) and time.monotonic() < until:
            time.sleep(PAUSE)
        yield


def _lock(file: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
