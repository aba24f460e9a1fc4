"""What a file is made of: its parts that decide the pixels are kept, all others left out before any reader sees them.

JPEG and PNG are chains of parts, and readers take in all of them: texts that unpack to 64 MB, EXIF tags by the thousand
that each claim the same bytes, a picture in a million pieces, thousands of scans that each repaint it. Limits on bytes
and pixels bound neither their time nor their memory; walking the chain first does.
"""

import io
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from app.imaging.errors import ImageCorrupt, ImageTruncated, TooComplex

MAX_PARTS: Final = 25_000
"""Of a file. A PNG of 10 MiB whose writer flushes every kilobyte has 10,000."""

MAX_SCANS: Final = 64
"""Of a JPEG; encoders make 10 to 20. Each may take 30 ms where the picture is as large as may be."""

MAX_ARITHMETIC_SCANS: Final = 20
"""The same where it is coded arithmetically (hardly any is): each may take 200 ms, with no data at all."""

MAX_PROFILE_BYTES: Final = 1024 * 1024
"""Of a colour profile. A larger one is ignored."""

_MAX_TABLE_BYTES = 64 * 1024  # of a JPEG's header without metadata: some 700 bytes, and Huffman tables again and again
_BLOCK = 64 * 1024
_FIRST_BLOCK = 64  # most markers stand where they are expected


@dataclass(frozen=True)
class Essence:
    """`file`: the parts that decide the pixels, for a reader. `exif`: the EXIF data that stood among them."""

    file: io.BytesIO
    exif: bytes | None


def essence_of_jpeg(file: BinaryIO, *, pixels: bool) -> Essence:
    """A JPEG's tables, frame, colour space and, if `pixels`, its colour profile and scans.

    Args:
        file: read from its start.
        pixels: False for the header alone, up to the first scan.

    Raises:
        ImageError: the chain is broken, ends before the first scan, or is too long.
    """
    file.seek(2)
    tables: list[bytes] = []
    profile: list[bytes] = []
    exif, components, frame = None, 0, 0
    for marker, content in _segments(file):
        segment = b"\xff%c%b%b" % (marker, struct.pack(">H", len(content) + 2), content)
        if marker == _SOS:
            tables.append(segment)
            break
        if marker in _FRAMES:
            components, frame = content[5] if len(content) > 5 else 0, marker
        if marker in _TABLES or _tells_colours(marker, content):
            tables.append(segment)
        elif marker == _APP2 and content.startswith(b"ICC_PROFILE\0") and len(content) >= 14 and pixels:
            profile.append(segment)
        elif marker == _APP1 and content.startswith(b"Exif\0\0") and exif is None:
            exif = content
    if sum(map(len, tables)) > _MAX_TABLE_BYTES:
        raise TooComplex
    if sum(map(len, profile)) > MAX_PROFILE_BYTES:
        profile = []
    begin = file.tell()
    # In any other file a second scan is an error, and every reader's last word.
    if frame in _PROGRESSIVE or content[:1] != bytes([components]):
        _count_scans(file, MAX_ARITHMETIC_SCANS if frame in _ARITHMETIC else MAX_SCANS)
        file.seek(begin)
    # Pillow wants the profile before the frame.
    kept = [b"\xff\xd8", *profile, *tables, file.read() if pixels else b""]
    return Essence(io.BytesIO(b"".join(kept)), exif)


def essence_of_png(file: BinaryIO, *, pixels: bool) -> Essence:
    """A PNG's header, palette, transparency and, if `pixels`, its colour profile and pixels. Nothing of an animation.

    Args:
        file: read from its start.
        pixels: False for the header alone, up to the first of its pixels.

    Raises:
        ImageError: the chain is broken, ends before the first of the pixels, or is too long.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    kept, chunks = [file.read(8)], _chunks(file, size)
    wanted = {b"IHDR", b"PLTE", b"tRNS", b"eXIf"} | ({b"iCCP"} if pixels else set())
    exif = None
    for name, begin, end in chunks:
        if name == b"IDAT":
            break
        if not name.isalpha():
            raise ImageCorrupt
        if end > size:
            raise ImageTruncated
        if name in wanted:
            wanted.remove(name)  # a second one has no say
            file.seek(begin)
            chunk = file.read(end - begin)
            if name == b"eXIf":
                exif = chunk[8:-4]
            elif name != b"iCCP" or _is_fit(chunk[8:-4]):
                kept.append(chunk)
    else:
        raise ImageTruncated
    file.seek(begin)
    if pixels:
        end = next((begin for name, begin, _ in chunks if name != b"IDAT"), size)
        file.seek(begin)
    kept.append(file.read(end - begin if pixels else 8))
    return Essence(io.BytesIO(b"".join(kept)), exif)


def size_of_webp(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height as the first part says them, if it does. Its reader takes memory for as many pixels at once."""
    file.seek(12)
    part = file.read(18)
    if part.startswith(b"VP8X"):
        return int.from_bytes(part[12:15], "little") + 1, int.from_bytes(part[15:18], "little") + 1
    if part.startswith(b"VP8L") and len(part) >= 13:
        bits = int.from_bytes(part[9:13], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if part.startswith(b"VP8 "):
        return int.from_bytes(part[14:16], "little") & 0x3FFF, int.from_bytes(part[16:18], "little") & 0x3FFF
    return None


# JPEG: markers that stand alone, and those that begin a segment.
_SOI, _EOI, _SOS, _TEM, _APP0, _APP1, _APP2, _APP14, _COM = 0xD8, 0xD9, 0xDA, 0x01, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_ARITHMETIC = frozenset(range(0xC9, 0xD0))
_TABLES = _FRAMES | frozenset((0xC4, 0xCC, *range(0xDB, 0xE0)))
_KNOWN = _TABLES | frozenset((_SOS, *range(_APP0, 0xF0), _COM))
# Stuffed zeros and restarts belong to the pixels, repeated \xff to nothing.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def _segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Marker and content, from the file's position on; behind a content the position is the next part's."""
    for marker, length in _markers(file):
        content = file.read(length)
        if len(content) < length:
            raise ImageTruncated
        yield marker, content
    raise ImageTruncated


def _count_scans(file: BinaryIO, most: int) -> None:
    """Refuse a picture of too many scans. The position is behind the header of the first."""
    scans = 1
    for marker, length in _markers(file, until=_EOI):
        scans += marker == _SOS
        if scans > most:
            raise TooComplex
        file.seek(length, os.SEEK_CUR)


def _markers(file: BinaryIO, until: int | None = None) -> Iterator[tuple[int, int]]:
    """Each segment's marker and length; the position is where its content begins, and has to be moved behind it."""
    for _ in range(MAX_PARTS):
        marker = _find_marker(file)
        if marker in (None, until):
            return
        if marker == _TEM:
            continue
        head = file.read(2)
        if marker not in _KNOWN or (len(head) == 2 and head < b"\0\2"):
            raise ImageCorrupt
        if len(head) < 2:
            return
        yield marker, int.from_bytes(head, "big") - 2
    raise TooComplex


def _find_marker(file: BinaryIO) -> int | None:
    """The next marker; the position is then behind it. None if the file ends before."""
    size = _FIRST_BLOCK
    while block := file.read(size):
        if found := _MARKER.search(block):
            file.seek(found.end() - len(block), os.SEEK_CUR)
            return block[found.end() - 1]
        if len(block) > 1 and block.endswith(b"\xff"):  # it may be half a marker
            file.seek(-1, os.SEEK_CUR)
        size = _BLOCK
    return None


def _tells_colours(marker: int, content: bytes) -> bool:
    return (marker == _APP0 and content.startswith(b"JFIF\0") and len(content) >= 14) or (
        marker == _APP14 and content.startswith(b"Adobe") and len(content) >= 12
    )


def _chunks(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """A PNG's chunks from the position on: name, where it begins, and where it ends (which may be behind `size`)."""
    begin = file.tell()
    for _ in range(MAX_PARTS):
        file.seek(begin)
        head = file.read(8)
        if len(head) < 8:
            return
        length, name = struct.unpack(">I4s", head)
        end = begin + length + 12
        yield name, begin, end
        begin = end
    raise TooComplex


def _is_fit(iccp: bytes) -> bool:
    """Whether a PNG's colour profile unpacks to no more than is used."""
    _, _, packed = iccp.partition(b"\0")
    if packed[:1] != b"\0":  # the only method there is
        return False
    unpack = zlib.decompressobj()
    try:
        unpack.decompress(packed[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return False
    return not unpack.unconsumed_tail
