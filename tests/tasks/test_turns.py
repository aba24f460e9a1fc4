"""Turns at the cores."""

import fcntl
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from app.tasks import turns
from app.tasks.turns import TakingTurns

BLOB = np.zeros((1, 3, 4, 4), np.float32)


class CountingEngine:
    """Counts how many run at the same time; each run lasts until another one has tried to join it, or a moment."""

    name = "counting"
    precision = "fp32"

    def __init__(self) -> None:
        self.running = self.most = self.runs = 0
        self._lock = threading.Lock()
        self.joined = threading.Event()

    def infer(self, blob: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with self._lock:
            self.running += 1
            self.runs += 1
            self.most = max(self.most, self.running)
            if self.running > 1:
                self.joined.set()
        self.joined.wait(0.05)
        with self._lock:
            self.running -= 1
        return np.asarray(blob[0, 0], np.float32)


@pytest.mark.parametrize(("runs", "most"), [(1, 1), (2, 2)])
def test_no_more_run_at_a_time_than_there_are_turns(tmp_path: Path, runs: int, most: int) -> None:
    counting = CountingEngine()
    engine = TakingTurns(counting, tmp_path / "made", runs)
    threads = [threading.Thread(target=engine.infer, args=(BLOB,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (counting.most, counting.runs) == (most, 6)


def test_one_that_holds_its_turn_for_ever_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.05)
    counting = CountingEngine()
    engine = TakingTurns(counting, tmp_path, 1)
    with (tmp_path / ".inference-0.lock").open("a") as hung:
        fcntl.flock(hung, fcntl.LOCK_EX)
        assert engine.infer(BLOB).shape == (4, 4)
    assert counting.runs == 1
