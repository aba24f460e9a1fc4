"""Originals that are still at their URL come in with the worker."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from socket import socket
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update

from app.core.config import Settings
from app.core.states import Stage, TaskStatus, UploadStatus
from app.db import fetches, heartbeats, retention, tasks, usage
from app.db.base import Sessions
from app.db.models import Task, Upload, User
from app.storage.base import original_key
from tests.conftest import make_settings, make_user
from tests.factories import Silence, change, claim, make_task, row
from tests.outbound.sites import ok, saying, site
from tests.pictures import encoded, subject
from tests.services.test_processing import Bench

PICTURE = encoded(subject(200, 160))


@pytest.fixture
def bench(environment: dict[str, str], sessions: Sessions, tmp_path: Path) -> Bench:
    near: Settings = make_settings(environment, outbound_allowed_networks="127.0.0.0/8")
    return Bench(near, sessions, tmp_path)


@pytest.fixture
def workers(sessions: Sessions) -> Iterator[None]:
    """Three of them, so that two may fetch."""
    names = [f"host:{number}" for number in range(3)]
    with sessions.begin() as session:
        for name in names:
            heartbeats.beat(session, name, "worker")
    yield
    with sessions.begin() as session:
        for name in names:
            heartbeats.remove(session, name)


def promised(sessions: Sessions, user: User, url: str) -> UUID:
    """A task whose original is still at its URL."""
    upload_id = uuid4()
    with sessions.begin() as session:
        session.add(
            Upload(
                id=upload_id,
                user_id=user.id,
                status=UploadStatus.REMOTE,
                key=original_key(user.id, upload_id),
                source_url=url,
                filename="cup.png",
            )
        )
    return make_task(sessions, user.id, upload_id=upload_id)


def test_it_is_fetched_checked_stored_and_cut_out(bench: Bench, sessions: Sessions, user: User) -> None:
    with site(saying(ok(PICTURE))) as running:
        task_id = promised(sessions, user, running.url)
        bench.process(task_id)
    task = row(sessions, task_id)
    assert (task.status, task.upload.status) == (TaskStatus.COMPLETED, UploadStatus.STORED)
    assert (task.upload.format, task.upload.width, task.upload.height) == ("JPEG", 200, 160)
    assert bench.store.get(task.upload.key) == PICTURE
    assert running.connections == 1
    assert task.upload.source_url is None  # it may hold a secret, and nobody needs it any more


def test_what_has_been_fetched_once_is_not_fetched_again(bench: Bench, sessions: Sessions, user: User) -> None:
    with site(saying(ok(PICTURE))) as running:
        task_id = promised(sessions, user, running.url)
        bench.process(task_id)
    second = make_task(sessions, user.id, upload_id=row(sessions, task_id).upload_id)
    bench.process(second)  # the site is away
    assert row(sessions, second).status == TaskStatus.COMPLETED


def test_the_size_is_counted_when_it_is_known(bench: Bench, sessions: Sessions, user: User) -> None:
    with sessions.begin() as session:
        usage.add_images(session, user.id, 1, 0, limit=0)
    with site(saying(ok(PICTURE))) as running:
        bench.process(promised(sessions, user, running.url))
    with sessions.begin() as session:
        (month,) = usage.last_months(session, user.id, 1)
    assert month.images == 1
    assert month.megapixels == pytest.approx(0.032)


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", TaskStatus.FAILED, "url_not_fetched"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\n\r\n", TaskStatus.FAILED, "url_not_fetched"),
        (ok(b"<html>"), TaskStatus.FAILED, "unsupported_format"),
        (ok(encoded(subject(20, 20))), TaskStatus.FAILED, "dimensions_too_small"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", TaskStatus.FAILED, "file_too_large"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", TaskStatus.RETRYING, "url_not_fetched"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nPNG", TaskStatus.RETRYING, "url_not_fetched"),
        (b"", TaskStatus.RETRYING, "url_not_fetched"),
    ],
)
def test_a_site_at_fault_is_told_or_tried_again(
    bench: Bench, sessions: Sessions, user: User, answer: bytes, status: TaskStatus, code: str
) -> None:
    with site(saying(answer)) as running:
        task_id = promised(sessions, user, running.url)
        bench.process(task_id)
    task = row(sessions, task_id)
    assert (task.status, task.error_code, task.upload.status) == (status, code, UploadStatus.REMOTE)
    assert task.error_message


def test_a_failed_one_can_run_again(bench: Bench, sessions: Sessions, user: User) -> None:
    with site(saying(ok(b"<html>"))) as running:
        task_id = promised(sessions, user, running.url)
        bench.process(task_id)
    with sessions.begin() as session:
        assert tasks.requeue(session, task_id)


@pytest.mark.usefixtures("workers")
def test_one_of_each_account_fetches_and_never_all_workers(bench: Bench, sessions: Sessions, user: User) -> None:
    def fetching(who: User) -> UUID:
        task_id = promised(sessions, who, "http://127.0.0.1:1/")
        held = claim(sessions, task_id)
        assert held is not None
        with sessions.begin() as session:
            tasks.enter_stage(session, held, Stage.DOWNLOADING)
        return task_id

    others = [make_user(sessions) for _ in range(2)]
    fetching(others[0])
    with site(saying(ok(PICTURE))) as running:
        again = promised(sessions, others[0], running.url)
        bench.process(again)  # his second
        waiting = row(sessions, again)
        assert (waiting.status, waiting.retries, waiting.error_code) == (TaskStatus.QUEUED, 0, None)
        assert waiting.max_attempts - waiting.attempt == row(sessions, make_task(sessions, user.id)).max_attempts
        mine = promised(sessions, user, running.url)
        bench.process(mine)  # the second of all
        assert row(sessions, mine).status == TaskStatus.COMPLETED
        fetching(others[1])
        third = promised(sessions, user, running.url)
        bench.process(third)
        assert row(sessions, third).status == TaskStatus.QUEUED


def test_those_that_find_no_place_wait_together_until_one_is_called(
    bench: Bench, sessions: Sessions, user: User
) -> None:
    """Or each claim would ring for the next one, and all of them would be claimed again and again."""
    rung: list[UUID] = []

    class Ringing(Silence):
        def ring(self, task_id: UUID, queue: str) -> None:
            rung.append(task_id)

    bench.bell = Ringing()
    with site(saying(ok(PICTURE))) as running:
        first, *others = [promised(sessions, user, running.url) for _ in range(4)]
        one_at_home = make_task(sessions, user.id)
        held = claim(sessions, first)
        assert held is not None
        with sessions.begin() as session:
            tasks.enter_stage(session, held, Stage.DOWNLOADING)
        bench.process(others[0])
        with sessions.begin() as session:
            due = session.scalars(select(Task.id).where(Task.is_due())).all()
        assert due == [one_at_home]
        assert (row(sessions, others[1]).attempt, row(sessions, others[1]).dispatched_at) == (0, None)
        change(sessions, first, stage=Stage.INFERRING)
        change(sessions, others[0], run_at=func.now())
        bench.process(others[0])
    assert row(sessions, others[0]).status == TaskStatus.COMPLETED
    assert rung == [others[1]]
    with sessions.begin() as session:
        assert set(session.scalars(select(Task.id).where(Task.is_due())).all()) == {one_at_home, others[1]}


@pytest.mark.usefixtures("workers")
def test_of_two_that_begin_at_once_one_goes(bench: Bench, sessions: Sessions, user: User) -> None:
    with site(saying(ok(PICTURE))) as running:
        one, other = (promised(sessions, user, running.url) for _ in range(2))
        assert claim(sessions, other)  # a moment later than this one, in another process
        change(sessions, other, started_at=func.now() + timedelta(seconds=1))
        bench.process(one)
    assert row(sessions, one).status == TaskStatus.COMPLETED


def test_a_batch_that_waits_for_its_place_keeps_no_single_picture(bench: Bench, sessions: Sessions, user: User) -> None:
    first, second, single = (promised(sessions, user, "http://127.0.0.1:1/") for _ in range(3))
    for task_id in (first, second):
        change(sessions, task_id, queue="bulk")
    held = claim(sessions, first)
    assert held is not None
    bench.process(second)
    with sessions.begin() as session:
        assert session.scalars(select(Task.id).where(Task.is_due())).all() == [single]
        assert fetches.call_next(session, user.id) == (second, "bulk")


def test_what_was_deleted_while_it_was_fetched_does_not_stay(bench: Bench, sessions: Sessions, user: User) -> None:
    task_id = promised(sessions, user, "")

    def delete(connection: socket, head: bytes) -> None:
        with sessions.begin() as session:
            tasks.cancel(session, task_id)
            tasks.delete(session, task_id)
            assert retention.expire_unused(session, row(sessions, task_id).upload_id)
        connection.sendall(ok(PICTURE))

    with site(delete) as running:
        with sessions.begin() as session:
            session.execute(update(Upload).values(source_url=running.url))
        bench.process(task_id)
    assert running.connections == 1
    assert not bench.store.objects


def test_it_goes_when_nobody_needs_it(sessions: Sessions, user: User) -> None:
    task_id = promised(sessions, user, "http://127.0.0.1:1/")
    upload_id = row(sessions, task_id).upload_id
    with sessions.begin() as session:
        assert not retention.expire_unused(session, upload_id)
        assert tasks.cancel(session, task_id)
        assert tasks.delete(session, task_id)
        assert retention.expire_unused(session, upload_id)
    assert row(sessions, task_id).upload.status == UploadStatus.EXPIRED
