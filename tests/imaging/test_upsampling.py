import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.imaging.tiles import resize, soft_tiles
from app.imaging.upsampling import enlarge

SIDE = 1024
Bytes = npt.NDArray[np.uint8]
Size = tuple[int, int]

SIZES = [(1, 1), (50, 4096), (4096, 50), (33, 1025), (640, 427), (1024, 1024), (1600, 1200)]
"""Width and height."""


def flower(width: int, height: int) -> Bytes:
    """The true alpha of a shape with round and pointed edges, its rim one pixel wide."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle, radius = np.arctan2(y - height / 2, x - width / 2), np.hypot(y - height / 2, x - width / 2)
    rim = min(width, height) * (0.33 + 0.1 * np.sin(9 * angle))
    return np.asarray(np.rint(np.clip(rim - radius + 0.5, 0, 1) * 255), dtype=np.uint8)


def picture_of(alpha: Bytes, seed: int = 1) -> Bytes:
    """An orange subject before a blue background, with a little grain."""
    weight = alpha[..., None] / 255
    grain = np.random.default_rng(seed).normal(0, 2, (*alpha.shape, 3))
    mixed = weight * np.array([220, 120, 40]) + (1 - weight) * np.array([70, 110, 190]) + grain
    return np.asarray(np.clip(np.rint(mixed), 0, 255), dtype=np.uint8)


def seen_by_network(alpha: Bytes, softness: float = 2.5) -> Bytes:
    """The same in the network's square, its edges washed out as the network's are."""
    return np.asarray(cv2.GaussianBlur(resize(alpha, SIDE, SIDE), (0, 0), softness), dtype=np.uint8)


def error(one: Bytes, other: Bytes) -> float:
    return float(np.abs(one.astype(np.float32) - other).mean())


@pytest.mark.parametrize(("width", "height"), [(2000, 1500), (1200, 900), (680, 440), (440, 680), (300, 1800)])
def test_edges_are_the_pictures(width: int, height: int) -> None:
    truth = flower(width, height)
    matte = seen_by_network(truth)

    guided = error(enlarge(matte, picture_of(truth)), truth)

    assert guided < 0.25 * error(resize(matte, width, height), truth)


def test_hair_too_fine_for_the_square_comes_back() -> None:
    truth = np.zeros((3000, 3000), np.uint8)
    cv2.rectangle(truth, (1000, 1500), (2000, 2600), 255, -1)
    for x in range(1050, 2000, 60):
        cv2.line(truth, (x, 1500), (x - 200, 900), 255, 3, cv2.LINE_AA)
    matte = seen_by_network(truth)
    hair = np.s_[900:1450, 800:2100]

    guided = error(enlarge(matte, picture_of(truth))[hair], truth[hair])

    assert guided < 0.4 * error(resize(matte, 3000, 3000)[hair], truth[hair])


def test_what_is_sure_teaches_what_is_not() -> None:
    """A spot of the subject and one of the background at which the network wavers, next to where it does not."""
    truth = np.zeros((1000, 1000), np.uint8)
    truth[:, :500] = 255
    matte = resize(truth, SIDE, SIDE)
    matte[500:516, 496:512], matte[600:616, 512:528] = 130, 130

    enlarged = enlarge(matte, picture_of(truth))

    assert enlarged[490:502, 486:498].mean() > 240
    assert enlarged[588:600, 502:514].mean() < 20


def test_colours_that_say_nothing_change_nothing() -> None:
    truth = flower(1500, 1000)
    matte = seen_by_network(truth)
    grey = np.full((1000, 1500, 3), 128, np.uint8)

    assert np.array_equal(enlarge(matte, grey), resize(matte, 1500, 1000))


def test_what_is_sure_stays_whatever_the_picture() -> None:
    matte = seen_by_network(flower(SIDE, SIDE))
    noise = np.random.default_rng(3).integers(0, 256, (900, 1400, 3), dtype=np.uint8)
    plain = resize(matte, 1400, 900)
    sure = (plain == 0) | (plain == 255)

    assert sure.mean() > 0.5
    assert np.array_equal(enlarge(matte, noise)[sure], plain[sure])


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_flat_matte_stays_flat(value: int, width: int, height: int) -> None:
    flat = np.full((SIDE, SIDE), value, np.uint8)
    noise = np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)

    assert np.abs(enlarge(flat, noise).astype(int) - value).max() <= 1


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_neither_picture_nor_matte_is_written_to(width: int, height: int) -> None:
    matte, picture = seen_by_network(flower(SIDE, SIDE)), picture_of(flower(width, height))
    matte.flags.writeable = picture.flags.writeable = False

    enlarged = enlarge(matte, picture)

    assert enlarged.dtype == np.uint8
    assert enlarged.shape == (height, width)
    assert np.array_equal(enlarged, enlarge(matte, picture))  # and the same comes out every time


@settings(max_examples=25)
@given(
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    colours=st.sampled_from(["noise", "black", "white", "two"]),
    seed=st.integers(0, 1000),
)
@example(size=(1, 3000), colours="noise", seed=0)
@example(size=(3000, 2), colours="two", seed=0)
def test_any_picture_of_any_shape_can_guide(size: Size, colours: str, seed: int) -> None:
    width, height = size
    random = np.random.default_rng(seed)
    matte = random.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    picture = np.zeros((height, width, 3), np.uint8)
    if colours == "noise":
        picture = random.integers(0, 256, picture.shape, dtype=np.uint8)
    elif colours == "white":
        picture[:] = 255
    elif colours == "two":
        picture[:, width // 2 :] = (0, 0, 255)
    with np.errstate(all="raise", under="ignore"):
        enlarged = enlarge(matte, picture)

    assert enlarged.shape == (height, width)


@given(size=st.tuples(st.integers(1, 200), st.integers(1, 200)), seed=st.integers(0, 100))
def test_the_tiles_hold_all_that_is_soft_and_hold_it_once(size: Size, seed: int) -> None:
    width, height = size
    alpha = np.random.default_rng(seed).choice(np.array([0, 255, 9], np.uint8), (height, width), p=[0.6, 0.39, 0.01])
    times = np.zeros((height, width), int)
    for rows, columns in soft_tiles(alpha):
        times[rows, columns] += 1

    assert (times[alpha == 9] == 1).all()
    assert times.max(initial=0) <= 1
