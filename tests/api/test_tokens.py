"""Tokens that do not hold: each is refused, and in the same words."""

import base64
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from app.core.config import Settings
from app.core.security import AUDIENCE, ISSUER, create_access_token, key_id
from app.db.base import Sessions
from app.db.models import User
from app.main import create_app
from tests.api.accounts import bearing, begin, me, problem, refresh
from tests.conftest import make_settings

Claims = dict[str, Any]


def claims(user: User, **changes: Any) -> Claims:
    now = int(time.time())
    good = {
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


def header(secret: str, **changes: Any) -> Claims:
    good = {"alg": "HS256", "typ": "JWT", "kid": key_id(secret)}
    return {name: value for name, value in (good | changes).items() if value is not None}


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def forge(head: Mapping[str, Any], says: Mapping[str, Any], secret: str, algorithm: str = "sha256") -> str:
    """A token by hand, so that no library keeps us from a wrong one."""
    signed = ".".join(encoded(json.dumps(part).encode()) for part in (head, says))
    return f"{signed}.{encoded(hmac.new(secret.encode(), signed.encode(), algorithm).digest())}"


@pytest.fixture
def secret(settings: Settings) -> str:
    return settings.secret_key.get_secret_value()


@pytest.fixture
def refusal(client: TestClient) -> dict[str, Any]:
    """What a token is refused with that is none at all."""
    answer = me(client, "a.b.c")
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    return problem(answer)


def test_the_hand_made_token_of_these_tests_is_good(client: TestClient, secret: str, user: User) -> None:
    assert me(client, forge(header(secret), claims(user), secret)).status_code == 200


WRONG_CLAIMS: list[Claims] = [
    {"exp": None},
    {"exp": "tomorrow"},
    {"iat": None},
    {"iat": 9_999_999_999},
    {"jti": None},
    {"jti": "7"},
    {"aud": None},
    {"aud": "others"},
    {"aud": []},
    {"iss": None},
    {"iss": "others"},
    {"sub": None},
    {"sub": 7},
    {"sub": "7"},
    {"sub": "00000000-0000-4000-8000-000000000000"},
    {"typ": None},
    {"typ": "refresh"},
    {"typ": "other"},
    {"typ": ["access"]},
    {"ver": None},
    {"ver": "x"},
    {"ver": 1},
    {"sid": "7"},
    {"sid": 7},
    {"sid": str(uuid4())},
    {"nbf": 9_999_999_999},
]
WRONG_HEADERS: list[Claims] = [
    {"alg": "none"},
    {"alg": "None"},
    {"alg": None},
    {"alg": "HS384"},
    {"alg": "RS256"},
    {"alg": ["HS256"]},
    {"kid": None},
    {"kid": "00000000"},
    {"kid": ""},
    {"kid": "../../dev/null"},
    {"kid": "' OR 1=1 --"},
    {"kid": 7},
    {"typ": "at+jwt"},
    {"crit": ["exp"]},
    {"crit": []},
    {"b64": False},
    {"jku": "https://example.com/keys"},
    {"jwk": {"kty": "oct", "k": "AAAA"}},
    {"x5u": "https://example.com/certificate"},
    {"zip": "DEF"},
]


def test_claims_that_do_not_hold(client: TestClient, secret: str, user: User, refusal: Claims) -> None:
    for changes in WRONG_CLAIMS:
        answer = me(client, forge(header(secret), claims(user, **changes), secret))
        assert (answer.status_code, problem(answer)) == (401, refusal), changes
        assert answer.headers["www-authenticate"] == "Bearer"


def test_headers_that_are_not_ours(client: TestClient, secret: str, user: User, refusal: Claims) -> None:
    for changes in WRONG_HEADERS:
        digest = {"HS384": "sha384"}.get(str(changes.get("alg")), "sha256")
        answer = me(client, forge(header(secret, **changes), claims(user), secret, digest))
        assert (answer.status_code, problem(answer)) == (401, refusal), changes


def test_writings_and_signatures_that_do_not_hold(client: TestClient, secret: str, user: User, refusal: Claims) -> None:
    good = forge(header(secret), claims(user), secret)
    head, body, signature = good.split(".")
    raw = base64.urlsafe_b64decode(signature + "=")
    deep = encoded(b"[" * 3000)
    tokens = [
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}.{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        f"{head}.{body}.{encoded(raw + bytes(1))}",  # more behind the signature
        f"{head}.{body}.{encoded(raw[:-1])}",
        f"{head}.{body}.{signature[:-1]}{chr(ord(signature[-1]) + 1)}",  # the same bytes, written otherwise
        f"{good}=",
        f"{good}==",
        f"{good}A",
        f"{good}.{signature}",
        f"{head}=.{body}.{signature}",
        f"{head}.{encoded(json.dumps(claims(user, role='admin')).encode())}.{signature}",
        f"{deep}.{body}.{signature}",
        f"{head}.{deep}.{signature}",
        f"{head}.{encoded(b'[]')}.{signature}",
        create_access_token(user.id, secret="x" * 32, ttl_seconds=60),
        forge(header(secret), claims(user), "x" * 32),
        forge(header("x" * 32), claims(user), secret),
        forge(header(secret, filling="x" * 4096), claims(user), secret),
        "x" * 1_048_576,
        good + "A" * 1_048_576,
        "..",
        "ü",
        "\x7f.\x01.\x02",
    ]
    for token in tokens:
        authorization = f"Bearer {token}".encode()
        answer = client.get("/api/v1/auth/me", headers={b"Authorization": authorization})
        assert (answer.status_code, problem(answer)) == (401, refusal), token[:500]


def test_an_expired_token_says_that_it_is(client: TestClient, secret: str, user: User) -> None:
    answer = me(client, forge(header(secret), claims(user, exp=1), secret))
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")
    # Only one of ours does: of others nothing is read.
    assert me(client, forge(header(secret), claims(user, exp=1), "x" * 32)).json()["code"] == "not_authenticated"


def test_each_kind_of_token_opens_its_own_door(client: TestClient, refusal: Claims) -> None:
    tokens = begin(client)
    answer = me(client, tokens["refresh_token"])
    assert (answer.status_code, problem(answer)) == (401, refusal)
    answer = refresh(client, tokens["access_token"])
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert me(client, tokens["access_token"]).status_code == 200
    assert refresh(client, tokens["refresh_token"]).status_code == 200


def test_a_revoked_token_is_refused_as_any_other(client: TestClient, refusal: Claims) -> None:
    access = begin(client)["access_token"]
    assert client.post("/api/v1/auth/logout", headers=bearing(access)).status_code == 204
    answer = me(client, access)
    assert (answer.status_code, problem(answer)) == (401, refusal)


def test_a_changed_secret_lets_the_old_one_run_out(environment: dict[str, str], sessions: Sessions, user: User) -> None:
    old, new = "o" * 16 + "ld" * 8, "n" * 16 + "ew" * 8
    token = create_access_token(user.id, secret=old, ttl_seconds=60)
    ring = make_settings(environment, secret_key=new, secret_key_previous=old)
    with TestClient(create_app(ring)) as client:
        assert me(client, token).status_code == 200
        assert me(client, create_access_token(user.id, secret=new, ttl_seconds=60)).status_code == 200
        kept = begin(client)
    with TestClient(create_app(make_settings(environment, secret_key=new))) as client:
        assert me(client, token).status_code == 401
        assert me(client, kept["access_token"]).status_code == 200  # signed with the new one from the start
