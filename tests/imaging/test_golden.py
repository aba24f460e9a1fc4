"""The mattes themselves, so that no upgrade of a library changes pictures unseen.

`python -m tests.imaging.test_golden` (with PYTHONPATH=backend:.) draws them anew; look at them before they are kept.
"""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from app.imaging.limits import ImageLimits
from app.imaging.pipeline import CutoutOptions, cut_out
from tests.imaging.model import Parrot, raw_of_photo
from tests.imaging.pictures import decoded_png, photo

GOLDEN = Path(__file__).with_name("golden")
PHOTOS = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png"]


QUALITIES = ["balanced", "best"]


def matte(name: str, quality: str) -> npt.NDArray[np.uint8]:
    """The alpha of the finished cut-out, at a quarter of its size."""
    options = CutoutOptions(trim=False, quality=quality)
    png = cut_out(photo(name), Parrot(raw_of_photo(name)), options, ImageLimits()).data
    alpha = Image.fromarray(decoded_png(png)[..., 3])
    return np.asarray(alpha.reduce(4))


def golden(name: str, quality: str) -> Path:
    return GOLDEN / f"{Path(name).stem}-{quality}.png"


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("name", PHOTOS)
def test_the_matte_has_not_changed(name: str, quality: str) -> None:
    with Image.open(io.BytesIO(golden(name, quality).read_bytes())) as image:
        kept = np.asarray(image)

    difference = np.abs(matte(name, quality).astype(int) - kept)

    # What another processor's arithmetic may do; a different resampling filter alone does several times as much.
    assert difference.mean() < 0.2
    assert difference.max() <= 12


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for photo_name in PHOTOS:
        for level in QUALITIES:
            Image.fromarray(matte(photo_name, level)).save(golden(photo_name, level), optimize=True)
