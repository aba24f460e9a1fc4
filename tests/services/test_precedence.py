"""Pictures that somebody waits for go before those of batches."""

import fcntl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from app.core.states import TaskStatus
from app.db import dispatch
from app.db.base import Sessions
from app.db.models import User
from app.services.processing import MOST_OVERTAKEN
from app.tasks import turns
from app.tasks.turns import GoingFirst
from tests.factories import change, make_batch, make_task, row
from tests.services.test_processing import Bench, bench

__all__ = ["bench"]


def of_a_batch(bench: Bench, sessions: Sessions, user: User) -> UUID:
    return bench.task(user, batch_id=make_batch(sessions, user.id), queue="bulk")


def awaited(sessions: Sessions, user: User) -> UUID:
    """A task that was rung for, and that nobody has begun with."""
    task_id = make_task(sessions, user.id)
    with sessions.begin() as session:
        assert dispatch.stamp_new(session, task_id)
    return task_id


def test_a_batchs_picture_makes_room_before_the_network_runs(bench: Bench, sessions: Sessions, user: User) -> None:
    task_id = of_a_batch(bench, sessions, user)
    single = awaited(sessions, user)
    bench.process(task_id)
    given_way = row(sessions, task_id)
    assert (given_way.status, given_way.retries, bench.engine.runs) == (TaskStatus.QUEUED, 0, 0)
    assert given_way.max_attempts - given_way.attempt == row(sessions, single).max_attempts
    change(sessions, single, dispatched_at=None)
    bench.process(task_id)
    assert row(sessions, task_id).status == TaskStatus.COMPLETED


def test_it_makes_room_so_often_and_no_more(bench: Bench, sessions: Sessions, user: User) -> None:
    task_id = of_a_batch(bench, sessions, user)
    awaited(sessions, user)
    for _ in range(MOST_OVERTAKEN):
        bench.process(task_id)
        assert row(sessions, task_id).status == TaskStatus.QUEUED
    bench.process(task_id)
    assert row(sessions, task_id).status == TaskStatus.COMPLETED


def test_a_single_picture_makes_no_room(bench: Bench, sessions: Sessions, user: User) -> None:
    awaited(sessions, user)
    task_id = bench.task(user)
    bench.process(task_id)
    assert row(sessions, task_id).status == TaskStatus.COMPLETED


def test_only_those_of_batches_wait_at_each_stage(
    bench: Bench, sessions: Sessions, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def fetched(get: Callable[[str], bytes]) -> Callable[[str], bytes]:
        def told(key: str) -> bytes:
            said.append("here")
            return get(key)

        return told

    class Told:
        @contextmanager
        def going_first(self) -> Iterator[None]:
            said.append("first")
            yield
            said.append("over")

        def give_way(self) -> None:
            said.append("way")

    bench.precedence = Told()
    monkeypatch.setattr(bench.store, "get", fetched(bench.store.get))
    bench.process(bench.task(user))
    assert said == ["here", "first", "over"]  # a picture that is still on its way keeps nobody waiting
    said.clear()
    bench.process(of_a_batch(bench, sessions, user))
    assert len(said) >= 4
    assert set(said) == {"way", "here"}


def test_between_processes_it_is_a_lock_on_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "COURTESY", 60.0)
    one, other = GoingFirst(tmp_path), GoingFirst(tmp_path)
    other.give_way()  # nobody is there
    passed = threading.Event()

    def wait() -> None:
        other.give_way()
        passed.set()

    with one.going_first(), GoingFirst(tmp_path).going_first():
        thread = threading.Thread(target=wait)
        thread.start()
        assert not passed.wait(0.2)
    assert passed.wait(10)
    thread.join()


def test_nobody_fails_for_want_of_courtesy(tmp_path: Path) -> None:
    with (tmp_path / ".first.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as somebody does who looks whether to give way
        with GoingFirst(tmp_path).going_first():
            pass
    with GoingFirst(tmp_path / "nowhere").going_first():
        GoingFirst(tmp_path / "nowhere").give_way()


def test_courtesy_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "COURTESY", 0.05)
    with GoingFirst(tmp_path).going_first():
        began = time.monotonic()
        GoingFirst(tmp_path).give_way()
        assert time.monotonic() - began >= 0.05
