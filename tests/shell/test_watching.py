"""A folder that is watched: when a picture is done, and when not."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.core.options import ResultFormat
from app.shell import watching
from app.shell.errors import UsageProblem
from app.shell.watching import Folder, Trouble, Watcher, check
from tests.embedded_services import wait_for
from tests.shell.service import Service

PNG = ResultFormat.PNG


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


@pytest.fixture
def out(inside: Path) -> Path:
    """It lies in the watched folder, and is not looked into."""
    return inside / "out"


def names(folder: Folder, now: float) -> list[str]:
    return [job.target.name for job in folder.look(now)]


def write(path: Path, content: bytes, at: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (at, at))


def test_a_picture_is_left_alone_until_it_is_whole(inside: Path, out: Path) -> None:
    folder = Folder(inside, out, PNG)
    write(inside / "sub" / "a.jpg", b"1", 1)
    assert names(folder, 0.0) == []
    write(inside / "sub" / "a.jpg", b"12", 1)
    assert names(folder, 1.0) == []
    assert names(folder, 1.9) == []
    (job,) = folder.look(2.0)
    assert (job.target, job.force) == (out / "sub" / "a-cutout.png", True)
    assert names(folder, 3.0) == []


def test_a_picture_that_has_failed_has_another_try_when_it_changes(inside: Path, out: Path) -> None:
    folder = Folder(inside, out, PNG)
    write(inside / "a.jpg", b"bad", 1)
    folder.look(0.0)
    (job,) = folder.look(1.0)
    folder.done(job)
    assert names(folder, 9.0) == []
    write(inside / "a.jpg", b"fine", 2)
    folder.look(10.0)
    assert names(folder, 11.0) == ["a-cutout.png"]


def test_what_changes_while_it_is_at_work_is_done_again_afterwards(inside: Path, out: Path) -> None:
    folder = Folder(inside, out, PNG)
    write(inside / "a.jpg", b"1", 1)
    folder.look(0.0)
    (job,) = folder.look(1.0)
    write(inside / "a.jpg", b"2", 2)
    folder.look(2.0)
    assert names(folder, 3.0) == []
    write(job.target, b"cut-out of 1", 3)
    folder.done(job)
    assert names(folder, 4.0) == ["a-cutout.png"]


@pytest.mark.parametrize(("format_", "ending"), [(PNG, "png"), (None, "webp")])
def test_what_was_done_before_is_not_done_again(
    inside: Path, out: Path, format_: ResultFormat | None, ending: str
) -> None:
    folder = Folder(inside, out, format_)
    for name, made, cut in (("done", 1, 2), ("old", 2, 1)):
        write(inside / f"{name}.jpg", b"1", made)
        write(out / f"{name}-cutout.{ending}", b"1", cut)
    folder.look(0.0)
    assert [job.source for job in folder.look(1.0)] == [inside / "old.jpg"]
    assert folder.there == 1


def test_results_are_no_pictures(inside: Path, out: Path) -> None:
    folder = Folder(inside, out, PNG)
    write(out / "mine.png", b"1", 1)
    write(inside / "a-cutout.png", b"1", 1)
    write(inside / ".draft.png", b"1", 1)
    folder.look(0.0)
    assert names(folder, 1.0) == []


def test_a_folder_that_goes_away_is_told_once_and_may_come_back(
    inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Folder(inside, tmp_path / "out", PNG)
    inside.rmdir()
    assert [names(folder, now) for now in (0.0, 1.0)] == [[], []]
    assert capsys.readouterr().err.splitlines() == [f"{inside}: No such file or directory"]
    write(inside / "a.jpg", b"1", 1)
    folder.look(2.0)
    assert names(folder, 3.0) == ["a-cutout.png"]


def test_folders_that_cannot_be_watched(inside: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check(inside, inside / "out")
    for wrong in ((inside, inside), (inside / "none", tmp_path), (inside, tmp_path / "file")):
        with pytest.raises(UsageProblem):
            check(*wrong)


def test_a_service_that_is_away_is_told_once_and_so_is_its_return(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 4.0, 10.0, 15.0, 16.0])
    trouble = Trouble(lambda: next(times))
    for reason in ("Gone", "Gone", None):
        trouble(reason)
    assert capsys.readouterr().err == ""
    for reason in ("The service is gone.", "The service is gone.", "The service is gone.", None, None):
        trouble(reason)
    assert capsys.readouterr().err.splitlines() == [
        "The service is gone; trying on.",
        "The service takes pictures again.",
    ]


Start = Callable[[Service], Watcher]


@pytest.fixture
def start(inside: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Watch, quickly, in the background."""
    monkeypatch.setattr(watching, "POLL", 0.01)
    monkeypatch.setattr(watching, "QUIET", 0.02)
    watchers: list[tuple[Watcher, threading.Thread]] = []

    def begin(service: Service) -> Watcher:
        watcher = Watcher(service.client(), Folder(inside, out, PNG), {})
        thread = threading.Thread(target=watcher.run, args=(2,))
        watchers.append((watcher, thread))
        thread.start()
        return watcher

    yield begin
    for watcher, thread in watchers:
        watcher.stop()
        thread.join()


def test_watching(start: Start, inside: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service = Service()
    watcher = start(service)
    write(inside / "bad.jpg", b"bad", 1)
    write(inside / "sub" / "a.jpg", b"1", 1)
    wait_for(lambda: (watcher.tally.done, watcher.tally.failed) == (1, 1), "both are over", seconds=20)
    assert (out / "sub" / "a-cutout.png").read_bytes() == b"cut-out of 1"

    service.away = True
    write(inside / "b.jpg", b"2", 1)
    write(inside / "bad.jpg", b"good", 2)
    wait_for(lambda: service.missed >= 2, "both are tried in vain", seconds=20)
    service.away = False
    wait_for(lambda: watcher.tally.done == 3, "the service is back", seconds=20)
    assert (out / "bad-cutout.png").read_bytes() == b"cut-out of good"
    said = capsys.readouterr().err
    assert said.count(f"{inside / 'bad.jpg'}: The image has no clear subject.") == 1


def test_options_that_the_service_refuses_end_it(inside: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "POLL", 0.01)
    monkeypatch.setattr(watching, "QUIET", 0.0)
    service = Service(refusal=(422, {"detail": "size: this is no size.", "code": "invalid_option"}))
    write(inside / "a.jpg", b"1", 1)
    with pytest.raises(UsageProblem, match="no size"):
        Watcher(service.client(), Folder(inside, out, PNG), {"size": "huge"}).run(1)
