"""What a cut-out is laid on, when it is more than a colour."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from app.imaging.canvas import Plan, resized
from app.imaging.decode import DecodedImage, decode
from app.imaging.limits import ImageLimits
from app.imaging.soft import blurred
from app.imaging.trim import Length

Bytes = npt.NDArray[np.uint8]
Rgb = tuple[int, int, int]
Rgba = tuple[int, int, int, int]

_STRIP = 64  # rows
_SHADES = 4096  # of a gradient, from its one end to the other


@dataclass(frozen=True)
class Gradient:
    """As CSS draws it. `degrees`: 0 upwards, 90 to the right. `stops`: colours, with rising places in percent."""

    degrees: float
    stops: tuple[tuple[Rgb, float], ...]


@dataclass(frozen=True)
class Blur:
    """The original itself, blurred by so much; percent is of its longer side."""

    by: Length


@dataclass(frozen=True, eq=False)
class Picture:
    """Another picture: BGR, uint8, H x W x 3."""

    bgr: Bytes


Background = Rgb | Rgba | Gradient | Blur | Picture


def read_picture(data: bytes, limits: ImageLimits) -> Picture:
    """A picture to lie behind others; what is transparent in it is white. Raises `ImageError`."""
    return Picture(_over_white(decode(data, limits)))


def blur_of(image: DecodedImage, blur: Blur) -> Bytes:
    """The whole original, blurred: BGR. To be made before its colours are changed."""
    deviation = blur.by.value * max(image.rgb.shape[:2]) / 100 if blur.by.percent else blur.by.value
    return blurred(_over_white(image), deviation)


def _over_white(image: DecodedImage) -> Bytes:
    """BGR, without the colours that the picture hides."""
    bgr = np.asarray(cv2.cvtColor(image.rgb, cv2.COLOR_RGB2BGR), dtype=np.uint8)
    if image.alpha is not None:
        for top in range(0, len(bgr), _STRIP):
            strip = bgr[top : top + _STRIP]
            share = image.alpha[top : top + _STRIP, :, np.newaxis].astype(np.float32) / 255
            strip[:] = np.rint(strip * share + 255 * (1 - share))
    return bgr


def gradient(made: Gradient, width: int, height: int) -> Bytes:
    """BGR, uint8, height x width x 3."""
    radians = math.radians(made.degrees)
    across, down = math.sin(radians), -math.cos(radians)
    length = abs(width * across) + abs(height * down)
    places = np.linspace(0, 100, _SHADES)
    colours = np.array([rgb for rgb, _ in made.stops])
    at = [place for _, place in made.stops]
    shades = np.stack([np.interp(places, at, colours[:, channel]) for channel in (2, 1, 0)], axis=1)
    shades = np.rint(shades).astype(np.uint8)
    x = (np.arange(width) + 0.5 - width / 2) * across / length + 0.5
    y = (np.arange(height) + 0.5 - height / 2) * down / length
    drawn = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _STRIP):
        share = x[np.newaxis] + y[top : top + _STRIP, np.newaxis]
        drawn[top : top + _STRIP] = shades[np.clip(np.rint(share * (_SHADES - 1)), 0, _SHADES - 1).astype(np.int32)]
    return drawn


def covering(bgr: Bytes, width: int, height: int) -> Bytes:
    """The middle of a picture, as much as has the shape, at this size."""
    factor = max(width / bgr.shape[1], height / bgr.shape[0])
    part_width = min(max(1, round(width / factor)), bgr.shape[1])
    part_height = min(max(1, round(height / factor)), bgr.shape[0])
    left, top = (bgr.shape[1] - part_width) // 2, (bgr.shape[0] - part_height) // 2
    return resized(bgr[top : top + part_height, left : left + part_width], width, height)


def seen_through(bgr: Bytes, plan: Plan) -> Bytes:
    """A picture of the original's size where the result shows it; it covers a canvas, which shows no part of it."""
    if plan.frame is None:
        return covering(bgr, plan.width, plan.height)
    height, width = bgr.shape[:2]
    left, top = max(0, -plan.frame.left), max(0, -plan.frame.top)
    right = max(0, plan.frame.left + plan.frame.width - width)
    bottom = max(0, plan.frame.top + plan.frame.height - height)
    if left or top or right or bottom:  # a shadow needs room
        bgr = np.asarray(cv2.copyMakeBorder(bgr, top, bottom, left, right, cv2.BORDER_REPLICATE), dtype=np.uint8)
    part = bgr[plan.frame._replace(left=plan.frame.left + left, top=plan.frame.top + top).slices]
    return resized(part, plan.width, plan.height)
