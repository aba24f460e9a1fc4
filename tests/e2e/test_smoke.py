"""The picture that a fresh installation is tried with (scripts/smoke.py)."""

import re
import subprocess
import sys

import pytest

from app.core.config import PROJECT_ROOT
from tests.e2e.conftest import Deployment

pytestmark = pytest.mark.xdist_group("e2e")


def smoke(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT_ROOT / "scripts" / "smoke.py"), url]
    return subprocess.run(command, cwd="/", text=True, capture_output=True, check=False)


def test_a_service_that_works_gets_a_zero(deployment: Deployment) -> None:
    deployment.wait_healthy()
    done = smoke(deployment.url)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"Task [0-9a-f-]{36}: a cut-out of \d+ bytes in [\d.]+ s\n", done.stdout)


def test_a_service_that_is_not_there_is_one_line() -> None:
    done = smoke("http://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("quickbg: ")
    assert done.stderr.count("\n") == 1
