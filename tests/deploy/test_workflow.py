"""What runs on GitHub, and the service of systemd."""

import configparser
import re

import pytest

from app.core.config import EX_CONFIG, PROJECT_ROOT
from app.embedded.programs import PROGRAMS
from tests.deploy.files import fits_schema, read

WORKFLOW = ".github/workflows/ci.yml"


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.github-workflows", WORKFLOW),
        ("custom.github-workflows-require-timeout", WORKFLOW),
        ("vendor.dependabot", ".github/dependabot.yml"),
    ],
)
def test_it_is_what_github_knows(schema: str, path: str) -> None:
    checked = fits_schema(schema, path)
    assert checked.returncode == 0, checked.stdout


def test_actions_are_pinned_to_a_commit_and_say_which_version() -> None:
    uses = re.findall(r"uses: (.*)", (PROJECT_ROOT / WORKFLOW).read_text())
    assert uses
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use) for use in uses)


def test_it_may_read_and_nothing_else() -> None:
    workflow = read(WORKFLOW)
    assert workflow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in workflow["jobs"].values())
    checkouts = [
        step["with"]
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/checkout")
    ]
    assert checkouts == [{"persist-credentials": False}] * len(workflow["jobs"])


def test_every_script_it_calls_is_there() -> None:
    runs = " ".join(step.get("run", "") for job in read(WORKFLOW)["jobs"].values() for step in job["steps"])
    scripts = re.findall(r"scripts/[\w.]+", runs)
    assert "scripts/test" in scripts
    assert all((PROJECT_ROOT / script).exists() for script in scripts)


def test_systemd_starts_it_and_waits_until_it_has_stopped() -> None:
    unit = configparser.ConfigParser()
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(PROJECT_ROOT / "deploy" / "systemd" / "quickbg.service")
    service = unit["Service"]
    program, *arguments = service["ExecStart"].removeprefix(f"{service['WorkingDirectory']}/").split()
    assert (PROJECT_ROOT / program).exists()
    assert arguments == ["up"]
    assert str(EX_CONFIG) in service["RestartPreventExitStatus"].split()
    # Those of one priority stop side by side, one priority after the other.
    longest = {each.priority: max(p.stop_wait for p in PROGRAMS if p.priority == each.priority) for each in PROGRAMS}
    assert int(service["TimeoutStopSec"]) > sum(longest.values())
