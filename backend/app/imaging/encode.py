"""Writes a cut-out as a file: the pixels (in sRGB) and nothing else, no profile, no EXIF, no text."""

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from app.imaging.errors import DimensionsTooLarge
from app.imaging.png import write_png

Pixels = npt.NDArray[np.uint8]

# Measured on cut-outs of 2 megapixels: 4:4:4 at 90 is smaller and nearer to the picture than 4:2:0 at 95, which smears
# colour over the very edge that we have worked for.
_JPEG = (
    *(cv2.IMWRITE_JPEG_QUALITY, 90),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
)
_WEBP_SIDE = 16383
# Tried in turn. Pillow, because OpenCV does not let the effort be chosen: the least (0) takes a quarter of the time of
# its 4, for a file that is a quarter larger, and still a tenth of a PNG. But the format has only 512 KiB of room to say
# how each block is predicted, which the least overruns where 16 megapixels are detailed all over; 4 takes care to fit.
_WEBP_EFFORTS = (0, 4)
_NO_ROOM = "encoding error 6"  # libwebp by number
_TO_RGB = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
_BLOCK = 8  # pixels of a JPEG that are packed together, along each side
_STRIP = 64


def settled(pixels: Pixels, format_: str) -> tuple[Pixels, str]:
    """What is encoded, and the format that "auto" comes to: "jpg" where nothing is transparent, else "png"."""
    if format_ != "auto":
        return pixels, format_
    if _channels(pixels) != 4:
        return pixels, "jpg"
    if _alpha(pixels).min() < 255:
        return pixels, "png"
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR), dtype=np.uint8), "jpg"


def encode(pixels: Pixels, format_: str) -> bytes:
    """The file of a cut-out.

    Args:
        pixels: uint8, H x W x 4 (BGRA, not premultiplied, colour 0 where alpha is) or, laid on a background, H x W x 3
            (BGR), or H x W (grey). A "zip" splits the transparency off and wants the first; a "jpg" has none.
        format_: "png", "webp", "jpg" or "zip" (`color.jpg` and `alpha.png`).

    Raises:
        DimensionsTooLarge: the format cannot hold so large a picture.
    """
    return ENCODERS[format_](pixels)


def _webp(pixels: Pixels) -> bytes:
    """Lossy colour under an exact alpha."""
    if max(pixels.shape) > _WEBP_SIDE:
        raise DimensionsTooLarge(_WEBP_SIDE)
    image = Image.fromarray(cv2.cvtColor(pixels, _TO_RGB[_channels(pixels)]))
    for effort in _WEBP_EFFORTS:
        file = io.BytesIO()
        try:
            image.save(file, "WEBP", quality=90, method=effort)
        except ValueError as error:
            if str(error) != _NO_ROOM or effort == _WEBP_EFFORTS[-1]:
                raise
        else:
            break
    return file.getvalue()


def _jpg(pixels: Pixels) -> bytes:
    if _channels(pixels) == 4:
        raise ValueError("A JPEG has no transparency: lay the cut-out on a background first.")
    _, encoded = cv2.imencode(".jpg", pixels, _JPEG)
    return encoded.tobytes()


def _zip(pixels: Pixels) -> bytes:
    members = {"color.jpg": _jpg(_bled(pixels)), "alpha.png": write_png(_alpha(pixels))}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # both are packed already
        for name, data in members.items():
            entry = zipfile.ZipInfo(name)  # of 1980, whenever it is: the same cut-out is the same file
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return file.getvalue()


def _channels(pixels: Pixels) -> int:
    return pixels.shape[2] if pixels.ndim == 3 else 1


def _bled(bgra: Pixels) -> Pixels:
    """The colours alone; hidden pixels have the mean colour of what can be seen in their block of the JPEG.

    Black ones would ring into the soft edge, and darken it when somebody scales the file.
    """
    bled = np.asarray(cv2.cvtColor(bgra, cv2.COLOR_BGRA2BGR), dtype=np.uint8)
    for top in range(0, len(bled), _STRIP):
        strip = bled[top : top + _STRIP]
        height, width = strip.shape[:2]
        to_blocks = (0, -height % _BLOCK, 0, -width % _BLOCK)
        padded = cv2.copyMakeBorder(bgra[top : top + _STRIP], *to_blocks, cv2.BORDER_CONSTANT)
        _, seen = cv2.threshold(cv2.extractChannel(padded, 3), 0, 1, cv2.THRESH_BINARY)
        colours = _block_means(padded[..., :3])
        shares = _block_means(seen)[..., np.newaxis]
        means = cv2.convertScaleAbs(colours / np.maximum(shares, 1 / _BLOCK**2))
        means = cv2.resize(means, (padded.shape[1], padded.shape[0]), interpolation=cv2.INTER_NEAREST)
        cv2.copyTo(means[:height, :width], 1 - seen[:height, :width], strip)
    return bled


def _block_means(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    size = (values.shape[1] // _BLOCK, values.shape[0] // _BLOCK)
    return np.asarray(cv2.resize(values.astype(np.float32), size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _alpha(bgra: Pixels) -> Pixels:
    return np.asarray(cv2.extractChannel(bgra, 3), dtype=np.uint8)


ENCODERS: Final[Mapping[str, Callable[[Pixels], bytes]]] = {"png": write_png, "webp": _webp, "jpg": _jpg, "zip": _zip}
