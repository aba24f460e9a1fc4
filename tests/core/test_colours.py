import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageColor

from app.core.colours import normalised

DIGITS = st.text("0123456789abcdefABCDEF", min_size=6, max_size=6)


@given(DIGITS, st.booleans())
def test_six_digits_are_a_colour(digits: str, hashed: bool) -> None:
    assert normalised("#" * hashed + digits) == f"#{digits.lower()}"


@given(DIGITS, st.booleans())
def test_three_digits_are_each_written_twice(digits: str, hashed: bool) -> None:
    twice = "".join(digit * 2 for digit in digits[:3].lower())
    assert normalised("#" * hashed + digits[:3]) == f"#{twice}"


@given(DIGITS, st.integers(0, 254), st.booleans())
def test_eight_and_four_digits_say_how_opaque_it_is(digits: str, alpha: int, hashed: bool) -> None:
    colour = f"#{digits.lower()}{alpha:02x}"
    assert normalised("#" * hashed + digits + f"{alpha:02X}") == colour
    assert normalised("#" * hashed + digits[:4]) == normalised("".join(digit * 2 for digit in digits[:4]))
    assert normalised(digits + "FF") == colour[:7]


@pytest.mark.parametrize("name", sorted(ImageColor.colormap))
def test_every_name_of_css_is_the_colour_that_pillow_takes_it_for(name: str) -> None:
    assert normalised(f" {name.upper()} ") == "#{:02x}{:02x}{:02x}".format(*ImageColor.getrgb(name))


@given(st.text() | st.from_regex(r"#?[0-9a-fA-F]{0,9}\n?", fullmatch=True))
def test_anything_else_is_none(text: str) -> None:
    colour = normalised(text)
    if colour is not None:
        assert normalised(colour) == colour
        assert len(bytes.fromhex(colour.removeprefix("#"))) in {3, 4}


@pytest.mark.parametrize(
    "text", ["", "#", "##fff", "#fffff", "#1234567", "#123456789", "rgb(1,2,3)", "hsl(0,0%,0%)", "#١٢٣", "0xffffff"]
)
def test_what_is_no_colour(text: str) -> None:
    assert normalised(text) is None
