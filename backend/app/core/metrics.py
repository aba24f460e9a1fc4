"""`logs/metrics.log`: one JSON line for each finished task, for whoever collects them."""

import fcntl
import json
import time
from pathlib import Path
from typing import Any

MAX_BYTES = 10 * 1_048_576
KEEP = 5


class MetricsLog:
    """An append-only file that several processes share; it is rotated by size (`metrics.log.1` is the newest old one).

    The standard library's rotating handler loses lines when two processes rotate at once, hence the lock.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES, keep: int = KEEP) -> None:
        self.path = folder / "metrics.log"
        self._lock = folder / ".metrics.lock"
        self._max_bytes = max_bytes
        self._keep = keep

    def write(self, fields: dict[str, Any]) -> None:
        """Append the fields and the time (`timestamp`, seconds since the epoch) as one line."""
        line = json.dumps({"timestamp": round(time.time(), 3), **fields}, default=str) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.path.exists() and self.path.stat().st_size + len(line) > self._max_bytes:
                self._rotate()
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)

    def _rotate(self) -> None:
        for number in range(self._keep - 1, 0, -1):
            older = self.path.with_suffix(f".log.{number}")
            if older.exists():
                older.replace(self.path.with_suffix(f".log.{number + 1}"))
        self.path.replace(self.path.with_suffix(".log.1"))
