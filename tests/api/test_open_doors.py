"""`OPEN_DOORS`: what strangers may do where it is set, in whose account, and what stays closed all the same."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from app.core.config import Settings
from app.core.errors import InvalidRequest
from app.db import users
from app.db.base import Sessions
from app.db.models import Batch, Task, User
from app.main import create_app
from app.services.accounts import CELERY, GUESTS, Accounts
from tests.api.accounts import PASSWORD, log_in, promote, register
from tests.api.conftest import bearer
from tests.api.working import working
from tests.conftest import make_settings
from tests.doors.operations import Operation, operations, told
from tests.doors.people import dead_credentials, missing_ids
from tests.embedded_services import wait_for
from tests.factories import make_batch, make_task, row
from tests.pictures import encoded, subject
from tests.services.test_processing import Bench

# Every other route that asks who is calling is closed, and so is a new one unless it is named here.
OPEN = {
    "POST /process",
    "POST /api/v1/remove-background",
    "POST /api/v1/remove-backgrounds",
    "POST /api/v2/remove-backgrounds",
    "POST /api/v2/remove-backgrounds/results",
    "POST /api/v1/batches",
    "GET /api/v1/batches/{batch_id}",
    "POST /api/v1/batches/{batch_id}/cancel",
    "GET /api/v1/batches/{batch_id}/archive",
    "GET /api/v1/tasks/{task_id}",
    "GET /api/v1/tasks/{task_id}/result",
    "GET /api/v1/tasks/{task_id}/events",
    "POST /api/jobs/remove-bg",
    "POST /api/jobs/remove-bg-batch",
    "GET /api/jobs/{job_id}",
    "POST /api/jobs/{job_id}/cancel",
    "GET /api/jobs/{job_id}/download",
    "GET /api/failed-jobs",
    "GET /api/remove",
    "POST /api/remove",
    "GET /v1.0/account",
    "POST /v1.0/improve",
    "POST /v1.0/removebg",
}
FAILED: dict[str, Any] = {"status": "failed", "finished_at": func.now(), "error_code": "image_corrupt"}
FILE = ("cup.jpg", encoded(subject(200, 160)))
Open = Callable[..., TestClient]


@pytest.fixture
def bench(settings: Settings, sessions: Sessions, tmp_path: Path) -> Bench:
    return Bench(settings, sessions, tmp_path)


@pytest.fixture
def open_api(environment: dict[str, str], bench: Bench) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_api(**changes: Any) -> TestClient:
            made = make_settings(environment, **changes)
            app = create_app(made, store=bench.store)
            return stack.enter_context(TestClient(app, follow_redirects=False))

        yield open_api


@pytest.fixture
def client(open_api: Open) -> TestClient:
    """Of a server with open doors; it shows no credentials."""
    return open_api(
        open_doors=True, metrics_open=False, sync_wait_seconds=0, drop_in_wait_seconds=0, improve_enabled=True
    )


def private(client: TestClient) -> list[Operation]:
    """Every operation that asks who is calling."""
    api = client.app
    assert isinstance(api, FastAPI)
    return [each for each in operations(api.openapi()) if each.told.get("security")]


def opened(client: TestClient) -> list[Operation]:
    return [each for each in private(client) if str(each) in OPEN]


def guest(sessions: Sessions) -> User | None:
    with sessions.begin() as session:
        return users.by_email(session, GUESTS)


def test_what_is_closed_stays_closed(client: TestClient) -> None:
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for operation in private(client):
        for way in operation.ways(missing_ids()):
            answer = way.send(client, {})
            assert answer.status_code != 403, f"{way}: {answer.text}"
            found[answer.status_code != 401].add(str(operation))
    assert found[True] == OPEN
    assert len(found[False]) > 30


def test_without_it_everything_is_closed(open_api: Open, sessions: Sessions) -> None:
    client = open_api(sync_wait_seconds=0, drop_in_wait_seconds=0, improve_enabled=True)
    for operation in opened(client):
        for way in operation.ways(missing_ids()):
            assert told(way.send(client, {})) == way.refused(401, "not_authenticated"), way
    assert guest(sessions) is None


def test_it_is_said_at_start(open_api: Open, capsys: pytest.CaptureFixture[str]) -> None:
    for is_open in (False, True):
        open_api(open_doors=is_open)
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        said = [line["level"] for line in lines if line["event"] == "doors_open"]
        assert said == (["warning"] if is_open else [])


def test_a_stranger_gets_his_pictures(open_api: Open, bench: Bench, sessions: Sessions) -> None:
    client = open_api(open_doors=True)
    with working(bench):
        picture = client.post("/api/v1/remove-background", files={"file": FILE})
        assert picture.status_code == 200, picture.text
        batch = client.post("/api/v1/batches", files={"file": FILE}).headers["Location"]
        job = client.post("/api/jobs/remove-bg", files={"file": FILE}).headers["Location"]
        task = job.replace("/api/jobs", "/api/v1/tasks")
        assert client.get(task, params={"wait": 20}).json()["status"] == "completed"
        wait_for(lambda: client.get(batch).json()["status"] == "finished", "the batch is finished")
    assert client.get(f"{batch}/archive").content[:2] == b"PK"
    assert client.get(f"{job}/download").content == picture.content
    assert client.get(f"{task}/result").status_code == 307
    assert "event: completed" in client.get(f"{task}/events").text
    owner = guest(sessions)
    assert owner is not None
    with sessions.begin() as session:
        owners = set(session.scalars(select(Task.user_id))) | set(session.scalars(select(Batch.user_id)))
    assert owners == {owner.id}
    assert (owner.role, owner.password_hash) == ("user", None)


def test_strangers_share_an_account_and_its_limits(open_api: Open) -> None:
    client = open_api(open_doors=True, rate_limit_requests_per_minute=2)
    answers = [client.post("/api/jobs/remove-bg", files={"file": FILE}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[0].headers["RateLimit"]


def test_with_credentials_he_is_himself(client: TestClient, settings: Settings, sessions: Sessions, user: User) -> None:
    sent = client.post("/api/jobs/remove-bg", files={"file": FILE}, headers=bearer(settings, user.id))
    assert row(sessions, UUID(sent.json()["job_id"])).user_id == user.id
    assert guest(sessions) is None


def test_wrong_credentials_make_nobody_a_guest(client: TestClient, settings: Settings, sessions: Sessions) -> None:
    wrong = dead_credentials(settings, sessions)
    assert wrong.pop("nothing") == {}
    wrong |= {
        "another scheme": {"Authorization": "Basic YWRhOnNlY3JldA=="},
        "no scheme": {"Authorization": ""},
        "no token": {"Authorization": "Bearer "},
        "an empty key": {"X-API-Key": ""},
    }
    for name, headers in wrong.items():
        for operation in opened(client):
            way = next(operation.ways(missing_ids()))
            assert way.send(client, headers).status_code == way.refused(401, "")[0], f"{way} with {name}"
    assert guest(sessions) is None


def test_guests_and_accounts_see_nothing_of_each_other(
    client: TestClient, settings: Settings, sessions: Sessions, user: User
) -> None:
    guests, own = Accounts(settings, sessions).of_the_house(GUESTS), bearer(settings, user.id)
    for owner, others, his in ((user, {}, own), (guests, own, {})):
        task_id = make_task(sessions, owner.id, **FAILED)
        batch_id = make_batch(sessions, owner.id)
        ids = missing_ids() | {"task_id": task_id, "job_id": task_id, "batch_id": batch_id}
        named = [way for each in opened(client) if each.names_in_path for way in each.ways(ids)]
        assert len(named) >= 9
        for way in named:
            assert way.send(client, others).status_code == 404, way
        for headers, mine in ((others, False), (his, True)):
            flows = client.post("/api/v2/remove-backgrounds/results", json=[str(task_id)], headers=headers).json()
            assert (flows["results"][0]["status"] == "FAILED") == mine
            failed = client.get("/api/failed-jobs", headers=headers).json()["jobs"]
            assert (str(task_id) in {each["job_id"] for each in failed}) == mine
            assert (client.get(f"/api/jobs/{task_id}", headers=headers).status_code == 200) == mine


def test_an_administrator_can_shut_the_guests_out(
    client: TestClient, settings: Settings, sessions: Sessions, user: User
) -> None:
    promote(sessions, user.id)
    own = bearer(settings, user.id)
    job = client.post("/api/jobs/remove-bg", files={"file": FILE}).headers["Location"]
    (listed,) = client.get("/api/v1/admin/users", params={"email": "guests@"}, headers=own).json()["users"]
    url = f"/api/v1/admin/users/{listed['id']}"
    assert client.patch(url, json={"is_active": False}, headers=own).status_code == 200
    for operation in opened(client):
        for way in operation.ways(missing_ids()):
            assert told(way.send(client, {})) == way.refused(403, "account_disabled"), way
    assert client.get("/api/failed-jobs", headers=own).status_code == 200
    assert client.patch(url, json={"is_active": True}, headers=own).status_code == 200
    assert client.get(job).status_code == 200


def test_no_guest_is_an_administrator(client: TestClient, sessions: Sessions) -> None:
    """Not even where somebody has made him one."""
    assert client.get("/api/failed-jobs").status_code == 200
    owner = guest(sessions)
    assert owner is not None
    promote(sessions, owner.id)
    test_what_is_closed_stays_closed(client)


@pytest.mark.parametrize("address", [GUESTS, "Guests@LocalHost", " guests@localhost ", CELERY])
def test_nobody_is_a_guest_by_name(client: TestClient, settings: Settings, sessions: Sessions, address: str) -> None:
    accounts = Accounts(settings, sessions)
    for made in (False, True):
        if made:
            accounts.of_the_house(address.strip().lower())
        assert told(register(client, address)) == (422, "invalid_request")
        for password in (PASSWORD, "x"):
            assert told(log_in(client, address, password)) == (401, "wrong_credentials")
        with pytest.raises(InvalidRequest, match="nobody logs in"):
            accounts.make_admin(address, PASSWORD)
