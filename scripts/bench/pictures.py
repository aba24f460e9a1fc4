"""Pictures whose true matte is known: drawn subjects over photographs, and folders of one's own.

A subject is drawn once in units of the picture's height, from a fixed seed, so that it is the same at every size. It is
drawn over nothing, at twice the size, and shrunk: that gives the true colour and alpha of every pixel, hair thinner
than a pixel included. Then it is laid over a photograph.
"""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from scripts.bench import subjects

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Part = tuple[float, float, float, float]

ASPECT = 1.5
"""Width by height of the drawn pictures."""


@dataclass(frozen=True)
class Sample:
    """A picture with its truth. `rgb` and `foreground`: uint8, H x W x 3, of which the latter means nothing where
    alpha is 0. `alpha`: uint8, H x W.
    """

    name: str
    rgb: Bytes
    foreground: Bytes
    alpha: Bytes


def drawn(megapixels: float) -> Iterator[Sample]:
    """All drawn pictures, one after the other (at 12 megapixels each takes a second or two and 250 MB)."""
    for name in SUBJECTS:
        yield draw(name, megapixels)


def draw(name: str, megapixels: float) -> Sample:
    """One drawn picture.

    Args:
        name: one of `SUBJECTS`.
        megapixels: how large it shall be, 0.1 to 16.
    """
    height = round((megapixels * 1e6 / ASPECT) ** 0.5)
    width = round(height * ASPECT)
    scene = SUBJECTS[name]
    canvas = subjects.Canvas(width, height)
    scene.paint(canvas, np.random.default_rng(list(name.encode())))
    background = photograph(scene.behind, width, height, part=scene.part, blur=scene.blur)
    if scene.shadow:
        background = _with_shadow(background)
    premultiplied = canvas.shrunk()
    alpha = np.rint(premultiplied[..., 3]).astype(np.uint8)
    weight = premultiplied[..., 3:] / np.float32(255)
    # Foreground and picture are rounded once each, from the exact values, as a camera would.
    foreground = np.clip(np.rint(premultiplied[..., :3] / np.maximum(weight, np.float32(1e-3))), 0, 255)
    rgb = np.clip(np.rint(premultiplied[..., :3] + (1 - weight) * background), 0, 255)
    return Sample(name, rgb.astype(np.uint8), foreground.astype(np.uint8), alpha)


def load_folder(path: Path) -> Iterator[Sample]:
    """Pictures of one's own: for each `NAME-alpha.png` also `NAME.png` and, if there is one, `NAME-foreground.png`.

    All of one size. Without a foreground the picture's own colours stand in for it, which is right where alpha is 255
    only; errors on soft pixels then say little.

    Raises:
        ValueError: with what is missing or does not fit.
    """
    found = sorted(path.glob("*-alpha.png"))
    if not found:
        raise ValueError(f"{path} holds no pair NAME.png and NAME-alpha.png")
    for alpha_path in found:
        name = alpha_path.name.removesuffix("-alpha.png")
        rgb_path, foreground_path = path / f"{name}.png", path / f"{name}-foreground.png"
        if not rgb_path.is_file():
            raise ValueError(f"{alpha_path.name} has no {rgb_path.name} beside it")
        rgb, alpha = _read(rgb_path, "RGB"), _read(alpha_path, "L")
        foreground = _read(foreground_path, "RGB") if foreground_path.is_file() else rgb
        if not rgb.shape[:2] == alpha.shape == foreground.shape[:2]:
            raise ValueError(f"The pictures of {name} differ in size")
        yield Sample(name, rgb, foreground, alpha)


def photograph(name: str, width: int, height: int, *, part: Part = (0.0, 0.0, 1.0, 1.0), blur: float = 0.0) -> Bytes:
    """One of scikit-image's photographs, or a part of it, cropped in its middle and brought to size.

    Args:
        name: the file's name, such as "astronaut.png".
        width: in pixels.
        height: in pixels.
        part: left, top, right and bottom, in 0..1.
        blur: standard deviation in 1/1000 of the height, as a lens blurs what is behind the subject.

    Returns:
        uint8, height x width x 3.
    """
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise FileNotFoundError("scikit-image, whose photographs serve as backgrounds, is not installed")
    pixels = _read(Path(package.origin).with_name("data") / name, "RGB")
    rows, columns = pixels.shape[:2]
    pixels = pixels[round(part[1] * rows) : round(part[3] * rows), round(part[0] * columns) : round(part[2] * columns)]
    rows, columns = pixels.shape[:2]
    scale = max(width / columns, height / rows)
    keep_columns, keep_rows = min(round(width / scale), columns), min(round(height / scale), rows)
    left, top = (columns - keep_columns) // 2, (rows - keep_rows) // 2
    crop = pixels[top : top + keep_rows, left : left + keep_columns]
    way = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    sized = cv2.resize(crop, (width, height), interpolation=way)
    if blur > 0:
        sized = cv2.GaussianBlur(sized, (0, 0), blur * height / 1000)
    return np.asarray(sized, dtype=np.uint8)


def _read(path: Path, mode: str) -> Bytes:
    with Image.open(path) as image:
        return np.asarray(image.convert(mode))


def _with_shadow(background: Bytes) -> Bytes:
    """A soft shadow on the ground under the subject; it belongs to the background."""
    height, width = background.shape[:2]
    shade = np.ones((200, 300), np.float32)
    cv2.ellipse(shade, (158, 183), (75, 9), 0, 0, 360, 0.45, -1, cv2.LINE_8)
    shade = np.asarray(cv2.GaussianBlur(shade, (0, 0), 6), dtype=np.float32)
    factor = cv2.resize(shade, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.rint(background * factor[..., None]), dtype=np.uint8)


class _Scene(NamedTuple):
    """How the subject is drawn, over which part of which photograph, how blurred, and if it throws a shadow there."""

    paint: Callable[[subjects.Canvas, np.random.Generator], None]
    behind: str
    part: Part
    blur: float
    shadow: bool


SUBJECTS: dict[str, _Scene] = {
    "cat": _Scene(subjects.paint_cat, "rocket.jpg", (0.0, 0.35, 0.45, 1.0), 5.0, True),
    "wolf": _Scene(subjects.paint_wolf, "motorcycle_left.png", (0.0, 0.0, 0.4, 0.45), 5.0, True),
    "chair": _Scene(subjects.paint_chair, "ihc.png", (0.45, 0.3, 1.0, 0.9), 8.0, True),
    "runner": _Scene(subjects.paint_runner, "coffee.png", (0.0, 0.16, 0.24, 0.40), 4.0, True),
    "vase": _Scene(subjects.paint_vase, "chelsea.png", (0.78, 0.3, 1.0, 0.9), 4.0, False),
    "bride": _Scene(subjects.paint_bride, "motorcycle_left.png", (0.65, 0.0, 1.0, 0.4), 10.0, False),
    "plant": _Scene(subjects.paint_plant, "astronaut.png", (0.55, 0.0, 1.0, 0.45), 12.0, True),
    "wheel": _Scene(subjects.paint_wheel, "coffee.png", (0.6, 0.5, 1.0, 1.0), 8.0, False),
}
"""The names of the drawn pictures."""
