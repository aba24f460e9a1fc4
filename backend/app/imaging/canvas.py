"""What of the picture goes where in the result."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from app.imaging.trim import Box

MAX_SIDE, MAX_PIXELS = 8192, 25_000_000  # of a canvas that is asked for by its shape

_STRIP = 64  # rows


@dataclass(frozen=True)
class Canvas:
    """A size in pixels or, when it is not exact, only a shape."""

    width: int
    height: int
    exact: bool = True


@dataclass(frozen=True)
class Plan:
    """`source`: the part of the picture that is taken. `width`, `height`: of the result. `target`: where the source
    goes in it, at that size. `subject`: where the subject's box is then. `frame`: what part of the picture the result
    is; it may reach beyond the picture, and is None on a canvas, which is no part of it."""

    source: Box
    width: int
    height: int
    target: Box
    subject: Box
    frame: Box | None


def framed(picture: Box, subject: Box, frame: Box, max_megapixels: float | None) -> Plan:
    """The result is a part of the picture, or (with room for a shadow) what lies around it."""
    return _fitted(frame.within(picture), subject, frame, (frame.width, frame.height), 1, None, frame, max_megapixels)


def on_canvas(picture: Box, subject: Box, fitted: Box, canvas: Canvas, place: "Place", limit: float | None) -> Plan:
    """What is to be `fitted` (the subject's box, with its padding, or all of the picture) on a canvas.

    It fills `place.scale` of the canvas, made smaller or larger; and of a canvas that is only a shape it decides the
    size, so that it may stay as it is.
    """
    scale = 1.0 if place.scale is None else place.scale
    if canvas.exact:
        size = canvas.width, canvas.height
        factor = min(size[0] * scale / fitted.width, size[1] * scale / fitted.height)
    else:
        shape = canvas.width / canvas.height
        width = max(fitted.width, fitted.height * shape) / scale
        factor = min(1.0, MAX_SIDE / width, MAX_SIDE * shape / width, math.sqrt(MAX_PIXELS * shape) / width)
        size = max(1, round(width * factor)), max(1, round(width * factor / shape))
    source = picture if fitted == picture else subject
    return _fitted(source, subject, fitted, size, factor, place.shares(picture, source), None, limit)


def on_picture(picture: Box, subject: Box, place: "Place", limit: float | None) -> Plan:
    """The subject, moved or at another size, in the picture's own frame."""
    scale = place.scale
    factor = 1.0 if scale is None else scale * min(picture.width / subject.width, picture.height / subject.height)
    shares = place.shares(picture, subject)
    return _fitted(subject, subject, subject, (picture.width, picture.height), factor, shares, picture, limit)


@dataclass(frozen=True)
class Place:
    """`scale`: share of the canvas that is filled, 0..1, None for no more than there is. `position`: shares of the free
    room that lie to the left and above, None for those of the original."""

    scale: float | None = None
    position: tuple[float, float] | None = None

    def shares(self, picture: Box, source: Box) -> tuple[float, float]:
        if self.position is not None:
            return self.position
        across, down = picture.width - source.width, picture.height - source.height
        return source.left / across if across else 0.5, source.top / down if down else 0.5


def _fitted(
    source: Box,
    subject: Box,
    fitted: Box,
    size: tuple[int, int],
    factor: float,
    shares: tuple[float, float] | None,
    frame: Box | None,
    max_megapixels: float | None,
) -> Plan:
    """`fitted` goes where the `shares` say, times `factor`; the source goes along with it."""
    width, height = size
    if max_megapixels is not None and width * height > max_megapixels * 1_000_000:
        less = math.sqrt(max_megapixels * 1_000_000 / (width * height))
        width, height, factor = max(1, int(width * less)), max(1, int(height * less)), factor * less
    across, down = shares or (0.0, 0.0)
    left, top = (width - fitted.width * factor) * across, (height - fitted.height * factor) * down

    def moved(box: Box) -> Box:
        wide, high = min(max(1, round(box.width * factor)), width), min(max(1, round(box.height * factor)), height)
        x, y = left + (box.left - fitted.left) * factor, top + (box.top - fitted.top) * factor
        return Box(min(max(0, round(x)), width - wide), min(max(0, round(y)), height - high), wide, high)

    return Plan(source, width, height, moved(source), moved(subject), frame)


def placed(pixels: npt.NDArray[np.uint8], plan: Plan) -> npt.NDArray[np.uint8]:
    """The source's pixels in the result, with nothing around them.

    Args:
        pixels: uint8, H x W (a matte), or H x W x 4 (BGRA, not premultiplied): as large as the plan's source.
    """
    target = plan.target
    pixels = resized(pixels, target.width, target.height)
    if (target.width, target.height) == (plan.width, plan.height):
        return pixels
    canvas = np.zeros((plan.height, plan.width, *pixels.shape[2:]), np.uint8)
    canvas[target.slices] = pixels
    return canvas


def resized(pixels: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """At another size; what is hidden in a cut-out (BGRA) has no say in the colours that are seen."""
    if pixels.shape[:2] == (height, width):
        return pixels
    smaller = width * height < pixels.shape[0] * pixels.shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return np.asarray(cv2.resize(pixels, (width, height), interpolation=way), dtype=np.uint8)
    # Premultiplied, in 16 bits: a product of two bytes fits. The alpha likewise, times 255.
    alpha = cv2.extractChannel(pixels, 3)
    weights = cv2.merge([alpha, alpha, alpha, np.full_like(alpha, 255)])
    premultiplied = cv2.resize(cv2.multiply(pixels, weights, dtype=cv2.CV_16U), (width, height), interpolation=way)
    del weights
    result = np.empty((height, width, 4), np.uint8)
    for top in range(0, height, _STRIP):
        strip = premultiplied[top : top + _STRIP].astype(np.float32)
        alpha = np.minimum(np.rint(strip[..., 3:] / 255), 255)  # a cubic goes beyond what it is drawn through
        colours = np.rint(strip[..., :3] * 255 / np.maximum(strip[..., 3:], 1))
        result[top : top + _STRIP] = np.concatenate([np.minimum(colours, 255) * (alpha > 0), alpha], axis=2)
    return result
