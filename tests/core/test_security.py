"""Passwords and tokens."""

import hashlib
import string
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import jwt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from passlib.hash import argon2

from app.core.errors import NotAuthenticated
from app.core.security import (
    MAX_TOKEN,
    Kind,
    TokenClaims,
    create_access_token,
    create_refresh_token,
    hash_password,
    read_token,
    verify_password,
)

SECRET = "s" * 32


def test_a_password_fits_its_hash_alone() -> None:
    stored = hash_password("Käse 1234")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert verify_password("Käse 1234", stored) == (True, None)
    assert verify_password("Kase 1234", stored) == (False, None)


def test_the_same_letters_written_otherwise_fit() -> None:
    assert verify_password("Ka\u0308se 1234", hash_password("K\u00e4se 1234"))[0]


def test_two_hashes_of_one_password_differ() -> None:
    assert hash_password("correct horse") != hash_password("correct horse")


def test_no_hash_fits_nothing() -> None:
    assert verify_password("", None) == (False, None)


def test_a_hash_of_old_parameters_is_made_anew() -> None:
    old = argon2.using(type="ID", memory_cost=1024, time_cost=1, parallelism=1).hash("correct horse")
    fits, fresh = verify_password("correct horse", old)
    assert fits
    assert fresh is not None
    assert verify_password("correct horse", fresh) == (True, None)


def read(token: str, *secrets: str, kind: Kind = Kind.ACCESS) -> TokenClaims:
    return read_token(token, kind, secrets=secrets or [SECRET])


def test_a_token_tells_whom_it_speaks_for() -> None:
    user_id, login_id = uuid4(), uuid4()
    claims = read(create_access_token(user_id, secret=SECRET, ttl_seconds=60, token_version=3, login_id=login_id))
    assert (claims.user_id, claims.token_version, claims.login_id) == (user_id, 3, login_id)
    assert read(create_access_token(user_id, secret=SECRET, ttl_seconds=60)).login_id is None


def test_a_refresh_token_says_what_it_was_made_of() -> None:
    claims = TokenClaims(uuid4(), 7, uuid4(), uuid4())
    token = create_refresh_token(claims, secret=SECRET, expires_at=datetime.now(UTC) + timedelta(minutes=1))
    assert read(token, kind=Kind.REFRESH) == claims


def test_what_the_key_before_has_signed_holds() -> None:
    token = create_access_token(uuid4(), secret=SECRET, ttl_seconds=60)
    assert read(token, "n" * 32, SECRET) == read(token)
    with pytest.raises(NotAuthenticated):
        read(token, "n" * 32)


def test_each_secret_has_a_name_that_the_header_tells() -> None:
    header = jwt.get_unverified_header(create_access_token(uuid4(), secret=SECRET, ttl_seconds=60))
    assert header == {"alg": "HS256", "typ": "JWT", "kid": hashlib.sha256(SECRET.encode()).hexdigest()[:8]}


def test_an_expired_token_says_so() -> None:
    token = create_access_token(uuid4(), secret=SECRET, ttl_seconds=-60)
    with pytest.raises(NotAuthenticated) as caught:
        read(token)
    assert caught.value.code == "token_expired"


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_anything_else_is_no_token(text: str) -> None:
    with pytest.raises(NotAuthenticated, match=r"^The access token is not valid\.$"):
        read(text)


GOOD = create_access_token(uuid4(), secret=SECRET, ttl_seconds=86_400)
LETTERS = st.sampled_from(string.ascii_letters + string.digits + "-_=.+/ \n")


@given(st.integers(0, len(GOOD)), st.integers(0, 3), st.text(LETTERS, max_size=3))
def test_there_is_one_way_to_write_a_token(place: int, length: int, instead: str) -> None:
    changed = GOOD[:place] + instead + GOOD[place + length :]
    assume(changed != GOOD)
    with pytest.raises(NotAuthenticated, match=r"^The access token is not valid\.$"):
        read(changed)


def test_a_long_token_is_not_even_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwt, "decode", pytest.fail)
    monkeypatch.setattr(jwt, "get_unverified_header", pytest.fail)
    with pytest.raises(NotAuthenticated):
        read(GOOD + "A" * MAX_TOKEN)
