import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.imaging.foreground import estimate_foreground

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

SUBJECT, BEHIND = np.array([210.0, 90.0, 40.0]), np.array([60.0, 140.0, 220.0])


def disc(width: int, height: int, softness: float) -> Bytes:
    """An alpha, its edge `softness` pixels wide."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    inside = min(width, height) * 0.3 - np.hypot(y - height / 2, x - width / 2)
    return np.asarray(np.rint(np.clip(inside / softness + 0.5, 0, 1) * 255), dtype=np.uint8)


def mixed(foreground: npt.ArrayLike, background: npt.ArrayLike, alpha: Bytes) -> Bytes:
    weight = alpha[..., None] / 255
    return np.asarray(np.rint(weight * np.asarray(foreground) + (1 - weight) * np.asarray(background)), dtype=np.uint8)


def estimated(rgb: Bytes, alpha: Bytes) -> Bytes:
    result = rgb.copy()
    estimate_foreground(result, alpha)
    return result


def laid_on(rgb: Bytes, alpha: Bytes, background: float) -> Floats:
    weight = alpha[..., None] / np.float32(255)
    return np.asarray(rgb * weight + np.float32(background) * (1 - weight), dtype=np.float32)


@pytest.mark.parametrize("softness", [1, 6, 25])
@pytest.mark.parametrize(("width", "height"), [(300, 220), (901, 641), (2500, 1800)])
def test_plain_colours_are_recovered(width: int, height: int, softness: float) -> None:
    alpha = disc(width, height, softness)
    picture = mixed(SUBJECT, BEHIND, alpha)
    weight = alpha[..., None] / 255  # as far as it can be seen

    off = np.abs(estimated(picture, alpha) - SUBJECT) * weight

    assert off.max() <= 0.12 * (np.abs(picture - SUBJECT) * weight).max()
    assert off.mean() <= 0.1 * (np.abs(picture - SUBJECT) * weight).mean()


def test_many_colours_before_many_colours() -> None:
    alpha = disc(900, 700, 12)
    y, x = np.mgrid[:700, :900]
    foreground = np.dstack([120 + 100 * np.sin(x / 40), 120 + 100 * np.cos(y / 30), 120 + 100 * np.sin((x + y) / 35)])
    background = np.dstack([120 + 100 * np.cos(x / 25), 120 - 100 * np.sin(y / 28), 120 + 100 * np.cos((x - y) / 32)])
    picture = mixed(foreground, background, alpha)
    weight = alpha[..., None] / 255

    off = np.abs(estimated(picture, alpha) - foreground) * weight

    assert off.mean() < 0.36 * (np.abs(picture - foreground) * weight).mean()


@pytest.mark.parametrize(("behind", "shown_on"), [(0, 255), (255, 0), (30, 255), (225, 0)])
def test_no_fringe_on_the_opposite_background(behind: float, shown_on: float) -> None:
    """A dark background leaves no dark rim over white, nor a light one a light rim over black; hair included."""
    alpha = disc(800, 600, 8)
    for x in range(300, 500, 12):
        cv2.line(alpha, (x, 200), (2 * x - 400, 20), 255, 2, cv2.LINE_AA)
    subject = np.full((600, 800, 3), 128.0)
    picture = mixed(subject, np.full(3, behind), alpha)
    truth = laid_on(subject.astype(np.uint8), alpha, shown_on)
    soft = (alpha > 0) & (alpha < 255)

    before = np.abs(laid_on(picture, alpha, shown_on) - truth)[soft].mean()
    after = np.abs(laid_on(estimated(picture, alpha), alpha, shown_on) - truth)[soft]

    assert after.mean() < 0.05 * before
    assert after.max() < 12


def test_only_soft_pixels_change() -> None:
    random = np.random.default_rng(2)
    rgb = random.integers(0, 256, (301, 407, 3), dtype=np.uint8)
    alpha = disc(407, 301, 9)
    hard = (alpha == 0) | (alpha == 255)

    result = estimated(rgb, alpha)

    assert np.array_equal(result[hard], rgb[hard])
    assert (result[~hard] != rgb[~hard]).any()


@pytest.mark.parametrize("value", [0, 255])
def test_a_matte_without_soft_pixels_changes_nothing(value: int) -> None:
    rgb = np.random.default_rng(4).integers(0, 256, (120, 90, 3), dtype=np.uint8)

    assert np.array_equal(estimated(rgb, np.full((120, 90), value, np.uint8)), rgb)


def test_glass_all_over_keeps_its_colour() -> None:
    """No pixel tells what is subject and what is background: the picture's own colour stands in for both."""
    rgb = np.full((200, 300, 3), (40, 90, 200), np.uint8)

    result = estimated(rgb, np.full((200, 300), 128, np.uint8))

    assert np.abs(result.astype(int) - rgb).max() <= 1


def test_a_part_of_a_picture_can_be_given() -> None:
    """Pipelines hand over views; what lies around must neither count nor change."""
    alpha = disc(300, 220, 6)
    picture = mixed(SUBJECT, BEHIND, alpha)
    around = np.full((420, 500, 3), 255, np.uint8)
    around[100:320, 100:400] = picture

    estimate_foreground(around[100:320, 100:400], alpha)

    assert np.array_equal(around[100:320, 100:400], estimated(picture, alpha))
    assert (around[:100] == 255).all()
    assert (around[:, 400:] == 255).all()


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    seed=st.integers(0, 1000),
    levels=st.sampled_from([(0, 256), (1, 255), (0, 2), (254, 256)]),
)
@example(size=(50, 4096), seed=0, levels=(0, 256))
@example(size=(4096, 1), seed=0, levels=(0, 256))
def test_any_picture_of_any_shape(size: tuple[int, int], seed: int, levels: tuple[int, int]) -> None:
    width, height = size
    random = np.random.default_rng(seed)
    rgb = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    alpha = random.integers(*levels, (height, width), dtype=np.uint8)
    hard = (alpha == 0) | (alpha == 255)
    with np.errstate(all="raise", under="ignore"):
        result = estimated(rgb, alpha)

    assert np.array_equal(result[hard], rgb[hard])
