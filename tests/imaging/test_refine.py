import numpy as np
import numpy.typing as npt
import pytest

from app.imaging.refine import BLACK, WHITE, clean, level

Alpha = npt.NDArray[np.uint8]


@pytest.fixture
def subject() -> Alpha:
    """A block of 400 x 400 in the middle, with a soft edge of 20 to the right."""
    alpha = np.zeros((1024, 1024), np.uint8)
    alpha[300:700, 300:700] = 255
    alpha[300:700, 680:700] = np.linspace(250, 10, 20).astype(np.uint8)
    return alpha


def test_levels_reach_both_ends_and_keep_their_order() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]

    levelled = level(ramp)[0]

    assert (levelled[: BLACK + 1] == 0).all()
    assert (levelled[WHITE:] == 255).all()
    assert (np.diff(levelled[BLACK : WHITE + 1].astype(int)) >= 1).all()
    assert abs(int(levelled[128]) - 128) <= 1


def test_a_clean_matte_is_left_as_it_is(subject: Alpha) -> None:
    before = subject.copy()

    assert np.array_equal(clean(subject), before)
    assert np.array_equal(subject, before)  # and what was given is not written to


def test_a_speck_far_away_goes(subject: Alpha) -> None:
    spoilt = subject.copy()
    spoilt[50:54, 50:54] = 200

    assert np.array_equal(clean(spoilt), subject)


def test_a_strand_near_the_subject_stays(subject: Alpha) -> None:
    subject[290, 300:310] = 120
    subject[500, 705:712] = 60

    assert np.array_equal(clean(subject), subject)


def test_a_second_subject_stays_and_so_does_what_is_near_it(subject: Alpha) -> None:
    subject[50:100, 50:100] = 255
    subject[40:42, 50:52] = 255

    assert np.array_equal(clean(subject), subject)


def test_many_small_subjects_stay() -> None:
    alpha = np.zeros((1024, 1024), np.uint8)
    for row in range(20, 1000, 200):
        for column in range(20, 1000, 200):
            alpha[row : row + 6, column : column + 6] = 255

    assert np.array_equal(clean(alpha), alpha)


def test_a_pinhole_is_filled(subject: Alpha) -> None:
    spoilt = subject.copy()
    spoilt[400:403, 400:403] = 90

    assert np.array_equal(clean(spoilt), subject)


def test_a_real_hole_stays(subject: Alpha) -> None:
    subject[400:410, 400:410] = 0

    assert np.array_equal(clean(subject), subject)


def test_a_gap_in_a_soft_edge_is_no_pinhole(subject: Alpha) -> None:
    subject[500, 690] = 0

    assert np.array_equal(clean(subject), subject)


def test_a_hole_at_the_pictures_border_stays(subject: Alpha) -> None:
    subject[:, :] = 255
    subject[0:2, 500] = 0

    assert np.array_equal(clean(subject), subject)


@pytest.mark.parametrize("value", [0, 5, 128, 255])
def test_a_flat_matte_stays(value: int) -> None:
    flat = np.full((1024, 1024), value, np.uint8)

    assert np.array_equal(clean(flat), flat)
