"""From the network's raw output to a matte, if there is a subject at all."""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from app.imaging.errors import UnknownForeground
from app.imaging.isnet import SIDE

MIN_CONFIDENCE = 0.35
"""Between what pictures without a subject reach (0.00 to 0.26) and what hard ones with a subject do (0.44 and up)."""


# What is thinner than this is a stroke: 36 pixels of the network's square, here in a quarter of it.
_STROKE = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
# Subjects have a third and more that is thicker, pages and walls 0.2 and less.
_SOLID = 0.25
# Parts, and the share of the picture's border that is marked: bicycles and spectacles are in few parts, within it.
_MANY, _FRAYED = 30, 0.1


@dataclass(frozen=True)
class Matte:
    """`alpha`: uint8, H x W. `confidence`: 0..1, see `confidence_of`."""

    alpha: npt.NDArray[np.uint8]
    confidence: float


def read_matte(raw: npt.NDArray[np.float32], min_confidence: float, *, as_rembg: bool = False) -> Matte:
    """Stretches the raw output, in the network's square, to the full range.

    As rembg does it, but behind a check of confidence: stretching turns the faint pattern that a subjectless picture
    leaves into a subject.

    Args:
        raw: float32, of the network's square, in 0..1.
        min_confidence: 0..1.
        as_rembg: truncate instead of rounding, for the very values of rembg. In those no pixel but the highest
            reaches 255.

    Raises:
        UnknownForeground: the confidence is lower than asked for, or the output is flat.
        FloatingPointError: the output holds what is not a number.
    """
    confidence = confidence_of(raw)
    lowest, highest = float(raw.min()), float(raw.max())
    if confidence < min_confidence or highest <= lowest:
        raise UnknownForeground(confidence)
    stretched = (raw - lowest) / (highest - lowest) * 255
    return Matte((stretched if as_rembg else np.rint(stretched)).astype(np.uint8), confidence)


def in_the_square(raw: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What a network with a smaller square says, at the size that all measures here are made for: 1024 x 1024."""
    if raw.shape == (SIDE, SIDE):
        return raw
    return np.asarray(cv2.resize(raw, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def enlarge_as_rembg(alpha: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """The matte at the picture's size, by Lanczos as rembg does it.

    Args:
        alpha: uint8, of the network's square.
        width: of the picture, in pixels.
        height: of the picture, in pixels.

    Returns:
        uint8, height x width.
    """
    return np.asarray(Image.fromarray(alpha).resize((width, height), Image.Resampling.LANCZOS))


def confidence_of(raw: npt.NDArray[np.float32]) -> float:
    """How sure the network is of what it marked: the mean of its values, each weighted by itself.

    Near 1 for a clear subject of any size; near 0 where all values are faint, however many there are. Unlike a mean
    over the values above one half it has no edge that a hesitant output could fall off.

    Of the lines of a text and the joints of a wall the network can be very sure, too. Where next to nothing of what it
    marked is thicker than a stroke, and it is strewn over the picture, only that little counts.

    Args:
        raw: float32, of the network's square, in 0..1, before any stretching.
    """
    raw = in_the_square(raw)
    total = float(raw.sum(dtype=np.float64))
    if not math.isfinite(total):  # no picture's fault
        raise FloatingPointError("The network's output is not a number")
    if total <= 0.0:
        return 0.0
    certainty = min(float(np.vdot(raw, raw)) / total, 1.0)
    solid = _solid_share(raw)
    return certainty * solid if solid < _SOLID and _is_strewn(raw) else certainty


def _solid_share(raw: npt.NDArray[np.float32]) -> float:
    """How much of what is marked is thicker than a stroke, 0..1; 1 where nothing is marked."""
    marked = _marked(cv2.resize(raw, None, fx=1 / 4, fy=1 / 4, interpolation=cv2.INTER_AREA))
    thick = cv2.morphologyEx(marked, cv2.MORPH_OPEN, _STROKE, borderType=cv2.BORDER_REPLICATE)
    area = cv2.countNonZero(_marked(raw)) / 16
    return cv2.countNonZero(thick) / area if area else 1.0


def _is_strewn(raw: npt.NDArray[np.float32]) -> bool:
    """Whether what is marked is in many parts, or runs out of the picture in many places: no thing does either."""
    marked = _marked(raw)
    border = np.concatenate([marked[0], marked[-1], marked[:, 0], marked[:, -1]])
    parts, _ = cv2.connectedComponents(marked)
    return parts > _MANY or bool(border.mean() > _FRAYED)


def _marked(raw: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return (raw > 0.5).astype(np.uint8)
