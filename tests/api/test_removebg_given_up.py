"""Calls of remove.bg's door that were given up: whoever asks again is given the task that there is."""

import base64
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import func, select, update

from app.api import finishing
from app.core.states import TaskStatus
from app.db.base import Sessions
from app.db.models import IdempotencyKey, Task, User
from app.services.given_up import ROUTE, SOON
from app.storage.s3 import S3Store
from tests.api.conftest import bearer
from tests.api.live import cancel, serve
from tests.api.removebg import PICTURE, URL, door, make_bench, opened, refused, send, task_of
from tests.api.working import working
from tests.conftest import make_settings, make_user
from tests.embedded_services import wait_for
from tests.factories import change, row
from tests.outbound.sites import ok, saying, site
from tests.pictures import encoded
from tests.services.test_processing import Bench

EQUAL = 50


class Everything:
    """Takes all that there is for the subject."""

    name = precision = "everything"

    def infer(self, blob: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        raw = np.ones(blob.shape[2:], np.float32)
        raw[0, 0] = 0
        return raw


JSON = {"Accept": "application/json"}
Open = Callable[..., TestClient]


@pytest.fixture
def bench(environment: dict[str, str], sessions: Sessions, tmp_path: Path) -> Bench:
    return make_bench(environment, sessions, tmp_path)


@pytest.fixture
def open_api(environment: dict[str, str], bench: Bench, user: User) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_api(owner: User = user, **changes: Any) -> TestClient:
            return stack.enter_context(door(environment, bench, owner, **changes))

        yield open_api


@pytest.fixture
def hasty(open_api: Open) -> TestClient:
    """Who does not wait for what is not done at once."""
    return open_api(drop_in_wait_seconds=0)


def given_up(answer: Any) -> UUID:
    assert refused(answer) == (503, "still_processing")
    assert answer.headers["Retry-After"]
    return task_of(answer)


def left(sessions: Sessions) -> int:
    with sessions.begin() as session:
        kept = select(func.count()).select_from(IdempotencyKey).where(IdempotencyKey.route == ROUTE)
        return session.scalars(kept).one()


def tasks(sessions: Sessions) -> int:
    with sessions.begin() as session:
        return session.scalars(select(func.count()).select_from(Task)).one()


def test_who_asks_again_gets_his_task(hasty: TestClient, bench: Bench, sessions: Sessions) -> None:
    task_id = given_up(send(hasty))
    assert given_up(send(hasty)) == task_id
    bench.process(task_id)
    answer = send(hasty)
    with opened(answer):
        assert task_of(answer) == task_id
    assert answer.headers["X-Credits-Charged"] == "1"
    assert left(sessions) == 0
    assert given_up(send(hasty)) != task_id  # he has had it


def test_however_he_sends_it(hasty: TestClient, sessions: Sessions) -> None:
    task_id = given_up(send(hasty, size="auto", bg_color="fff"))
    assert given_up(send(hasty, headers=JSON, size="full", bg_color="white", crop="")) == task_id
    assert tasks(sessions) == 1


def test_also_by_a_url(hasty: TestClient) -> None:
    with site(saying(ok(PICTURE))) as near:
        task_id = given_up(hasty.post(URL, json={"image_url": near.url}))
        assert given_up(hasty.post(URL, data={"image_url": near.url})) == task_id
        assert given_up(hasty.post(URL, data={"image_url": f"{near.url}?2"})) != task_id


def test_also_with_a_background_of_his_own(hasty: TestClient, sessions: Sessions) -> None:
    def sent(background: bytes) -> UUID:
        files = {"image_file": ("cup.png", PICTURE), "bg_image_file": ("wall.png", background)}
        return given_up(hasty.post(URL, files=files))

    task_id = sent(encoded(kind="PNG"))
    assert sent(encoded(kind="PNG")) == task_id
    assert sent(encoded()) != task_id


def test_what_is_not_equal_is_another_task(hasty: TestClient, open_api: Open, sessions: Sessions) -> None:
    others = open_api(make_user(sessions), drop_in_wait_seconds=0)
    found = {
        given_up(send(hasty)),
        given_up(send(hasty, crop="true")),
        given_up(send(hasty, encoded(kind="PNG"))),
        given_up(send(others)),
    }
    assert len(found) == tasks(sessions) == 4


def test_each_of_several_gets_another(hasty: TestClient, sessions: Sessions, open_api: Open) -> None:
    first = given_up(send(hasty))
    second = given_up(send(hasty, headers={"Idempotency-Key": "k"}))  # this one is not left
    assert (left(sessions), first != second) == (1, True)
    # Both wait before either gives up.
    patient = open_api(drop_in_wait_seconds=4)
    with ThreadPoolExecutor(3) as pool:
        found = set(pool.map(lambda _: given_up(send(patient)), range(3)))
    assert first in found
    assert (len(found), left(sessions), second in found) == (3, 3, False)
    with ThreadPoolExecutor(3) as pool:
        again = set(pool.map(lambda _: given_up(send(patient)), range(3)))
    assert again == found


def test_what_has_come_to_nothing_is_begun_anew(hasty: TestClient, sessions: Sessions) -> None:
    ends: list[Callable[[UUID], object]] = [
        lambda task_id: cancel(sessions, task_id),
        lambda task_id: change(
            sessions, task_id, status=TaskStatus.FAILED, finished_at=func.now(), error_code="oom", error_message="x"
        ),
        lambda task_id: hasty.delete(f"/api/v1/tasks/{task_id}").raise_for_status(),
    ]
    for end in ends:
        task_id = given_up(send(hasty))
        end(task_id)
        assert given_up(send(hasty)) != task_id
        hasty.delete(f"/api/v1/tasks/{task_id}")
        with sessions.begin() as session:
            session.query(IdempotencyKey).delete()


def test_why_it_failed_is_told_to_who_asks_again(
    hasty: TestClient, bench: Bench, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else he would be told to ask again for ever."""
    monkeypatch.setattr(bench.engine, "infer", lambda blob: np.full((1024, 1024), 0.1, np.float32))
    task_id = given_up(send(hasty))
    bench.process(task_id)
    answer = send(hasty)
    assert (refused(answer), task_of(answer)) == ((400, "unknown_foreground"), task_id)
    assert row(sessions, task_id).charged is False
    assert given_up(send(hasty)) != task_id  # he has been told


def test_one_that_was_cancelled_does_not_stand_before_those_that_go_on(open_api: Open, sessions: Sessions) -> None:
    patient = open_api(drop_in_wait_seconds=3)
    with ThreadPoolExecutor(3) as pool:
        found = set(pool.map(lambda _: given_up(send(patient)), range(3)))
    with sessions.begin() as session:
        oldest = session.scalars(select(IdempotencyKey.key).order_by(IdempotencyKey.created_at).limit(1)).one()
    cancel(sessions, UUID(oldest))
    assert given_up(send(patient)) in found - {UUID(oldest)}


def test_what_was_left_long_ago_is_left_alone(hasty: TestClient, sessions: Sessions) -> None:
    """There may be another picture at a URL by then."""
    task_id = given_up(hasty.post(URL, data={"image_url": "https://example.com/a.jpg"}))
    with sessions.begin() as session:
        session.execute(update(IdempotencyKey).values(created_at=func.now() - timedelta(seconds=SOON + 1)))
    assert given_up(hasty.post(URL, data={"image_url": "https://example.com/a.jpg"})) != task_id


def test_who_goes_away_in_the_middle_of_his_answer_may_ask_again(
    environment: dict[str, str], sessions: Sessions, user: User, s3_store: S3Store, tmp_path: Path
) -> None:
    """The answer is larger than what fits between two programs."""
    settings = make_settings(environment, drop_in_wait_seconds=20)
    headers = bearer(settings, user.id) | {"Content-Type": "application/json"}
    noise = encoded(Image.fromarray(np.random.default_rng(1).integers(0, 255, (1500, 1500, 3), np.uint8)))
    body = json.dumps({"image_file_b64": base64.b64encode(noise).decode(), "size": "full", "format": "png"}).encode()
    fields = headers | {"Content-Length": str(len(body)), "Host": "x"}
    head = "\r\n".join([f"POST {URL} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())])
    bench = Bench(settings, sessions, tmp_path)
    bench.store = s3_store  # type: ignore[assignment]  # any store will do
    bench.engine = Everything()  # type: ignore[assignment]
    with serve(settings, headers) as live:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", live.port))
            connection.sendall(head.encode() + b"\r\n\r\n" + body)
            wait_for(lambda: len(live.changes) == 1, "the call waits")
            with sessions.begin() as session:
                (task_id,) = session.scalars(select(Task.id))
            bench.process(task_id)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        wait_for(lambda: left(sessions) == 1, "the call is left")
        again = live.client.post(URL, content=body)
        wait_for(lambda: left(sessions) == 0, "it is heard")
    assert (again.status_code, task_of(again)) == (200, task_id)


def test_an_answer_that_cannot_be_sent_is_left(
    hasty: TestClient, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = given_up(send(hasty))
    bench.process(task_id)
    with monkeypatch.context() as patch:
        patch.setattr(finishing, "SENDING", BoundedSemaphore(1))
        assert finishing.SENDING.acquire(blocking=False)
        for _ in range(2):
            answer = send(hasty)
            assert (refused(answer), task_of(answer)) == ((503, "busy"), task_id)
    answer = send(hasty)
    assert (answer.status_code, task_of(answer)) == (200, task_id)


def test_a_result_that_is_lost_is_not_asked_for_again(hasty: TestClient, bench: Bench) -> None:
    task_id = given_up(send(hasty))
    bench.process(task_id)
    bench.store.delete(*bench.results())
    lost = send(hasty)
    assert (refused(lost), task_of(lost)) == ((410, "task_expired"), task_id)
    assert given_up(send(hasty)) != task_id


def test_equal_calls_at_once_are_as_many_tasks(open_api: Open, bench: Bench, sessions: Sessions) -> None:
    client = open_api()
    with working(bench), ThreadPoolExecutor(EQUAL) as pool:
        answers = list(pool.map(lambda _: send(client), range(EQUAL)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({task_of(answer) for answer in answers}) == tasks(sessions) == EQUAL
    assert len({answer.content for answer in answers}) == 1
    assert left(sessions) == 0


def test_under_a_key_it_is_the_same_task_at_all_times(open_api: Open, bench: Bench, sessions: Sessions) -> None:
    key = {"Idempotency-Key": "k"}
    with working(bench):
        client = open_api()
        first, second = send(client, headers=key), send(client, headers=key)
    assert task_of(first) == task_of(second)
    assert first.content == second.content
    assert refused(send(client, headers=key, crop="true")) == (400, "idempotency_key_reused")
    assert refused(send(client, headers={"Idempotency-Key": " "})) == (400, "malformed_idempotency_key")
    assert left(sessions) == 0


@pytest.mark.usefixtures("s3_store")
def test_a_client_that_goes_away(
    environment: dict[str, str], sessions: Sessions, user: User, s3_store: S3Store
) -> None:
    settings = make_settings(environment, drop_in_wait_seconds=20, outbound_allowed_networks="127.0.0.0/8")
    headers = bearer(settings, user.id)
    body = json.dumps({"image_url": "http://127.0.0.1:9/a.png"}).encode()
    head = "\r\n".join(f"{name}: {value}" for name, value in headers.items())
    lines = f"POST {URL} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{head}"
    with serve(settings, headers) as live:
        with socket.create_connection(("127.0.0.1", live.port)) as connection:
            connection.sendall(lines.encode() + b"\r\n\r\n" + body)
            wait_for(lambda: len(live.changes) == 1, "the call waits")
            assert left(sessions) == 0
        wait_for(lambda: left(sessions) == 1, "the call is left")
        again = live.pool.submit(live.client.post, URL, content=body, headers={"Content-Type": "application/json"})
        wait_for(lambda: len(live.changes) == 1, "the next one waits")
        with sessions.begin() as session:
            (task_id,) = session.scalars(select(Task.id))
        cancel(sessions, task_id)
        answer = again.result()
    assert task_of(answer) == task_id
    assert answer.status_code == 409
