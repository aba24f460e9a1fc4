"""Blurring, as wide as one likes."""

import math

import cv2
import numpy as np
import numpy.typing as npt

_FINE = 4  # pixels of deviation that are enough: a wider blur is made of a smaller picture, and looks the same


def blurred(pixels: npt.NDArray[np.uint8], deviation: float) -> npt.NDArray[np.uint8]:
    """A Gaussian blur of this deviation in pixels; what lies beyond the border is taken for what is next to it.

    Args:
        pixels: uint8, H x W or H x W x C.
    """
    height, width = pixels.shape[:2]
    less = max(1, int(deviation / _FINE))
    if less > 1:
        size = math.ceil(width / less), math.ceil(height / less)
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    soft = cv2.GaussianBlur(pixels, (0, 0), deviation / less, borderType=cv2.BORDER_REPLICATE)
    if less > 1:
        soft = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(soft, dtype=np.uint8)
