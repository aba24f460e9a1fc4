"""Keys that somebody has written."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import InvalidRequest
from app.services.addresses import MAX_KEY, check_key
from app.services.imports import ImageUrl, S3Key


@given(st.text(alphabet="ab./\\%\x00é~-", max_size=30) | st.text(max_size=80))
def test_a_key_that_passes_means_itself_and_nothing_else(key: str) -> None:
    try:
        check_key(key)
    except InvalidRequest:
        return
    assert str(PurePosixPath(key)) == key
    assert not {".", ".."} & set(PurePosixPath(key).parts)
    assert not key.startswith("/")
    assert key.isprintable()
    assert "\\" not in key


@pytest.mark.parametrize("key", ["a", "imports/a/b", "Ünïcode/ä b.png", "a/..b/c..", "a/%2e%2e/b", "a" * MAX_KEY])
def test_plain_keys_pass(key: str) -> None:
    check_key(key)


def test_what_makes_two_requests_the_same() -> None:
    assert ImageUrl("http://a.example/x").named != S3Key("http://a.example/x").named
