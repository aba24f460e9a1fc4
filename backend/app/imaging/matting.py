"""Matting: works out anew, from the picture's colours, what a matte says in its wide soft zones.

A. Levin, D. Lischinski, Y. Weiss, "A Closed-Form Solution to Natural Image Matting", TPAMI 2008: in every window of
3 x 3, alpha is a linear function of colour. Instead of its hard trimap, each pixel is held by the given matte, the
firmer the surer that one is, so that no thin part is lost and nothing is invented where colours do not tell. Pixels
with a hard edge beside them are left alone: there the network is right more often than the colours.

Only the band that is solved for costs time and memory: its equations are stored by its pixels, not the picture's.
"""

import itertools
from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

# How soft the matte is around a pixel: 4 a (1 - a) under a Gaussian of this many pixels. From the threshold on (of 255)
# it belongs to the band. Beside an edge that is up to two pixels wide it stays below.
_SPREAD, _BAND = 3.0, 36
_SOFTNESS = np.rint(np.arange(256) * np.arange(255, -1, -1) * (4 / 255)).astype(np.uint8)

# How firmly a pixel is held where it is: at the least, and how much more where the matte is sure; soft surroundings
# take off up to three powers of ten of the latter.
_HOLD, _HOLD_SURE = np.float32(0.03), np.float32(2)
_SLACKENING = np.float32(-3 * np.log(10) / 255)
_SURENESS = (np.abs(np.arange(256) / 127.5 - 1) ** 12).astype(np.float32)

# Keeps the linear functions from following noise: Levin's epsilon, for colours of 0..1 and a window of nine.
_RIDGE = np.float32(1e-6 / 9)

_TOLERANCE, _ITERATIONS = 1e-2, 50  # finer is not to be seen
# Pixels of the band. A larger one is solved at a reduced scale, so that the time has an end: at this one or a smaller
# one, as a copy of the picture that is hardly smaller takes too much memory.
_LARGEST, _REDUCED = 1_500_000, 0.6
# Wide transitions are found first, in a picture of this many pixels, as few as still show them; then their details.
_COARSE = 160 * 160
_PART_BAND, _PART_AREA = 60_000, 1_000_000  # pixels solved for at a time, and those around them: 40 MB
_OVERLAP = 8  # rows that a part looks into its neighbours
_MARGIN = 2  # how far two pixels of one window can be apart


def solve_band(alpha: Bytes, rgb: Bytes) -> Bytes:
    """The matte, solved anew where it is soft.

    Args:
        alpha: uint8, H x W, levelled and of the picture's size. Not changed.
        rgb: uint8, H x W x 3, the picture.

    Returns:
        uint8, H x W. Outside of the band as it was.
    """
    solved = alpha.copy()
    softness = _softness_of(alpha)
    size = int(np.count_nonzero(softness >= _BAND))
    if size > 0 and alpha.size > _COARSE:
        _solve_at(solved, rgb, softness, (_COARSE / alpha.size) ** 0.5)
    if size > 0:
        _solve_at(solved, rgb, softness, 1 if size <= _LARGEST else min((_LARGEST / size) ** 0.5, _REDUCED))
    return solved


def _softness_of(alpha: Bytes) -> Bytes:
    return np.asarray(cv2.GaussianBlur(cv2.LUT(alpha, _SOFTNESS), (0, 0), _SPREAD), dtype=np.uint8)


def _solve_at(alpha: Bytes, rgb: Bytes, softness: Bytes, scale: float) -> None:
    """Solves `alpha` in place: at a scale below 1, adds within its band what changes in the smaller picture."""
    if scale >= 1:
        _solve_in_parts(alpha, rgb, softness)
        return
    change = cv2.resize(_change_at(alpha, rgb, scale), alpha.shape[::-1], interpolation=cv2.INTER_LINEAR)
    cv2.add(alpha, change, alpha, (softness >= _BAND).view(np.uint8), cv2.CV_8U)


def _change_at(alpha: Bytes, rgb: Bytes, scale: float) -> npt.NDArray[np.int16]:
    """What solving changes in the smaller picture. int16, of that picture's size."""
    height, width = alpha.shape
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    before = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    guide = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    after = before.copy()
    _solve_in_parts(after, guide, _softness_of(before))
    return np.asarray(cv2.subtract(after, before, dtype=cv2.CV_16S), dtype=np.int16)


def _solve_in_parts(alpha: Bytes, rgb: Bytes, softness: Bytes) -> None:
    """Solves `alpha` in place, part by part from top to bottom."""
    for rows, columns in _parts(softness):
        first = max(rows.start - _OVERLAP, 0)
        cut = slice(first, rows.stop + _OVERLAP), columns
        part = _solve(alpha[cut], rgb[cut], softness[cut])
        alpha[rows, columns] = part[rows.start - first : rows.stop - first]


def _parts(softness: Bytes) -> Iterator[tuple[slice, slice]]:
    """The band in strips that are small enough, each as its rows and the columns that its band lies in."""
    band = (softness >= _BAND).view(np.uint8)
    height, width = band.shape
    counts = np.concatenate([[0], np.cumsum(np.count_nonzero(band, axis=1))])  # above each row
    top = 0
    while counts[top] < counts[height]:
        top = int(np.searchsorted(counts, counts[top], side="right")) - 1  # the first row that holds some
        bottom = int(np.searchsorted(counts, counts[top] + _PART_BAND, side="right")) - 1
        bottom = max(min(bottom, top + _PART_AREA // width), top + 1)
        left, _, across, _ = cv2.boundingRect(band[max(top - _OVERLAP, 0) : bottom + _OVERLAP])
        yield slice(top, bottom), slice(max(left - _MARGIN, 0), left + across + _MARGIN)
        top = bottom


def _solve(alpha: Bytes, rgb: Bytes, softness: Bytes) -> Bytes:
    """One part. What is not of the band stays as it is."""
    alpha, rgb = _framed(alpha, cv2.BORDER_REPLICATE), _framed(rgb, cv2.BORDER_REPLICATE)
    softness = _framed(softness, cv2.BORDER_CONSTANT)
    laplacian = _Laplacian(rgb, softness >= _BAND)
    prior = alpha.ravel()[laplacian.band]
    hold = np.exp(_SLACKENING * softness.ravel()[laplacian.band])
    hold *= _HOLD_SURE * _SURENESS[prior]
    hold += _HOLD
    found = _conjugate_gradients(laplacian, alpha.ravel() * np.float32(1 / 255), hold)
    np.put(alpha, laplacian.band, np.rint(np.clip(found, 0, 1) * 255))
    return alpha[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def _framed(image: Bytes, border: int) -> Bytes:
    return np.asarray(cv2.copyMakeBorder(image, _MARGIN, _MARGIN, _MARGIN, _MARGIN, border), dtype=np.uint8)


def _conjugate_gradients(laplacian: "_Laplacian", plane: Floats, hold: Floats) -> Floats:
    """The alpha over the band that minimises alpha' L alpha + hold (alpha - prior)^2.

    Args:
        laplacian: L, for a band of n pixels.
        plane: float32, flat: the prior, in 0..1, and what surrounds the band. Used up.
        hold: float32, n.

    Returns:
        float32, n.
    """
    band = laplacian.band
    found = plane[band]
    residual = -laplacian.times(plane)
    preconditioner = 1 / (laplacian.diagonal + hold)
    towards = preconditioner * residual
    error = first = float(np.dot(residual, towards))
    plane[:] = 0  # from here on it holds steps, and none is taken outside of the band
    for _ in range(_ITERATIONS):
        if error <= first * _TOLERANCE**2:
            break
        plane[band] = towards
        product = laplacian.times(plane)
        product += hold * towards
        step = np.float32(error / float(np.dot(towards, product)))
        found += step * towards
        residual -= step * product
        scaled = preconditioner * residual
        before, error = error, float(np.dot(residual, scaled))
        towards *= np.float32(error / before)
        towards += scaled
    return found


class _Laplacian:
    """The matting Laplacian's rows that belong to the band. `band`: flat indices. `diagonal`: float32, n."""

    def __init__(self, rgb: Bytes, is_band: npt.NDArray[np.bool_]) -> None:
        """`rgb` and `is_band`: H x W, with a frame of `_MARGIN` pixels that is not of the band."""
        width = is_band.shape[1]
        offsets = [y * width + x for y in (-1, 0, 1) for x in (-1, 0, 1)]
        middles = _middles_of_windows(is_band)
        colours = _whitened(rgb, middles, offsets)
        # Which window has its middle there; where none has, the last, which ties no pixels together.
        windows = np.full(is_band.size, len(middles), np.int32)
        windows[middles] = np.arange(len(middles), dtype=np.int32)

        self.band = np.flatnonzero(is_band)
        self._ties: dict[int, Floats] = {}  # with the pixel that lies so far on in a flat plane
        windows_around = [windows[self.band - offset] for offset in offsets]  # in which the pixel has that place
        tie = np.zeros(len(middles) + 1, np.float32)
        for i, j in itertools.combinations(range(len(offsets)), 2):
            tie[:-1] = (1 + np.einsum("cn,cn->n", colours[i], colours[j])) / 9
            for one, other in ((i, j), (j, i)):
                ties = self._ties.setdefault(offsets[other] - offsets[one], np.zeros(len(self.band), np.float32))
                ties += tie[windows_around[one]]
        self.diagonal: Floats = np.sum(list(self._ties.values()), axis=0)  # so that constants cost nothing

        self._reach = _MARGIN * (width + 1)
        self._shifted = self.band - self._reach
        self._buffer: Floats = np.empty(len(self.band), np.float32)

    def times(self, plane: Floats) -> Floats:
        """The product with a flat plane. float32, n."""
        product = self.diagonal * plane[self.band]
        for offset, ties in self._ties.items():
            # Indices are never out of range; only "clip" writes to `out` without a copy.
            np.take(plane[self._reach + offset :], self._shifted, out=self._buffer, mode="clip")
            self._buffer *= ties
            product -= self._buffer
        return product


def _middles_of_windows(is_band: npt.NDArray[np.bool_]) -> Indices:
    """Flat indices of the middles of all windows inside the picture that hold a pixel of the band."""
    near = np.asarray(cv2.dilate(is_band.view(np.uint8), np.ones((3, 3), np.uint8)))
    inside = np.zeros_like(is_band)
    inside[_MARGIN + 1 : -_MARGIN - 1, _MARGIN + 1 : -_MARGIN - 1] = True
    return np.flatnonzero(np.logical_and(near, inside))


def _whitened(rgb: Bytes, middles: Indices, offsets: list[int]) -> Floats:
    """The colours in each window, less their mean, and turned so that their covariance (and a ridge) is one.

    Returns:
        float32, 9 x 3 x windows.
    """
    colours = np.empty((len(offsets), 3, len(middles)), np.float32)
    for channel, plane in enumerate(cv2.split(rgb)):
        flat = plane.ravel()
        for i, offset in enumerate(offsets):
            colours[i, channel] = flat[middles + offset]
    colours *= np.float32(1 / 255)
    colours -= colours.mean(axis=0)
    # Cholesky's factor of each covariance. The inverse by cofactors would lose all its digits in float32.
    factor: dict[tuple[int, int], Floats] = {}
    for row in range(3):
        for column in range(row + 1):
            rest = np.einsum("in,in->n", colours[:, row], colours[:, column]) / 9
            for k in range(column):
                rest -= factor[row, k] * factor[column, k]
            if row == column:
                factor[row, row] = np.sqrt(np.maximum(rest, 0) + _RIDGE)
            else:
                factor[row, column] = rest / factor[column, column]
    for row in range(3):
        for column in range(row):
            colours[:, row] -= factor[row, column] * colours[:, column]
        colours[:, row] /= factor[row, row]
    return colours
