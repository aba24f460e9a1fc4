import cv2
import numpy as np
import numpy.typing as npt
import pytest

from app.imaging.matting import solve_band
from scripts.bench.pictures import draw

Bytes = npt.NDArray[np.uint8]

RED, BLUE = np.array([200, 40, 30]), np.array([20, 60, 190])


def mixed(alpha: Bytes) -> Bytes:
    """Red over blue under that matte."""
    share = alpha[..., None] / 255
    return np.asarray(np.rint(share * RED + (1 - share) * BLUE), dtype=np.uint8)


def error(alpha: Bytes, truth: Bytes) -> float:
    return float(cv2.absdiff(alpha, truth).mean())


@pytest.fixture
def disc() -> Bytes:
    """A disc with a soft edge of some 20 pixels."""
    alpha = np.zeros((200, 300), np.uint8)
    cv2.circle(alpha, (150, 100), 60, 255, -1)
    return np.asarray(cv2.GaussianBlur(alpha, (0, 0), 5), dtype=np.uint8)


def test_the_colours_correct_what_the_matte_has_wrong(disc: Bytes) -> None:
    shifted = np.roll(disc, 4, axis=1)

    solved = solve_band(shifted, mixed(disc))

    assert error(solved, disc) < error(shifted, disc) * 0.85


def test_strands_come_back_in_a_drawn_picture() -> None:
    sample = draw("cat", 0.3)
    # What a network that sees no strands would say: soft, and roughly right.
    blurred = np.asarray(cv2.GaussianBlur(sample.alpha, (0, 0), 4), dtype=np.uint8)

    assert error(solve_band(blurred, sample.rgb), sample.alpha) < error(blurred, sample.alpha) * 0.8


def test_a_right_matte_stays(disc: Bytes) -> None:
    assert cv2.absdiff(solve_band(disc, mixed(disc)), disc).max() <= 4


def test_hard_edges_thin_parts_and_holes_are_left_alone() -> None:
    alpha = np.zeros((200, 300), np.uint8)
    cv2.rectangle(alpha, (50, 50), (250, 150), 255, -1)
    cv2.rectangle(alpha, (100, 80), (110, 90), 0, -1)
    cv2.line(alpha, (20, 20), (280, 20), 255, 1)
    noise = np.random.default_rng(1).integers(0, 256, (200, 300, 3), dtype=np.uint8)

    assert np.array_equal(solve_band(alpha, noise), alpha)


def test_only_soft_surroundings_are_touched(disc: Bytes) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    before = disc.copy()

    solved = solve_band(disc, noise)

    is_soft = (disc > 0) & (disc < 255)
    near = cv2.dilate(is_soft.astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
    assert (solved != disc).any()
    assert np.array_equal(solved[~near], disc[~near])
    assert np.array_equal(disc, before)  # and what was given is not written to


def test_where_colours_tell_nothing_the_matte_only_gets_softer(disc: Bytes) -> None:
    grey = np.full((*disc.shape, 3), 128, np.uint8)

    solved = solve_band(disc, grey)

    assert error(solved, disc) < 3
    row = solved[100].astype(int)
    assert (np.diff(row[:150]) >= -2).all()  # rises to the middle,
    assert (np.diff(row[150:]) <= 2).all()  # and falls from there


@pytest.mark.parametrize("value", [0, 255])
def test_a_matte_without_a_band_stays(value: int) -> None:
    flat = np.full((60, 80), value, np.uint8)

    assert np.array_equal(solve_band(flat, mixed(flat)), flat)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 3), (50, 50), (50, 4096), (4096, 50)])
@pytest.mark.parametrize("colours", ["flat", "noise"])
def test_any_shape_and_any_colours(shape: tuple[int, int], colours: str) -> None:
    rng = np.random.default_rng(2)
    alpha = rng.integers(0, 256, shape, dtype=np.uint8)
    rgb = np.full((*shape, 3), 255, np.uint8)
    if colours == "noise":
        rgb = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)

    with np.errstate(all="raise", under="ignore"):
        solved = solve_band(alpha, rgb)

    assert solved.dtype == np.uint8
    assert solved.shape == shape
    assert np.array_equal(solved, solve_band(alpha, rgb))  # always the same


def test_parts_fit_together(disc: Bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = mixed(disc)
    shifted = np.roll(disc, 4, axis=1)
    whole = solve_band(shifted, rgb)

    monkeypatch.setattr("app.imaging.matting._PART_BAND", 1500)

    parts = solve_band(shifted, rgb)
    assert not np.array_equal(parts, whole)  # it was divided
    assert cv2.absdiff(parts, whole).mean() < 0.5
    assert cv2.absdiff(parts, whole).max() < 16


def test_too_large_a_band_is_solved_at_a_reduced_scale(disc: Bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    shifted = np.roll(disc, 4, axis=1)
    monkeypatch.setattr("app.imaging.matting._LARGEST", 4000)

    solved = solve_band(shifted, mixed(disc))

    assert error(solved, disc) < error(shifted, disc) * 0.85
    sure_far_away = np.s_[:10]
    assert np.array_equal(solved[sure_far_away], shifted[sure_far_away])
