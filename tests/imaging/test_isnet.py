import numpy as np
import pytest

from app.imaging.isnet import preprocess
from tests.imaging.pictures import disc, noise


@pytest.mark.parametrize("size", [(60, 50), (320, 240), (1024, 1024), (50, 1500)])
def test_any_picture_fills_the_networks_square(size: tuple[int, int]) -> None:
    blob = preprocess(np.asarray(noise(*size)))

    assert blob.shape == (1, 3, 1024, 1024)
    assert blob.dtype == np.float32
    assert blob.flags.c_contiguous
    assert blob.min() >= -0.5
    assert blob.max() == 0.5


def test_the_brightest_value_counts_as_one() -> None:
    dim = np.full((64, 64, 3), (10, 20, 40), np.uint8)

    assert preprocess(dim)[0, :, 0, 0].tolist() == [-0.25, 0.0, 0.5]


def test_black_is_no_division_by_zero() -> None:
    assert (preprocess(np.zeros((64, 64, 3), np.uint8)) == -0.5).all()


def test_channels_are_red_green_blue() -> None:
    centre = preprocess(np.asarray(disc()))[0, :, 512, 512]

    assert centre[0] > centre[1] > centre[2]
