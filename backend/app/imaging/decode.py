"""Turns a file's bytes into pixels: upright, in sRGB, eight bits a channel."""

import contextlib
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from app.imaging.errors import ImageCorrupt, ImageError, ImageTruncated
from app.imaging.limits import ImageLimits
from app.imaging.probe import open_header, orientation_of

MAX_PROFILE_BYTES = 1024 * 1024

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class DecodedImage:
    """`rgb`: uint8, H x W x 3, sRGB. `alpha`: uint8, H x W, or None for a picture without a transparent spot."""

    rgb: npt.NDArray[np.uint8]
    alpha: npt.NDArray[np.uint8] | None


def decode(data: bytes, limits: ImageLimits) -> DecodedImage:
    """Decodes a picture, the first frame of an animated one.

    Turns it the way its EXIF orientation says, converts it to sRGB by its colour profile (which is ignored when it is
    broken, larger than 1 MiB, or made for another kind of picture), and keeps its transparency apart. Colours under
    transparent spots stay as the file has them.

    Raises:
        ImageError: as for `probe`; and `image_truncated` or `image_corrupt` when the pixels cannot be read.
    """
    format_, image = open_header(io.BytesIO(data), limits)
    turn = _UPRIGHT.get(orientation_of(image))
    profile = image.info.get("icc_profile")
    try:
        image.load()
        rgb, alpha = _split(image)
        rgb = _to_srgb(rgb, profile)
    except MemoryError:
        raise  # the machine's fault, not the picture's
    except Exception as error:  # hostile bytes draw a dozen kinds of exception from Pillow
        raise _fault(error) from error
    if turn is not None:
        rgb = rgb.transpose(turn)
        alpha = alpha.transpose(turn) if alpha is not None else None
    return DecodedImage(np.asarray(rgb), _meaningful(alpha, ignore_if_empty=format_ == "BMP"))


def _fault(error: Exception) -> ImageError:
    # Pillow has no class of its own for it; all its readers say the word.
    return ImageTruncated() if "truncated" in str(error).lower() else ImageCorrupt()


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours (mode L, RGB or CMYK) and alpha (mode L) of any image that Pillow's four readers make."""
    if image.mode == "I;16":
        return _split_sixteen_bits(image)
    if image.mode == "RGB" and "transparency" in image.info:
        return image, _colour_key(image)
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        return rgba.convert("RGB"), rgba.getchannel("A")
    return (image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")), None


def _split_sixteen_bits(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Sixteen-bit grey, scaled down: Pillow's own conversion would clip everything above 255 to white."""
    values = np.asarray(image)
    key = image.info.get("transparency")
    alpha = None if key is None else Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
    return Image.fromarray((values >> 8).astype(np.uint8)), alpha


def _colour_key(image: Image.Image) -> Image.Image:
    """The alpha of an RGB picture that names one colour as transparent.

    In a sixteen-bit file the name has sixteen bits too, while Pillow hands over the upper eight of each pixel.
    """
    key = np.asarray(image.info["transparency"])
    if key.max() > 255:
        key = key >> 8
    transparent = (np.asarray(image) == key).all(axis=2)
    return Image.fromarray(np.where(transparent, 0, 255).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: object) -> Image.Image:
    """RGB in sRGB. Relative colorimetric with black-point compensation, as browsers do it."""
    if isinstance(profile, bytes) and 0 < len(profile) <= MAX_PROFILE_BYTES:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
            return _through_profile(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    return image.convert("RGB")


def _through_profile(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    space = profile.profile.xcolor_space.strip()
    if space == "RGB" and image.mode == "L":  # a grey file that carries a screen's profile: common
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


def _meaningful(alpha: Image.Image | None, *, ignore_if_empty: bool) -> npt.NDArray[np.uint8] | None:
    """None for an alpha that hides nothing, and for one that hides all of a BMP (whose writers leave it at zero)."""
    if alpha is None:
        return None
    lowest, highest = alpha.getextrema()
    if lowest == 255 or (ignore_if_empty and highest == 0):
        return None
    return np.asarray(alpha)
