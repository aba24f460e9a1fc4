"""One process of each name per data folder, told by locks that the kernel frees.

A lock is inherited over exec and by the process's own children, and is free when the last of them has ended. So two
never work on the same data, and there is no file with a process id that could be stale.
"""

import fcntl
import os
from pathlib import Path

from app.embedded.layout import Layout


def hold(layout: Layout, name: str) -> None:
    """Wait until no earlier process of this name lives, then claim its place, for ever."""
    descriptor = os.open(_path(layout, name), os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(descriptor, True)
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def is_held(layout: Layout, name: str) -> bool:
    """Whether a process of this name lives, from whichever run."""
    path = _path(layout, name)
    if not path.exists():
        return False
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def holders(layout: Layout, name: str) -> list[int]:
    """The processes that hold the lock, as far as this system tells (Linux) and we may know."""
    path = str(_path(layout, name).resolve())
    return [int(process.name) for process in Path("/proc").glob("[0-9]*") if path in _open_files(process)]


def _open_files(process: Path) -> set[str]:
    try:
        return {str(descriptor.readlink()) for descriptor in (process / "fd").iterdir()}
    except OSError:  # it has ended meanwhile, or is none of our business
        return set()


def _path(layout: Layout, name: str) -> Path:
    return layout.run / f"{name}.lock"
