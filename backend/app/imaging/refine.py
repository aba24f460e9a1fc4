"""Cleans a matte: no specks, no pinholes, full levels. Soft edges and hair stay as the network drew them."""

import cv2
import numpy as np
import numpy.typing as npt

BLACK, WHITE = 8, 247
"""Alpha up to the one is background, from the other on it is subject: the network says 0.98 where it means 1."""

# A part below the first share of the largest part's area may be a speck, one from the second on is a subject.
_SPECK, _SUBJECT = 0.0005, 0.01
# A speck this near to a subject, in pixels of the network's square, is a strand of hair or a spark, and stays.
_REACH = 20
# Holes of up to 4 x 4 pixels of the network's square are less than the network can tell from its own noise.
_PINHOLE = 16

Chosen = tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]
"""The parts' labels, H x W, and which of the labels are meant."""

_LEVELS = np.clip(np.rint((np.arange(256) - BLACK) * (255 / (WHITE - BLACK))), 0, 255).astype(np.uint8)


def clean(alpha: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The matte without far-away specks and with its pinholes filled.

    Done in the network's square and not at the picture's size: what it looks for is of the network's making, and
    there it takes 10 ms, where a picture of 12 megapixels takes 400.

    Args:
        alpha: uint8, 1024 x 1024. Not changed.

    Returns:
        uint8, 1024 x 1024.
    """
    cleaned = alpha.copy()
    for (labels, chosen), value in ((_specks(alpha), 0), (_pinholes(alpha), 255)):
        if chosen.any():  # most pictures have none
            cleaned[chosen[labels]] = value
    return cleaned


def level(alpha: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The matte with `BLACK`..`WHITE` stretched to 0..255; also takes away the haze that enlarging leaves.

    Args:
        alpha: uint8, H x W.

    Returns:
        uint8, H x W.
    """
    return np.asarray(cv2.LUT(alpha, _LEVELS), dtype=np.uint8)


def _specks(alpha: npt.NDArray[np.uint8]) -> Chosen:
    """The tiny parts that lie far from every subject."""
    labels, stats = _parts(alpha > BLACK)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0  # what is not in any part
    is_speck = areas < _SPECK * areas.max()
    is_speck[0] = False
    if is_speck.any():
        is_subject = areas >= max(_SUBJECT * areas.max(), 1)
        near = cv2.dilate(is_subject[labels].astype(np.uint8), np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8))
        is_speck[labels[near > 0]] = False
    return labels, is_speck


def _pinholes(alpha: npt.NDArray[np.uint8]) -> Chosen:
    """The tiny spots that opaque subject encloses on all sides."""
    labels, stats = _parts(alpha < WHITE)
    left, top, width, height, area = stats.T
    rows, columns = alpha.shape
    is_enclosed = (left > 0) & (top > 0) & (left + width < columns) & (top + height < rows)
    is_pinhole = is_enclosed & (area <= _PINHOLE)
    is_pinhole[0] = False  # the opaque subject itself
    return labels, is_pinhole


def _parts(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """The connected parts (corners connect): their labels, H x W, 0 outside, and OpenCV's figures, one row each."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return np.asarray(labels, dtype=np.int32), np.asarray(stats, dtype=np.int32)
