"""Looks at a picture's header and decides whether it may come in. No pixel is decoded.

The one module of this package that the API loads.
"""

import io
import re
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Final

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from app.imaging import formats
from app.imaging.errors import (
    DimensionsTooLarge,
    DimensionsTooSmall,
    FileEmpty,
    FileTooLarge,
    ImageCorrupt,
    ImageTruncated,
    TooManyPixels,
    UnsupportedFormat,
    is_out_of_memory,
)
from app.imaging.exif import UPRIGHT, orientation
from app.imaging.formats import Format
from app.imaging.limits import ImageLimits
from app.imaging.structure import Essence, essence_of_jpeg, essence_of_png, size_of_webp

# Pillow's readers are called by class, not through Image.open: that would add its own guard against large pictures,
# which is process-wide state that warns or raises by limits that are not ours. And the JPEG reader called so takes a
# phone's MPO (several JPEGs in one file) for the JPEG that it starts with.
_READERS: Final[dict[Format, type[ImageFile]]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
}
_ESSENCES: Final = {"JPEG": essence_of_jpeg, "PNG": essence_of_png}

# What hostile bytes draw from Pillow's readers. Not every Exception: a worker's time limit is one, too, and strikes
# anywhere.
READER_ERRORS: Final = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SyntaxError),
    *(TypeError, ValueError, struct.error, zlib.error),
)


# What Pillow says of a BMP that is whole, and that it does not read.
_UNREADABLE = re.compile(r"Unsupported (BMP (?:pixel depth|compression|bitfields).*)")


@dataclass(frozen=True)
class Opened:
    """`image`: Pillow's, with its header read and its pixels not yet decoded. `file`: what it reads from; for JPEG and
    PNG that is what decides the pixels, and no more. `orientation`: by EXIF, 1 to 8. The rest as of an `Essence`.
    """

    format: Format
    image: ImageFile
    file: BinaryIO
    orientation: int
    gamma: int | None
    tells_what_is_missing: bool


@dataclass(frozen=True)
class ImageFacts:
    """What the header says. Width and height in pixels, as displayed: after the EXIF orientation is applied."""

    format: Format
    width: int
    height: int
    size_bytes: int
    content_type: str


def probe(file: BinaryIO, limits: ImageLimits) -> ImageFacts:
    """Checks a picture by its header.

    The order of the checks: empty, size in bytes, format, header, dimensions. A picture that is cut off behind its
    header passes.

    Args:
        file: seekable; read from its start, and left at its start.
        limits: what is accepted.

    Raises:
        ImageError: of the kind that fits; nothing else, whatever the bytes are.
    """
    try:
        return _probe(file, limits)
    finally:
        file.seek(0)


def open_picture(file: BinaryIO, limits: ImageLimits, *, pixels: bool) -> Opened:
    """Reads the header and checks it. `pixels`: False when the header is all that is wanted.

    Raises:
        ImageError: as for `probe`, dimensions included.
    """
    format_ = _check_bytes(file, limits)
    essence_of = _ESSENCES.get(format_)
    essence = essence_of(file, pixels=pixels) if essence_of else Essence(file, None)
    if format_ == "WEBP" and (size := size_of_webp(file)):
        _check_largest(*size, limits)
        file.seek(0)
    try:
        image = _READERS[format_](essence.file)
    except Image.DecompressionBombError as error:  # the WEBP reader's own guard, far above any sensible limit
        raise DimensionsTooLarge(limits.max_side) from error
    except READER_ERRORS as error:
        if is_out_of_memory(error):
            raise  # the machine's fault, not the picture's
        if kind := _UNREADABLE.fullmatch(str(error)):
            raise UnsupportedFormat(kind[1]) from error
        raise (ImageTruncated if _ends_too_soon(file, format_) else ImageCorrupt) from error
    _check_dimensions(*image.size, limits)
    exif = essence.exif or image.info.get("exif")
    turn = UPRIGHT if exif is None else orientation(exif)
    return Opened(format_, image, essence.file, turn, essence.gamma, essence.tells_what_is_missing)


def _probe(file: BinaryIO, limits: ImageLimits) -> ImageFacts:
    opened = open_picture(file, limits, pixels=False)
    width, height = opened.image.size
    if opened.orientation >= 5:  # these four turn the picture on its side
        width, height = height, width
    return ImageFacts(opened.format, width, height, _size_of(file), formats.CONTENT_TYPES[opened.format])


def _check_bytes(file: BinaryIO, limits: ImageLimits) -> Format:
    size = _size_of(file)
    if size == 0:
        raise FileEmpty
    if size > limits.max_bytes:
        raise FileTooLarge(size, limits.max_bytes)
    file.seek(0)
    head = file.read(formats.HEAD_BYTES)
    file.seek(0)
    format_ = formats.accepted(head)
    if format_ is None:
        raise UnsupportedFormat(formats.name_of(head))
    return format_


def _check_largest(width: int, height: int, limits: ImageLimits) -> None:
    if max(width, height) > limits.max_side:
        raise DimensionsTooLarge(limits.max_side)
    if width * height > limits.max_pixels:
        raise TooManyPixels(width * height, limits.max_pixels)


def _check_dimensions(width: int, height: int, limits: ImageLimits) -> None:
    _check_largest(width, height, limits)
    if min(width, height) < limits.min_side:
        raise DimensionsTooSmall(limits.min_side)


def _size_of(file: BinaryIO) -> int:
    file.seek(0, io.SEEK_END)
    return file.tell()


def _ends_too_soon(file: BinaryIO, format_: Format) -> bool:
    """Whether a reader that failed had come to the end of the file. Moves the position."""
    if format_ in _ESSENCES:  # which have been found whole
        return False
    if format_ == "WEBP":  # always read whole, but its header says how long it should be
        file.seek(4)
        return int.from_bytes(file.read(4), "little") + 8 > _size_of(file)
    return file.tell() >= _size_of(file)
