"""Beside SeaweedFS: after its disk was full, it is started anew.

Each of its eight indexes keeps the error of a write that found no room for as long as the process lives: some objects
could not be stored long after there was room again. An event listener of the supervisor's, which speaks to it by
standard input and output every five seconds.
"""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

from supervisor.childutils import listener

from app.embedded.layout import EmbeddedError, Layout
from app.embedded.state import State
from app.embedded.supervisor import Supervisor

LITTLE = 8 * 1_048_576  # bytes free: below this some write has failed, or is about to
ENOUGH = 64 * 1_048_576  # so that it does not start into a disk that is full again at once


@dataclass
class Room:
    """What the disk was like. `free` says its bytes, `restart` starts the store anew."""

    free: Callable[[], int]
    restart: Callable[[], None]
    was_full: bool = False

    def look(self) -> None:
        """Start the store anew once there is room after there was none."""
        free = self.free()
        if free < LITTLE:
            self.was_full = True
        elif self.was_full and free > ENOUGH:
            self.restart()
            self.was_full = False


def watch(layout: Layout, state: State) -> None:
    """Look at each of the supervisor's ticks, until it ends."""
    supervisor = Supervisor(state)

    def restart() -> None:
        sys.stderr.write("The disk was full: SeaweedFS is started anew.\n")
        supervisor.stop("seaweedfs")
        supervisor.start("seaweedfs")

    room = Room(lambda: shutil.disk_usage(layout.s3).free, restart)
    while True:
        listener.wait(sys.stdin, sys.stdout)
        try:
            room.look()
        except (EmbeddedError, OSError) as error:
            sys.stderr.write(f"{error}\n")  # the next tick tries again
        listener.ok(sys.stdout)
