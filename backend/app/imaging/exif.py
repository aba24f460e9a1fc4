"""The one thing that matters in a picture's EXIF data: which way up it is.

Read here rather than by Pillow, whose reader parses every tag, warns of those that are broken, and for a PNG decodes
the pixels first.
"""

import struct

_ORIENTATION = 0x0112
# Whole numbers by TIFF's type. The standard says SHORT (3); not every writer does.
_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
UPRIGHT = 1


def orientation(exif: bytes) -> int:
    """The EXIF orientation, 1 to 8.

    Args:
        exif: a TIFF structure, with or without the `Exif` prefix that JPEG puts before it. May be anything.

    Returns:
        1 (upright) whenever the data is absent, broken, or says something else than 1 to 8.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return UPRIGHT
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == _ORIENTATION and kind in _NUMBERS:
                (value,) = struct.unpack_from(order + _NUMBERS[kind], tiff, entry + 8)
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:
        return UPRIGHT
    return UPRIGHT
