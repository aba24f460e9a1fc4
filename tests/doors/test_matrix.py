"""Every operation of the API, as its description names them, before everybody who could stand at its door.

A new route is among them by itself. One that cannot be filled, or that does not fit the rule of who may call it, fails
here, until somebody says what is meant.
"""

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.compat import removebg_errors
from app.api.errors import MEDIA_TYPE
from app.core.config import Settings
from app.core.states import TaskStatus
from app.db.base import Sessions
from app.services.identity import Scope
from app.storage.s3 import S3Store
from tests.api.accounts import problem
from tests.doors.operations import Operation, Way, operations, told
from tests.doors.people import (
    Headers,
    Person,
    a_person,
    belongings,
    dead_credentials,
    missing_ids,
    rows_of,
)

PUBLIC = {
    "POST /api/v1/auth/register",
    "POST /api/v1/auth/token",
    "POST /api/v1/auth/refresh",
    "GET /api/v1/health",
    "GET /api/health",
    "GET /health",
    "GET /livez",
    "GET /readyz",
    "GET /info",
    "GET /",
}
PERSONAL = re.compile(r"/api/v1/(auth/(logout|password)|api-keys|webhook-secret)")  # with a token alone
ADMINISTRATION = re.compile(r"/api/(v1/)?admin/")
METRICS = {"/metrics", "/api/metrics"}
ASKING = {"/api/v2/remove-backgrounds/results"}  # which takes a body, and so is no GET
MAKING = {"/api/remove"}  # a task, also by GET, as rembg has it
VARYING = {"x-request-id", "date"}


@pytest.fixture
def every(app: TestClient) -> list[Operation]:
    api = app.app
    assert isinstance(api, FastAPI)
    return operations(api.openapi())


@pytest.fixture
def private(every: list[Operation]) -> list[Operation]:
    return [operation for operation in every if str(operation) not in PUBLIC]


@pytest.fixture
def root(settings: Settings, sessions: Sessions) -> Person:
    return a_person(settings, sessions, role="admin")


@pytest.fixture
def eve(settings: Settings, sessions: Sessions) -> Person:
    return a_person(settings, sessions)


def needed(operation: Operation) -> Scope | None:
    """The scope that an API key needs; None where no key is enough."""
    if PERSONAL.match(operation.path):
        return None
    if operation.path in METRICS:
        return Scope.METRICS
    if ADMINISTRATION.match(operation.path):
        return Scope.ADMIN
    reads = operation.path in ASKING or (operation.method == "GET" and operation.path not in MAKING)
    return Scope.READ if reads else Scope.WRITE


def code(answer: Any) -> tuple[int, str]:
    assert answer.headers["content-type"] in {MEDIA_TYPE, removebg_errors.MEDIA_TYPE}
    return told(answer)


def unchanging(answer: Any, way: Way) -> tuple[int, dict[str, str], Any]:
    headers = {name: value for name, value in answer.headers.items() if name not in VARYING}
    text = answer.text
    for named in re.findall(r"[0-9a-f-]{36}", str(way.body)):  # that an answer repeats what it was asked is no telling
        text = text.replace(named, "…")
    return answer.status_code, headers, problem(answer) if answer.status_code >= 400 else text


def test_the_description_is_whole(every: list[Operation]) -> None:
    assert {str(each) for each in every if not each.told.get("security")} == PUBLIC
    links = [
        link["operationId"]
        for each in every
        for answer in each.told["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    for each in every:
        limited = {"RateLimit", "RateLimit-Policy", "Retry-After"} if each.told.get("security") else {"Retry-After"}
        assert set(each.told["responses"].get("429", {"headers": limited})["headers"]) == limited
    assert links
    assert set(links) <= {each.told["operationId"] for each in every}
    # And there are no doors beside it, but for the page that shows it.
    beside = re.compile(r"include_in_schema|\.mount\(|add_route|websocket\(|\.host\(")
    api = Path(__file__).parents[2] / "backend" / "app"
    assert {file.name for file in api.rglob("*.py") if beside.search(file.read_text())} == {"docs.py"}


def test_what_is_dead_opens_nothing(
    client: TestClient, private: list[Operation], settings: Settings, sessions: Sessions
) -> None:
    assert len(private) > 20
    for name, headers in dead_credentials(settings, sessions).items():
        bodies = []
        refusal = (401, "token_expired" if name.startswith("an expired token") else "not_authenticated")
        for operation in private:
            for way in operation.ways(missing_ids()):
                answer = way.send(client, headers)
                assert code(answer) == way.refused(*refusal), f"{way} with {name}"
                if removebg_errors.concerns(way.url):
                    continue
                assert answer.headers["www-authenticate"] == "Bearer"
                bodies.append(problem(answer))
        assert bodies.count(bodies[0]) == len(bodies), name


def test_a_credential_ends_at_once(
    client: TestClient, settings: Settings, sessions: Sessions, s3_store: S3Store
) -> None:
    """By the API's own ways of ending one: what held a moment ago holds nowhere."""
    one, root = a_person(settings, sessions), a_person(settings, sessions, role="admin")
    token, key = one.login(), one.key([Scope.READ])
    key_id = client.get("/api/v1/api-keys", headers=one.bearer()).json()["api_keys"][0]["id"]
    ends = (
        (token, "POST", "/api/v1/auth/logout", token, None),
        (key, "DELETE", f"/api/v1/api-keys/{key_id}", one.bearer(), None),
        (one.bearer(), "PATCH", f"/api/v1/admin/users/{one.id}", root.bearer(), {"is_active": False}),
    )
    for ended, method, path, by, body in ends:
        assert client.get("/api/v1/auth/me", headers=ended).status_code == 200
        assert client.request(method, path, headers=by, json=body).is_success
        assert client.get("/api/v1/auth/me", headers=ended).status_code == 401, path


def test_a_key_opens_what_it_was_made_for(client: TestClient, private: list[Operation], root: Person) -> None:
    alone = {scope: root.key([scope]) for scope in Scope}
    without = {scope: root.key(set(Scope) - {scope}) for scope in Scope}
    everything = root.key(Scope)
    for operation in private:
        scope = needed(operation)
        for way in operation.ways(missing_ids()):
            wrong = everything if scope is None else without[scope]
            assert code(way.send(client, wrong)) == way.refused(403, "insufficient_scope"), way
            if scope is not None:
                assert way.send(client, alone[scope]).status_code not in {401, 403}, way


def test_a_token_opens_what_its_account_may_do(
    client: TestClient, private: list[Operation], root: Person, eve: Person
) -> None:
    for operation in private:
        for way in operation.ways(missing_ids()):
            refusal = (403, "insufficient_scope") if operation.path in METRICS else (403, "forbidden")
            as_eve = way.send(client, eve.login())
            if needed(operation) in {Scope.ADMIN, Scope.METRICS}:
                assert code(as_eve) == refusal, way
            elif as_eve.status_code in {401, 403}:
                assert code(as_eve) == (403, "wrong_password"), way
            assert way.send(client, root.login()).status_code not in {401, 403} or way.url.endswith("/password"), way


def test_a_key_of_one_who_is_no_administrator_any_more(
    client: TestClient, private: list[Operation], root: Person
) -> None:
    key = root.key(Scope)
    root.change(role="user")
    for operation in private:
        if needed(operation) in {Scope.ADMIN, Scope.METRICS}:
            for way in operation.ways(missing_ids()):
                assert way.send(client, key).status_code == 403, way


@pytest.mark.parametrize("status", TaskStatus)
def test_what_is_anothers_looks_like_what_is_not_there(
    client: TestClient,
    private: list[Operation],
    settings: Settings,
    sessions: Sessions,
    s3_store: S3Store,
    eve: Person,
    status: TaskStatus,
) -> None:
    ada = a_person(settings, sessions)
    owned = belongings(ada, s3_store)
    before = rows_of(sessions, ada.id)
    for credential in (eve.bearer(), eve.key([Scope.READ, Scope.WRITE])):
        for operation in private:
            pairs = zip(operation.ways(owned.ids(status)), operation.ways(missing_ids()), strict=True)
            for foreign, missing in pairs:
                if foreign.url == missing.url and (foreign.query, foreign.body) == (missing.query, missing.body):
                    continue  # it names nothing; what it lists is looked at below
                answers = [way.send(client, credential) for way in (foreign, missing)]
                told = unchanging(answers[0], foreign), unchanging(answers[1], missing)
                assert told[0] == told[1], f"{foreign}: {answers[0].text}"
                if operation.names_in_path and needed(operation) in {Scope.READ, Scope.WRITE}:
                    assert answers[0].status_code == 404, foreign
    assert rows_of(sessions, ada.id) == before
    assert s3_store.size(owned.s3_key)


def test_the_same_names_work_for_their_owner(
    client: TestClient, private: list[Operation], settings: Settings, sessions: Sessions, s3_store: S3Store
) -> None:
    """Or the test above would pass whatever it named."""
    found = set()
    for status in (TaskStatus.COMPLETED, TaskStatus.CANCELLED):
        ada = a_person(settings, sessions)
        owned = belongings(ada, s3_store)
        for operation in sorted(private, key=lambda each: each.method == "DELETE"):
            for way in operation.ways(owned.ids(status)):
                if way.send(client, ada.login()).status_code < 400:
                    found.add(str(operation))
    named = {str(each) for each in private if each.names_in_path and needed(each) is not Scope.ADMIN}
    assert len(named) > 5
    assert found >= named | {"POST /api/v1/uploads"}


def test_nothing_of_others_is_told(
    client: TestClient, every: list[Operation], settings: Settings, sessions: Sessions, s3_store: S3Store, eve: Person
) -> None:
    ada = a_person(settings, sessions)
    traces = [*belongings(ada, s3_store).traces(), ada.email, "photo.jpg"]
    for operation in every:
        for way in operation.ways(missing_ids()):
            answer = way.send(client, eve.bearer())
            told = answer.text + str(answer.headers)
            assert [trace for trace in traces if trace in told] == [], way


def test_an_operation_that_cannot_be_filled_is_noticed() -> None:
    for parameter in (
        {"name": "album_id", "schema": {"type": "string"}},  # names something: somebody has to say what
        {"name": "album", "schema": {"type": "string", "format": "uuid"}},
        {"name": "shape", "schema": {"type": "object"}},
    ):
        operation = Operation("GET", "/albums", {"parameters": [parameter | {"in": "query", "required": True}]}, {})
        with pytest.raises(LookupError):
            list(operation.ways(missing_ids()))
    odd: Headers = {"X-API-Key": str(uuid4())}
    described = {"requestBody": {"content": {"text/csv": {"schema": {"type": "object"}}}}}
    (way,) = Operation("POST", "/albums", described, {}).ways({})
    with pytest.raises(LookupError):
        way.send(TestClient(FastAPI()), odd)
