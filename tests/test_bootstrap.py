"""`scripts/quickbg` in a project without packages: what it sets up, and when it leaves things alone."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app.core.config import PROJECT_ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]
CLI = "import sys\nprint('cli', *sys.argv[1:])\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project's skeleton, under a name that asks for trouble."""
    copy = tmp_path / "Pro jekt ü"
    (copy / "scripts").mkdir(parents=True)
    (copy / "backend" / "app").mkdir(parents=True)
    (copy / "backend" / "app" / "cli.py").write_text(CLI)
    (copy / "requirements.txt").touch()
    for name in ("quickbg", "bootstrap.sh"):
        shutil.copy(PROJECT_ROOT / "scripts" / name, copy / "scripts" / name)
    return copy


def call(script: Path, *arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(script), *arguments],
        cwd=script.parents[1],
        text=True,
        capture_output=True,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def test_the_first_call_sets_up_the_second_is_silent_and_a_moved_project_is_set_up_anew(
    copy: Path, tmp_path: Path
) -> None:
    first = call(copy / "scripts" / "quickbg", "one", "two words", PYTHONPATH="/nonexistent", LC_ALL="C")
    assert first.stdout == "cli one two words\n"
    assert "Making a Python environment" in first.stderr

    link = tmp_path / "bin" / "qb"
    link.parent.mkdir()
    link.symlink_to(copy / "scripts" / "quickbg")
    second = call(link, "again")
    assert (second.stdout, second.stderr) == ("cli again\n", "")

    moved = copy.rename(tmp_path / "moved")
    third = call(moved / "scripts" / "quickbg")
    assert third.stdout == "cli\n"
    assert "Making a Python environment" in third.stderr


def test_calls_at_the_same_time_take_turns_and_an_interrupted_one_is_done_anew(copy: Path) -> None:
    (copy / ".venv").mkdir()
    (copy / ".venv" / ".unfinished").touch()
    command = [str(copy / "scripts" / "quickbg"), "x"]
    calls = [subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    said = [each.communicate() for each in calls]
    assert [out for out, _ in said] == ["cli x\n", "cli x\n"]
    assert "".join(err for _, err in said).count("Making a Python environment") == 1


def test_nothing_in_the_callers_folder_is_imported(copy: Path) -> None:
    call(copy / "scripts" / "quickbg")
    (copy / "app").mkdir()
    (copy / "app" / "cli.py").write_text("raise SystemExit('the wrong one')\n")
    assert call(copy / "scripts" / "quickbg", "x").stdout == "cli x\n"


@pytest.mark.parametrize(
    ("python", "sentence"),
    [("exit 1", "Python 3.11 or newer is needed"), ('[[ "$*" != *venv* ]]', "install its venv module")],
)
def test_what_is_missing_on_the_machine_is_one_sentence(copy: Path, tmp_path: Path, python: str, sentence: str) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "readlink", "cksum", "rm", "mkdir", "flock"):
        found = shutil.which(name)
        if found:
            (tools / name).symlink_to(found)
    (tools / "python3").write_text(f"#!/bin/bash\n{python}\n")
    (tools / "python3").chmod(0o755)
    done = call(copy / "scripts" / "quickbg", code=1, PATH=str(tools))
    assert done.stdout == ""
    assert sentence in done.stderr.splitlines()[-1]
