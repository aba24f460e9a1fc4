"""The limit of a child's memory: set in processes of the tests' own, since nobody can take it back."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.core.metrics import MAX_BYTES
from app.imaging.errors import is_out_of_memory
from app.tasks.memory import LARGEST_FILE

LARGEST = 4096 * 4096
BEGIN = """
import resource
from app.tasks import memory
from app.tasks.memory import LEAST, MIB, PER_PIXEL, MemoryLimit

def soft():
    return resource.getrlimit(resource.RLIMIT_DATA)[0]

def ends(allocate):
    try:
        allocate()
    except MemoryError:
        return True
    return False

warm = memory._held()
"""


def run(code: str) -> str:
    """Run it in a new process; what it prints last."""
    command = [sys.executable, "-c", BEGIN + code]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_without_a_wish_it_is_enough_for_the_largest_picture() -> None:
    code = f"MemoryLimit(None, {LARGEST})\nprint((soft() - warm - LEAST) / {LARGEST})"
    assert float(run(code)) == pytest.approx(96, abs=2)


def test_a_wish_is_followed() -> None:
    assert run(f"MemoryLimit(3 << 30, {LARGEST})\nprint(soft())") == str(3 << 30)


def test_a_limit_that_leaves_no_room_to_work_is_raised() -> None:
    code = f"MemoryLimit(1, {LARGEST})\nprint((soft() - warm) // MIB, LEAST // MIB)"
    given, least = run(code).split()
    assert abs(int(given) - int(least)) <= 8


def test_nought_is_no_limit() -> None:
    code = f"before = soft()\nlimit = MemoryLimit(0, {LARGEST})\nprint(soft() == before, limit.is_spent())"
    assert run(code) == "True False"


@pytest.mark.parametrize("allocate", ["lambda: bytearray(8 << 30)", "lambda: [b'1' * MIB for _ in range(8192)]"])
def test_what_wants_more_gets_an_error_and_the_process_lives(allocate: str) -> None:
    assert run(f"MemoryLimit(None, {LARGEST})\nprint(ends({allocate}))") == "True"


def test_a_heap_that_is_nearly_full_is_spent() -> None:
    code = """
limit = MemoryLimit(1, 0)
said = [limit.is_spent()]
held = bytearray(int(0.9 * LEAST))
said.append(limit.is_spent())
del held
print(*said, limit.is_spent())
"""
    assert run(code) == "False True False"


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (ValueError("encoding error 1"), True),
        (ValueError("encoding error 6"), False),
        (RuntimeError("std::bad_alloc"), True),
        (OSError("broken data stream when reading image file"), False),
    ],
)
def test_lack_of_memory_is_known_by_what_libraries_say(error: Exception, is_it: bool) -> None:
    assert is_out_of_memory(error) is is_it


def test_a_child_leaves_no_core_dump() -> None:
    code = """
import os, signal, subprocess, sys
memory.limit_files()
limits = resource.getrlimit(resource.RLIMIT_CORE)
child = os.fork()
if not child:
    os.abort()
print(limits, os.WCOREDUMP(os.waitpid(child, 0)[1]))
"""
    assert run(code) == "(0, 0) False"


def test_a_file_of_a_child_has_an_end_and_the_child_lives(tmp_path: Path) -> None:
    code = f"""
memory.LARGEST_FILE = MIB
memory.limit_files()
with open({str(tmp_path / "file")!r}, "wb", buffering=0) as file:
    file.write(bytes(MIB))
    try:
        file.write(b"more")
    except OSError as error:
        print(error.strerror)
"""
    assert run(code) == "File too large"


def test_logs_and_metrics_have_room() -> None:
    assert LARGEST_FILE > 50 * MAX_BYTES
