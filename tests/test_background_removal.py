"""The way in: whole pictures through the real network, from a file's bytes to a PNG."""

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from app.imaging.errors import UnknownForeground
from app.imaging.limits import ImageLimits
from app.imaging.pipeline import Cutout, CutoutOptions, cut_out
from tests.imaging.model import Parrot, raw_of_photo, real_engine
from tests.imaging.pictures import decoded_png, disc, encoded, exif, photo

DEFAULT, WHOLE = CutoutOptions(), CutoutOptions(trim=False)


def remove(data: bytes, options: CutoutOptions) -> tuple[Cutout, npt.NDArray[np.uint8]]:
    """The cut-out, and its pixels: RGBA, uint8, H x W x 4."""
    cutout = cut_out(data, real_engine(), options, ImageLimits())
    return cutout, decoded_png(cutout.data)


def test_a_portrait_loses_its_background() -> None:
    cutout, rgba = remove(photo("astronaut.png"), WHOLE)

    assert (cutout.width, cutout.height) == (512, 512)
    assert cutout.confidence > 0.9
    assert rgba[130, 230, 3] == 255  # the face
    assert rgba[400, 200, 3] == 255  # the suit
    assert (rgba[30, 30] == 0).all()  # the flag
    assert (rgba[100, 400] == 0).all()  # the model of the shuttle
    with Image.open(io.BytesIO(photo("astronaut.png"))) as original:
        assert np.abs(rgba[130, 230, :3].astype(int) - np.asarray(original)[130, 230]).max() <= 2


def test_a_cutout_is_trimmed_with_padding() -> None:
    coffee, engine = photo("coffee.png"), Parrot(raw_of_photo("coffee.png"))
    whole = cut_out(coffee, engine, WHOLE, ImageLimits())
    rows, columns = np.nonzero(decoded_png(whole.data)[..., 3] > 7)

    trimmed = cut_out(coffee, engine, CutoutOptions(padding=4), ImageLimits())

    assert (whole.width, whole.height) == (600, 400)
    assert trimmed.width == min(columns.max() + 5, 600) - max(columns.min() - 4, 0)
    assert trimmed.height == min(rows.max() + 5, 400) - max(rows.min() - 4, 0)


@pytest.mark.parametrize("format_", ["JPEG", "WEBP", "BMP"])
def test_a_drawn_disc_is_cut_out_whatever_its_format(format_: str) -> None:
    _, rgba = remove(encoded(disc(320, 240), format_), WHOLE)

    rows, columns = np.indices((240, 320))
    inside = np.hypot(rows - 120, columns - 160) < 76
    outside = np.hypot(rows - 120, columns - 160) > 84
    assert (rgba[inside, 3] > 250).mean() > 0.99
    assert (rgba[outside, 3] == 0).mean() > 0.99


def test_a_phones_picture_comes_out_upright_and_without_metadata() -> None:
    with Image.open(io.BytesIO(photo("chelsea.png"))) as image:
        data = encoded(image.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif(6), quality=95)

    cutout, _ = remove(data, DEFAULT)

    assert (cutout.original_width, cutout.original_height) == (451, 300)
    with Image.open(io.BytesIO(cutout.data)) as result:
        assert result.info == {}


@pytest.mark.parametrize("name", ["grass.png", "gravel.png"])
def test_a_picture_without_a_subject_is_said_to_have_none(name: str) -> None:
    with pytest.raises(UnknownForeground, match="No clear subject"):
        remove(photo(name), DEFAULT)
