"""Turns a file's bytes into pixels: upright, in sRGB, eight bits a channel."""

import contextlib
import io
from dataclasses import dataclass
from typing import BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngImageFile

from app.imaging.errors import ImageCorrupt, ImageError, ImageTruncated, is_out_of_memory
from app.imaging.limits import ImageLimits
from app.imaging.probe import READER_ERRORS, open_picture
from app.imaging.structure import MAX_PROFILE_BYTES

_STRIP_BYTES = 128 * 1024
_EOI = b"\xff\xd9"
_PROFILE_ERRORS = (ImageCms.PyCMSError, OSError, ValueError)

# By EXIF orientation: whether rows and columns change places first, and then what cv2.flip does (None: nothing).
_UPRIGHT: dict[int, tuple[bool, int | None]] = {
    2: (False, 1),
    3: (False, -1),
    4: (False, 0),
    5: (True, None),
    6: (True, 1),
    7: (True, -1),
    8: (True, 0),
}


@dataclass(frozen=True)
class DecodedImage:
    """`rgb`: uint8, H x W x 3, sRGB, free to be changed. `alpha`: uint8, H x W; None if nothing is transparent."""

    rgb: npt.NDArray[np.uint8]
    alpha: npt.NDArray[np.uint8] | None


def decode(data: bytes, limits: ImageLimits) -> DecodedImage:
    """Decodes a picture, the first frame of an animated one.

    Turns it the way its EXIF orientation says, converts it to sRGB by its colour profile (which is ignored when it is
    broken, larger than 1 MiB, or made for another kind of picture) or by the gamma of a PNG that says nothing better,
    and keeps its transparency apart. Colours under transparent spots stay as the file has them. A JPEG that lacks
    nothing but its end is whole.

    Raises:
        ImageError: as for `probe`; and `image_truncated` or `image_corrupt` when the pixels cannot be read.
    """
    opened = open_picture(io.BytesIO(data), limits, pixels=True)
    format_, file, image, turn, gamma = opened.format, opened.file, opened.image, opened.orientation, opened.gamma
    end = _EOI if opened.tells_what_is_missing else b""
    del opened
    try:
        profile = _foreign_profile(image)
        rgb = _plain_jpeg(file, end) if format_ == "JPEG" and image.mode in ("L", "RGB") and profile is None else None
        alpha = None
        if rgb is None:
            image.load()
            colours, alpha = _split(image, file)
            del image
            rgb = _array(_to_srgb(colours, profile))
            if gamma is not None:
                rgb = _as_displayed(rgb, gamma)
    except READER_ERRORS as error:
        if is_out_of_memory(error):
            raise  # the machine's fault, not the picture's
        raise _fault(error) from error
    opacity = _meaningful(alpha, ignore_if_empty=format_ == "BMP")
    return DecodedImage(_upright(rgb, turn), None if opacity is None else _upright(opacity, turn))


def _plain_jpeg(file: BinaryIO, end: bytes) -> npt.NDArray[np.uint8] | None:
    """The pixels of a JPEG that needs nothing but decoding; None where Pillow has to judge what is odd about it.

    The same library and the same values as Pillow's, in a third of the time: straight into the array. `end` stands in
    for one that may be missing; if more is, the reader warns, and `strict` makes an error of it.
    """
    file.seek(0)
    try:
        return np.asarray(simplejpeg.decode_jpeg(file.read() + end, "RGB", strict=True))
    except ValueError:
        return None


def _array(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The pixels of an RGB picture, strip by strip: at once they would be copied twice, in twice the time."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(_STRIP_BYTES // (4 * image.width), 1)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels


def _upright(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    swap, flip = _UPRIGHT.get(orientation, (False, None))
    if swap:
        pixels = np.asarray(cv2.transpose(pixels), dtype=np.uint8)
    return pixels if flip is None else np.asarray(cv2.flip(pixels, flip), dtype=np.uint8)


def _fault(error: Exception) -> ImageError:
    # Pillow has no class of its own for it; all its readers say the word.
    return ImageTruncated() if "truncated" in str(error).lower() else ImageCorrupt()


def _split(image: Image.Image, file: BinaryIO) -> tuple[Image.Image, Image.Image | None]:
    """Colours (mode L, RGB or CMYK) and alpha (mode L) of any image that Pillow's four readers make."""
    if image.mode == "I;16":
        return _split_sixteen_bits(image)
    if image.mode == "RGB" and "transparency" in image.info:
        return image, _colour_key(image, file)
    if image.has_transparency_data:
        if image.mode == "LA":  # its profile may be one for grey
            return image.getchannel("L"), image.getchannel("A")
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        return rgba.convert("RGB"), rgba.getchannel("A")
    return (image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")), None


def _split_sixteen_bits(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Sixteen-bit grey, scaled down: Pillow's own conversion would clip everything above 255 to white."""
    values = np.asarray(image)
    key = image.info.get("transparency")
    alpha = None if key is None else Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
    return Image.fromarray((values >> 8).astype(np.uint8)), alpha


def _colour_key(image: Image.Image, file: BinaryIO) -> Image.Image:
    """The alpha of an RGB picture (a PNG) that names one colour as transparent.

    Of sixteen bits Pillow hands over the upper eight; the lower ones come from reading the file with its bytes taken
    the wrong way round.
    """
    key = np.asarray(image.info["transparency"])
    file.seek(0)
    again = PngImageFile(file)
    (tile,) = again.tile
    is_deep = tile.args == "RGB;16B"
    transparent = _is_colour(image, key >> 8 if is_deep else key & 0xFF)
    if is_deep and transparent.any():
        again.tile = [tile._replace(args="RGB;16L")]
        again.load()
        transparent &= _is_colour(again, key & 0xFF)
    return Image.fromarray(np.where(transparent, np.uint8(0), np.uint8(255)))


def _is_colour(image: Image.Image, colour: npt.NDArray[np.int_]) -> npt.NDArray[np.bool_]:
    return np.asarray((np.asarray(image) == colour.astype(np.uint8)).all(axis=2))


def _as_displayed(rgb: npt.NDArray[np.uint8], gamma: int) -> npt.NDArray[np.uint8]:
    """The colours of a PNG that says its gamma and nothing better, for a display of 2.2, as browsers show them."""
    whole = gamma / 100_000 * 2.2
    if abs(whole - 1) <= 0.05:  # as good as sRGB, and so for libpng too
        return rgb
    table = np.rint(255 * (np.arange(256) / 255) ** (1 / whole)).astype(np.uint8)
    return np.asarray(cv2.LUT(rgb, table), dtype=np.uint8)


def _foreign_profile(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """The picture's colour profile, where there is one that can be read and that is not sRGB by another name."""
    data = image.info.get("icc_profile")
    if not isinstance(data, bytes) or not 0 < len(data) <= MAX_PROFILE_BYTES:
        return None
    with contextlib.suppress(*_PROFILE_ERRORS):
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        if not (_space_of(profile) == "RGB" and _is_srgb(profile)):
            return profile
    return None


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    """Whether converting would leave the colours as they are, but for one level of rounding.

    Most pictures say that they are sRGB, in profiles of many makers; converting 12 megapixels of them takes 160 ms.
    """
    levels = np.linspace(0, 255, 16).astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(64, 64, 3)
    converted = np.asarray(_through_profile(Image.fromarray(colours), profile))
    return bool((cv2.absdiff(converted, colours) <= 1).all())


def _to_srgb(image: Image.Image, profile: ImageCms.ImageCmsProfile | None) -> Image.Image:
    """RGB in sRGB. Relative colorimetric with black-point compensation, as browsers do it."""
    if profile is not None:
        with contextlib.suppress(*_PROFILE_ERRORS):  # as when it is made for another kind of picture
            return _through_profile(image, profile)
    return image.convert("RGB")


def _through_profile(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    if _space_of(profile) == "RGB" and image.mode == "L":  # a grey file that carries a screen's profile: common
        image = image.convert("RGB")
    converted = ImageCms.profileToProfile(
        image,
        profile,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if converted is None:  # only with inPlace=True, says Pillow's signature
        raise ValueError("no picture")
    return converted


def _space_of(profile: ImageCms.ImageCmsProfile) -> str:
    return str(profile.profile.xcolor_space.strip())


def _meaningful(alpha: Image.Image | None, *, ignore_if_empty: bool) -> npt.NDArray[np.uint8] | None:
    """None for an alpha that hides nothing, and for one that hides all of a BMP (whose writers leave it at zero)."""
    if alpha is None:
        return None
    lowest, highest = alpha.getextrema()
    if lowest == 255 or (ignore_if_empty and highest == 0):
        return None
    return np.asarray(alpha)
