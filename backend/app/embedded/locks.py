"""One process of each service per data folder, told by locks that the kernel frees.

A service's lock is inherited over exec and by the service's own children, and is free when the last of them has ended.
So two never work on the same data, and there is no file with a process id that could be stale.
"""

import fcntl
import os
from pathlib import Path

from app.embedded.layout import Layout


def hold(layout: Layout, name: str) -> None:
    """Wait until no earlier process of this service lives, then claim its place, for ever."""
    descriptor = os.open(_path(layout, name), os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(descriptor, True)
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def is_held(layout: Layout, name: str) -> bool:
    """Whether a process of this service lives, from whichever run."""
    path = _path(layout, name)
    if not path.exists():
        return False
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _path(layout: Layout, name: str) -> Path:
    return layout.run / f"{name}.lock"
