"""A task's progress as a stream of events, read over real sockets."""

import json
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from app.api import waiting
from app.core.config import Settings
from app.core.states import Stage
from app.db import tasks
from app.db.base import Sessions
from app.db.models import User
from app.services.status import Statuses, TaskView
from app.storage.s3 import S3Store
from tests.api.conftest import bearer
from tests.api.live import URL, Live, cancel, read, serve
from tests.conftest import make_user
from tests.embedded_services import wait_for
from tests.factories import RESULT, change, claim, make_task


@pytest.fixture
def live(settings: Settings, sessions: Sessions, s3_store: S3Store, headers: dict[str, str]) -> Iterator[Live]:
    with serve(settings, headers) as made:
        yield made


def test_a_stream_tells_every_state_and_then_the_end(live: Live, sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id)
    with live.client.stream("GET", f"{URL}/{task_id}/events") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert "no-store" in answer.headers["Cache-Control"]
        told = read(answer.iter_lines())
        seen = [next(told)]
        assert f'W/"{seen[0]["id"]}"' == live.tag(task_id)
        held = claim(sessions, task_id)
        assert held is not None
        seen.append(next(told))
        change(sessions, task_id, stage=Stage.INFERRING, progress=20)
        seen.append(next(told))
        with sessions.begin() as session:
            assert tasks.complete(session, held, RESULT)
        seen += told  # to the end

    assert [event["event"] for event in seen] == ["progress"] * 3 + ["completed"]
    bodies = [json.loads(event["data"]) for event in seen]
    states = [(body["status"], body["stage"], body["progress"]) for body in bodies]
    assert states == [
        ("queued", None, 0),
        ("processing", "downloading", 5),
        ("processing", "inferring", 20),
        ("completed", None, 100),
    ]
    assert bodies[-1].keys() == live.client.get(f"{URL}/{task_id}").json().keys()
    assert bodies[-1]["presigned_url"]
    assert len({event["id"] for event in seen}) == 4


def test_who_comes_back_is_not_told_again(live: Live, sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id)
    last = {"Last-Event-ID": live.tag(task_id).removeprefix('W/"').removesuffix('"')}
    with live.client.stream("GET", f"{URL}/{task_id}/events", headers=last) as answer:
        cancel(sessions, task_id)
        (end,) = read(answer.iter_lines())
    assert end["event"] == "cancelled"

    with live.client.stream("GET", f"{URL}/{task_id}/events", headers={"Last-Event-ID": end["id"]}) as answer:
        assert list(read(answer.iter_lines())) == [end]


def test_a_stream_ends_with_its_task(
    live: Live, sessions: Sessions, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = make_task(sessions, user.id)
    with live.client.stream("GET", f"{URL}/{task_id}/events") as answer:
        told = read(answer.iter_lines())
        assert next(told)["event"] == "progress"
        assert live.client.delete(f"{URL}/{task_id}").status_code == 204
        assert list(told) == []
    wait_for(lambda: any("request_finished" in line and "/events" in line for line in caplog.messages), "it is over")
    assert "request_crashed" not in caplog.text


def test_a_stream_outlives_a_database_that_fails(
    live: Live, sessions: Sessions, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = make_task(sessions, user.id)
    healthy = Statuses.get
    failed: list[UUID] = []

    def fail_once(self: Statuses, task_id: UUID, user_id: UUID) -> TaskView:
        if not failed:
            failed.append(task_id)
            raise OperationalError("SELECT", None, Exception("gone"))
        return healthy(self, task_id, user_id)

    with live.client.stream("GET", f"{URL}/{task_id}/events") as answer:
        told = read(answer.iter_lines())
        assert next(told)["event"] == "progress"
        monkeypatch.setattr(Statuses, "get", fail_once)
        assert claim(sessions, task_id)
        wait_for(lambda: bool(failed), "a look fails")
        cancel(sessions, task_id)
        assert [event["event"] for event in told][-1] == "cancelled"


def test_a_stream_does_not_last_for_ever(
    live: Live, sessions: Sessions, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MAX_STREAM", 0.3)
    task_id = make_task(sessions, user.id)
    with live.client.stream("GET", f"{URL}/{task_id}/events") as answer:
        assert [event["event"] for event in read(answer.iter_lines())] == ["progress"]


def test_what_is_wrong_is_told_before_the_stream_begins(
    client: TestClient, headers: dict[str, str], settings: Settings, sessions: Sessions, user: User
) -> None:
    task_id = make_task(sessions, user.id)
    stranger = bearer(settings, make_user(sessions).id)
    for path, sent, status, code in (
        (uuid4(), headers, 404, "task_not_found"),
        (task_id, stranger, 404, "task_not_found"),
        (task_id, {}, 401, "not_authenticated"),
        ("7", headers, 422, "invalid_request"),
    ):
        answer = client.get(f"{URL}/{path}/events", headers=sent)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["Content-Type"] == "application/problem+json"
