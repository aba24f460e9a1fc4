"""A matte as a file, to be used again."""

import struct

import cv2
import numpy as np
import numpy.typing as npt

from app.imaging.png import write_png


def to_bytes(alpha: npt.NDArray[np.uint8]) -> bytes:
    """A grey PNG: a few milliseconds, and a small part of the values' size.

    Args:
        alpha: uint8, H x W.
    """
    return write_png(alpha)


def from_bytes(data: bytes, shape: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
    """The values that `to_bytes` was given; None when the file is broken, or is not of this size.

    Args:
        data: the file. What is no grey PNG of this size is not unpacked.
        shape: height and width in pixels.
    """
    height, width = shape
    if not data.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + struct.pack(">IIBB", width, height, 8, 0)):
        return None
    alpha = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    return None if alpha is None else np.asarray(alpha, dtype=np.uint8)
