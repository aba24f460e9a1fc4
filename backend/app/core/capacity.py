"""How many pictures this machine works on at once, from the cores and the memory that we may use of it."""

import os
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30
CHILD_BYTES = 2 * GIB  # a worker child at its peak: 0.8 GB with OpenVINO (1.1 for a WEBP), 1.8 with onnxruntime
CORES_PER_RUN = 4  # one run of the network gains little from more
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Capacity:
    """`children` worker processes, of which `runs` may run the network at a time, with `threads` threads each."""

    children: int
    runs: int
    threads: int

    @classmethod
    def derive(cls, cores: int, memory: int, children: int | None = None, more: int = 0) -> "Capacity":
        """One child more than runs: while one reads, trims or uploads, another has the cores for its network.

        `more`: bytes that a child may need beyond what is usual.
        """
        runs = max(1, cores // CORES_PER_RUN)
        if children is None:
            children = max(1, min(runs + 1, memory // (CHILD_BYTES + more)))
        runs = min(runs, children)
        return cls(children, runs, max(1, cores // runs))

    @classmethod
    def of_this_machine(cls, children: int | None = None, more: int = 0, *, cgroup: Path = CGROUP) -> "Capacity":
        """`children`: as the settings say; None for as many as fit."""
        return cls.derive(usable_cores(cgroup), usable_memory(cgroup), children, more)


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Cores that this process may run on: by affinity, and by the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def usable_memory(cgroup: Path = CGROUP) -> int:
    """Bytes of memory that this process may use."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _read(cgroup / "memory.max")
    return min(memory, int(limit)) if limit.isdigit() else memory


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
