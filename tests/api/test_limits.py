"""Limits as callers meet them: in the fields of every answer, and in a 429 that says what to do."""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import func
from starlette.types import Message, Scope

from app.core.states import TaskStatus
from app.db.base import Sessions
from app.db.models import User
from app.main import create_app
from app.storage.memory import MemoryStore
from tests.conftest import make_settings, make_user
from tests.factories import change, make_task
from tests.pictures import encoded, subject

from .conftest import bearer

TASKS, UPLOADS, USAGE, TOKEN = "/api/v1/tasks", "/api/v1/uploads", "/api/v1/usage", "/api/v1/auth/token"
FIELD = re.compile(r'"(?P<name>[a-z]+)";(?P<first>[qr])=(?P<amount>\d+);(?P<second>[wt])=(?P<seconds>\d+)')

Open = Callable[..., TestClient]


@pytest.fixture
def open_api(environment: dict[str, str], sessions: Sessions, user: User) -> Iterator[Open]:
    """An API with these limits, and a client of it with the account's token."""
    with ExitStack() as stack:

        def open_api(*, address: str = "testclient", **limits: Any) -> TestClient:
            made = make_settings(environment, **limits)
            app = create_app(made, store=MemoryStore())
            client = stack.enter_context(TestClient(app, follow_redirects=False, client=(address, 1)))
            client.headers.update(bearer(made, user.id))
            return client

        yield open_api


def field(answer: Response, name: str) -> tuple[str, int, int]:
    found = FIELD.fullmatch(answer.headers[name])
    assert found, answer.headers[name]
    assert found["first"] + found["second"] == {"RateLimit-Policy": "qw", "RateLimit": "rt"}[name]
    return found["name"], int(found["amount"]), int(found["seconds"])


def left(answer: Response) -> tuple[str, int]:
    return field(answer, "RateLimit")[:2]


def upload(client: TestClient, data: bytes | None = None, key: str | None = None) -> Response:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(UPLOADS, files={"file": ("a.jpg", data or encoded(), "image/jpeg")}, headers=headers)


def refused(answer: Response, code: str) -> str:
    """The sentence of a refusal."""
    assert (answer.status_code, answer.json()["code"]) == (429, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) >= 1
    return str(answer.json()["detail"])


def test_every_answer_says_what_is_left(open_api: Open, sessions: Sessions, user: User) -> None:
    client = open_api(rate_limit_reads_per_minute=50, rate_limit_requests_per_minute=20)
    task_id = make_task(sessions, user.id)
    whole = client.get(f"{TASKS}/{task_id}")
    assert field(whole, "RateLimit-Policy") == ("reads", 50, 60)
    assert left(whole) == ("reads", 49)
    assert 1 <= field(whole, "RateLimit")[2] <= 60
    again = client.get(f"{TASKS}/{task_id}", headers={"If-None-Match": whole.headers["ETag"]})
    assert (again.status_code, left(again)) == (304, ("reads", 48))
    missing = client.get(f"{TASKS}/{uuid4()}")
    assert (missing.status_code, left(missing)) == (404, ("reads", 47))
    wrong = client.get(f"{TASKS}?limit=1000")
    assert (wrong.status_code, left(wrong)) == (422, ("reads", 46))
    change(sessions, task_id, status=TaskStatus.CANCELLED, finished_at=func.now())
    done = client.delete(f"{TASKS}/{task_id}")
    assert (done.status_code, left(done)) == (204, ("requests", 19))
    taken = upload(client)
    assert (taken.status_code, left(taken)) == (202, ("requests", 18))
    assert field(taken, "RateLimit-Policy") == ("requests", 20, 60)


def test_who_is_not_limited_is_told_nothing(open_api: Open) -> None:
    client = open_api(rate_limit_requests_per_minute=5)
    for answer in (
        client.get(TASKS),
        client.get("/livez"),
        client.post(UPLOADS, headers={"Authorization": "Bearer x"}),
    ):
        assert not [name for name in answer.headers if name.startswith("ratelimit")]


def test_one_too_many_is_refused_in_words(open_api: Open, sessions: Sessions) -> None:
    client = open_api(rate_limit_reads_per_minute=3, rate_limit_requests_per_minute=1)
    for _ in range(3):
        assert client.get(TASKS).status_code == 200
    answer = client.get(TASKS)
    wait = answer.headers["Retry-After"]
    sentence = refused(answer, "rate_limited")
    assert sentence == f"The limit of 3 requests that read in 60 seconds is reached. Please try again in {wait} s."
    assert field(answer, "RateLimit") == ("reads", 0, int(wait))
    assert upload(client).status_code == 202  # those that change something are counted apart
    assert "1 requests that change something" in refused(upload(client), "rate_limited")
    other = bearer(make_settings_of(client), make_user(sessions).id)
    assert client.get(TASKS, headers=other).status_code == 200


def make_settings_of(client: TestClient) -> Any:
    return client.app.state.services.settings  # type: ignore[attr-defined]  # Starlette's own


def test_an_account_may_have_limits_of_its_own(open_api: Open, sessions: Sessions, user: User) -> None:
    client = open_api(rate_limit_reads_per_minute=1)
    with sessions.begin() as session:
        session.merge(User(id=user.id, reads_per_minute=40))
    assert left(client.get(TASKS)) == ("reads", 39)
    with sessions.begin() as session:
        session.merge(User(id=user.id, reads_per_minute=0))
    assert "RateLimit" not in client.get(TASKS).headers


def test_a_refused_upload_is_not_read(open_api: Open) -> None:
    client = open_api(rate_limit_requests_per_minute=1)
    assert upload(client).status_code == 202
    answers: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        answers.append(message)

    token = client.headers["Authorization"].encode()
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": UPLOADS,
        "query_string": b"",
        "headers": [(b"content-type", b"multipart/form-data; boundary=x"), (b"authorization", token)],
    }
    asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]  # the ASGI application
    assert answers[0]["status"] == 429


def test_what_is_no_picture_is_refused_before_its_pixels_are_counted(open_api: Open) -> None:
    client = open_api(rate_limit_megapixels_per_minute=1)
    big = encoded(subject(1000, 900))
    for _ in range(3):
        assert upload(client, encoded(subject(5000, 1000))).status_code == 422
    assert upload(client, big).status_code == 202
    assert "1 megapixels in 60 seconds" in refused(upload(client, big), "rate_limited")


def test_tasks_at_a_time_and_images_of_a_month(open_api: Open, sessions: Sessions) -> None:
    client = open_api(quota_active_tasks=1, quota_images_per_month=2)
    taken = upload(client, key="k")
    assert "1 tasks" in refused(upload(client), "too_many_active_tasks")
    again = upload(client, key="k")
    assert (again.status_code, again.json()) == (202, taken.json())
    assert client.post(f"{TASKS}/{taken.json()['task_id']}/cancel").status_code == 200
    second = upload(client)
    assert second.status_code == 202
    assert "1 tasks" in refused(client.post(f"{TASKS}/{taken.json()['task_id']}/retry"), "too_many_active_tasks")
    assert client.post(f"{TASKS}/{second.json()['task_id']}/cancel").status_code == 200
    full = upload(client)
    assert "2 images" in refused(full, "quota_exceeded")
    assert int(full.headers["Retry-After"]) <= 86_400
    # What is in the month already may run again.
    assert client.post(f"{TASKS}/{taken.json()['task_id']}/retry").status_code == 202


def test_usage_shows_the_month_and_what_is_left(open_api: Open) -> None:
    client = open_api(
        rate_limit_reads_per_minute=10,
        rate_limit_megapixels_per_minute=100,
        quota_active_tasks=5,
        quota_images_per_month=30,
    )
    upload(client)
    answer = client.get(USAGE)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["images"], body["megapixels"], body["active_tasks"]) == (1, 0.077, 1)
    assert body["limits"] == {
        "requests_per_minute": {"limit": None, "remaining": None},
        "reads_per_minute": {"limit": 10, "remaining": 9},
        "megapixels_per_minute": {"limit": 100, "remaining": 99},
        "active_tasks": {"limit": 5, "remaining": 4},
        "images_per_month": {"limit": 30, "remaining": 29},
    }
    assert len(body["months"]) == 12
    assert body["months"][0] == {"month": body["month"], "images": 1, "megapixels": 0.077}
    assert re.fullmatch(r"\d{4}-\d{2}", body["month"])
    assert client.get(USAGE, headers={"Authorization": ""}).status_code == 401


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        (TOKEN, {"data": {"username": "a@example.com", "password": "wrong-wrong"}}),
        ("/api/v1/auth/register", {"json": {"email": "no address", "password": "long enough"}}),
        ("/api/v1/auth/refresh", {"json": {"refresh_token": "x"}}),
    ],
)
def test_strangers_are_counted_by_their_address(open_api: Open, path: str, sent: dict[str, Any]) -> None:
    network = f"2001:db8:{uuid4().hex[:4]}:{uuid4().hex[:4]}"
    client = open_api(address=f"{network}::1", rate_limit_logins_per_minute=2)
    first = client.post(path, **sent)
    assert first.status_code in {401, 422}
    assert field(first, "RateLimit-Policy") == ("logins", 2, 60)
    neighbour = open_api(address=f"{network}:ffff::2", rate_limit_logins_per_minute=2)
    assert left(neighbour.post(path, **sent)) == ("logins", 0)
    assert "2 logins and registrations from one address" in refused(client.post(path, **sent), "rate_limited")
    assert open_api(address="192.0.2.1", rate_limit_logins_per_minute=99).post(path, **sent).status_code != 429


def test_without_redis_the_limits_hold(open_api: Open) -> None:
    client = open_api(rate_limit_reads_per_minute=2, redis_url="redis://127.0.0.1:9/0")
    answers = [client.get(TASKS) for _ in range(9)]
    # A window of this process ends with the minute, whenever that is.
    assert {each.status_code for each in answers} == {200, 429}
    assert sum(each.status_code == 200 for each in answers) <= 4
    assert left(answers[0]) == ("reads", 1)


def test_refusals_are_counted_for_those_who_watch(open_api: Open, sessions: Sessions) -> None:
    client = open_api(rate_limit_reads_per_minute=1, redis_url="redis://127.0.0.1:9/0")
    for _ in range(3):
        client.get(TASKS)
    counts = client.app.state.services.limits.counts  # type: ignore[attr-defined]  # Starlette's own
    counts.flush(sessions)
    shown = client.app.state.services.metrics  # type: ignore[attr-defined]
    text = asyncio.run(shown.text()).decode()
    assert re.search(r'quickbg_limited_total\{limit="reads"\} [12]\.0', text)
    assert "quickbg_rate_limit_fallbacks_total 3.0" in text


def test_a_foreign_task_costs_the_same(open_api: Open, sessions: Sessions) -> None:
    client = open_api(rate_limit_reads_per_minute=9)
    foreign: UUID = make_task(sessions, make_user(sessions).id)
    assert [left(client.get(f"{TASKS}/{task}"))[1] for task in (foreign, uuid4())] == [8, 7]
