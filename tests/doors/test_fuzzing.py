"""A little of `quickbg fuzz api`."""

from pathlib import Path

import pytest

from tests.doors.fuzzing import SEED, fuzz, main
from tests.e2e.conftest import Deployment

pytestmark = pytest.mark.xdist_group("doors")

CASES = 10


def test_every_answer_is_as_described(deployment: Deployment, capfd: pytest.CaptureFixture[str]) -> None:
    deployment.wait_healthy()
    found = fuzz(deployment, cases=CASES, seed=SEED)
    said = capfd.readouterr().out
    assert found == 0, said
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in said.replace("  ", " "), said
    assert "request_crashed" not in Path(deployment.log("api")).read_text()


def test_the_command_refuses_what_makes_no_sense() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--cases", "0"])
