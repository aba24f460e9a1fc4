"""Tells formats apart by their first bytes, never by names or declared types."""

import re
from typing import Final, Literal

Format = Literal["JPEG", "PNG", "WEBP", "BMP"]

HEAD_BYTES = 1024
"""How much of the start of a file `accepted` and `name_of` want to see."""

CONTENT_TYPES: Final[dict[Format, str]] = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
}

# "BM" alone would take many a text for a picture: the size of the header that follows must be a known one.
_BMP_HEADERS = frozenset((12, 40, 52, 56, 64, 108, 124))

# Formats that people send and that we refuse by name, so that they know what to convert.
_REFUSED: Final[tuple[tuple[str, re.Pattern[bytes]], ...]] = (
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]")),
    ("AVIF", re.compile(rb".{4}ftyp(?:avif|avis|mif1.{0,48}avif)", re.DOTALL)),
    ("HEIC", re.compile(rb".{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL)),
    ("JPEG 2000", re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51")),
    ("JPEG XL", re.compile(rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a")),
    ("PDF", re.compile(rb"%PDF-")),
    ("PostScript", re.compile(rb"%!PS")),
    ("ICO", re.compile(rb"\x00\x00\x01\x00")),
    ("PSD", re.compile(rb"8BPS")),
    ("OpenEXR", re.compile(rb"v/1\x01")),
    ("QOI", re.compile(rb"qoif")),
    ("PNM", re.compile(rb"P[1-7]\s")),
    ("MP4 video", re.compile(rb".{4}ftyp", re.DOTALL)),
    ("ZIP", re.compile(rb"PK\x03\x04")),
    ("SVG", re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:svg\b|(?:\?xml|!--|!DOCTYPE).*<svg\b)", re.DOTALL)),
    ("HTML", re.compile(rb"\s*<(?:!doctype\s+)?html\b", re.IGNORECASE)),
)


def accepted(head: bytes) -> Format | None:
    """Which accepted format a file starts like, if any."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    return None


def sniffed(head: bytes) -> str:
    """What a file is by its first bytes, accepted or not."""
    return accepted(head) or name_of(head)


def name_of(head: bytes) -> str:
    """What people call a format that is not accepted; "unknown" when we do not know either."""
    return next((name for name, pattern in _REFUSED if pattern.match(head)), "unknown")
