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

from app.imaging.errors import ImageCorrupt, ImageTruncated, TooComplex, UnsupportedFormat

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
    """`file`: the parts that decide the pixels, for a reader. `exif`: the EXIF data that stood among them.

    `gamma`: a PNG's, in units of 1/100,000, where it says nothing better of its colours. `tells_what_is_missing`: of a
    JPEG in one scan and Huffman's code, whose reader notices every bit that it lacks.
    """

    file: BinaryIO
    exif: bytes | None
    gamma: int | None = None
    tells_what_is_missing: bool = False


def essence_of_jpeg(file: BinaryIO, *, pixels: bool) -> Essence:
    """A JPEG's tables, frame, colour space and, if `pixels`, its colour profile and scans.

    Args:
        file: read from its start.
        pixels: False for the header alone, up to the first scan.

    Raises:
        ImageError: the chain is broken, ends before the first scan, or is too long; or it is of a kind that no reader
            reads.
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
        _check_kind(marker, content)
        if marker in _FRAMES:
            components, frame = content[5] if len(content) > 5 else 0, marker
        if marker in _TABLES or _tells_colours(marker, content):
            tables.append(segment)
        elif marker == _APP2 and content.startswith(b"ICC_PROFILE\0") and len(content) >= 14 and pixels:
            profile.append(segment)
        elif marker == _APP1 and content.startswith(b"Exif\0\0") and len(content) > 6 and exif is None:
            exif = content
    if sum(map(len, tables)) > _MAX_TABLE_BYTES:
        raise TooComplex
    if sum(map(len, profile)) > MAX_PROFILE_BYTES:
        profile = []
    begin = file.tell()
    # In any other file a second scan is an error, and every reader's last word.
    in_one_scan = frame not in _PROGRESSIVE and content[:1] == bytes([components])
    if not in_one_scan:
        _count_scans(file, MAX_ARITHMETIC_SCANS if frame in _ARITHMETIC else MAX_SCANS)
        file.seek(begin)
    # Pillow wants the profile before the frame.
    kept = [b"\xff\xd8", *profile, *tables, file.read() if pixels else b""]
    return Essence(io.BytesIO(b"".join(kept)), exif, tells_what_is_missing=in_one_scan and frame in _HUFFMAN)


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
    signature, chunks = file.read(8), _chunks(file, size)
    wanted = _HEADER | _COLOURS if pixels else _HEADER
    found: dict[bytes, bytes] = {}  # whole chunks
    for name, begin, end in chunks:
        if name == b"IDAT":
            break
        if not name.isalpha():
            raise ImageCorrupt
        if end > size:
            raise ImageTruncated
        if name in wanted and name not in found:  # a second one has no say
            file.seek(begin)
            found[name] = file.read(end - begin)
    else:
        raise ImageTruncated
    behind, exif = _behind_pixels(file, size, chunks)
    file.seek(begin)
    kept = [signature, *_shown(found), file.read(behind - begin if pixels else 8)]
    exif = found.get(b"eXIf", exif)
    return Essence(io.BytesIO(b"".join(kept)), None if exif is None else exif[8:-4], gamma=_gamma_of(found))


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
_HUFFMAN = frozenset((0xC0, 0xC1))
_UNREADABLE: Final = {
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
    0xCB: "lossless arithmetic JPEG",
    0xF7: "JPEG-LS",
}
_TABLES = _FRAMES | frozenset((0xC4, 0xCC, *range(0xDB, 0xE0)))
_KNOWN = _TABLES | _UNREADABLE.keys() | frozenset((_SOS, *range(_APP0, 0xF0), _COM))
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


def _check_kind(marker: int, content: bytes) -> None:
    """Refuse by name what is whole, and what no reader reads."""
    if marker in _UNREADABLE:
        raise UnsupportedFormat(_UNREADABLE[marker])
    if marker in _FRAMES and content and 8 < content[0] <= 16:
        raise UnsupportedFormat(f"JPEG with {content[0]} bits")


def _tells_colours(marker: int, content: bytes) -> bool:
    return (marker == _APP0 and content.startswith(b"JFIF\0") and len(content) >= 14) or (
        marker == _APP14 and content.startswith(b"Adobe") and len(content) >= 12
    )


# PNG: chunks that are looked at before the pixels.
_HEADER = frozenset((b"IHDR", b"PLTE", b"tRNS", b"eXIf"))
_COLOURS = frozenset((b"iCCP", b"sRGB", b"cICP", b"gAMA"))
_GAMMAS = range(16, 625_000_001)  # libpng believes these


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


def _behind_pixels(file: BinaryIO, size: int, chunks: Iterator[tuple[bytes, int, int]]) -> tuple[int, bytes | None]:
    """Where the pixels end whose first chunk is behind us, and the EXIF chunk that may follow them."""
    behind, exif = None, None
    for name, begin, end in chunks:
        if behind is None and name != b"IDAT":
            behind = begin
        if name == b"IEND" or not name.isalpha() or end > size:  # what follows cannot harm the pixels
            break
        if name == b"eXIf" and exif is None:
            file.seek(begin)
            exif = file.read(end - begin)
    return size if behind is None else behind, exif


def _shown(found: dict[bytes, bytes]) -> Iterator[bytes]:
    """The chunks that a reader gets to see."""
    for name, chunk in found.items():
        if (
            name in (b"IHDR", b"PLTE")
            or (name == b"tRNS" and _is_of_right_length(chunk, found))
            or (name == b"iCCP" and _is_fit(chunk[8:-4]))
        ):
            yield chunk


def _is_of_right_length(trns: bytes, found: dict[bytes, bytes]) -> bool:
    """Whether a PNG's transparency is what its type of colour asks for. As libpng, and so as browsers, judge it."""
    length, colour = len(trns) - 12, found.get(b"IHDR", b"")[17:18]
    if colour == b"\3":
        return 0 < length <= (len(found.get(b"PLTE", b"")) - 12) // 3
    return length == {b"\0": 2, b"\2": 6}.get(colour)


def _gamma_of(found: dict[bytes, bytes]) -> int | None:
    if found.keys() & {b"iCCP", b"sRGB", b"cICP"}:  # each says more
        return None
    content = found.get(b"gAMA", b"")[8:-4]
    gamma = int.from_bytes(content, "big")
    return gamma if len(content) == 4 and gamma in _GAMMAS else None


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
