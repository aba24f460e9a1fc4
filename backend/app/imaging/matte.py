"""From the network's raw output to a matte, if there is a subject at all."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.imaging.errors import UnknownForeground

MIN_CONFIDENCE = 0.35
"""Between what pictures without a subject reach (0.00 to 0.26) and what hard ones with a subject do (0.44 and up)."""


@dataclass(frozen=True)
class Matte:
    """`alpha`: uint8, 1024 x 1024, still in the network's square. `confidence`: 0..1."""

    alpha: npt.NDArray[np.uint8]
    confidence: float


def read_matte(raw: npt.NDArray[np.float32], min_confidence: float, *, as_rembg: bool = False) -> Matte:
    """Stretches the raw output to the full range.

    As rembg does it, but behind a check of confidence: stretching turns the faint pattern that a subjectless picture
    leaves into a subject.

    Args:
        raw: float32, 1024 x 1024, in 0..1.
        min_confidence: 0..1.
        as_rembg: truncate instead of rounding, for the very values of rembg. In those no pixel but the highest
            reaches 255.

    Raises:
        UnknownForeground: the confidence is lower than asked for, or the output is flat.
    """
    confidence = confidence_of(raw)
    lowest, highest = float(raw.min()), float(raw.max())
    if confidence < min_confidence or highest <= lowest:
        raise UnknownForeground(confidence)
    stretched = (raw - lowest) / (highest - lowest) * 255
    return Matte((stretched if as_rembg else np.rint(stretched)).astype(np.uint8), confidence)


def enlarge_as_rembg(alpha: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """The matte at the picture's size, by Lanczos as rembg does it.

    Args:
        alpha: uint8, 1024 x 1024.
        width: of the picture, in pixels.
        height: of the picture, in pixels.

    Returns:
        uint8, height x width.
    """
    return np.asarray(Image.fromarray(alpha).resize((width, height), Image.Resampling.LANCZOS))


def confidence_of(raw: npt.NDArray[np.float32]) -> float:
    """How sure the network is of what it marked: the mean of its values, each weighted by itself.

    Near 1 for a clear subject of any size; near 0 where all values are faint, however many there are. Unlike a mean
    over the values above one half it has no edge that a hesitant output could fall off.

    Args:
        raw: float32, in 0..1, before any stretching.
    """
    total = float(raw.sum(dtype=np.float64))
    if total <= 0.0:
        return 0.0
    return min(float(np.vdot(raw, raw)) / total, 1.0)
