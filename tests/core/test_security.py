"""Passwords and tokens."""

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passlib.hash import argon2

from app.core.errors import NotAuthenticated
from app.core.security import create_access_token, hash_password, read_access_token, verify_password

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


def test_a_token_tells_whom_it_speaks_for() -> None:
    user_id = uuid4()
    claims = read_access_token(
        create_access_token(user_id, secret=SECRET, ttl_seconds=60, token_version=3), secret=SECRET
    )
    assert (claims.user_id, claims.token_version) == (user_id, 3)


def test_an_expired_token_says_so() -> None:
    token = create_access_token(uuid4(), secret=SECRET, ttl_seconds=-60)
    with pytest.raises(NotAuthenticated) as caught:
        read_access_token(token, secret=SECRET)
    assert caught.value.code == "token_expired"


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_anything_else_is_no_token(text: str) -> None:
    with pytest.raises(NotAuthenticated):
        read_access_token(text, secret=SECRET)
