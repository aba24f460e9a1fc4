import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.imaging.trim import HAZE, Box, Length, padded, subject_box


def canvas(*boxes: tuple[slice, slice, int]) -> npt.NDArray[np.uint8]:
    alpha = np.zeros((100, 150), np.uint8)
    for rows, columns, value in boxes:
        alpha[rows, columns] = value
    return alpha


def trimmed(alpha: npt.NDArray[np.uint8], padding: int) -> npt.NDArray[np.uint8]:
    return alpha[padded(subject_box(alpha), padding).within(Box(0, 0, alpha.shape[1], alpha.shape[0])).slices]


@pytest.mark.parametrize(("padding", "shape"), [(0, (20, 30)), (10, (40, 50)), (45, (100, 120)), (4096, (100, 150))])
def test_padding_goes_as_far_as_the_picture(padding: int, shape: tuple[int, int]) -> None:
    assert trimmed(canvas((slice(40, 60), slice(45, 75), 255)), padding).shape == shape


def test_haze_does_not_count() -> None:
    alpha = canvas((slice(40, 60), slice(45, 75), 255), (slice(0, 2), slice(0, 2), HAZE))

    assert trimmed(alpha, 0).shape == (20, 30)


def test_a_subject_that_is_all_haze_counts() -> None:
    assert trimmed(canvas((slice(40, 60), slice(45, 75), HAZE)), 0).shape == (20, 30)


def test_nothing_at_all_is_left_whole() -> None:
    assert trimmed(canvas(), 5).shape == (100, 150)


@given(arrays(np.uint8, (12, 17), elements=st.sampled_from([0, 0, 0, HAZE, 200])), st.integers(0, 20))
def test_no_visible_pixel_is_lost(alpha: npt.NDArray[np.uint8], padding: int) -> None:
    assert np.count_nonzero(trimmed(alpha, padding) > HAZE) == np.count_nonzero(alpha > HAZE)


def test_padding_may_differ_by_side_and_be_of_the_subject() -> None:
    padding = Length(1), Length(10, percent=True), Length(3), Length(50, percent=True)

    assert padded(Box(100, 200, 40, 60), padding) == Box(80, 199, 40 + 20 + 4, 60 + 1 + 3)
