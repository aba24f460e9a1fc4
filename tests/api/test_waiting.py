"""Tags and long polls, and what bounds and ends every wait. Those that wait run on a real server, over real sockets."""

import signal
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, text

from app.api import waiting
from app.api.waiting import Known
from app.core.config import Settings
from app.core.states import Stage, TaskStatus
from app.db import tasks
from app.db.base import Sessions
from app.db.models import User
from app.services import changes as changes_service
from app.services.status import Statuses, TaskView
from app.storage.s3 import S3Store
from tests.api.conftest import bearer
from tests.api.live import URL, Live, cancel, read, serve
from tests.api.test_drain import server as server_process
from tests.conftest import make_user
from tests.embedded_services import wait_for
from tests.factories import RESULT, change, claim, make_task


def finish(sessions: Sessions, task_id: UUID) -> None:
    held = claim(sessions, task_id)
    assert held is not None
    with sessions.begin() as session:
        assert tasks.complete(session, held, RESULT)


@pytest.fixture
def live(settings: Settings, sessions: Sessions, s3_store: S3Store, headers: dict[str, str]) -> Iterator[Live]:
    with serve(settings, headers) as made:
        yield made


# ---- tags


def test_a_state_is_told_once(client: TestClient, headers: dict[str, str], sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id)
    told = client.get(f"{URL}/{task_id}", headers=headers)
    tag = told.headers["ETag"]
    assert tag.startswith('W/"')
    assert told.headers["Cache-Control"] == "private, no-store"

    for known in (tag, tag.removeprefix("W/"), f'W/"other", {tag}', "*"):
        unchanged = client.get(f"{URL}/{task_id}", headers=headers | {"If-None-Match": known})
        assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", tag)
        assert unchanged.headers["Cache-Control"] == "private, no-store"
    for unknown in ('W/"other"', "other", "", tag.strip('W/"')):
        assert client.get(f"{URL}/{task_id}", headers=headers | {"If-None-Match": unknown}).status_code == 200


def test_every_change_has_its_tag(client: TestClient, headers: dict[str, str], sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id)
    tags = [client.get(f"{URL}/{task_id}", headers=headers).headers["ETag"]]
    claimed = {"status": TaskStatus.PROCESSING, "lease_until": func.now() + timedelta(hours=1)}
    for columns in (
        claimed | {"attempt": 1},
        {"stage": Stage.DECODING},
        {"progress": 10},
        {"status": TaskStatus.RETRYING, "lease_until": None, "stage": None, "progress": 0},
        {"retries": 1},
        {"status": TaskStatus.FAILED, "error_code": "timeout", "finished_at": func.now()},
        {"status": TaskStatus.QUEUED, "error_code": None, "finished_at": None},
        {"queued_at": func.now() + timedelta(seconds=1)},
    ):
        change(sessions, task_id, **columns)
        tags.append(client.get(f"{URL}/{task_id}", headers=headers).headers["ETag"])
    assert len(set(tags)) == len(tags)


def test_who_is_told_unchanged_has_an_address_that_holds(
    client: TestClient,
    headers: dict[str, str],
    sessions: Sessions,
    user: User,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_000 * 600.0
    monkeypatch.setattr(waiting, "time", SimpleNamespace(time=lambda: now))
    queued, completed = make_task(sessions, user.id), make_task(sessions, user.id)
    finish(sessions, completed)

    def tags() -> tuple[str, str]:
        queued_, completed_ = (
            client.get(f"{URL}/{id_}", headers=headers).headers["ETag"] for id_ in (queued, completed)
        )
        return queued_, completed_

    assert settings.presigned_url_ttl_seconds == 3600
    first = tags()
    now += 599
    assert tags() == first
    now += 1
    assert tags()[0] == first[0]
    assert tags()[1] != first[1]


@given(st.lists(st.text(st.characters(exclude_characters='"'))), st.text(), st.text())
def test_any_list_of_tags_is_read(tags: list[str], tag: str, header: str) -> None:
    known = Known(", ".join(f'W/"{tag}"' for tag in tags))
    assert all(known.has(tag) for tag in tags)
    assert known.has(tag) == (tag in tags)
    Known(header)


# ---- long polls


@pytest.mark.parametrize("wait", ["-1", "25.5", "nan", "inf", "soon"])
def test_a_wait_has_its_limits(client: TestClient, headers: dict[str, str], wait: str) -> None:
    answer = client.get(f"{URL}/{uuid4()}", headers=headers, params={"wait": wait})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "wait" in answer.json()["detail"]


def test_a_change_is_told_at_once(live: Live, sessions: Sessions, user: User) -> None:
    took = []
    for _ in range(5):
        task_id = make_task(sessions, user.id)
        asked = live.get(task_id, wait=25, known=live.tag(task_id))
        assert claim(sessions, task_id)
        begun = time.monotonic()
        answer = asked.result()
        took.append(time.monotonic() - begun)
        assert (answer.status_code, answer.json()["status"]) == (200, "processing")
    assert statistics.median(took) < 0.3


def test_who_knows_nothing_waits_for_the_end(live: Live, sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id)
    asked = live.get(task_id, wait=25)
    finish(sessions, task_id)
    assert asked.result().json()["status"] == "completed"


def test_nothing_new_after_the_end(live: Live, sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id)
    cancel(sessions, task_id)
    begun = time.monotonic()
    told = live.client.get(f"{URL}/{task_id}?wait=25")
    again = live.client.get(f"{URL}/{task_id}?wait=25", headers={"If-None-Match": told.headers["ETag"]})
    assert (told.status_code, again.status_code) == (200, 304)
    assert time.monotonic() - begun < 10


def test_a_wait_in_vain(live: Live, sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id)
    begun = time.monotonic()
    told = live.client.get(f"{URL}/{task_id}?wait=0.3")
    again = live.client.get(f"{URL}/{task_id}?wait=0.3", headers={"If-None-Match": told.headers["ETag"]})
    assert (told.status_code, again.status_code) == (200, 304)
    assert time.monotonic() - begun >= 0.6


def test_who_waits_looks_only_when_told(
    live: Live, sessions: Sessions, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = make_task(sessions, user.id)
    looks: list[UUID] = []
    get = Statuses.get

    def counted(self: Statuses, task_id: UUID, user_id: UUID) -> TaskView:
        looks.append(task_id)
        return get(self, task_id, user_id)

    monkeypatch.setattr(Statuses, "get", counted)
    asked = live.get(task_id, wait=1)
    assert claim(sessions, task_id)
    assert asked.result().json()["status"] == "processing"
    assert len(looks) <= 3  # at first, when it was claimed, at the end


def test_a_task_that_is_not_there_is_not_waited_for(live: Live) -> None:
    answer = live.client.get(f"{URL}/{uuid4()}?wait=25")
    assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found")
    assert len(live.changes) == 0


@pytest.mark.parametrize("path", ["?wait=25", "/events"])
def test_a_client_that_leaves_frees_its_place(live: Live, sessions: Sessions, user: User, path: str) -> None:
    task_id = make_task(sessions, user.id)
    leaving = live.pool.submit(live.client.get, f"{URL}/{task_id}{path}", timeout=0.5)
    wait_for(lambda: len(live.changes) == 1, "the request waits")
    assert isinstance(leaving.exception(), httpx2.ReadTimeout)
    wait_for(lambda: len(live.changes) == 0, "its place is free", seconds=4)


def terminate_listener(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ended = session.scalars(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'quickbg-changes' AND datname = current_database()"
            )
        ).all()
    assert ended == [True]


def test_a_lost_connection_is_made_anew_and_nothing_is_missed(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, sessions: Sessions, user: User, headers: dict[str, str]
) -> None:
    monkeypatch.setattr(changes_service, "RHYTHM", 25.0)
    with serve(settings, headers) as live:
        task_id = make_task(sessions, user.id)
        asked = live.get(task_id, wait=25)
        terminate_listener(sessions)
        cancel(sessions, task_id)
        assert asked.result(timeout=10).json()["status"] == "cancelled"
        wait_for(lambda: live.changes.connected, "it listens again")


def test_without_a_listener_waiters_look_themselves(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, sessions: Sessions, user: User, headers: dict[str, str]
) -> None:
    monkeypatch.setattr(changes_service, "PAUSE", 60.0)
    with serve(settings, headers) as live:
        terminate_listener(sessions)
        wait_for(lambda: not live.changes.connected, "the connection is lost")
        task_id = make_task(sessions, user.id)
        asked = live.get(task_id, wait=25)
        cancel(sessions, task_id)
        assert asked.result(timeout=4).json()["status"] == "cancelled"
        assert not live.changes.connected


# ---- bounds


@pytest.mark.parametrize(("bound", "for_others"), [("MAX_WAITS_OF_ACCOUNT", False), ("MAX_WAITS", True)])
def test_waits_are_bounded(
    bound: str,
    for_others: bool,
    monkeypatch: pytest.MonkeyPatch,
    live: Live,
    settings: Settings,
    sessions: Sessions,
    user: User,
) -> None:
    monkeypatch.setattr(changes_service, bound, 1)
    task_id = make_task(sessions, user.id)
    asked = live.get(task_id, wait=25)

    # At once, it would be asked again at once.
    began = time.monotonic()
    assert live.client.get(f"{URL}/{task_id}?wait=25").json()["status"] == "queued"
    assert waiting.BREATH <= time.monotonic() - began < 10
    refused = live.client.get(f"{URL}/{task_id}/events")
    assert (refused.status_code, refused.json()["code"]) == (503, "too_many_waiting")
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.headers["Content-Type"] == "application/problem+json"

    other = make_user(sessions).id
    theirs = make_task(sessions, other)
    cancel(sessions, theirs)
    stream = live.client.get(f"{URL}/{theirs}/events", headers=bearer(settings, other))
    assert stream.status_code == (503 if for_others else 200)

    assert not asked.done()
    cancel(sessions, task_id)
    assert asked.result().json()["status"] == "cancelled"
    assert live.client.get(f"{URL}/{task_id}/events").status_code == 200


# ---- the end of the API


@pytest.mark.parametrize(
    ("drain", "number", "code"),
    [(300, signal.SIGTERM, None), (0, signal.SIGTERM, -signal.SIGTERM), (0, signal.SIGINT, 0)],
)
def test_a_stopping_api_ends_every_wait(
    environment: dict[str, str],
    sessions: Sessions,
    user: User,
    headers: dict[str, str],
    drain: int,
    number: signal.Signals,
    code: int | None,
) -> None:
    task_id = make_task(sessions, user.id)
    with (
        server_process(environment, drain) as (process, client),
        client.stream("GET", f"{URL}/{task_id}/events", headers=headers, timeout=10) as answer,
        ThreadPoolExecutor(1) as pool,
    ):
        told = read(answer.iter_lines())
        assert next(told)["event"] == "progress"
        asked = pool.submit(client.get, f"{URL}/{task_id}?wait=25", headers=headers) if drain else None
        process.send_signal(number)
        assert list(told) == []
        if asked is None:
            assert process.wait(10) == code
        else:  # whether it came before the signal or after it
            assert asked.result(timeout=10).json()["status"] == "queued"


def test_the_description_knows_of_waiting(client: TestClient) -> None:
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    task = paths[f"{URL}/{{task_id}}"]["get"]
    assert {"wait", "if-none-match"} <= {parameter["name"] for parameter in task["parameters"]}
    assert "content" not in task["responses"]["304"]
    assert "ETag" in task["responses"]["200"]["headers"]
    stream = paths[f"{URL}/{{task_id}}/events"]["get"]["responses"]
    # Not `itemSchema`: OpenAPI 3.1 has no such word.
    assert set(stream["200"]["content"]["text/event-stream"]) == {"schema", "example"}
    assert {"401", "404", "503"} <= set(stream)
