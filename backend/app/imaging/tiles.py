"""What the steps at the edges of a subject share: something coarse is made of the whole picture, and applied at full
size only where the matte is soft.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from app.imaging.isnet import SIDE

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

REDUCTION = 2

_TILE = 32  # lower tiles hug an edge more closely, and larger ones cost fewer calls


def grid_of(width: int, height: int) -> tuple[int, int]:
    """Width and height of the coarse grid: half of what the network sees of the picture, at least 1."""
    return -(-min(width, SIDE) // REDUCTION), -(-min(height, SIDE) // REDUCTION)


def soft_tiles(alpha: Bytes) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the tiles that hold a pixel between 0 and 255, neighbours in a row joined."""
    height, width = alpha.shape
    starts = np.arange(0, width, _TILE)
    for top in range(0, height, _TILE):
        rows = slice(top, min(top + _TILE, height))
        soft = cv2.reduce(cv2.inRange(alpha[rows], 1, 254), 0, cv2.REDUCE_MAX)[0]
        tiles = np.maximum.reduceat(soft, starts) > 0
        ends = np.flatnonzero(np.diff(tiles, prepend=False, append=False))
        for left, right in ends.reshape(-1, 2) * _TILE:
            yield rows, slice(int(left), min(int(right), width))


def resize(image: Bytes, width: int, height: int) -> Bytes:
    """Shrinks by areas and enlarges cubically; a thin picture may need the one along and the other across."""
    while image.shape[1] >= 4 * width and image.shape[0] >= 4 * height:
        # Halving has a fast path of its own, five times as fast. An odd row or column is left out: of 2048 or more.
        rows, columns = image.shape[0] // 2, image.shape[1] // 2
        halved = cv2.resize(image[: rows * 2, : columns * 2], (columns, rows), interpolation=cv2.INTER_AREA)
        image = np.asarray(halved, dtype=np.uint8)
    shrunk = min(width, image.shape[1]), min(height, image.shape[0])
    image = np.asarray(cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def interpolate(grid: Floats, width: int, height: int, rows: slice, columns: slice) -> Floats:
    """A tile of the coarse grid enlarged to the picture's size, linearly.

    Args:
        grid: float32, h x w x up to 4 channels.
        width: of the picture.
        height: of the picture.
        rows: of the tile.
        columns: of the tile.
    """
    across, down = grid.shape[1] / width, grid.shape[0] / height
    place = np.array([[across, 0, (columns.start + 0.5) * across - 0.5], [0, down, (rows.start + 0.5) * down - 0.5]])
    size = columns.stop - columns.start, rows.stop - rows.start
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(grid, place, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), dtype=np.float32)
