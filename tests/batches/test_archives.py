"""Pictures out of zips that mean well, and out of those that do not."""

import io
import struct
import zipfile
from tempfile import SpooledTemporaryFile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.names import clean_path
from app.imaging.formats import HEAD_BYTES
from app.services.archives import MAX_DIRECTORY, BadArchive, LeftOut, Picture, entries, is_archive

LARGEST = 2000
MOST = 100_000
PNG = b"\x89PNG\r\n\x1a\n"


def packed(*members: tuple[str, bytes], **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for name, data in members:
            archive.writestr(name, data)
    file.seek(0)
    return file


def found(archive: io.BytesIO) -> list[tuple[str, bytes | str]]:
    """What each entry is: its content, or the code of its refusal."""
    return [
        (each.name, each.file.read() if isinstance(each, Picture) else each.code)
        for each in entries(archive, max_bytes=LARGEST, max_total=MOST)
    ]


def test_pictures_come_out_in_order_with_their_folders() -> None:
    archive = packed(("b/two.jpg", b"2"), ("a.png", b"1"), ("b/", b""))
    assert is_archive(archive.read(4))
    assert found(archive) == [("b/two.jpg", b"2"), ("a.png", b"1")]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("__MACOSX/._a.jpg", "not_a_picture"),
        ("photos/.DS_Store", "not_a_picture"),
        ("Thumbs.db", "not_a_picture"),
        ("._a.jpg", "not_a_picture"),
    ],
)
def test_what_the_system_has_packed_along_is_told(name: str, code: str) -> None:
    assert found(packed((name, b"x"), ("a.jpg", b"1"))) == [(name, code), ("a.jpg", b"1")]


def test_an_archive_in_an_archive_is_told_and_not_opened() -> None:
    inner = packed(("a.jpg", b"1")).getvalue()
    assert found(packed(("inner.zip", inner), ("inner.jpg", inner))) == [
        ("inner.zip", "nested_archive"),
        ("inner.jpg", "nested_archive"),
    ]


def test_no_more_is_unpacked_than_a_picture_may_have() -> None:
    bomb = packed(("zeros.png", PNG + bytes(10_000_000)), compression=zipfile.ZIP_DEFLATED)
    assert len(bomb.getvalue()) < 20_000
    ((_, content),) = found(bomb)
    assert len(content) == LARGEST + 1


def test_of_what_is_no_picture_only_the_head_is_unpacked() -> None:
    ((_, content),) = found(packed(("zeros.png", bytes(LARGEST)), compression=zipfile.ZIP_DEFLATED))
    assert content == bytes(HEAD_BYTES)


def test_many_small_ones_may_be_too_much_together() -> None:
    whole = packed(*((f"{n}.png", PNG + bytes(LARGEST - 8)) for n in range(51)))
    with pytest.raises(BadArchive, match="more than can be taken in"):
        found(whole)


def test_a_full_disk_is_no_fault_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SpooledTemporaryFile, "write", full)
    with pytest.raises(OSError, match="No space"):
        found(packed(("cup.png", PNG)))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_dear_ways_of_packing_are_told(compression: int) -> None:
    assert found(packed(("a.jpg", b"1" * 100), compression=compression)) == [("a.jpg", "entry_unreadable")]


def test_what_is_encrypted_is_told() -> None:
    data = bytearray(packed(("a.jpg", b"1")).getvalue())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    assert found(io.BytesIO(bytes(data))) == [("a.jpg", "entry_encrypted")]


def test_a_link_is_no_picture() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("a.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert found(file) == [("a.jpg", "not_a_picture")]


def test_a_damaged_entry_does_not_fail_the_others() -> None:
    data = bytearray(packed(("a.jpg", b"first"), ("b.jpg", b"second")).getvalue())
    data[data.index(b"first")] ^= 1
    assert found(io.BytesIO(bytes(data))) == [("a.jpg", "entry_unreadable"), ("b.jpg", b"second")]


@pytest.mark.parametrize("data", [b"", b"PK\3\4", b"no archive at all", b"PK\5\6" + bytes(10), b"PK\3\4" + bytes(500)])
def test_what_is_none(data: bytes) -> None:
    with pytest.raises(BadArchive):
        found(io.BytesIO(data))


def test_an_empty_one_holds_nothing() -> None:
    assert found(packed()) == []


@pytest.mark.parametrize("comment", [b"", b"made by hand"])
def test_a_list_of_entries_that_is_too_long_is_not_read(comment: bytes) -> None:
    data = bytearray(packed(("a.jpg", b"1")).getvalue())
    end = data.rindex(b"PK\5\6")
    data[end + 12 : end + 16] = struct.pack("<I", MAX_DIRECTORY + 1)
    data[end + 20 : end + 22] = struct.pack("<H", len(comment))
    with pytest.raises(BadArchive, match="too many entries"):
        found(io.BytesIO(bytes(data) + comment))


@pytest.mark.parametrize("way", ["before", "led to"])
def test_nor_in_the_form_for_large_archives(way: str) -> None:
    data = packed(("a.jpg", b"1")).getvalue()
    end = data.rindex(b"PK\5\6")
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, MAX_DIRECTORY + 1, 0)
    place = end if way == "before" else 0
    locator = b"PK\6\7" + struct.pack("<IQI", 0, place, 1)
    whole = (
        data[:end] + record + locator + data[end:] if way == "before" else record + data[:end] + locator + data[end:]
    )
    with pytest.raises(BadArchive, match="too many entries"):
        found(io.BytesIO(whole))


@given(st.binary(max_size=400), st.binary(max_size=60))
def test_no_archive_ends_in_anything_but_a_word(data: bytes, noise: bytes) -> None:
    whole = bytearray(packed(("a.jpg", data), ("b.jpg", b"x" * 50), compression=zipfile.ZIP_DEFLATED).getvalue())
    for number, byte in enumerate(noise):
        whole[(number * 37 + byte) % len(whole)] = byte
    try:
        for each in entries(io.BytesIO(bytes(whole)), max_bytes=LARGEST, max_total=MOST):
            assert isinstance(each, Picture | LeftOut)
    except BadArchive:
        pass


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("../../etc/passwd", "etc/passwd"),
        ("/abs/a.jpg", "abs/a.jpg"),
        ("C:\\Users\\me\\a.jpg", "Users/me/a.jpg"),
        ("a/./b/../c.jpg", "a/b/c.jpg"),
        ("a\r\nb\0.jpg", "ab.jpg"),
        ("..", None),
        ("", None),
        (None, None),
    ],
)
def test_no_name_leads_up(name: str | None, clean: str | None) -> None:
    assert clean_path(name) == clean


@given(st.text(max_size=600))
def test_a_clean_name_stays_clean(name: str) -> None:
    clean = clean_path(name)
    if clean is not None:
        assert clean_path(clean) == clean
        assert not clean.startswith("/")
        assert ".." not in clean.split("/")
        assert clean.isprintable()
        assert len(clean) <= 200
