"""The region of interest: outside of it nothing is subject, whatever the network has found there."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.imaging.backgrounds import Blur
from app.imaging.canvas import Canvas
from app.imaging.cutout import CutoutOptions
from app.imaging.decode import DecodedImage
from app.imaging.drawing import Composed
from app.imaging.errors import ImageError, RoiEmpty, RoiExceedsBounds, UnknownForeground
from app.imaging.limits import ImageLimits
from app.imaging.pipeline import compose, cut_out
from app.imaging.trim import Box, Length, Region, region_box
from tests.imaging.model import Parrot
from tests.imaging.pictures import decoded_png, encoded, exif

Bytes = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 120, 80
LEFT, RIGHT = Box(10, 20, 30, 40), Box(70, 10, 40, 20)  # two subjects
RED, GREEN, BLUE = (200, 0, 0), (0, 150, 0), (0, 0, 180)


def px(*corners: int) -> Region:
    left, top, right, bottom = map(Length, corners)
    return left, top, right, bottom


def percent(*corners: float) -> Region:
    left, top, right, bottom = (Length(corner, percent=True) for corner in corners)
    return left, top, right, bottom


def picture() -> tuple[DecodedImage, Bytes]:
    rgb = np.full((HEIGHT, WIDTH, 3), BLUE, np.uint8)
    rgb[LEFT.slices], rgb[RIGHT.slices] = RED, GREEN
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[LEFT.slices] = alpha[RIGHT.slices] = 255
    return DecodedImage(rgb, None), alpha


def drawn(roi: Region | None, **options: Any) -> Composed:
    return compose(*picture(), CutoutOptions(roi=roi, padding=0, **options))


@pytest.mark.parametrize(
    ("roi", "subject"),
    [
        (None, Box(10, 10, 100, 50)),
        (px(0, 0, 60, 80), LEFT),
        (percent(50, 0, 100, 100), RIGHT),
        ((Length(60), Length(0), Length(100, percent=True), Length(50, percent=True)), RIGHT),
        (px(20, 30, 100, 80), Box(20, 30, 20, 30)),  # through the left one, below the right one
        (px(0, 0, 120, 80), Box(10, 10, 100, 50)),
    ],
)
def test_the_subject_is_what_lies_in_it(roi: Region | None, subject: Box) -> None:
    trimmed, whole = drawn(roi), drawn(roi, trim=False)

    assert trimmed.subject_box == whole.subject_box == whole.result_box == subject
    assert trimmed.result_box == Box(0, 0, subject.width, subject.height)
    _, alpha = picture()
    inside = np.zeros_like(alpha)
    inside[subject.slices] = alpha[subject.slices]
    assert np.array_equal(whole.pixels[..., 3], inside)
    assert np.array_equal(trimmed.pixels, whole.pixels[subject.slices])


def test_what_is_left_of_the_subject_is_placed_and_padded() -> None:
    on_canvas = drawn(percent(50, 0, 100, 100), canvas=Canvas(80, 80), scale=1.0, position=(0.5, 0.5))
    assert on_canvas.result_box == Box(0, 20, 80, 40)
    half = (Length(50, percent=True),) * 4
    padded = compose(*picture(), CutoutOptions(roi=percent(50, 0, 100, 100), padding=half))
    # Half of the subject's own sides: 20 to each side, 10 above and below; to the right the picture ends.
    assert padded.pixels.shape[:2] == (40, 20 + 40 + 10)
    assert padded.result_box == Box(20, 10, 40, 20)


def test_the_mask_and_the_background_know_it_too() -> None:
    mask = drawn(px(0, 0, 60, 80), operation="mask", trim=False)
    assert Box(*cv2.boundingRect(mask.pixels)) == LEFT
    blurred = drawn(px(0, 0, 60, 80), background=Blur(Length(2)), trim=False).pixels
    assert (blurred[20, 90] == GREEN[::-1]).all()  # as the rest of what is behind the subject
    assert 0 < blurred[10, 90, 0] < BLUE[2]  # and so its edges are blurred


def test_the_matte_that_is_kept_stays_whole() -> None:
    image, alpha = picture()
    before = alpha.copy()
    compose(image, alpha, CutoutOptions(roi=px(0, 0, 60, 80)))
    assert np.array_equal(alpha, before)


def test_the_files_own_transparency_and_the_region_both_count() -> None:
    image, alpha = picture()
    own = np.full_like(alpha, 255)
    own[:, :20] = 0
    composed = compose(DecodedImage(image.rgb, own), alpha, CutoutOptions(roi=px(0, 0, 60, 40)))
    assert composed.subject_box == Box(20, 20, 20, 20)


def test_no_subject_in_it_is_no_subject() -> None:
    with pytest.raises(UnknownForeground):
        drawn(px(45, 0, 65, 80))
    image, alpha = picture()
    alpha[alpha == 0] = 5  # haze, which cannot be seen
    with pytest.raises(UnknownForeground):
        compose(image, alpha, CutoutOptions(roi=px(45, 0, 65, 80)))


@pytest.mark.parametrize(
    ("roi", "kind", "said"),
    [
        (px(0, 0, 121, 80), RoiExceedsBounds, "The region of interest exceeds the bounds of the image."),
        (px(0, 0, 120, 81), RoiExceedsBounds, "exceeds"),
        (px(130, 0, 120, 80), RoiExceedsBounds, "exceeds"),
        (px(60, 0, 60, 80), RoiEmpty, "The region of interest is empty"),
        (px(0, 50, 120, 20), RoiEmpty, "empty"),
        (percent(50, 0, 50.1, 100), RoiEmpty, "empty"),  # less than a pixel
    ],
)
def test_a_region_that_does_not_fit_is_refused_before_the_network_runs(
    roi: Region, kind: type[ImageError], said: str
) -> None:
    engine = Parrot(np.ones((1024, 1024), np.float32))
    data = encoded(Image.new("RGB", (WIDTH, HEIGHT)), "PNG")
    with pytest.raises(kind, match=said) as refused:
        cut_out(data, engine, CutoutOptions(roi=roi), ImageLimits())
    assert refused.value.code in {"roi_exceeds_bounds", "roi_region_empty"}
    assert engine.blobs == []


lengths = st.builds(Length, st.integers(0, 100).map(float)) | st.builds(
    lambda tenths: Length(tenths / 10, percent=True), st.integers(0, 1000)
)


@given(st.tuples(lengths, lengths, lengths, lengths), st.integers(1, 100), st.integers(1, 100))
def test_any_region_lies_in_the_picture_or_is_refused(roi: Region, width: int, height: int) -> None:
    try:
        box = region_box(roi, width, height)
    except RoiExceedsBounds:
        assert any(not length.percent and length.value > min(width, height) for length in roi)
    except RoiEmpty:
        assert roi[0].of(width) >= roi[2].of(width) or roi[1].of(height) >= roi[3].of(height)
    else:
        assert box.within(Box(0, 0, width, height)) == box
        assert min(box.width, box.height) >= 1
        assert (box.left, box.top) == (roi[0].of(width), roi[1].of(height))
        assert (box.left + box.width, box.top + box.height) == (roi[2].of(width), roi[3].of(height))


def raw() -> npt.NDArray[np.float32]:
    """Of the upright picture: a subject in the upper, one in the lower half."""
    found = np.zeros((1024, 1024), np.float32)
    found[100:400, 200:800] = found[600:900, 200:800] = 1
    return found


def test_it_is_a_region_of_the_picture_as_it_is_displayed() -> None:
    lying = encoded(Image.new("RGB", (300, 200), BLUE), "JPEG", exif=exif(6))
    options = CutoutOptions(roi=(Length(0), Length(0), Length(200), Length(150)), trim=False)

    cutout = cut_out(lying, Parrot(raw()), options, ImageLimits())

    assert (cutout.original_width, cutout.original_height) == (200, 300)
    assert cutout.subject_box.top + cutout.subject_box.height <= 150
    alpha = decoded_png(cutout.data)[..., 3]
    assert alpha[:150].max() == 255
    assert not alpha[150:].any()


def test_a_kept_matte_serves_any_region_and_the_confidence_is_the_whole_mattes() -> None:
    data = encoded(Image.new("RGB", (200, 300), BLUE), "PNG")
    upper, lower = (CutoutOptions(roi=percent(0, top, 100, top + 50), trim=False) for top in (0, 50))
    first = cut_out(data, Parrot(raw()), upper, ImageLimits())
    found = first.found
    assert found is not None

    silent = Parrot(raw() * np.nan)
    again = cut_out(data, silent, lower, ImageLimits(), find_kept=lambda _: found)
    whole = cut_out(data, silent, CutoutOptions(trim=False), ImageLimits(), find_kept=lambda _: found)

    assert silent.blobs == []
    assert again.data == cut_out(data, Parrot(raw()), lower, ImageLimits()).data
    assert whole.data == cut_out(data, Parrot(raw()), CutoutOptions(trim=False), ImageLimits()).data
    halves = [decoded_png(cutout.data)[..., 3] for cutout in (first, again)]
    assert np.array_equal(halves[0] + halves[1], decoded_png(whole.data)[..., 3])
    assert first.confidence == again.confidence == whole.confidence
