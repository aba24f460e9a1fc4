"""Takes the old background's colour out of soft edges, so that they show no fringe on a new one.

Blur fusion: the colours of subject and background are means of the pixels around, weighted by alpha, and then
corrected by what they fail to explain of the pixel's own colour; again in smaller and smaller windows. M. Forte,
"Approximate Fast Foreground Colour Estimation", ICIP 2021 (arXiv:2006.14970). What differs: both colours are
corrected, by the least change that explains the pixel; the weights are squared; and all but the last correction is
made on a coarse grid, so that the time is linear in the pixels, and little for most of them.
"""

import cv2
import numpy as np
import numpy.typing as npt

from app.imaging.tiles import grid_of, interpolate, resize, soft_tiles

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# In pixels of the coarse grid, in order. The first must reach from the middle of a wide soft edge to both sides of it.
_WINDOWS = (45, 9, 3)
_REACH = sum(window // 2 for window in _WINDOWS) + 1

_NOWHERE = np.float32(1e-4)  # a weight: hardly any subject (or background) within the window

_ALPHA = (np.arange(256) / 255).astype(np.float32)
# How much of what is unexplained goes to the subject: the least squares of both changes.
_SHARE = (_ALPHA / (_ALPHA**2 + (1 - _ALPHA) ** 2)).astype(np.float32)


def estimate_foreground(rgb: Bytes, alpha: Bytes) -> None:
    """Gives each soft pixel, in place, the colour that the subject alone has there.

    Args:
        rgb: uint8, H x W x 3. Changed only where 0 < alpha < 255.
        alpha: uint8, H x W.
    """
    height, width = alpha.shape
    means: tuple[Floats, Floats] | None = None
    for rows, columns in soft_tiles(alpha):
        if means is None:
            means = _mean_colours(rgb, alpha)
        subject, background = (interpolate(mean, width, height, rows, columns) for mean in means)
        tile, opacity = rgb[rows, columns], alpha[rows, columns]
        unexplained = _unexplained(tile.astype(np.float32), _spread(opacity, _ALPHA), subject, background)
        corrected = cv2.convertScaleAbs(np.maximum(subject + _spread(opacity, _SHARE) * unexplained, 0))
        cv2.copyTo(corrected, cv2.inRange(opacity, 1, 254), tile)


def _mean_colours(rgb: Bytes, alpha: Bytes) -> tuple[Floats, Floats]:
    """The colours of subject and background around each soft spot, float32, h x w x 3 on the coarse grid, 0..255."""
    width, height = grid_of(rgb.shape[1], rgb.shape[0])
    colours, opacity = resize(rgb, width, height), resize(alpha, width, height)
    x, y, columns, rows = cv2.boundingRect(cv2.inRange(opacity, 1, 254))
    box = np.s_[max(y - _REACH, 0) : y + rows + _REACH, max(x - _REACH, 0) : x + columns + _REACH]
    means = np.zeros((2, height, width, 3), np.float32)
    weights = _Weights(opacity[box])
    for channel, plane in enumerate(cv2.split(colours[box])):  # one at a time: it takes a third of the room
        for mean, part in zip(means, _fuse(plane.astype(np.float32), weights), strict=True):
            mean[box][..., channel] = part
    return means[0], means[1]


class _Weights:
    """What follows from alpha alone. `around`: for each window, how much subject and background is in it."""

    def __init__(self, opacity: Bytes) -> None:
        self.level = _ALPHA[opacity]
        # Squared, so that pixels that are nearly pure say more.
        self.subject, self.background = self.level**2, _ALPHA[255 - opacity] ** 2
        self.subject_share, self.background_share = _SHARE[opacity], _SHARE[255 - opacity]
        self.around = [
            (window, _mean(self.subject, window) + _NOWHERE, _mean(self.background, window) + _NOWHERE)
            for window in _WINDOWS
        ]


def _fuse(colours: Floats, weights: _Weights) -> tuple[Floats, Floats]:
    """One channel's means of subject and background, h x w as the channel."""
    subject = background = colours
    for window, subject_around, background_around in weights.around:
        mean_subject = _mean(subject * weights.subject, window) / subject_around
        mean_background = _mean(background * weights.background, window) / background_around
        unexplained = _unexplained(colours, weights.level, mean_subject, mean_background)
        subject = np.clip(mean_subject + weights.subject_share * unexplained, 0, 255)
        background = np.clip(mean_background + weights.background_share * unexplained, 0, 255)
    return mean_subject, mean_background


def _mean(plane: Floats, window: int) -> Floats:
    return np.asarray(cv2.blur(plane, (window, window), borderType=cv2.BORDER_REFLECT), dtype=np.float32)


def _unexplained(colours: Floats, level: Floats, subject: Floats, background: Floats) -> Floats:
    return colours - background - level * (subject - background)


def _spread(opacity: Bytes, table: Floats) -> Floats:
    """The table's values for the opacity, once for each colour: numpy is slow where the last axis differs."""
    return np.asarray(cv2.LUT(cv2.cvtColor(opacity, cv2.COLOR_GRAY2RGB), table), dtype=np.float32)
