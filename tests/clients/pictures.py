"""A picture whose subject is known, and what has become of it."""

import io
import zipfile
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tests.pictures import encoded

WIDTH, HEIGHT = 800, 600
BALL = (200, 150, 400, 350)  # left, top, right and bottom of the subject
# As bright and as dark as can be: what is sharpened when it is shrunk stays as it is.
YELLOW, DARK, TEAL = (255, 255, 0), (0, 0, 0), (0, 120, 110)
NEAR = 4  # pixels, by which edges may be off
ALIKE = 12  # by which colours may be: JPEG, and foregrounds that are estimated


def _drawn() -> Image.Image:
    """Something bright on something dark: what the small network takes for a subject."""
    image = Image.new("RGB", (WIDTH, HEIGHT), DARK)
    left, top, right, bottom = BALL
    ImageDraw.Draw(image).ellipse((left, top, right - 1, bottom - 1), fill=YELLOW)
    return image


TO_SEE = encoded(_drawn(), "PNG")
WALLPAPER = encoded(Image.new("RGB", (300, 300), TEAL), "PNG")


LARGE = 2200  # pixels, both ways


def as_large_as_may_be() -> bytes:
    """Something bright on noise, in a file of nearly MAX_IMAGE_BYTES."""
    noise = np.random.default_rng(7).integers(0, 32, (LARGE, LARGE, 3), dtype=np.uint8)
    noise[600:1600, 600:1600] = YELLOW
    data = encoded(Image.fromarray(noise), "PNG", compress_level=1)
    assert 8_000_000 < len(data) < 10 * 1024 * 1024
    return data


@dataclass(frozen=True)
class Seen:
    """A result as it was opened: RGBA of all pixels."""

    kind: str
    mode: str
    pixels: NDArray[np.uint8]

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def corner(self) -> tuple[int, ...]:
        """The pixel in the lower right, which is never of the subject."""
        return tuple(int(value) for value in self.pixels[-1, -1])

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Where the subject is: what is as yellow as the ball, and opaque."""
        red, green, blue, alpha = (self.pixels[..., index].astype(int) for index in range(4))
        return _box((alpha > 127) & (red > 150) & (green > 150) & (blue < 150))

    def is_at(self, box: tuple[int, int, int, int]) -> bool:
        return all(abs(here - there) <= NEAR for here, there in zip(self.box, box, strict=True))


def seen(data: bytes) -> Seen:
    """The picture; of a zip, its colours under its alpha."""
    if data.startswith(b"PK"):
        archive = zipfile.ZipFile(io.BytesIO(data))
        assert archive.namelist() == ["color.jpg", "alpha.png"]
        colour, alpha = (Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist())
        assert (colour.mode, alpha.mode, colour.size) == ("RGB", "L", alpha.size)
        colour.putalpha(alpha)
        return Seen("ZIP", "RGBA", np.asarray(colour))
    image = Image.open(io.BytesIO(data))
    return Seen(image.format or "", image.mode, np.asarray(image.convert("RGBA")))


def alike(pixel: tuple[int, ...], colour: tuple[int, ...]) -> bool:
    return all(abs(here - there) <= ALIKE for here, there in zip(pixel, colour, strict=True))


def mask_box(mask: Seen) -> tuple[int, int, int, int]:
    """Of a matte in grey."""
    return _box(mask.pixels[..., 0] > 127)


def _box(where: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(where.any(axis=1))[0], np.nonzero(where.any(axis=0))[0]
    assert len(rows), "there is no subject"
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
