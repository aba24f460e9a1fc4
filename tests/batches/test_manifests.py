"""Lists of pictures as CSV."""

import contextlib
import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.manifests import BadManifest, Row, rows


def read(text: str | bytes) -> list[Row]:
    return list(rows(io.BytesIO(text.encode() if isinstance(text, str) else text)))


def test_a_row_is_a_picture_with_a_name_and_options_of_its_own() -> None:
    text = "image_url,name,format,trim\nhttps://a.example/1.jpg,cup,webp,false\nhttps://a.example/2.jpg,,,\n"
    assert read(text) == [
        Row(2, "image_url", "https://a.example/1.jpg", "cup", {"format": "webp", "trim": "false"}),
        Row(3, "image_url", "https://a.example/2.jpg", None, {}),
    ]


@pytest.mark.parametrize("text", ["\ufeffURL; Name\nhttps://a/1;x\n", "url,s3_key,name\nhttps://a/1,,x\n,,\n\n"])
def test_as_spreadsheets_write_it(text: str) -> None:
    ((row),) = read(text)
    assert (row.source, row.value, row.name) == ("image_url", "https://a/1", "x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "name its columns"),
        ("name,format\na,png\n", "name its columns"),
        ("url,url\na,b\n", "a name of its own"),
        ("url,\na,b\n", "a name of its own"),
        ("url,name\na,b,c\n", "line 2"),
        ("url,s3_key\na,b\n", "Line 2"),
        ("url,name\n,b\n", "Line 2"),
        ('url,name\n"a,b\n', "cannot be read"),
        ("url\n" + "a" * 5000, "Line 2"),
        (b"url\n\xff\xfe", "UTF-8"),
        (b"url\na\0b", "characters that are none"),
        (b"url\n" + b"a\n" * (3 << 20), "too large"),
    ],
)
def test_what_cannot_be_read_is_named(text: str | bytes, words: str) -> None:
    with pytest.raises(BadManifest, match=words):
        read(text)


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=10))
def test_whatever_is_written_is_read_or_refused(table: list[tuple[str, str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("url", "name"), *table])
    try:
        found = read(text.getvalue().encode(errors="replace"))
    except BadManifest:
        return
    assert all(row.value for row in found)


@given(st.binary(max_size=300))
def test_no_file_ends_in_anything_else(data: bytes) -> None:
    with contextlib.suppress(BadManifest):
        assert all(isinstance(row, Row) for row in read(data))
