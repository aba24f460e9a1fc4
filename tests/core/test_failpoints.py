"""Failpoints: how they are written, and that they act where and as often as they are told."""

from pathlib import Path

import pytest

from app.core import failpoints
from app.core.failpoints import failpoint


def choose(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(failpoints, "_ACTIVE", failpoints._read(text))


def test_none_acts_unless_it_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    failpoint("claimed")
    choose(monkeypatch, "claimed=raise:MemoryError")
    failpoint("completed")
    with pytest.raises(MemoryError):
        failpoint("claimed")


def test_a_mark_chooses_one_passage(monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, "claimed@poison-1=raise:OSError; completed=sleep:0")
    failpoint("claimed", "another")
    failpoint("claimed")
    failpoint("completed", "poison-1")
    with pytest.raises(OSError, match="failpoint"):
        failpoint("claimed", "poison-1")


def test_times_are_counted_over_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAILPOINTS_DIR", str(tmp_path))
    for _ in range(2):  # as two processes would
        choose(monkeypatch, "claimed=raise:OSError*2")
        with pytest.raises(OSError, match="failpoint"):
            failpoint("claimed")
    failpoint("claimed")


@pytest.mark.parametrize("text", ["claimed", "claimed=", "claimed=explode", "=kill", "a=kill b=kill", "a=kill*x"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="FAILPOINTS"):
        failpoints._read(text)
