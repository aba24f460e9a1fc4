import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.imaging import formats
from tests.imaging.pictures import disc, encoded


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP"])
def test_the_accepted_formats_are_told_by_their_bytes(format_: str) -> None:
    assert formats.accepted(encoded(disc(), format_)) == format_


@pytest.mark.parametrize("format_", ["GIF", "TIFF", "ICO", "AVIF"])
def test_what_pillow_writes_is_refused_by_name(format_: str) -> None:
    head = encoded(disc(), format_)[: formats.HEAD_BYTES]

    assert formats.accepted(head) is None
    assert formats.name_of(head) == format_


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\2\0", "MP4 video"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51\0", "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\x0a\x00", "JPEG XL"),
        (b"%PDF-1.7", "PDF"),
        (b"8BPS\0\1", "PSD"),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', "SVG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn -->\n<svg>', "SVG"),
        (b'<?xml version="1.0"?><note/>', "unknown"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"PK\3\4", "ZIP"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"BMW is a car maker, and this is a text.", "unknown"),
        (b"RIFF\0\0\0\0WAVE", "unknown"),
        (b"", "unknown"),
        (b"hello", "unknown"),
    ],
)
def test_what_is_refused_has_a_name(head: bytes, name: str) -> None:
    assert formats.accepted(head) is None
    assert formats.name_of(head) == name


@given(st.binary(max_size=64))
def test_any_bytes_have_a_name(head: bytes) -> None:
    assert formats.accepted(head) in (None, "JPEG", "PNG", "WEBP", "BMP")
    assert formats.name_of(head)
