"""Pictures for the tests: photographs that ship inside the scikit-image wheel, and ones that are drawn here."""

import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from app.imaging.formats import Format

ORANGE, SKY = (230, 120, 20), (90, 150, 220)


def photo(name: str) -> bytes:
    """The file of one of scikit-image's photographs, such as "astronaut.png". Found without importing the package."""
    package = importlib.util.find_spec("skimage")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).with_name("data").joinpath(name).read_bytes()


def disc(width: int = 320, height: int = 240) -> Image.Image:
    """An orange disc before a blue sky."""
    image = Image.new("RGB", (width, height), SKY)
    radius = min(width, height) // 3
    ImageDraw.Draw(image).circle((width // 2, height // 2), radius, fill=ORANGE)
    return image


def corners(width: int = 120, height: int = 80) -> Image.Image:
    """Black, with a red, a green, a blue and a white corner: tells all eight orientations apart."""
    image = Image.new("RGB", (width, height))
    right, bottom = width - 30, height - 30
    for corner, colour in (((0, 0), "red"), ((right, 0), "lime"), ((0, bottom), "blue"), ((right, bottom), "white")):
        image.paste(colour, (*corner, corner[0] + 30, corner[1] + 30))
    return image


def noise(width: int = 96, height: int = 64) -> Image.Image:
    pixels = np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, format_: Format | str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def decoded_png(png: bytes) -> npt.NDArray[np.uint8]:
    """RGBA, uint8, H x W x 4."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == "RGBA"
        return np.asarray(image)


def exif(orientation: int) -> bytes:
    made = Image.Exif()
    made[0x0112] = orientation
    return made.tobytes()
