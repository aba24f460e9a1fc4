"""Where the subject is."""

import cv2
import numpy as np
import numpy.typing as npt

HAZE = 7
"""Alpha up to here does not count as subject when a box is drawn: it cannot be seen, and may lie far out."""

Box = tuple[slice, slice]
"""Rows and columns, as an index into an array H x W or H x W x C."""


def subject_box(alpha: npt.NDArray[np.uint8], padding: int) -> Box:
    """The part of the picture that holds the subject.

    Args:
        alpha: uint8, H x W.
        padding: pixels kept on each side, as far as the picture has them.

    Returns:
        The whole picture when nothing in it is visible.
    """
    _, visible = cv2.threshold(alpha, HAZE, 255, cv2.THRESH_BINARY)
    x, y, width, height = cv2.boundingRect(visible)
    if width == 0:  # nothing but haze
        x, y, width, height = cv2.boundingRect(alpha)
    if width == 0:
        return np.s_[:, :]
    return np.s_[max(y - padding, 0) : y + height + padding, max(x - padding, 0) : x + width + padding]
