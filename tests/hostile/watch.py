"""Watches the child that looks at hostile pictures: one that it dies of, or that takes too long, costs only itself."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Generator
from typing import Any

from app.core.config import PROJECT_ROOT
from app.tasks.worker import KEEP_BUFFERS, SINGLE_THREADED
from tests.hostile.judge import Verdict

PATIENCE = 20.0  # seconds for one picture, from the door to the result
MAKING = 120.0  # seconds to start, or to make a picture


def watched(source: str, argument: object = "", *, patience: float = PATIENCE) -> Generator[tuple[int, Verdict]]:
    """The verdict on each picture of a source (`child.pictures`), in order.

    After a death or a hang another child goes on behind it.
    """
    first: int | None = 0
    while first is not None:
        first = yield from _one_child(source, str(argument), first, patience)


def _one_child(
    source: str, argument: str, first: int, patience: float
) -> Generator[tuple[int, Verdict], None, int | None]:
    """Verdicts until the child ends; where the next one has to go on, None if all are judged."""
    environment = os.environ | dict.fromkeys(SINGLE_THREADED, "1") | KEEP_BUFFERS
    environment["PYTHONPATH"] = f"{PROJECT_ROOT / 'backend'}:{PROJECT_ROOT}"
    command = [sys.executable, "-P", "-m", "tests.hostile.child", source, argument, str(first)]
    with subprocess.Popen(command, env=environment, cwd=PROJECT_ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        lines = _Lines(child.stdout.fileno())
        taken: int | None = None
        after = first
        try:
            while (said := lines.read(MAKING if taken is None else patience)) is not None:
                at = int(said.pop("at"))
                taken = None if said else at
                if said:
                    after = at + 1
                    yield at, Verdict(**said)
        except TimeoutError:
            if taken is None:
                raise
            yield taken, Verdict(f"hang: more than {patience:.0f} s")
            return taken + 1
        finally:
            child.kill()
        ended = child.wait()
    if taken is not None:
        yield taken, Verdict(f"death: ended with {ended}")
        return taken + 1
    if ended and first == after:
        raise RuntimeError(f"The child ended with {ended} before it looked at anything.")
    return after if ended else None


class _Lines:
    def __init__(self, fd: int) -> None:
        self._fd, self._read = fd, b""

    def read(self, patience: float) -> dict[str, Any] | None:
        """The next line; None at the end, `TimeoutError` when none comes."""
        until = time.monotonic() + patience
        while b"\n" not in self._read:
            ready, _, _ = select.select([self._fd], [], [], max(until - time.monotonic(), 0))
            if not ready:
                raise TimeoutError
            more = os.read(self._fd, 1 << 16)
            if not more:
                return None
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return dict(json.loads(line))
