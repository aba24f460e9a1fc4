"""`/api/v1/auth`: tokens that are refreshed, revoked, and ended by another password."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from app.core.config import Settings
from app.db.base import Sessions
from app.db.models import Login, User
from tests.api.accounts import ADA, PASSWORD, bearing, begin, log_in, make_key, me, refresh
from tests.api.conftest import bearer
from tests.factories import ago

OTHER = "another long password"


def change(client: TestClient, access: str, current: str, new: str) -> Any:
    return client.post(
        "/api/v1/auth/password",
        json={"current_password": current, "new_password": new},
        headers=bearing(access),
    )


def test_a_refresh_token_is_good_for_fresh_tokens(client: TestClient) -> None:
    first = begin(client)
    answer = refresh(client, first["refresh_token"])
    assert answer.status_code == 200
    second = answer.json()
    assert set(second) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert second["refresh_token"] != first["refresh_token"]
    assert me(client, second["access_token"]).json() == me(client, first["access_token"]).json()
    assert refresh(client, second["refresh_token"]).status_code == 200


def test_a_refresh_token_that_comes_back_ends_its_login_and_no_other(client: TestClient) -> None:
    first, elsewhere = begin(client), log_in(client).json()
    second = refresh(client, first["refresh_token"]).json()
    assert refresh(client, first["refresh_token"]).status_code == 401
    assert refresh(client, second["refresh_token"]).status_code == 401
    assert me(client, second["access_token"]).status_code == 401
    assert me(client, first["access_token"]).status_code == 401
    assert me(client, elsewhere["access_token"]).status_code == 200


def test_of_many_at_once_one_is_refreshed(client: TestClient) -> None:
    token = begin(client)["refresh_token"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: refresh(client, token), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + 7 * [401]


@pytest.mark.parametrize("column", [{"expires_at": ago(1)}, {"revoked_at": func.now()}], ids=["over", "revoked"])
def test_a_login_that_is_over_is_not_refreshed(client: TestClient, sessions: Sessions, column: dict[str, Any]) -> None:
    token = begin(client)["refresh_token"]
    with sessions.begin() as session:
        session.execute(update(Login).values(**column))
    assert refresh(client, token).status_code == 401


def test_refreshing_does_not_prolong_a_login(client: TestClient, sessions: Sessions) -> None:
    token = begin(client)["refresh_token"]
    with sessions.begin() as session:
        before = session.scalars(select(Login.expires_at)).one()
    refresh(client, token)
    with sessions.begin() as session:
        assert session.scalars(select(Login.expires_at)).one() == before


def test_a_disabled_account_has_no_credential_left(client: TestClient, sessions: Sessions) -> None:
    tokens = begin(client)
    key = make_key(client, bearing(tokens["access_token"])).json()["key"]
    with sessions.begin() as session:
        session.execute(update(User).values(is_active=False))
    assert me(client, tokens["access_token"]).status_code == 401
    assert refresh(client, tokens["refresh_token"]).status_code == 401
    assert client.get("/api/v1/auth/me", headers={"X-API-Key": key}).status_code == 401
    assert log_in(client).status_code == 401


def test_logging_out_ends_one_login(client: TestClient) -> None:
    here, there = begin(client), log_in(client).json()
    answer = client.post("/api/v1/auth/logout", headers=bearing(here["access_token"]))
    assert (answer.status_code, answer.content) == (204, b"")
    assert me(client, here["access_token"]).status_code == 401
    assert refresh(client, here["refresh_token"]).status_code == 401
    assert me(client, there["access_token"]).status_code == 200


def test_a_token_of_the_shell_belongs_to_no_login(client: TestClient, settings: Settings, user: User) -> None:
    answer = client.post("/api/v1/auth/logout", headers=bearer(settings, user.id))
    assert (answer.status_code, answer.json()["code"]) == (409, "no_login")


def test_another_password_ends_every_login_and_begins_one(client: TestClient, settings: Settings) -> None:
    here, there = begin(client), log_in(client).json()
    shell = bearer(settings, me(client, here["access_token"]).json()["id"])
    key = make_key(client, bearing(here["access_token"])).json()["key"]
    answer = change(client, here["access_token"], PASSWORD, OTHER)
    assert answer.status_code == 200
    for old in (here, there):
        assert me(client, old["access_token"]).status_code == 401
        assert refresh(client, old["refresh_token"]).status_code == 401
    assert client.get("/api/v1/auth/me", headers=shell).status_code == 401
    assert client.get("/api/v1/auth/me", headers={"X-API-Key": key}).status_code == 200
    fresh = answer.json()
    assert me(client, fresh["access_token"]).status_code == 200
    assert refresh(client, fresh["refresh_token"]).status_code == 200
    assert log_in(client).status_code == 401
    assert log_in(client, password=OTHER).status_code == 200


def test_of_two_who_change_the_password_at_once_one_does(client: TestClient) -> None:
    access = begin(client)["access_token"]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda new: change(client, access, PASSWORD, new), (OTHER, OTHER + "!")))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(200) == 1
    # The other one comes too late for the password, for the token, or for the moment.
    assert statuses[1 - statuses.index(200)] in {401, 403, 409}
    assert log_in(client, password=(OTHER, OTHER + "!")[statuses.index(200)]).status_code == 200


def test_a_wrong_current_password_changes_nothing_and_counts_by_itself(client: TestClient) -> None:
    access = begin(client)["access_token"]
    answers = [change(client, access, "wrong", OTHER) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [403] * 5 + [429]
    assert {answer.json()["code"] for answer in answers[:5]} == {"wrong_password"}
    assert change(client, access, PASSWORD, OTHER).status_code == 429
    assert me(client, access).status_code == 200
    # And the other way round: strangers at the login do not keep the owner from changing it.
    access = begin(client, "bob@example.com")["access_token"]
    for _ in range(6):
        log_in(client, "bob@example.com", "wrong")
    assert change(client, access, PASSWORD, OTHER).status_code == 200


@pytest.mark.parametrize("new", ["brief!7", "x" * 1025, "correct horse \x00"])
def test_a_new_password_is_one_that_registration_takes(client: TestClient, new: str) -> None:
    access = begin(client)["access_token"]
    answer = change(client, access, PASSWORD, new)
    assert (answer.status_code, answer.json()["code"]) == (422, "weak_password")
    assert me(client, access).status_code == 200


def test_an_account_tells_its_role_and_limits(client: TestClient, sessions: Sessions, settings: Settings) -> None:
    access = begin(client)["access_token"]
    with sessions.begin() as session:
        session.execute(update(User).values(requests_per_minute=7, images_per_month=0))
    answer = me(client, access).json()
    assert (answer["email"], answer["role"]) == (ADA, "user")
    assert answer["limits"] == {
        "requests_per_minute": 7,
        "reads_per_minute": settings.rate_limit_reads_per_minute,
        "megapixels_per_minute": settings.rate_limit_megapixels_per_minute,
        "active_tasks": settings.quota_active_tasks,
        "images_per_month": 0,
    }
