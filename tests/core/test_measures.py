import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.measures import (
    CAPS,
    WHOLE,
    Length,
    Region,
    Sides,
    padding_text,
    position_text,
    read_length,
    read_padding,
    read_percent,
    read_position,
    read_region,
    read_size,
    region_text,
    size_name,
)

lengths = st.builds(Length, st.integers(0, 4096).map(float)) | st.builds(
    lambda thousandths: Length(thousandths / 1000, percent=True), st.integers(0, 100_000)
)


@given(st.tuples(lengths, lengths, lengths, lengths))
def test_a_padding_is_read_as_it_was_written(padding: tuple[Length, Length, Length, Length]) -> None:
    assert read_padding(padding_text(padding)) == padding


@given(st.text(alphabet="0123456789.px% -", max_size=20))
def test_whatever_is_written_is_within_the_limits_or_none(text: str) -> None:
    for length in read_padding(text) or ():
        assert 0 <= length.value <= (100 if length.percent else 4096)
    position = read_position(text)
    assert position is None or (0 <= position[0] <= 1 and 0 <= position[1] <= 1)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("10", "10px"),
        (" 10PX ", "10px"),
        ("0 0 0 0", "0px"),
        ("10 5%", "10px 5%"),
        ("1 2 3 4", "1px 2px 3px 4px"),
        ("1 2 1 2", "1px 2px"),
        ("2.50%", "2.5%"),
    ],
)
def test_paddings(text: str, written: str) -> None:
    padding = read_padding(text)
    assert padding is not None
    assert padding_text(padding) == written


@pytest.mark.parametrize("text", ["", "1 2 3", "1 2 3 4 5", "-1", "1.5", "4097", "101%", "10 px", "1e2", "٣"])
def test_no_paddings(text: str) -> None:
    assert read_padding(text) is None


corners = st.builds(Length, st.integers(0, 999_999).map(float)) | st.builds(
    lambda thousandths: Length(thousandths / 1000, percent=True), st.integers(1, 100_000)
)


@given(st.tuples(corners, corners, corners, corners))
def test_a_region_is_read_as_it_was_written(region: Region) -> None:
    assert read_region(region_text(region)) == region


@given(st.text(max_size=30) | st.from_regex(r"([0-9]{1,3}(\.[0-9])?(px|PX|%|) ?){1,5}", fullmatch=True))
def test_whatever_is_written_is_a_region_or_none(text: str) -> None:
    region = read_region(text)
    if region is None:
        return
    assert read_region(region_text(region)) == region
    assert len(text.split()) == 4
    for length, part in zip(region, text.lower().split(), strict=True):
        assert part.endswith(("px", "%")) or part == "0"
        assert length.value <= 100 if length.percent else length.value % 1 == 0


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("0 0 100% 100%", region_text(WHOLE)),
        ("0% 0px 0.0% 5PX", "0px 0px 0px 5px"),
        ("  10px 20.50%  30px\t99.9% ", "10px 20.5% 30px 99.9%"),
        ("5000px 0 9999px 100%", "5000px 0px 9999px 100%"),
    ],
)
def test_regions(text: str, written: str) -> None:
    region = read_region(text)
    assert region is not None
    assert region_text(region) == written


@pytest.mark.parametrize(
    "text",
    ["", "0 0 5 5px", "0 0 100%", "0 0 1px 1px 1px", "-1px 0 5px 5px", "0 0 1.5px 5px", "0 0 101% 5px", "٣px 0 0 0"],
)
def test_no_regions(text: str) -> None:
    assert read_region(text) is None


@pytest.mark.parametrize(
    ("text", "size", "written"),
    [
        ("Original", "original", "original"),
        ("auto", "original", "original"),
        ("small", CAPS["preview"], "preview"),
        ("4K", 25.0, "full"),
        ("50mp", 50.0, "50MP"),
        ("10Mp", 10.0, "10MP"),
        ("2000X1500", Sides(2000, 1500, exact=True), "2000x1500"),
        ("4 : 5", Sides(4, 5, exact=False), "4:5"),
    ],
)
def test_sizes(text: str, size: object, written: str) -> None:
    assert read_size(text) == size
    assert size_name(text) == written
    assert read_size(written) == size


@pytest.mark.parametrize("text", ["0x5", "8193x1", "6000x6000", "11:1", "0:1", "1:0", "big", "10", "-1x5"])
def test_no_sizes(text: str) -> None:
    assert read_size(text) is None


def test_positions_and_percents() -> None:
    assert read_position("25%") == (0.25, 0.25)
    assert read_position("0% 100%") == (0, 1)
    assert position_text((0, 1)) == "0% 100%"
    assert read_position("101%") is None
    assert read_position("1% 2% 3%") is None
    assert read_position("") is None
    assert read_percent("9.9%", 10, 100) is None
    assert read_length("5") == Length(5)
