"""Cuts a cut-out down to its subject."""

import cv2
import numpy as np
import numpy.typing as npt

HAZE = 7
"""Alpha up to here does not count as subject when a box is drawn: it cannot be seen, and may lie far out."""


def trim(rgba: npt.NDArray[np.uint8], padding: int) -> npt.NDArray[np.uint8]:
    """The part of the picture that holds the subject.

    Args:
        rgba: uint8, H x W x 4.
        padding: pixels kept on each side, as far as the picture has them.

    Returns:
        uint8, h x w x 4: a view of `rgba`. The whole picture when nothing in it is visible.
    """
    alpha = np.ascontiguousarray(rgba[..., 3])
    _, visible = cv2.threshold(alpha, HAZE, 255, cv2.THRESH_BINARY)
    x, y, width, height = cv2.boundingRect(visible)
    if width == 0:  # nothing but haze
        x, y, width, height = cv2.boundingRect(alpha)
    if width == 0:
        return rgba
    return rgba[max(y - padding, 0) : y + height + padding, max(x - padding, 0) : x + width + padding]
