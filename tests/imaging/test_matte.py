import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.imaging.engines.onnxruntime import OnnxRuntimeEngine
from app.imaging.errors import UnknownForeground
from app.imaging.isnet import preprocess
from app.imaging.matte import MIN_CONFIDENCE, confidence_of, enlarge_as_rembg, read_matte
from tests.imaging.model import raw_of_photo
from tests.imaging.pictures import noise


def square(value: float, inside: float) -> npt.NDArray[np.float32]:
    raw = np.full((1024, 1024), value, np.float32)
    raw[300:700, 300:700] = inside
    return raw


def test_it_is_stretched_to_the_full_range() -> None:
    matte = read_matte(square(0.02, 0.9), MIN_CONFIDENCE)

    assert matte.alpha.dtype == np.uint8
    assert matte.alpha.shape == (1024, 1024)
    assert (matte.alpha[0, 0], matte.alpha[500, 500]) == (0, 255)


def test_it_is_rounded_and_not_truncated() -> None:
    raw = square(0.0, 1.0)
    raw[0, :2] = (0.4 / 255, 0.6 / 255)
    raw[500, 500] = 254.6 / 255

    alpha = read_matte(raw, MIN_CONFIDENCE).alpha

    assert alpha[0, :2].tolist() == [0, 1]
    assert alpha[500, 500] == 255


@pytest.mark.parametrize("value", [0.0, 0.02, 0.5, 1.0])
def test_a_flat_output_is_no_subject_and_no_division_by_zero(value: float) -> None:
    with pytest.raises(UnknownForeground) as caught:
        read_matte(square(value, value), 0.0)

    assert caught.value.code == "unknown_foreground"


def test_a_faint_pattern_is_no_subject() -> None:
    with pytest.raises(UnknownForeground):
        read_matte(square(0.0, 0.3), MIN_CONFIDENCE)

    assert read_matte(square(0.0, 0.3), 0.25).alpha.max() == 255


def test_confidence_does_not_depend_on_the_subjects_size() -> None:
    small = np.zeros((1024, 1024), np.float32)
    small[:3, :3] = 0.97

    assert confidence_of(small) == pytest.approx(0.97, rel=1e-3)
    assert confidence_of(square(0.0, 0.97)) == pytest.approx(0.97, rel=1e-3)
    assert confidence_of(np.zeros((1024, 1024), np.float32)) == 0.0


@given(arrays(np.float32, (8, 8), elements=st.floats(0, 1, width=32)))
def test_confidence_lies_between_the_mean_and_the_maximum(cells: npt.NDArray[np.float32]) -> None:
    confidence = confidence_of(np.kron(cells, np.ones((128, 128), np.float32)))

    assert 0.0 <= confidence <= 1.0
    assert float(cells.mean()) - 1e-3 <= confidence <= float(cells.max()) + 1e-3


def strokes(every: int, width: int, reach: slice = slice(0, 1024)) -> npt.NDArray[np.float32]:
    """Upright strokes, and the network sure of them."""
    raw = np.zeros((1024, 1024), np.float32)
    raw[reach, np.arange(1024) % every < width] = 0.99
    return raw


def test_strokes_all_over_the_picture_are_no_subject() -> None:
    assert confidence_of(strokes(60, 20)) < 0.1  # out of the picture on two sides, as the joints of a wall
    assert confidence_of(strokes(24, 8, slice(100, 900))) < 0.1  # in many parts, as a text


def test_a_thing_of_strokes_is_a_subject() -> None:
    fence = strokes(60, 12, slice(200, 800))
    fence[500:512, 100:900] = 0.99
    fence[:, :100] = fence[:, 900:] = 0

    assert confidence_of(fence) > 0.9


def test_what_is_no_number_is_not_the_pictures_fault() -> None:
    raw = square(0.0, 0.97)
    raw[3, 5] = np.nan

    with pytest.raises(FloatingPointError):
        read_matte(raw, MIN_CONFIDENCE)


@pytest.mark.parametrize("size", [(50, 50), (1024, 1024), (640, 2000)])
def test_it_is_enlarged_to_the_pictures_size(size: tuple[int, int]) -> None:
    width, height = size
    alpha = enlarge_as_rembg(read_matte(square(0.0, 1.0), MIN_CONFIDENCE).alpha, width, height)

    assert alpha.dtype == np.uint8
    assert alpha.shape == (height, width)
    assert alpha[height // 2, width // 2] == 255


@pytest.mark.parametrize(
    "name",
    ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "camera.png", "motorcycle_left.png", "coins.png"],
)
def test_photographs_of_something_pass(name: str) -> None:
    assert confidence_of(raw_of_photo(name)) > MIN_CONFIDENCE + 0.3


@pytest.mark.parametrize(
    "name", ["grass.png", "gravel.png", "brick.png", "page.png", "text.png", "moon.png", "hubble_deep_field.jpg"]
)
def test_photographs_of_nothing_in_particular_fail(name: str) -> None:
    assert confidence_of(raw_of_photo(name)) < MIN_CONFIDENCE - 0.1


@pytest.mark.parametrize(
    "picture",
    [
        np.full((300, 400, 3), 128, np.uint8),
        np.tile(np.linspace(0, 255, 400).astype(np.uint8)[None, :, None], (300, 1, 3)),
        np.asarray(noise(400, 300)),
        np.kron(np.indices((8, 10)).sum(0) % 2, np.ones((40, 40)))[..., None].repeat(3, 2).astype(np.uint8) * 255,
    ],
    ids=["flat", "gradient", "noise", "chequers"],
)
def test_drawn_pictures_of_nothing_fail(picture: npt.NDArray[np.uint8], onnx_engine: OnnxRuntimeEngine) -> None:
    assert confidence_of(onnx_engine.infer(preprocess(picture))) < MIN_CONFIDENCE
