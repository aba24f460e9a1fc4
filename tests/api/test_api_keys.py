"""`/api/v1/api-keys`, and what a key opens."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from fastapi.testclient import TestClient
from sqlalchemy import select, update

from app.core.api_keys import make_key as make_text
from app.core.config import Settings
from app.db.base import Sessions
from app.db.models import ApiKey, User
from app.services.api_keys import MAX_KEYS
from tests.api.accounts import make_key, problem, promote
from tests.api.conftest import bearer
from tests.conftest import make_user
from tests.factories import ago, make_task

URL = "/api/v1/api-keys"
Headers = dict[str, str]


def ask(client: TestClient, key: str) -> Any:
    return client.get("/api/v1/auth/me", headers={"X-API-Key": key})


def edit(sessions: Sessions, **columns: Any) -> None:
    with sessions.begin() as session:
        session.execute(update(ApiKey).values(**columns))


def last_use(sessions: Sessions) -> datetime | None:
    with sessions.begin() as session:
        return session.scalars(select(ApiKey.last_used_at)).one()


def test_a_key_is_shown_once_and_opens_the_door(client: TestClient, headers: Headers, user: User) -> None:
    made = make_key(client, headers)
    assert made.status_code == 201
    key = made.json()["key"]
    assert key.startswith(made.json()["prefix"])
    assert ask(client, key).json()["id"] == str(user.id)
    [listed] = client.get(URL, headers=headers).json()["api_keys"]
    assert listed["last_used_at"] is not None
    assert listed | {"last_used_at": None, "key": key} == made.json()
    assert (listed["scopes"], listed["expires_at"]) == (["read", "write"], None)


def test_the_database_knows_only_a_hash(client: TestClient, headers: Headers, sessions: Sessions) -> None:
    key = make_key(client, headers).json()["key"]
    with sessions.begin() as session:
        row = session.execute(select(ApiKey.__table__)).one()
    assert key.rpartition("_")[2] not in str(row)


def test_a_key_that_is_none_never_reaches_the_database(client: TestClient, headers: Headers) -> None:
    key = make_key(client, headers).json()["key"]
    mistyped = key[:20] + ("A" if key[20] != "A" else "B") + key[21:]
    answers = [ask(client, text) for text in (mistyped, make_text().text, "x", "x" * 1_048_576, key + " x", "qbg__")]
    assert {answer.status_code for answer in answers} == {401}
    assert all(problem(answer) == problem(answers[0]) for answer in answers)


def test_the_prefix_alone_opens_nothing(client: TestClient, headers: Headers, sessions: Sessions) -> None:
    """A key of the right form whose name is known, with a secret of somebody's own."""
    made = make_key(client, headers).json()
    stranger = make_text()
    edit(sessions, prefix=stranger.prefix)
    assert ask(client, stranger.text).status_code == 401
    assert ask(client, made["key"]).status_code == 401


def test_a_revoked_key_is_refused_at_once(client: TestClient, headers: Headers) -> None:
    made, other = make_key(client, headers).json(), make_key(client, headers).json()
    assert ask(client, made["key"]).status_code == 200
    assert client.delete(f"{URL}/{made['id']}", headers=headers).status_code == 204
    assert ask(client, made["key"]).status_code == 401
    assert ask(client, other["key"]).status_code == 200
    assert [key["id"] for key in client.get(URL, headers=headers).json()["api_keys"]] == [other["id"]]
    assert client.delete(f"{URL}/{made['id']}", headers=headers).status_code == 404


def test_keys_of_others_are_not_there(
    client: TestClient, headers: Headers, sessions: Sessions, settings: Settings
) -> None:
    made = make_key(client, headers).json()
    stranger = bearer(settings, make_user(sessions).id)
    foreign = client.delete(f"{URL}/{made['id']}", headers=stranger)
    assert (foreign.status_code, foreign.json()["code"]) == (404, "key_not_found")
    assert problem(foreign) == problem(client.delete(f"{URL}/{uuid4()}", headers=stranger))
    assert client.get(URL, headers=stranger).json() == {"api_keys": []}
    assert ask(client, made["key"]).status_code == 200


def test_a_key_ends_when_it_shall(client: TestClient, headers: Headers, sessions: Sessions) -> None:
    made = make_key(client, headers, expires_in_days=30).json()
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29) < left < timedelta(days=31)
    assert ask(client, made["key"]).status_code == 200
    edit(sessions, expires_at=ago(1))
    assert ask(client, made["key"]).status_code == 401
    live = make_key(client, headers).json()
    listed = client.get(URL, headers=headers).json()["api_keys"]
    assert [key["id"] for key in listed] == [live["id"], made["id"]]


def test_a_key_may_end_at_a_time(client: TestClient, headers: Headers) -> None:
    end = datetime.now(UTC) + timedelta(hours=1)
    made = make_key(client, headers, expires_at=end.isoformat())
    assert datetime.fromisoformat(made.json()["expires_at"]) == end


NO_KEY: list[dict[str, Any]] = [
    {"name": ""},
    {"name": "  "},
    {"name": "x" * 101},
    {"name": "a\x00b"},
    {"name": "a\nb"},
    {"name": "\ud800"},
    {"scopes": []},
    {"scopes": ["everything"]},
    {"expires_in_days": 0},
    {"expires_in_days": 3651},
    {"expires_at": "2020-01-01T00:00:00Z"},
    {"expires_at": "2999-01-01T00:00:00Z"},
    {"expires_at": "9999-12-31T23:59:59-14:00"},
    {"expires_at": "2026-12-01T00:00:00"},
    {"expires_in_days": 1, "expires_at": "2026-12-01T00:00:00Z"},
    {"key": "mine"},
]


def test_what_makes_no_key(client: TestClient, headers: Headers) -> None:
    for members in NO_KEY:
        assert make_key(client, headers, **members).status_code == 422, members


def test_an_account_has_so_many_keys(client: TestClient, headers: Headers, sessions: Sessions) -> None:
    for _ in range(MAX_KEYS - 2):
        make_key(client, headers)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: make_key(client, headers), range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] * 2 + [409] * 6
    assert "too_many_keys" in {answer.json().get("code") for answer in answers}
    edit(sessions, expires_at=ago(1))  # those that are over do not count
    assert make_key(client, headers).status_code == 201
    assert len(client.get(URL, headers=headers).json()["api_keys"]) == MAX_KEYS + 1


def test_its_use_is_noted_once_a_minute(client: TestClient, headers: Headers, sessions: Sessions) -> None:
    key = make_key(client, headers).json()["key"]
    assert last_use(sessions) is None
    ask(client, key)
    first = last_use(sessions)
    assert first is not None
    ask(client, key)
    assert last_use(sessions) == first
    edit(sessions, last_used_at=ago(61))
    ask(client, key)
    with sessions.begin() as session:
        assert session.scalars(select(ApiKey.last_used_at > ago(30))).one()


def test_only_administrators_give_what_is_theirs(
    client: TestClient, headers: Headers, user: User, sessions: Sessions
) -> None:
    for scope in ("admin", "metrics"):
        answer = make_key(client, headers, scopes=["read", scope])
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    promote(sessions, user.id)
    key = make_key(client, headers, scopes=["admin"]).json()["key"]
    stats = partial(client.get, "/api/v1/admin/stats", headers={"X-API-Key": key})
    assert stats().status_code == 200
    with sessions.begin() as session:
        session.execute(update(User).values(role="user"))
    assert stats().status_code == 403


REQUESTS = {
    "read": [("GET", "/auth/me"), ("GET", "/tasks"), ("GET", "/tasks/{id}"), ("GET", "/tasks/{id}/history")],
    "write": [("POST", "/tasks/{id}/cancel"), ("POST", "/tasks/{id}/retry"), ("DELETE", "/tasks/{id}")],
    "admin": [("GET", "/admin/stats"), ("GET", "/admin/users"), ("POST", "/admin/cleanup")],
}


def test_a_key_does_what_its_scopes_say(client: TestClient, headers: Headers, user: User, sessions: Sessions) -> None:
    promote(sessions, user.id)
    task_id = make_task(sessions, user.id)
    for scope in REQUESTS:
        key = {"X-API-Key": make_key(client, headers, scopes=[scope]).json()["key"]}
        for needed, requests in REQUESTS.items():
            for method, path in requests:
                url = "/api/v1" + path.format(id=task_id)
                answer = client.request(method, url, headers=key, json={} if "cleanup" in path else None)
                refused = answer.status_code == 403 and answer.json()["code"] == "insufficient_scope"
                assert refused == (needed != scope), (scope, method, path, answer.text)


def test_an_upload_needs_the_scope_to_write(client: TestClient, headers: Headers) -> None:
    for scope, status in (("read", 403), ("write", 422)):
        key = {"X-API-Key": make_key(client, headers, scopes=[scope]).json()["key"]}
        assert client.post("/api/v1/uploads", data={}, headers=key).status_code == status


PERSONAL = [
    ("GET", "/api-keys"),
    ("POST", "/api-keys"),
    ("DELETE", f"/api-keys/{uuid4()}"),
    ("POST", "/auth/password"),
    ("POST", "/auth/logout"),
]


def test_a_key_manages_no_credentials(client: TestClient, headers: Headers, user: User, sessions: Sessions) -> None:
    promote(sessions, user.id)
    key = make_key(client, headers, scopes=["read", "write", "admin", "metrics"]).json()["key"]
    for method, path in PERSONAL:
        answer = client.request(method, f"/api/v1{path}", headers={"X-API-Key": key})
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope"), path


def test_with_both_the_token_counts(client: TestClient, headers: Headers) -> None:
    key = make_key(client, headers).json()["key"]
    both = {"X-API-Key": key, "Authorization": "Bearer x"}
    assert client.get("/api/v1/auth/me", headers=both).status_code == 401
    assert client.get("/api/v1/auth/me", headers=headers | {"X-API-Key": "x"}).status_code == 200
    assert client.get("/api/v1/auth/me", headers={"X-API-Key": ""}).json()["code"] == "not_authenticated"


OPEN = {"/auth/register", "/auth/token", "/auth/refresh", "/health"}


def test_the_schema_says_how_to_authenticate(client: TestClient) -> None:
    schema = client.get("/api/v1/openapi.json").json()
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            if not path.startswith("/api/v1/") or path.removeprefix("/api/v1") in OPEN:
                continue
            ways = {name: scopes for way in operation["security"] for name, scopes in way.items()}
            assert set(ways) == {"OAuth2PasswordBearer", "APIKeyHeader"}, (method, path)
            assert {"401", "403", "429"} <= set(operation["responses"]), (method, path)
            if method != "get" and path.startswith(("/api/v1/tasks", "/api/v1/uploads")):
                assert ways["OAuth2PasswordBearer"] == ["write"], (method, path)
            if path.startswith("/api/v1/admin/"):
                assert ways["OAuth2PasswordBearer"] == ["admin"], (method, path)
