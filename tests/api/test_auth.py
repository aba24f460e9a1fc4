"""`/api/v1/auth`: accounts and passwords."""

import json

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from app.db.base import Sessions
from app.db.models import User
from app.main import create_app
from tests.api.accounts import PASSWORD, log_in, me, register
from tests.conftest import make_settings


def test_register_log_in_and_be_known(client: TestClient) -> None:
    made = register(client, "Ada@Example.com")
    assert made.status_code == 201
    assert (made.json()["email"], made.json()["role"]) == ("ada@example.com", "user")
    answer = log_in(client, "ADA@example.com")
    assert answer.status_code == 200
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("bearer", 1800)
    known = me(client, answer.json()["access_token"])
    assert known.json() == made.json()


def test_an_address_is_taken_once_however_it_is_written(client: TestClient) -> None:
    assert register(client).status_code == 201
    again = register(client, "ADA@example.com")
    assert (again.status_code, again.json()["code"]) == (409, "email_taken")


@pytest.mark.parametrize(
    ("email", "password", "word"),
    [
        ("no address", PASSWORD, "email"),
        ("ada@example.com", "brief!7", "password"),
        ("ada@example.com", "x" * 1025, "password"),
    ],
)
def test_what_makes_no_account(client: TestClient, email: str, password: str, word: str) -> None:
    answer = register(client, email, password)
    assert answer.status_code == 422
    assert word in answer.json()["detail"]
    assert password not in answer.text


def test_an_unknown_member_is_refused(client: TestClient) -> None:
    answer = client.post(
        "/api/v1/auth/register", json={"email": "ada@example.com", "password": PASSWORD, "role": "admin"}
    )
    assert answer.status_code == 422
    assert "role" in answer.json()["detail"]


def test_registration_can_be_switched_off(environment: dict[str, str], sessions: Sessions) -> None:
    with TestClient(create_app(make_settings(environment, registration_enabled=False))) as client:
        answer = register(client)
    assert (answer.status_code, answer.json()["code"]) == (403, "registration_disabled")


def test_a_wrong_password_and_an_unknown_address_look_the_same(client: TestClient) -> None:
    register(client)
    answers = [
        log_in(client, password="wrong"),
        log_in(client, "nobody@example.com"),
        log_in(client, password="x" * 5000),
    ]
    assert {answer.status_code for answer in answers} == {401}
    bodies = [answer.json() | {"request_id": ""} for answer in answers]
    assert bodies[0] == bodies[1] == bodies[2]


def test_a_disabled_account_is_out_at_once(client: TestClient, sessions: Sessions) -> None:
    register(client)
    token = log_in(client).json()["access_token"]
    with sessions.begin() as session:
        session.execute(update(User).values(is_active=False))
    assert me(client, token).status_code == 401
    assert log_in(client).status_code == 401


def test_a_raised_token_version_ends_older_tokens(client: TestClient, sessions: Sessions) -> None:
    register(client)
    token = log_in(client).json()["access_token"]
    with sessions.begin() as session:
        session.execute(update(User).values(token_version=1))
    assert me(client, token).status_code == 401
    assert me(client, log_in(client).json()["access_token"]).status_code == 200


@pytest.mark.parametrize("broken", ["a\x00b", "\ud800"])
def test_what_is_no_text_is_refused_and_not_a_crash(client: TestClient, broken: str) -> None:
    body = json.dumps({"email": "ada@example.com", "password": f"correct horse {broken}"})
    made = client.post("/api/v1/auth/register", content=body, headers={"Content-Type": "application/json"})
    assert (made.status_code, made.json()["code"]) == (422, "weak_password")
    form = "username=a%00b&password=x1234567" if broken != "\ud800" else "username=a&password=%ED%A0%80"
    answer = client.post(
        "/api/v1/auth/token", content=form, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 401


def test_an_address_is_found_however_its_host_is_written(client: TestClient) -> None:
    assert register(client, "ada@ＥＸＡＭＰＬＥ.com").json()["email"] == "ada@example.com"
    assert log_in(client, "ada@ＥＸＡＭＰＬＥ.com").status_code == 200


def test_json_that_is_none_is_said_so(client: TestClient) -> None:
    answer = client.post("/api/v1/auth/register", content="{nonsense", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (400, "body: this is not valid JSON.")


def test_too_many_wrong_passwords_have_to_wait(client: TestClient) -> None:
    register(client)
    answers = [log_in(client, password="wrong") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    refused = log_in(client)  # the right one, too
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_attempts")
    assert 1 <= int(refused.headers["retry-after"]) <= 30
