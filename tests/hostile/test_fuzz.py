"""A few seconds of `quickbg fuzz`, and whether it would notice anything."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.config import PROJECT_ROOT
from tests.hostile import mutate
from tests.hostile.__main__ import main
from tests.hostile.fuzz import fuzz, is_orderly
from tests.hostile.parts import GREY, blank_png, png
from tests.hostile.watch import watched

SEED, PICTURES, SECONDS = 20_261, 3000, 30.0


def test_nothing_breaks(tmp_path: Path) -> None:
    said: list[str] = []

    found = fuzz(SEED, SECONDS, tmp_path, said.append, most=PICTURES)

    assert said == []
    assert found.files == []
    assert {"done", "refused image_corrupt", "failed image_corrupt"} <= set(found.ends)


def test_a_seed_makes_the_same_pictures_every_time() -> None:
    code = (
        "from tests.hostile.mutate import picture; import sys; sys.stdout.buffer.write(picture(1, 2) + picture(1, 3))"
    )
    path = os.pathsep.join((str(PROJECT_ROOT / "backend"), str(PROJECT_ROOT)))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "7"}
    made = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout

    assert made == mutate.picture(1, 2) + mutate.picture(1, 3)
    assert mutate.picture(1, 2) != mutate.picture(2, 2)


def test_a_picture_that_takes_too_long_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "picture"
    file.write_bytes(blank_png(4096, 4096, 1, GREY))

    ((number, verdict),) = watched("file", file, patience=0.01)

    assert (number, verdict.said) == (0, "hang: more than 0 s")
    assert not is_orderly(verdict)


def test_what_broke_is_kept(tmp_path: Path) -> None:
    """With no patience at all, much is a hang."""
    said: list[str] = []

    found = fuzz(SEED, SECONDS, tmp_path, said.append, most=3, patience=0)

    assert len(said) == len(found.files) > 0
    for file in found.files:
        _, seed, number = file.stem.split("-")
        assert file.read_bytes() == mutate.picture(int(seed), int(number))
    assert f"{len(found.files)} broke something" in found.report()


def test_a_death_costs_no_more_than_one_picture() -> None:
    verdicts, seen = watched("fuzz", SEED), []
    for number, verdict in verdicts:
        if number == 10:
            (child,) = _children()
            os.kill(child, signal.SIGKILL)
        seen.append(number)
        assert is_orderly(verdict) or verdict.said == "death: ended with -9"
        if number >= 10 and _children() not in ([], [child]):
            break

    assert seen == list(range(len(seen)))
    verdicts.close()
    assert _children() == []


def test_a_child_that_cannot_work_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with 1"):
        next(watched("file", tmp_path / "missing"))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(png())

    assert main(["--file", str(file)]) == 0
    assert capsys.readouterr().out.endswith("picture.png: done\n")
    for wrong in (["--minutes", "0"], ["--file", str(tmp_path / "missing")]):
        with pytest.raises(SystemExit, match="2"):
            main(wrong)


def _children() -> list[int]:
    """Our processes that look at pictures."""
    tasks = Path("/proc/self/task").glob("*/children")
    pids = [int(pid) for task in tasks for pid in task.read_text().split()]
    return [pid for pid in pids if b"tests.hostile.child" in Path(f"/proc/{pid}/cmdline").read_bytes()]
