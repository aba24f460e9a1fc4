"""The short form of `./scripts/quickbg chaos`, and what its command line and its plans are made of."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest

from app.core.config import PROJECT_ROOT
from tests.faults.__main__ import parse
from tests.faults.chaos import Outcome, Wish, run
from tests.faults.client import Record
from tests.faults.nemesis import catalogue, choose, plan
from tests.faults.stack import Stack, stack

pytestmark = pytest.mark.xdist_group("faults")

LOAD = 9.0  # seconds


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Whatever has died is back sooner, so that more happens in little time."""
    with stack(tmp_path_factory.mktemp("chaos"), away=1.0, LEASE_SECONDS="5") as made:
        yield made


@pytest.mark.parametrize(("seed", "faults"), [(2, ["kills"]), (268, [])], ids=["kills", "everything"])
def test_nothing_is_lost(quick: Stack, seed: int, faults: list[str]) -> None:
    wish = Wish(seed, LOAD, rate=4, every=1.2, faults=faults)
    outcome = run(quick, wish)
    print(outcome.report(wish), *outcome.faults)  # noqa: T201 - shown when it fails
    assert outcome.findings == []
    assert outcome.record.count("ok") == len(outcome.record.uploads) >= LOAD
    assert len(set(outcome.faults)) >= 5


def test_a_seed_is_a_plan() -> None:
    faults = catalogue(lease=10, away=3)
    first, again, other = (list(plan(faults, seed=seed, seconds=300, every=5)) for seed in (1, 1, 2))
    assert first == again != other
    assert [each.at for each in first] == sorted(each.at for each in first)
    for earlier, later in pairwise(sorted(first, key=lambda each: (each.fault.target, each.at))):
        assert earlier.fault.target != later.fault.target or earlier.until < later.at


def test_faults_are_chosen_by_name_and_by_group() -> None:
    faults = catalogue(lease=10, away=3)
    assert {fault.name for fault in choose(faults, ["kills", "flush-valkey"])} == {
        *("kill-worker", "kill-child", "kill-api", "kill-sweeper", "kill-valkey", "flush-valkey")
    }
    assert choose(faults, []) == faults


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--faults", "kills,earthquake"], "no fault is called earthquake"),
        (["--minutes", "0"], "more than 0"),
        (["--rate", "-1"], "more than 0"),
    ],
)
def test_a_wrong_wish_is_refused(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)
    assert sentence in capsys.readouterr().err


def test_the_command_runs_in_the_developers_environment(tmp_path: Path) -> None:
    """A skeleton of the project, whose chaos only says how it was called."""
    copy = tmp_path / "Pro jekt"
    for folder in ("scripts", "tests/faults", ".venv/bin"):
        (copy / folder).mkdir(parents=True)
    (copy / "tests" / "faults" / "__main__.py").write_text("import sys\nprint(*sys.argv[1:], sep='|')\n")
    (copy / ".venv" / "bin" / "python").symlink_to(sys.executable)
    bootstrap = copy / "scripts" / "bootstrap.sh"
    bootstrap.write_text('#!/bin/sh\necho "bootstrap $1" >&2\n')
    bootstrap.chmod(0o755)
    shutil.copy(PROJECT_ROOT / "scripts" / "quickbg", copy / "scripts" / "quickbg")
    command = [str(copy / "scripts" / "quickbg"), "chaos", "--faults", "two words"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == ("--faults|two words\n", "bootstrap requirements-dev.txt\n")


def test_one_cause_is_not_told_a_hundred_times() -> None:
    lost = [f"task {uuid4()} was acknowledged, and is lost" for _ in range(100)]
    outcome = Outcome(Record(), findings=[*lost, "upload 7 is still pending"])
    lines = outcome.report(Wish(1, 60)).splitlines()
    assert [line for line in lines if line.startswith("FOUND")] == [
        *(f"FOUND: {finding}" for finding in [*lost[:5], "upload 7 is still pending"])
    ]
    assert lines[-3:] == ["       and 95 more like these", "FOUND: upload 7 is still pending", "101 findings"]
