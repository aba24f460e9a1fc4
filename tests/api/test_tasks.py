"""`/api/v1/tasks`: what the owner sees, page by page, and what nobody else does."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from app.core.config import Settings
from app.core.errors import InvalidRequest
from app.core.states import TaskStatus
from app.db import tasks
from app.db.base import Sessions
from app.db.models import User
from app.db.tasks import Result
from app.services.status import make_cursor, read_cursor
from tests.api.conftest import bearer
from tests.conftest import make_user
from tests.factories import RESULT, ago, claim, make_batch, make_task

URL = "/api/v1/tasks"


def completed(sessions: Sessions, user: User, result: Result = RESULT, **columns: Any) -> UUID:
    task_id = make_task(sessions, user.id, **columns)
    held = claim(sessions, task_id)
    assert held is not None
    with sessions.begin() as session:
        assert tasks.complete(session, held, result)
    return task_id


def test_a_queued_task(client: TestClient, headers: dict[str, str], sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id)
    body = client.get(f"{URL}/{task_id}", headers=headers).json()
    assert (body["task_id"], body["status"], body["progress"]) == (str(task_id), "queued", 0)
    empty = ("stage", "result_url", "presigned_url", "error_message", "error_code", "processing_time", "confidence")
    assert [body[name] for name in empty] == [None] * len(empty)
    assert (body["subject_box"], body["result_box"]) == (None, None)
    assert body["created_at"].endswith("Z")
    assert body["updated_at"].endswith("Z")


def test_a_completed_task(client: TestClient, headers: dict[str, str], sessions: Sessions, user: User) -> None:
    body = client.get(f"{URL}/{completed(sessions, user)}", headers=headers).json()
    assert (body["status"], body["progress"], body["confidence"], body["attempt"]) == ("completed", 100, 0.9, 1)
    assert (body["subject_box"], body["result_box"]) == (RESULT.subject_box, RESULT.result_box)
    assert body["result_url"].endswith(RESULT.key)
    assert body["presigned_url"].startswith(f"{body['result_url']}?")
    assert "X-Amz-Signature=" in body["presigned_url"]


def test_the_result_leads_to_the_picture(
    client: TestClient, headers: dict[str, str], sessions: Sessions, user: User
) -> None:
    task_id = completed(sessions, user)
    saved = client.get(f"{URL}/{task_id}/result", headers=headers)
    shown = client.get(f"{URL}/{task_id}/result?download=0", headers=headers)
    assert (saved.status_code, shown.status_code) == (307, 307)
    assert "attachment" in saved.headers["location"]
    assert "inline" in shown.headers["location"]
    assert "photo-cutout.png" in saved.headers["location"]


@pytest.mark.parametrize("format_", ["png", "webp", "jpg", "zip"])
def test_the_result_is_named_after_its_format(
    client: TestClient, headers: dict[str, str], sessions: Sessions, user: User, format_: str
) -> None:
    result = replace(RESULT, key=f"processed/a/b/1.{format_}")
    task_id = completed(sessions, user, result, options={"format": "auto"})
    assert f"photo-cutout.{format_}" in client.get(f"{URL}/{task_id}/result", headers=headers).headers["location"]
    assert f"photo-cutout.{format_}" in client.get(f"{URL}/{task_id}", headers=headers).json()["presigned_url"]


def test_there_is_no_result_before_the_end(
    client: TestClient, headers: dict[str, str], sessions: Sessions, user: User
) -> None:
    answer = client.get(f"{URL}/{make_task(sessions, user.id)}/result", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "task_not_completed")
    assert "queued" in answer.json()["detail"]


def test_a_foreign_task_and_a_missing_one_look_the_same(
    client: TestClient, settings: Settings, sessions: Sessions, user: User
) -> None:
    foreign = completed(sessions, user)
    stranger = bearer(settings, make_user(sessions).id)
    for suffix in ("", "/result"):
        answers = [client.get(f"{URL}/{each}{suffix}", headers=stranger) for each in (foreign, uuid4())]
        assert [answer.status_code for answer in answers] == [404, 404]
        bodies = [answer.json() | {"request_id": ""} for answer in answers]
        assert bodies[0] == bodies[1]
    assert client.get(URL, headers=stranger).json() == {"tasks": [], "next_cursor": None}


def test_pages_hold_every_task_once_newest_first(
    client: TestClient, headers: dict[str, str], sessions: Sessions, user: User
) -> None:
    expected = [str(make_task(sessions, user.id, age=10 * n)) for n in range(7)]
    seen: list[str] = []
    url: str | None = f"{URL}?limit=3"
    pages = 0
    while url:
        answer = client.get(url, headers=headers)
        seen += [item["task_id"] for item in answer.json()["tasks"]]
        url = answer.links.get("next", {}).get("url")
        assert (url is None) == (answer.json()["next_cursor"] is None)
        pages += 1
    assert seen == expected
    assert pages == 3


def test_tasks_of_the_same_moment_are_not_lost_between_pages(
    client: TestClient, headers: dict[str, str], sessions: Sessions, user: User
) -> None:
    moment = datetime.now(UTC)
    expected = {str(make_task(sessions, user.id, created_at=moment)) for _ in range(5)}
    first = client.get(f"{URL}?limit=2", headers=headers).json()
    rest = client.get(f"{URL}?limit=100&cursor={first['next_cursor']}", headers=headers).json()
    assert {item["task_id"] for item in first["tasks"] + rest["tasks"]} == expected


def test_filters(client: TestClient, headers: dict[str, str], sessions: Sessions, user: User) -> None:
    batch = make_batch(sessions, user.id)
    old = make_task(sessions, user.id, created_at=ago(3600), batch_id=batch)
    cancelled = make_task(sessions, user.id, status=TaskStatus.CANCELLED, finished_at=ago(0))

    def ids(**params: str) -> list[str]:
        return [item["task_id"] for item in client.get(URL, headers=headers, params=params).json()["tasks"]]

    assert ids(status="cancelled") == [str(cancelled)]
    assert ids(batch_id=str(batch)) == [str(old)]
    assert ids(created_after=(datetime.now(UTC) - timedelta(minutes=5)).isoformat()) == [str(cancelled)]


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("status=asleep", "status"),
        ("cursor=nonsense", "cursor"),
        ("created_after=yesterday", "created_after"),
        ("batch_id=7", "batch_id"),
    ],
)
def test_wrong_parameters_are_named(client: TestClient, headers: dict[str, str], query: str, word: str) -> None:
    answer = client.get(f"{URL}?{query}", headers=headers)
    assert answer.status_code == 422
    assert word in answer.json()["detail"]


def test_an_id_that_is_none(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.get(f"{URL}/7", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_a_cursor_names_its_place(at: datetime, task_id: UUID) -> None:
    assert read_cursor(make_cursor(at, task_id)) == (at, task_id)


@given(st.text() | st.binary().map(lambda raw: make_cursor(datetime.now(UTC), UUID(int=0))[:-4] + raw.hex()))
def test_any_other_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        read_cursor(text)
