"""`python -m app.embedded.death TERM COMMAND…`: become the command, and die when the parent does, however it dies."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this signal when the parent dies. It holds over exec, not over a change of user.

    Linux alone knows this; elsewhere a killed parent leaves its children, which the next start then ends.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))


if __name__ == "__main__":
    die_with_parent(signal.Signals[f"SIG{sys.argv[1]}"])
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is wanted
