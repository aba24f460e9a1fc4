import numpy as np
import numpy.typing as npt
import pytest

from app.imaging.compose import apply_alpha, lay_on, lay_on_tint
from tests.imaging.pictures import noise

RGB = np.asarray(noise(64, 48))


def test_the_matte_becomes_the_alpha_and_colours_stay() -> None:
    alpha = np.full((48, 64), 100, np.uint8)
    before = RGB.copy()

    bgra = apply_alpha(RGB, alpha)

    assert bgra.dtype == np.uint8
    assert bgra.shape == (48, 64, 4)
    assert np.array_equal(bgra[..., 2::-1], RGB)
    assert (bgra[..., 3] == 100).all()
    assert np.array_equal(RGB, before)  # the picture is not written to


def test_colour_under_nothing_is_zero() -> None:
    alpha = np.random.default_rng(5).choice(np.array([0, 1, 255], np.uint8), (48, 64))

    bgra = apply_alpha(RGB, alpha)

    assert (bgra[alpha == 0] == 0).all()
    assert np.array_equal(bgra[..., 2::-1][alpha > 0], RGB[alpha > 0])


def every_pair() -> npt.NDArray[np.uint8]:
    """Each value of a colour at each alpha: BGRA, 256 x 256 x 4, the value by rows and the alpha by columns."""
    value, alpha = np.mgrid[:256, :256].astype(np.uint8)
    return np.dstack([value, value, value, alpha])


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255), (1, 127, 254)])
def test_laying_rounds_to_the_nearest(background: tuple[int, int, int]) -> None:
    pairs = every_pair()
    value, alpha = pairs[..., :3].astype(float), pairs[..., 3:] / 255

    laid = lay_on(pairs, background)

    exact = value * alpha + np.array(background[::-1]) * (1 - alpha)
    assert laid.dtype == np.uint8
    assert np.abs(laid - exact).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("background", [(0, 0, 0, 1), (255, 255, 255, 128), (1, 127, 254, 200), (9, 99, 199, 255)])
def test_laying_on_a_tint_rounds_to_the_nearest(background: tuple[int, int, int, int]) -> None:
    pairs = every_pair()
    before = pairs.copy()
    value, alpha, behind = pairs[..., :3].astype(float), pairs[..., 3:] / 255, background[3] / 255

    laid = lay_on_tint(pairs, background)

    exact_alpha = alpha + behind * (1 - alpha)
    exact = (value * alpha + np.array(background[2::-1]) * behind * (1 - alpha)) / exact_alpha
    assert laid.dtype == np.uint8
    assert np.abs(laid[..., :3] - exact).max() <= 0.5 + 1e-4
    assert np.abs(laid[..., 3:] - exact_alpha * 255).max() <= 0.5 + 1e-9
    assert np.array_equal(pairs, before)
    if background[3] == 255:
        assert np.abs(laid[..., :3].astype(int) - lay_on(pairs, background[:3])).max() <= 1


def test_red_is_red() -> None:
    assert lay_on(np.zeros((1, 1, 4), np.uint8), (200, 100, 50)).tolist() == [[[50, 100, 200]]]


def test_a_view_is_laid_like_its_copy_and_left_alone() -> None:
    pairs = every_pair()
    before = pairs.copy()
    view = pairs[3:200, 7:90]

    assert np.array_equal(lay_on(view, (9, 8, 7)), lay_on(view.copy(), (9, 8, 7)))
    assert np.array_equal(pairs, before)
