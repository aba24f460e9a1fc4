"""The form of an API key."""

import string
from zlib import crc32

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.core.api_keys import ALPHABET, make_key, parse_key

GOOD = make_key().text
LETTERS = st.sampled_from(string.ascii_letters + string.digits + "_- \n٣ß")


def test_a_key_is_of_its_form() -> None:
    key = make_key()
    beginning, name, rest = key.text.split("_")
    assert (beginning, f"qbg_{name}", len(name), len(rest)) == ("qbg", key.prefix, 8, 38)
    assert set(name + rest) <= set(ALPHABET)
    assert len(ALPHABET) ** 32 > 2**160
    # As anybody can work it out who looks for leaked keys.
    number = 0
    for digit in rest[-6:]:
        number = number * 62 + ALPHABET.index(digit)
    assert number == crc32(key.text[:-6].encode())


def test_keys_differ_and_are_found_again() -> None:
    keys = [make_key() for _ in range(100)]
    assert len({key.prefix for key in keys}) == len({key.digest for key in keys}) == 100
    assert [parse_key(key.text) for key in keys] == keys


def test_a_key_does_not_show_itself() -> None:
    key = make_key()
    assert key.text not in repr(key)
    assert key.text not in key.digest


@given(st.text())
def test_other_text_is_no_key(text: str) -> None:
    assert parse_key(text) is None


@given(st.integers(0, len(GOOD)), st.integers(0, 2), st.text(LETTERS, max_size=2))
def test_a_mistyped_key_is_none(place: int, length: int, instead: str) -> None:
    changed = GOOD[:place] + instead + GOOD[place + length :]
    assume(changed != GOOD)
    assert parse_key(changed) is None


@pytest.mark.parametrize(
    "text",
    [GOOD + "\n", " " + GOOD, GOOD.upper(), GOOD[:-1], GOOD * 20_000],
    ids=["line", "space", "upper", "short", "long"],
)
def test_near_misses(text: str) -> None:
    assert parse_key(text) is None
