"""A soft shadow that the subject throws on what is behind it."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from app.imaging.soft import blurred
from app.imaging.trim import Box

_SOFTNESS = 0.03  # the deviation of its blur, and how far down it lies: shares of the subject's mean side
_DROP = 0.03
_REACH = 2.5  # deviations; beyond, it cannot be seen

_STRIP = 64


def room(subject: Box) -> Box:
    """What the shadow of a subject with this box takes, the subject with it."""
    reach, drop = _measures(subject)
    reach_px, drop_px = math.ceil(_REACH * reach), round(drop)
    return subject.grown(max(0, reach_px - drop_px), reach_px, reach_px + drop_px, reach_px)


def drop_shadow(bgra: npt.NDArray[np.uint8], subject: Box, opacity: float) -> None:
    """Draws it behind the subject, in place, as far as there is room; it is black.

    Args:
        bgra: uint8, H x W x 4, not premultiplied, colour 0 where alpha is.
        subject: its box.
        opacity: of the shadow where it is darkest, 0..1.
    """
    softness, drop = _measures(subject)
    region = bgra[room(subject).within(Box(0, 0, bgra.shape[1], bgra.shape[0])).slices]
    alpha = np.asarray(cv2.extractChannel(region, 3), dtype=np.uint8)
    shift = np.array([[1, 0, 0], [0, 1, round(drop)]], np.float32)
    size = (alpha.shape[1], alpha.shape[0])
    thrown = cv2.warpAffine(alpha, shift, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    shade = blurred(np.asarray(thrown, dtype=np.uint8), softness)
    for top in range(0, len(region), _STRIP):
        strip = region[top : top + _STRIP]
        own = strip[..., 3].astype(np.float32)
        both = own + shade[top : top + _STRIP] * (opacity * (1 - own / 255))
        # Black adds nothing to a colour but weight.
        strip[..., :3] = np.rint(strip[..., :3] * (own / np.maximum(both, 1))[..., np.newaxis])
        strip[..., 3] = np.rint(both)


def _measures(subject: Box) -> tuple[float, float]:
    side = (subject.width + subject.height) / 2
    return max(0.5, _SOFTNESS * side), _DROP * side
