import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.imaging.exif import orientation
from tests.imaging.pictures import exif


@pytest.mark.parametrize("value", range(1, 9))
def test_it_reads_what_pillow_writes(value: int) -> None:
    assert orientation(exif(value)) == value
    assert orientation(exif(value).removeprefix(b"Exif\0\0")) == value


@pytest.mark.parametrize("order", ["<", ">"])
def test_it_reads_both_byte_orders(order: str) -> None:
    assert orientation(_tiff(order, (0x0100, 3, 1, 7), (0x0112, 3, 1, 6))) == 6


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_a_value_that_means_nothing_is_upright(value: int) -> None:
    assert orientation(_tiff("<", (0x0112, 3, 1, value))) == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"Exif\0\0", b"Exif\0\0II*\0", b"II*\0\xff\xff\xff\xff", exif(6)[:-8], b"<x:xmpmeta/>"],
)
def test_broken_data_is_upright(data: bytes) -> None:
    assert orientation(data) == 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "layout"), [(1, "B"), (3, "H"), (4, "I"), (6, "b"), (8, "h"), (9, "i")])
def test_it_reads_every_kind_of_whole_number(order: str, kind: int, layout: str) -> None:
    """The standard says SHORT; not every writer does."""
    for value in (6, 0):
        tiff = _tiff(order, (0x0112, kind, 1, 0))
        assert orientation(tiff[:-4] + struct.pack(order + layout, value).ljust(4, b"\0")) == (value or 1)


def test_a_number_below_zero_is_upright() -> None:
    tiff = _tiff("<", (0x0112, 8, 1, 0))

    assert orientation(tiff[:-4] + struct.pack("<i", -6)) == 1


def test_a_tag_of_another_kind_is_upright() -> None:
    assert orientation(_tiff("<", (0x0112, 2, 1, 6))) == 1


@given(st.binary(max_size=80), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"Exif\0\0MM\0*"]))
def test_any_data_gives_an_orientation(data: bytes, start: bytes) -> None:
    assert 1 <= orientation(start + data) <= 8


def _tiff(order: str, *entries: tuple[int, int, int, int]) -> bytes:
    """A TIFF structure with one directory. A short value fills the first half of its field."""
    packed = b"".join(struct.pack(f"{order}HHIHH", *entry, 0) for entry in entries)
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(f"{order}IH", 8, len(entries)) + packed
