"""`quickbg logs`: what the processes have written."""

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

_POLL = 0.3


class LogFile:
    """One log. It may not be there yet, and may be rotated while it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None
        self._begun = ""  # a line whose end is not written yet

    def last(self, lines: int) -> Sequence[str]:
        """The last lines; what comes after them is `new`."""
        self._reopen()
        return deque(self._lines(), lines)

    def new(self) -> Iterator[str]:
        """The lines written since the last look."""
        yield from self._lines()
        if self._is_another():
            self._reopen()
            yield from self._lines()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _lines(self) -> Iterator[str]:
        for line in self._file or ():
            self._begun += line
            if line.endswith("\n"):
                yield self._begun.rstrip("\n")
                self._begun = ""

    def _is_another(self) -> bool:
        """Whether the name leads to another file by now: it was rotated away, or has appeared."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        return self._file is None or not os.path.samestat(found, os.fstat(self._file.fileno()))

    def _reopen(self) -> None:
        self.close()
        with suppress(FileNotFoundError):
            self._file = self._path.open(encoding="utf-8", errors="replace")


def read(folder: Path, names: Sequence[str], *, lines: int, follow: bool) -> Iterator[str]:
    """The last lines of each log and, if wanted, what comes after them, for ever. Several are told apart by name."""
    logs = {name: LogFile(folder / f"{name}.log") for name in names}
    prefixes = {name: f"{name:>9} | " if len(names) > 1 else "" for name in names}
    try:
        for name, log in logs.items():
            yield from (prefixes[name] + line for line in log.last(lines))
        while follow:
            for name, log in logs.items():
                yield from (prefixes[name] + line for line in log.new())
            time.sleep(_POLL)
    finally:
        for log in logs.values():
            log.close()
