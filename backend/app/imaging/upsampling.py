"""Brings a matte from the network's square to the picture's size, with the picture as the guide.

What the network is sure of teaches what it is not: around each spot a linear model of alpha over colour is fitted to
the matte, in which a pixel counts as much as the network is sure of it, and applied to the picture's own pixels. So an
edge lies where the picture has it, and a hair that the square is too coarse for comes back.

After K. He, J. Sun, X. Tang, "Guided Image Filtering", ECCV 2010, and K. He, J. Sun, "Fast Guided Filter",
arXiv:1505.00996 (fitting at a reduced scale). New here are the weights; larger windows where a small one does not see
both subject and background; and that model and network are mixed by how much each may err. The time is linear in the
pixels.
"""

import cv2
import numpy as np
import numpy.typing as npt

from app.imaging.tiles import grid_of, interpolate, resize, soft_tiles

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# In pixels of the coarse grid, and of that grid shrunk by 2, 4 and 8.
_WINDOW, _SCALES = (9, 9), (8, 4, 2, 1)
# As much of a window must be surely subject, and surely background, for its model to count as much as the next larger.
_ENOUGH = np.float32(0.05)
# What a pixel counts that the network knows nothing about. Where there are no others, the model follows these.
_LEAST = np.float32(0.01)
# Colours go from 0 to 1. The first keeps a model flat where colour tells nothing; the second is how far a picture's
# colours are off (by noise, and by what JPEG leaves of them), squared, and tells how far a steep model is.
_RIDGE, _NOISE = np.float32(3e-5), np.float32(3e-4)
_TINY = np.float32(1e-4)

_ALPHA = np.arange(256) / 255
_UNSURE = (_ALPHA * (1 - _ALPHA) + 0.01).astype(np.float32)
"""By alpha, how far off the network is, squared: as a coin is that falls on one side so often."""
_DOUBTFUL = (_UNSURE * (1 - np.abs(2 * _ALPHA - 1) ** 16)).astype(np.float32)
"""The same, but 0 for 0 and 255, which stay."""

_STRIP = 64  # rows at a time, for a processor's cache


def enlarge(alpha: Bytes, rgb: Bytes) -> Bytes:
    """The matte at the picture's size.

    Only soft edges follow the picture: where the matte, cubically enlarged, is 0 or 255, so is the result.

    Args:
        alpha: uint8, 1024 x 1024, in the network's square, levelled.
        rgb: uint8, H x W x 3, the picture, of any size and shape.

    Returns:
        uint8, H x W.
    """
    height, width = rgb.shape[:2]
    enlarged = resize(alpha, width, height)
    fitted: tuple[Floats, Floats] | None = None
    for rows, columns in soft_tiles(enlarged):
        if fitted is None:
            fitted = _fit(alpha, rgb)
        model, variance = (interpolate(grid, width, height, rows, columns) for grid in fitted)
        tile, picture = enlarged[rows, columns], cv2.cvtColor(rgb[rows, columns], cv2.COLOR_RGB2RGBA)
        predicted = cv2.transform(cv2.multiply(model, picture, dtype=cv2.CV_32F), np.ones((1, 4), np.float32))
        trust = cv2.LUT(tile, _DOUBTFUL) / (cv2.LUT(tile, _UNSURE) + variance)
        tile[:] = np.rint(tile + trust * (np.clip(predicted, 0, 255) - tile))
    return enlarged


def _fit(alpha: Bytes, rgb: Bytes) -> tuple[Floats, Floats]:
    """The models on the coarse grid.

    Returns:
        Factors of red, green and blue, and a constant that goes with 255: float32, h x w x 4. And how far off what they
        say is, squared, with alpha in 0..1: float32, h x w.
    """
    width, height = grid_of(rgb.shape[1], rgb.shape[0])
    guide, target = resize(rgb, width, height), resize(alpha, width, height)
    models = np.zeros((5, 1, 1), np.float32)
    for scale in _SCALES:
        size = -(-width // scale), -(-height // scale)
        models = np.array([cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in models])
        _fit_scale(models, resize(guide, *size), resize(target, *size), last_resort=scale == _SCALES[0])
    return np.asarray(cv2.merge(list(models[:4])), dtype=np.float32), models[4]


def _fit_scale(models: Floats, guide: Bytes, target: Bytes, *, last_resort: bool) -> None:
    """Puts this scale's models in the place of those given (5 x h x w), as far as its windows see enough."""
    height, margin = len(target), _WINDOW[0] // 2
    for top in range(0, height, _STRIP):
        first, end = max(top - margin, 0), min(top + _STRIP, height)
        fitted, seen = _fit_strip(guide[first : end + margin], target[first : end + margin])
        share = np.ones_like(seen) if last_resort else seen / (seen + _ENOUGH)
        inner = slice(top - first, end - first)
        models[:, top:end] += share[inner] * (fitted[:, inner] - models[:, top:end])


def _fit_strip(guide: Bytes, target: Bytes) -> tuple[Floats, Floats]:
    """Weighted least squares of alpha over colour, with a ridge, in the window around each pixel.

    Returns:
        Three factors, the constant and the variance, 5 x h x w; and how much of the window is surely subject or surely
        background, whichever is less, h x w.
    """
    alpha = target * np.float32(1 / 255)
    colours = [plane * np.float32(1 / 255) for plane in cv2.split(guide)]
    sure = (2 * alpha - 1) ** 4
    weight = sure + _LEAST
    total = _mean(weight)

    def mean(plane: Floats) -> Floats:
        return _mean(plane * weight) / total

    centres, level = [mean(colour) for colour in colours], mean(alpha)

    def covariance(i: int, j: int) -> Floats:
        return mean(colours[i] * colours[j]) - centres[i] * centres[j]

    squares = [covariance(i, i) + _RIDGE for i in range(3)]
    products = [covariance(0, 1), covariance(0, 2), covariance(1, 2)]
    with_alpha = [mean(colours[i] * alpha) - centres[i] * level for i in range(3)]
    factors = _solve(squares, products, with_alpha)
    constant, spread = level.copy(), np.maximum(mean(alpha * alpha) - level * level, _TINY)
    rest, steepness = spread.copy(), np.zeros_like(spread)
    for factor, centre, shared in zip(factors, centres, with_alpha, strict=True):
        constant -= factor * centre
        rest -= factor * (shared + _RIDGE * factor)
        steepness += factor * factor
    rest = np.maximum(rest, 0)
    # A model that explains nothing says no more than the mean of its window, which is no reason to change the matte.
    variance = rest / np.maximum(1 - rest / spread, _TINY) + _NOISE * steepness
    seen_subject = _mean(sure * alpha)
    seen = np.minimum(seen_subject, _mean(sure) - seen_subject)
    return np.array([*factors, constant, variance]), seen


def _solve(squares: list[Floats], products: list[Floats], right: list[Floats]) -> tuple[Floats, Floats, Floats]:
    """Three equations with three unknowns at each pixel, by elimination: cofactors would lose all digits in float32."""
    (rr, gg, bb), (rg, rb, gb), (ra, ga, ba) = squares, products, right
    factor = rg / rr
    gg, gb, ga = _at_least_ridge(gg - factor * rg), gb - factor * rb, ga - factor * ra
    factor = rb / rr
    bb, ba = bb - factor * rb, ba - factor * ra
    factor = gb / gg
    bb, ba = _at_least_ridge(bb - factor * gb), ba - factor * ga
    blue = ba / bb
    green = (ga - gb * blue) / gg
    return (ra - rg * green - rb * blue) / rr, green, blue


def _at_least_ridge(plane: Floats) -> Floats:
    """As it is but for rounding."""
    return np.asarray(np.maximum(plane, _RIDGE), dtype=np.float32)


def _mean(plane: Floats) -> Floats:
    return np.asarray(cv2.blur(plane, _WINDOW, borderType=cv2.BORDER_REFLECT), dtype=np.float32)
