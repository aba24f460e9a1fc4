"""`/api/v1/auth`: accounts, logins, and tokens that do not hold."""

import json
import time
from typing import Any
from uuid import uuid4

import jwt
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from app.core.config import Settings
from app.core.security import ALGORITHM, AUDIENCE, ISSUER, create_access_token
from app.db.base import Sessions
from app.db.models import User
from app.main import create_app
from tests.conftest import make_settings

PASSWORD = "correct horse battery staple"


def register(client: TestClient, email: str = "ada@example.com", password: str = PASSWORD) -> Any:
    return client.post("/api/v1/auth/register", json={"email": email, "password": password})


def log_in(client: TestClient, email: str = "ada@example.com", password: str = PASSWORD) -> Any:
    return client.post("/api/v1/auth/token", data={"username": email, "password": password})


def me(client: TestClient, token: str) -> Any:
    return client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})


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


def claims(user: User, **changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good: dict[str, Any] = {
        "sub": str(user.id),
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 60,
        "jti": str(uuid4()),
        "typ": "access",
        "ver": 0,
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def sign(settings: Settings, payload: dict[str, Any], algorithm: str = ALGORITHM) -> str:
    return jwt.encode(payload, settings.secret_key.get_secret_value(), algorithm=algorithm)


def test_the_hand_made_token_of_these_tests_is_good(client: TestClient, settings: Settings, user: User) -> None:
    assert me(client, sign(settings, claims(user))).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"exp": None},
        {"iat": None},
        {"jti": None},
        {"aud": None},
        {"aud": "others"},
        {"iss": "others"},
        {"sub": None},
        {"sub": "7"},
        {"sub": "00000000-0000-4000-8000-000000000000"},
        {"typ": "refresh"},
        {"typ": None},
        {"ver": "x"},
        {"iat": 9_999_999_999},
    ],
    ids=str,
)
def test_claims_that_do_not_hold(client: TestClient, settings: Settings, user: User, changes: dict[str, Any]) -> None:
    answer = me(client, sign(settings, claims(user, **changes)))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_signatures_that_do_not_hold(client: TestClient, settings: Settings, user: User) -> None:
    good = sign(settings, claims(user))
    head, body, signature = good.split(".")
    unsigned = jwt.encode(claims(user), None, algorithm="none")
    foreign = create_access_token(user.id, secret="x" * 32, ttl_seconds=60)
    flipped = f"{head}.{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    for token in (unsigned, foreign, flipped, sign(settings, claims(user), "HS512"), good + "x", "", "a.b.c", "ü"):
        assert client.get("/api/v1/auth/me", headers={b"Authorization": f"Bearer {token}".encode()}).status_code == 401


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
    assert (answer.status_code, answer.json()["detail"]) == (422, "body: this is not valid JSON.")
