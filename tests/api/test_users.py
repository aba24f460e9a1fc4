"""`/api/v1/admin/users`: everybody's accounts, for administrators."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient

from app.core.config import Settings
from app.core.errors import Forbidden
from app.db.base import Sessions
from app.db.models import User
from app.services.accounts import Accounts
from tests.api.accounts import ADA, bearing, begin, log_in, make_key, me, promote, refresh
from tests.api.conftest import bearer
from tests.conftest import make_user

URL = "/api/v1/admin/users"
Headers = dict[str, str]


@pytest.fixture
def admin(sessions: Sessions, user: User) -> User:
    promote(sessions, user.id)
    return user


def change(client: TestClient, headers: Headers, user_id: UUID | str, **members: Any) -> Any:
    return client.patch(f"{URL}/{user_id}", json=members, headers=headers)


@pytest.mark.usefixtures("user")
def test_others_see_nobody(client: TestClient, headers: Headers) -> None:
    assert client.get(URL, headers=headers).status_code == 403
    assert change(client, headers, uuid4(), role="admin").status_code == 403
    assert client.get(URL).status_code == 401


@pytest.mark.usefixtures("admin")
def test_accounts_come_in_pages_newest_first(client: TestClient, headers: Headers, sessions: Sessions) -> None:
    made = [str(make_user(sessions).id) for _ in range(4)]
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = client.get(URL, params=query, headers=headers).json()
        seen += [user["id"] for user in page["users"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen[:4] == made[::-1]
    assert len(seen) == 5


@pytest.mark.usefixtures("admin")
def test_accounts_are_found_by_how_their_address_begins(client: TestClient, headers: Headers) -> None:
    begin(client)
    begin(client, "a%a@example.com")
    begin(client, "bob@example.com")

    def found(beginning: str) -> list[str]:
        page = client.get(URL, params={"email": beginning}, headers=headers).json()
        return [user["email"] for user in page["users"]]

    assert found("ADA@") == [ADA]
    assert found("a%") == ["a%a@example.com"]
    assert found("_") == found("zz") == []
    assert client.get(URL, params={"email": "a\x00"}, headers=headers).status_code == 422


@pytest.mark.usefixtures("admin")
def test_an_account_shows_no_secret(client: TestClient, headers: Headers) -> None:
    begin(client)
    answer = client.get(URL, headers=headers)
    assert "argon2" not in answer.text
    assert "token_version" not in answer.text


@pytest.mark.usefixtures("admin")
def test_limits_are_given_and_taken_back(client: TestClient, headers: Headers) -> None:
    access = begin(client)["access_token"]
    user_id = me(client, access).json()["id"]
    default = me(client, access).json()["limits"]
    answer = change(client, headers, user_id, requests_per_minute=5, images_per_month=0)
    assert answer.status_code == 200
    assert (answer.json()["requests_per_minute"], answer.json()["images_per_month"]) == (5, 0)
    assert answer.json()["active_tasks"] is None
    assert me(client, access).json()["limits"] == default | {"requests_per_minute": 5, "images_per_month": 0}
    change(client, headers, user_id, requests_per_minute=None)
    assert me(client, access).json()["limits"] == default | {"images_per_month": 0}
    assert change(client, headers, user_id).status_code == 200


NO_CHANGE: list[dict[str, Any]] = [
    {"requests_per_minute": -1},
    {"active_tasks": 2**31},
    {"role": "king"},
    {"is_active": None},
    {"email": "x@example.com"},
]


@pytest.mark.usefixtures("admin")
def test_what_changes_nothing(client: TestClient, headers: Headers) -> None:
    user_id = me(client, begin(client)["access_token"]).json()["id"]
    for members in NO_CHANGE:
        assert change(client, headers, user_id, **members).status_code == 422, members


@pytest.mark.usefixtures("admin")
def test_a_disabled_account_is_out_at_once_and_comes_back_without_its_logins(
    client: TestClient, headers: Headers
) -> None:
    tokens = begin(client)
    user_id = me(client, tokens["access_token"]).json()["id"]
    key = {"X-API-Key": make_key(client, bearing(tokens["access_token"])).json()["key"]}
    assert change(client, headers, user_id, is_active=False).json()["is_active"] is False
    assert me(client, tokens["access_token"]).status_code == 401
    assert refresh(client, tokens["refresh_token"]).status_code == 401
    assert client.get("/api/v1/tasks", headers=key).status_code == 401
    assert log_in(client).status_code == 401
    assert change(client, headers, user_id, is_active=True).status_code == 200
    assert me(client, tokens["access_token"]).status_code == 401
    assert refresh(client, tokens["refresh_token"]).status_code == 401
    assert client.get("/api/v1/tasks", headers=key).status_code == 200
    assert log_in(client).status_code == 200


def test_a_role_holds_from_the_next_request_on(
    client: TestClient, headers: Headers, admin: User, sessions: Sessions, settings: Settings
) -> None:
    other = make_user(sessions)
    theirs = bearer(settings, other.id)
    assert change(client, headers, other.id, role="admin").json()["role"] == "admin"
    assert client.get(URL, headers=theirs).status_code == 200
    assert change(client, theirs, admin.id, role="user").status_code == 200
    assert client.get(URL, headers=headers).status_code == 403


def test_two_who_take_each_others_role_leave_one(sessions: Sessions, settings: Settings, admin: User) -> None:
    """Both were let in before either was done."""
    accounts = Accounts(settings, sessions)
    other = make_user(sessions)
    promote(sessions, other.id)
    accounts.change(other.id, {"role": "user"}, by=admin)
    for changes in ({"role": "user"}, {"is_active": False}):
        with pytest.raises(Forbidden):
            accounts.change(admin.id, changes, by=other)


def test_nobody_shuts_himself_out(client: TestClient, headers: Headers, admin: User) -> None:
    for members in ({"is_active": False}, {"role": "user"}):
        answer = change(client, headers, admin.id, **members)
        assert (answer.status_code, answer.json()["code"]) == (409, "own_account")
    assert change(client, headers, admin.id, is_active=True, role="admin", active_tasks=3).status_code == 200


@pytest.mark.usefixtures("admin")
def test_an_account_that_is_not_there(client: TestClient, headers: Headers) -> None:
    for members in ({}, {"role": "user"}):
        answer = change(client, headers, uuid4(), **members)
        assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")
    assert change(client, headers, "x").status_code == 422
