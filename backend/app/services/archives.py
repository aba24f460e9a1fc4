"""Pictures out of a zip that somebody has sent: entry by entry, each bounded, and nothing written by its name."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from os import SEEK_END
from pathlib import PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, Final, cast

from app.core.config import MIB
from app.core.errors import InvalidRequest
from app.core.names import clean_path
from app.imaging.formats import HEAD_BYTES, accepted

MAX_DIRECTORY: Final = 4 * MIB
"""Of an archive's list of entries, which is read as a whole: 40,000 with names of ordinary length."""

_END, _END_64, _LOCATOR_64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_END_SIZE, _LOCATOR_SIZE, _RECORD_SIZE, _LONGEST_COMMENT = 22, 20, 56, 65_536
_PLAIN = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})  # LZMA may ask for gigabytes before the first byte
_JUNK = frozenset({"__macosx", ".ds_store", "thumbs.db", "desktop.ini"})
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, struct.error)
_ENCRYPTED = 0x1


class BadArchive(InvalidRequest):
    """The archive as a whole cannot be read."""

    code = "archive_corrupt"


class _Damaged(Exception):
    """An entry cannot be read."""


@dataclass(frozen=True)
class LeftOut:
    """An entry that is no picture, and why."""

    name: str
    code: str
    sentence: str


@dataclass(frozen=True)
class Picture:
    """An entry that may be one. `file` holds for as long as the next entry is not asked for."""

    name: str
    file: BinaryIO


def is_archive(head: bytes) -> bool:
    """Whether a file begins as zips do, empty ones too."""
    return head.startswith((b"PK\3\4", _END))


def entries(archive: BinaryIO, *, max_bytes: int, max_total: int) -> Iterator[Picture | LeftOut]:
    """Every entry, in the archive's order; folders are none.

    Args:
        archive: seekable.
        max_bytes: of one entry, unpacked. Of a larger one so much and a byte is handed out, and no more is unpacked;
            of one that is no picture only its head.
        max_total: of all that is unpacked.

    Raises:
        BadArchive: it is none, its list of entries is broken or too long, or it holds more than `max_total`.
        OSError: there is no room for what is unpacked.
    """
    _check_directory(archive)
    try:
        opened = zipfile.ZipFile(archive)
    except _BROKEN as error:
        raise BadArchive("The archive is damaged: its list of entries cannot be read.") from error
    total = 0
    with closing(opened):
        for info in opened.infolist():
            name = clean_path(info.filename) or "unnamed"
            if info.filename.endswith("/"):  # a folder
                continue
            if refusal := _refusal(info, name):
                yield refusal
                continue
            with SpooledTemporaryFile(max_size=MIB) as spooled:
                file = cast(BinaryIO, spooled)
                found = _unpacked(opened, info, name, file, max_bytes)
                total += file.tell()
                if total > max_total:
                    raise BadArchive("The archive holds more than can be taken in at a time; send it in parts.")
                file.seek(0)
                yield found


def _refusal(info: zipfile.ZipInfo, name: str) -> LeftOut | None:
    parts = {part.lower() for part in PurePosixPath(name).parts}
    kind = stat.S_IFMT(info.external_attr >> 16)
    if parts & _JUNK or PurePosixPath(name).name.startswith("._") or kind not in {0, stat.S_IFREG}:
        return LeftOut(name, "not_a_picture", "This entry is no picture: it belongs to the system that packed it.")
    if info.flag_bits & _ENCRYPTED:
        return LeftOut(name, "entry_encrypted", "This entry is encrypted.")
    if info.compress_type not in _PLAIN:
        return LeftOut(name, "entry_unreadable", "This entry is packed in a way that is not read: use deflate.")
    return None


def _unpacked(
    opened: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, file: BinaryIO, max_bytes: int
) -> Picture | LeftOut:
    try:
        for chunk in _chunks(opened, info, max_bytes + 1):
            file.write(chunk)
    except _Damaged:
        return LeftOut(name, "entry_unreadable", "This entry is damaged.")
    end = file.tell()
    file.seek(0)
    nested = is_archive(file.read(4))
    file.seek(end)
    if nested:
        return LeftOut(name, "nested_archive", "This entry is an archive itself: its pictures have to stand in one.")
    return Picture(name, file)


def _chunks(opened: zipfile.ZipFile, info: zipfile.ZipInfo, left: int) -> Iterator[bytes]:
    """What is in an entry, so much at most. Raises `_Damaged`: a fault of ours, such as a full disk, is none of its."""
    try:
        with opened.open(info) as source:
            head = source.read(min(left, HEAD_BYTES))
            yield head
            left = left - len(head) if accepted(head) else 0  # no picture: its head tells what it is
            while left and (chunk := source.read(min(left, MIB))):
                yield chunk
                left -= len(chunk)
    except _BROKEN as error:
        raise _Damaged from error


def _check_directory(archive: BinaryIO) -> None:
    """Raise `BadArchive` before the list of entries is read, if it is larger than any that is meant well.

    Looks for the list's measures where `zipfile` does.
    """
    size = archive.seek(0, SEEK_END)
    tail_at = max(0, size - _END_SIZE - _LONGEST_COMMENT)
    archive.seek(tail_at)
    tail = archive.read()
    at = len(tail) - _END_SIZE
    if tail[-_END_SIZE : -_END_SIZE + 4] != _END or tail[-2:] != b"\0\0":
        at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        raise BadArchive("This is no zip archive, or its end is missing.")
    directory = int.from_bytes(tail[at + 12 : at + 16], "little")
    locator_at = tail_at + at - _LOCATOR_SIZE
    if locator_at >= 0:
        archive.seek(locator_at)
        locator = archive.read(_LOCATOR_SIZE)
        if locator[:4] == _LOCATOR_64:
            # Where Python looks for the larger form of them: before the locator, or where that leads to.
            for place in (locator_at - _RECORD_SIZE, int.from_bytes(locator[8:16], "little")):
                archive.seek(min(max(0, place), size))
                record = archive.read(_RECORD_SIZE)
                if record[:4] == _END_64:
                    directory = max(directory % 0xFFFF_FFFF, int.from_bytes(record[40:48], "little"))
    if directory > MAX_DIRECTORY:
        raise BadArchive("The archive has too many entries, or names that are too long.")
    archive.seek(0)
