"""What becomes of a picture: at the door, and in a worker, as far as imaging goes."""

import contextlib
import io
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.imaging.decode import decode
from app.imaging.errors import ImageError
from app.imaging.limits import ImageLimits
from app.imaging.pipeline import CutoutOptions, cut_out
from app.imaging.probe import probe

LIMITS = ImageLimits()


class SmallEngine:
    """Sees a subject in the middle of every picture."""

    name, precision = "small", "fp32"

    def __init__(self) -> None:
        self._raw = np.full((1024, 1024), 0.01, np.float32)
        self._raw[200:824, 200:824] = 0.99

    def infer(self, blob: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return self._raw


@dataclass(frozen=True)
class Verdict:
    """`said`: "done", "refused CODE" (at the door), "failed CODE" (in the worker), or what is wrong with us.

    Seconds and megabytes (beyond what the process had) at the door and in the worker.
    """

    said: str
    door_seconds: float = 0.0
    door_mb: float = 0.0
    work_seconds: float = 0.0
    work_mb: float = 0.0


def judge(data: bytes, *, whole: bool = True) -> Verdict:
    """Take a picture in, and decode it or, if `whole`, cut it out. What is no `ImageError` comes through."""
    door, work = _Gauge(), _Gauge()
    said = "done"
    with door:
        try:
            facts = probe(io.BytesIO(data), LIMITS)
        except ImageError as error:
            said = f"refused {error.code}"
    if said == "done":
        with work:
            try:
                size = _cut_out(data) if whole else _decode(data)
            except ImageError as error:
                said = f"failed {error.code}"
        if said == "done" and size != (facts.width, facts.height):
            said = f"is {size}, and was {facts.width} x {facts.height} at the door"
    return Verdict(said, door.seconds, door.megabytes, work.seconds, work.megabytes)


def _decode(data: bytes) -> tuple[int, int]:
    height, width = decode(data, LIMITS).rgb.shape[:2]
    return width, height


def _cut_out(data: bytes) -> tuple[int, int]:
    cutout = cut_out(data, SmallEngine(), CutoutOptions(), LIMITS)
    _check(cutout.data)
    return cutout.original_width, cutout.original_height


def _check(result: bytes) -> None:
    """A result has to be a PNG of red, green, blue and alpha with nothing beside the pixels."""
    with Image.open(io.BytesIO(result), formats=("PNG",)) as image:
        image.load()
        assert image.mode == "RGBA"
        assert not image.info
    at, names = 8, []
    while at < len(result):
        names.append(result[at + 4 : at + 8])
        at += 12 + int.from_bytes(result[at : at + 4], "big")
    assert names == [b"IHDR", b"IDAT", b"IEND"]


class _Gauge(contextlib.AbstractContextManager["_Gauge"]):
    """Time, and memory at its highest above memory at the beginning."""

    seconds = megabytes = 0.0

    def __enter__(self) -> "_Gauge":
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest so far
        self._memory, self._begun = _kilobytes("VmRSS"), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begun
        self.megabytes = max(_kilobytes("VmHWM") - self._memory, 0) / 1024


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
