"""The pictures that the speed is measured on."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from scripts.bench.pictures import photograph
from scripts.bench.sides import BenchProblem

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png")
DESCRIPTION = "three photographs of scikit-image, enlarged, with a little grain; JPEG, quality 92"
ASPECT = 4 / 3
KINDS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass(frozen=True)
class Group:
    """Files of about one size; `size` is its name in the results."""

    size: str
    files: Sequence[Path]


@contextmanager
def made(sizes: Sequence[float]) -> Iterator[list[Group]]:
    """The photographs at each of these sizes, in megapixels; they are there for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="quickbg-bench-") as folder:
        yield [
            Group(f"{size:g} MP", [_enlarged(name, size, Path(folder)) for name in PHOTOGRAPHS])
            for size in sorted(sizes)
        ]


def own(folder: Path) -> list[Group]:
    """One's own pictures, as they are.

    Raises:
        BenchProblem: there are none.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in KINDS)
    if not files:
        raise BenchProblem(f"{folder} holds no picture ({', '.join(sorted(KINDS))})")
    return [Group(folder.absolute().name, files)]


def _enlarged(name: str, megapixels: float, folder: Path) -> Path:
    """Grain, because an enlarged picture is smoother than any camera's and would be written too fast."""
    height = round((megapixels * 1e6 / ASPECT) ** 0.5)
    rgb = photograph(name, round(height * ASPECT), height).astype(np.float32)
    grain = np.random.default_rng(1).normal(0, 3, rgb.shape[:2]).astype(np.float32)
    grainy = np.clip(rgb + grain[..., None], 0, 255).astype(np.uint8)
    target = folder / f"{Path(name).stem}-{megapixels:g}.jpg"
    cv2.imwrite(str(target), grainy[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return target
