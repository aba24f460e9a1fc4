"""What a machine carries, from its cores and its memory."""

import os
from pathlib import Path

import pytest

from app.core.capacity import GIB, Capacity, usable_cores, usable_memory


@pytest.mark.parametrize(
    ("cores", "gib", "expected"),
    [
        (1, 2, Capacity(1, 1, 1)),
        (2, 24, Capacity(2, 1, 2)),
        (2, 4, Capacity(2, 1, 2)),
        (8, 32, Capacity(3, 2, 4)),
        (16, 4, Capacity(2, 2, 8)),
        (64, 256, Capacity(17, 16, 4)),
    ],
)
def test_derived(cores: int, gib: int, expected: Capacity) -> None:
    assert Capacity.derive(cores, gib * GIB) == expected


def test_the_settings_win() -> None:
    assert Capacity.derive(2, 24 * GIB, children=5) == Capacity(5, 1, 2)
    assert Capacity.derive(16, 64 * GIB, children=1) == Capacity(1, 1, 16)


def test_children_that_need_more_are_fewer() -> None:
    assert Capacity.derive(16, 24 * GIB, more=4 * GIB) == Capacity(4, 4, 4)
    assert Capacity.derive(16, 4 * GIB, more=8 * GIB) == Capacity(1, 1, 16)


def test_a_container_has_what_its_quota_says(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text(f"{GIB}\n")
    assert usable_cores(tmp_path) == 1
    assert usable_memory(tmp_path) == GIB
    assert Capacity.of_this_machine(cgroup=tmp_path) == Capacity(1, 1, 1)


@pytest.mark.parametrize("content", ["max 100000", "max", "", "nonsense"])
def test_without_a_quota_the_machine_counts(tmp_path: Path, content: str) -> None:
    for name in ("cpu.max", "memory.max"):
        (tmp_path / name).write_text(content)
    assert usable_cores(tmp_path) == len(os.sched_getaffinity(0))
    assert usable_memory(tmp_path) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
