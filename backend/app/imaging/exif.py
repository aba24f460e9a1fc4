"""The one thing that matters in a picture's EXIF data: which way up it is.

Read here rather than by Pillow, whose reader parses every tag, warns of those that are broken, and for a PNG decodes
the pixels first.
"""

import struct

_ORIENTATION, _SHORT, _LONG = 0x0112, 3, 4
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
            if tag == _ORIENTATION and kind in (_SHORT, _LONG):
                (value,) = struct.unpack_from(f"{order}{'H' if kind == _SHORT else 'I'}", tiff, entry + 8)
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:
        return UPRIGHT
    return UPRIGHT
