import numpy as np

from app.imaging.compose import apply_alpha
from app.imaging.decode import DecodedImage
from tests.imaging.pictures import noise

RGB = np.asarray(noise(64, 48))


def test_the_matte_becomes_the_alpha_and_colours_stay() -> None:
    alpha = np.full((48, 64), 100, np.uint8)
    before = RGB.copy()

    rgba = apply_alpha(DecodedImage(RGB, None), alpha)

    assert rgba.dtype == np.uint8
    assert rgba.shape == (48, 64, 4)
    assert np.array_equal(rgba[..., :3], RGB)
    assert (rgba[..., 3] == 100).all()
    assert np.array_equal(RGB, before)  # the picture is not written to


def test_colour_under_nothing_is_zero() -> None:
    alpha = np.random.default_rng(5).choice(np.array([0, 1, 255], np.uint8), (48, 64))

    rgba = apply_alpha(DecodedImage(RGB, None), alpha)

    assert (rgba[alpha == 0] == 0).all()
    assert np.array_equal(rgba[alpha > 0, :3], RGB[alpha > 0])


def test_the_pictures_own_alpha_multiplies_the_matte() -> None:
    own = np.full((48, 64), 128, np.uint8)
    own[:10] = 0
    matte = np.full((48, 64), 128, np.uint8)
    matte[-10:] = 255

    alpha = apply_alpha(DecodedImage(RGB, own), matte)[..., 3]

    assert (alpha[:10] == 0).all()
    assert (alpha[10:-10] == 64).all()
    assert (alpha[-10:] == 128).all()
