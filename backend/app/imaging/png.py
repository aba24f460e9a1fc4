"""Writes PNG, by ISA-L's deflate: a third of the time of OpenCV's encoder, and a sixth less to send."""

import struct
from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
from isal import isal_zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# By channels: PNG's colour type, and what brings OpenCV's order into PNG's.
_COLOURS: dict[int, tuple[int, int | None]] = {1: (0, None), 3: (2, cv2.COLOR_BGR2RGB), 4: (6, cv2.COLOR_BGRA2RGBA)}
_UP = 2  # the filter for every row: each value less the one above it. No other is better for photographs at this speed.
_LEVEL = 1  # 2 and 3 take longer and gain a hundredth
_STRIP_BYTES = 256 * 1024  # stays in the processor's cache


def write_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A PNG with these pixels and nothing else.

    Args:
        pixels: uint8, H x W (grey), H x W x 3 (BGR) or H x W x 4 (BGRA, not premultiplied).
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    colour_type, conversion = _COLOURS[channels]
    deflate = isal_zlib.compressobj(_LEVEL)
    packed = [deflate.compress(strip) for strip in _filtered(pixels, channels, conversion)]
    packed.append(deflate.flush())
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return b"".join([_SIGNATURE, *_chunk(b"IHDR", [header]), *_chunk(b"IDAT", packed), *_chunk(b"IEND", [])])


def _filtered(pixels: npt.NDArray[np.uint8], channels: int, conversion: int | None) -> Iterator[npt.NDArray[np.uint8]]:
    """The rows, each with its filter's number before it, a strip at a time."""
    height, width = pixels.shape[:2]
    rows = max(_STRIP_BYTES // (width * channels), 1)
    above = np.zeros((1, width * channels), np.uint8)
    for top in range(0, height, rows):
        strip = np.ascontiguousarray(pixels[top : top + rows])
        values = strip if conversion is None else cv2.cvtColor(strip, conversion)
        values = values.reshape(len(strip), width * channels)
        filtered = np.empty((len(strip), 1 + width * channels), np.uint8)
        filtered[:, 0] = _UP
        np.subtract(values[:1], above, out=filtered[:1, 1:])
        np.subtract(values[1:], values[:-1], out=filtered[1:, 1:])
        above = values[-1:]
        yield filtered


def _chunk(name: bytes, parts: list[bytes]) -> list[bytes]:
    checksum = isal_zlib.crc32(name)
    for part in parts:
        checksum = isal_zlib.crc32(part, checksum)
    return [struct.pack(">I", sum(map(len, parts))), name, *parts, struct.pack(">I", checksum)]
