"""A child's limits that the kernel keeps, so that one mad picture does not take the machine down: memory and files.

Out of memory, Python raises `MemoryError` and the libraries say it in their own ways
(`imaging.errors.is_out_of_memory`): the attempt ends, the child lives. What counts is private memory that may be
written (`VmData`): neither the weights that are mapped from their file nor the address space that a GPU's driver
reserves.
"""

import resource
import sys
from pathlib import Path

from app.core.logging import get_logger

MIB = 1 << 20
LEAST = 512 * MIB  # for anything but pixels
PER_PIXEL = 96  # of the largest picture. The most that was seen: 39 bytes with OpenVINO, 71 with onnxruntime
LARGEST_FILE = 1024 * MIB  # a child writes none but its lines of the logs; results stay in memory until they are sent
FULL = 0.8  # a child that still holds this share of its room after a task has too little left for the next

log = get_logger(__name__)


class MemoryLimit:
    """Set on this process, which is warm: its network's memory is allocated."""

    def __init__(self, wished: int | None, max_pixels: int, more: int = 0, share: int = sys.maxsize) -> None:
        """`wished`: in bytes; None for what the largest picture takes, 0 for no limit. `more`: bytes for what is loaded
        later, as far as this process's `share` of the machine goes; who wishes for a limit has counted them."""
        warm = _held()
        least = warm + LEAST
        self._full: float | None = None
        if wished == 0 or warm == 0:
            return
        if wished is not None and wished < least:
            log.warning("memory_limit_too_low", wished=wished, used=least)
        usual = least + PER_PIXEL * max_pixels
        limit = max(usual, min(usual + more, share)) if wished is None else max(wished, least)
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
        self._full = warm + FULL * (limit - warm)
        log.info("memory_limited", warm_mb=warm // MIB, limit_mb=limit // MIB)

    def is_spent(self) -> bool:
        """Whether the heap has kept so much that the next picture may find too little: time for a fresh process."""
        return self._full is not None and _held() > self._full


def limit_files() -> None:
    """No core dump, which would hold pictures and passwords; and no file that fills the disk."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = LARGEST_FILE if hard == resource.RLIM_INFINITY else min(LARGEST_FILE, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))


def _held() -> int:
    """Bytes that count; 0 on a system without this count (which keeps no such limit either)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:")), 0)
