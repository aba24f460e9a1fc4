import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.backgrounds import (
    MAX_STOPS,
    Address,
    Background,
    Blur,
    Colour,
    Gradient,
    NotABackground,
    is_opaque,
    read_background,
)
from app.core.measures import Length

RED, NAVY, WHITE = (255, 0, 0), (0, 0, 128), (255, 255, 255)

rgbs = st.tuples(*[st.integers(0, 255)] * 3)
percents = st.integers(0, 100_000).map(lambda thousandths: thousandths / 1000)
lengths = st.builds(Length, st.integers(1, 4096).map(float)) | st.builds(
    lambda value: Length(value, percent=True), percents.filter(bool)
)


@st.composite
def gradients(draw: st.DrawFn) -> Gradient:
    colours = draw(st.lists(rgbs, min_size=2, max_size=MAX_STOPS))
    places = sorted(draw(st.lists(percents, min_size=len(colours), max_size=len(colours))))
    return Gradient(draw(st.integers(0, 359_999)) / 1000, tuple(zip(colours, places, strict=True)))


@given(
    st.builds(Colour, rgbs, st.integers(1, 255))
    | st.builds(Blur, lengths)
    | gradients()
    | st.sampled_from([Address("s3:imports/a/b.png"), Address("https://example.com/a,b(c).png?x=1")])
)
def test_what_we_write_is_read_as_the_same(background: Background) -> None:
    assert read_background(str(background)) == background


@given(st.text(max_size=60) | st.from_regex(r"(linear-gradient|blur|s3|https?)[(:][-a-z0-9#%., ]*\)?", fullmatch=True))
def test_whatever_is_written_is_read_or_refused_in_one_sentence(text: str) -> None:
    try:
        background, said = read_background(text), ""
    except NotABackground as error:
        background, said = None, str(error)
    assert "\n" not in said
    assert background is None or read_background(str(background)) == background


def test_what_cannot_be_seen_is_none() -> None:
    assert read_background("#f000") is None
    assert read_background("#ff000001") == Colour(RED, 1)
    assert read_background("f00f") == read_background("red") == Colour(RED)
    assert [is_opaque(each) for each in (None, Colour(RED, 254), Colour(RED), Blur(Length(2)))] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("text", "gradient"),
    [
        ("linear-gradient(red, navy)", Gradient(180, ((RED, 0), (NAVY, 100)))),
        ("Linear-Gradient( 90deg , #F00 , #fff , navy 80% )", Gradient(90, ((RED, 0), (WHITE, 40), (NAVY, 80)))),
        ("linear-gradient(-90deg, red 30%, navy)", Gradient(270, ((RED, 30), (NAVY, 100)))),
        # None lies before an earlier one: a hard edge.
        ("linear-gradient(0deg, red 50%, navy 20%, white)", Gradient(0, ((RED, 50), (NAVY, 50), (WHITE, 100)))),
    ],
)
def test_gradients_are_read_as_css_does(text: str, gradient: Gradient) -> None:
    assert read_background(text) == gradient


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("reddish", "this is no background"),
        ("linear-gradient(red)", "a gradient is written like"),
        ("linear-gradient(" + ", ".join(["red"] * 9) + ")", "2 to 8 colours"),
        ("linear-gradient(10deg, red, nothing)", "each colour of a gradient"),
        ("linear-gradient(red, #ff000080)", "each colour of a gradient"),
        ("linear-gradient(red, navy 101%)", "the place of a gradient's colour"),
        ("blur(0)", "a blur is written like"),
        ("blur(101%)", "a blur is written like"),
        ("blur(4097px)", "a blur is written like"),
        ("s3:", "an address has"),
        ("https://example.com/" + "a" * 2048, "an address has"),
        ("https://example.com/\nx", "an address has"),
        ("ftp://example.com/a.png", "this is no background"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(NotABackground, match=said):
        read_background(text)
