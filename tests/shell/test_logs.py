"""`quickbg logs`: the end of each log, and what comes after it."""

from pathlib import Path

import pytest

from app.shell.logs import LogFile, read


def test_the_last_lines_of_each_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "api.log").write_text("one\ntwo\nthree\n")
    (tmp_path / "worker.log").write_bytes(b"f\xffur\n")
    said = list(read(tmp_path, ["api", "worker", "sweeper"], lines=2, follow=False))
    assert said == ["      api | two", "      api | three", "   worker | f�ur"]
    assert list(read(tmp_path, ["api"], lines=1, follow=False)) == ["three"]
    assert list(read(tmp_path, ["api"], lines=0, follow=False)) == []


def test_a_line_is_shown_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    path.write_text("one\ntw")
    log = LogFile(path)
    assert list(log.last(5)) == ["one"]
    with path.open("a") as file:
        file.write("o\nthree\n")
    assert list(log.new()) == ["two", "three"]
    assert list(log.new()) == []
    log.close()


def test_a_rotated_log_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    path.write_text("old\n")
    log = LogFile(path)
    assert list(log.last(5)) == ["old"]
    with path.open("a") as file:
        file.write("last\n")
    path.rename(tmp_path / "api.log.1")
    path.write_text("new\n")
    assert list(log.new()) == ["last", "new"]
    log.close()


def test_a_log_that_appears_later_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "api.log"
    monkeypatch.setattr("time.sleep", lambda _: path.write_text("here\n"))
    said = read(tmp_path, ["api"], lines=5, follow=True)
    assert next(said) == "here"
    said.close()  # type: ignore[attr-defined]
