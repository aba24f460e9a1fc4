"""`quickbg doctor`: what is wrong is found before a start stumbles over it."""

from collections import namedtuple
from pathlib import Path

import pytest

from app.embedded.layout import Layout
from app.embedded.state import load_or_create
from app.shell.doctor import Finding, examine
from tests.embedded_services import RunningServices

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout.at(tmp_path / "data")
    layout.make()
    return layout


def faults(layout: Layout) -> list[Finding]:
    return [finding for finding in examine(layout) if finding.level == "fault"]


def test_a_machine_that_is_well_has_no_faults_and_nothing_is_changed(tmp_path: Path) -> None:
    layout = Layout.at(tmp_path / "data")
    findings = list(examine(layout))
    assert not [finding for finding in findings if finding.level == "fault"]
    assert "Postgres is embedded (DATABASE_URL is not set)" in {finding.what for finding in findings}
    assert not layout.data.exists()


def test_every_fault_comes_with_its_mend(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(1, 1, 1_000_000))
    monkeypatch.setenv("COMMERCIAL_ONLY", "true")
    found = faults(layout)
    assert ["0.0 GiB are free" in finding.what or "COMMERCIAL_ONLY" in finding.what for finding in found] == [
        True,
        True,
    ]
    assert all(finding.mend for finding in found)


def test_the_engine_is_told_and_one_that_is_not_there_is_a_fault(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any("run by openvino" in finding.what for finding in examine(layout))
    monkeypatch.setenv("ENGINE", "cuda")
    (found,) = faults(layout)
    assert "No GPU" in found.what
    assert found.mend


def test_settings_that_make_no_sense_are_named(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_IMAGE_SIDE", "many")
    assert "MAX_IMAGE_SIDE" in faults(layout)[0].what


def test_a_damaged_state_is_named(layout: Layout) -> None:
    layout.state.write_text("{")
    assert "damaged" in faults(layout)[0].what


@pytest.mark.parametrize("variable", ["DATABASE_URL", "REDIS_URL", "S3_ENDPOINT_URL"])
def test_servers_of_ones_own_are_asked(
    layout: Layout, services: RunningServices, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    load_or_create(layout)
    for name, value in services.env.items():
        monkeypatch.setenv(name, value)
    assert [finding for finding in faults(layout) if "bucket" not in finding.what and "store" not in finding.what] == []
    away = {"DATABASE_URL": "postgresql://127.0.0.1:9/x", "REDIS_URL": "redis://127.0.0.1:9/0"}
    monkeypatch.setenv(variable, away.get(variable, "http://127.0.0.1:9"))
    assert any(finding.what.startswith(variable) for finding in faults(layout))


def test_what_a_killed_run_has_left_is_told(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.embedded.locks.is_held", lambda _, name: name == "postgres")
    assert any("A killed run has left Postgres" in finding.what for finding in examine(layout))
