"""Where the subject is."""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from app.imaging.errors import RoiEmpty, RoiExceedsBounds

HAZE = 7
"""Alpha up to here does not count as subject when a box is drawn: it cannot be seen, and may lie far out."""


class Box(NamedTuple):
    """A part of a picture, in pixels; it may reach beyond the picture."""

    left: int
    top: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, as an index into an array H x W or H x W x C."""
        return np.s_[self.top : self.top + self.height, self.left : self.left + self.width]

    def grown(self, top: int, right: int, bottom: int, left: int) -> "Box":
        return Box(self.left - left, self.top - top, self.width + left + right, self.height + top + bottom)

    def within(self, other: "Box") -> "Box":
        """The part that lies in the other."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right = min(self.left + self.width, other.left + other.width)
        bottom = min(self.top + self.height, other.top + other.height)
        return Box(left, top, right - left, bottom - top)

    def around(self, other: "Box") -> "Box":
        """The smallest that holds both."""
        left, top = min(self.left, other.left), min(self.top, other.top)
        right = max(self.left + self.width, other.left + other.width)
        bottom = max(self.top + self.height, other.top + other.height)
        return Box(left, top, right - left, bottom - top)


@dataclass(frozen=True)
class Length:
    """Pixels, or percent of a side of the subject's box."""

    value: float
    percent: bool = False

    def of(self, side: int) -> int:
        return round(self.value * side / 100 if self.percent else self.value)


Padding = tuple[Length, Length, Length, Length]
"""Top, right, bottom, left; percent is of the side that lies across."""

Region = tuple[Length, Length, Length, Length]
"""Left, top, right, bottom, each from the picture's left or upper edge; percent is of the picture's sides."""


def region_box(region: Region, width: int, height: int) -> Box:
    """The region of a picture of this size.

    Raises:
        RoiExceedsBounds: it reaches beyond the picture.
        RoiEmpty: there is no pixel in it.
    """
    x1, y1, x2, y2 = (length.of(side) for length, side in zip(region, (width, height) * 2, strict=True))
    if max(x1, x2) > width or max(y1, y2) > height:
        raise RoiExceedsBounds
    if x2 <= x1 or y2 <= y1:
        raise RoiEmpty
    return Box(x1, y1, x2 - x1, y2 - y1)


def subject_box(alpha: npt.NDArray[np.uint8]) -> Box:
    """The part of the picture that holds the subject; the whole picture when nothing in it is visible.

    Args:
        alpha: uint8, H x W.
    """
    _, visible = cv2.threshold(alpha, HAZE, 255, cv2.THRESH_BINARY)
    box = Box(*cv2.boundingRect(visible))
    if box.width == 0:  # nothing but haze
        box = Box(*cv2.boundingRect(alpha))
    return box if box.width else Box(0, 0, alpha.shape[1], alpha.shape[0])


def padded(box: Box, padding: Padding | int) -> Box:
    """The subject's box with its padding, which may reach beyond the picture."""
    if isinstance(padding, int):
        return box.grown(padding, padding, padding, padding)
    top, right, bottom, left = padding
    return box.grown(top.of(box.height), right.of(box.width), bottom.of(box.height), left.of(box.width))
