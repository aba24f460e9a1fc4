"""For tests, without a network: a subject at random, always the same one for the same file."""

import hashlib

import cv2
import numpy as np

from app.imaging.drawing import Bytes, draw

_GRID = 8  # blobs are about so many times smaller than the picture

compose = draw


def matte(data: bytes, width: int, height: int) -> Bytes:
    """Blobs with soft edges, seeded by the file's bytes."""
    seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
    coarse = np.random.default_rng(seed).uniform(-1, 1, (_GRID, _GRID)).astype(np.float32)
    coarse[_GRID // 2, _GRID // 2] = 1  # never nothing
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.rint(np.clip(smooth * 4 + 0.5, 0, 1) * 255), dtype=np.uint8)
