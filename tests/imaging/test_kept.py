"""A matte that is kept comes back as it was, and nothing else is taken for one."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.imaging.errors import UnknownForeground
from app.imaging.kept import from_bytes, to_bytes
from app.imaging.limits import ImageLimits
from app.imaging.matte import Matte
from app.imaging.pipeline import CutoutOptions, cut_out
from tests.imaging.model import Parrot
from tests.pictures import encoded, subject

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))
ALPHA = np.add.outer(np.arange(60), np.arange(80)).astype(np.uint8)


@settings(deadline=None)
@given(SHAPES.flatmap(lambda shape: arrays(np.uint8, shape)))
def test_any_matte_comes_back(alpha: npt.NDArray[np.uint8]) -> None:
    back = from_bytes(to_bytes(alpha), (len(alpha), len(alpha[0])))
    assert back is not None
    assert (back == alpha).all()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PNG",
        to_bytes(ALPHA)[:-60],
        to_bytes(ALPHA)[:40],
        to_bytes(ALPHA.T.copy()),
        to_bytes(np.dstack([ALPHA] * 3)),
        to_bytes(ALPHA)[:80] + b"\0\0\0\0" + to_bytes(ALPHA)[84:],
        cv2.imencode(".jpg", ALPHA)[1].tobytes(),
    ],
    ids=["nothing", "no picture", "without its end", "its head", "another size", "in colour", "damaged", "a JPEG"],
)
def test_what_is_no_such_matte_is_not_taken(data: bytes) -> None:
    assert from_bytes(data, (60, 80)) is None


def a_matte(confidence: float = 0.9) -> Matte:
    alpha = np.zeros((160, 200), np.uint8)
    alpha[40:120, 50:150] = 255
    return Matte(alpha, confidence)


def test_a_kept_matte_takes_the_place_of_the_network() -> None:
    stages: list[str] = []
    nobody = Parrot(np.full((1024, 1024), np.nan, np.float32))
    options = CutoutOptions(trim=False)
    picture = encoded(subject(200, 160))
    made = cut_out(picture, nobody, options, ImageLimits(), stages.append, lambda shape: a_matte())
    assert stages == ["decoding", "refining", "encoding"]
    assert (made.confidence, made.found) == (0.9, None)
    pixels = cv2.imdecode(np.frombuffer(made.data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    assert (pixels[..., 3] == a_matte().alpha).all()


def test_a_matte_that_was_found_is_given_out_as_it_was_before_the_picture_s_own_transparency() -> None:
    raw = np.zeros((1024, 1024), np.float32)
    raw[200:800, 200:800] = 1
    picture = subject(200, 160)
    picture.putalpha(128)
    asked: list[tuple[int, int]] = []

    def not_kept(shape: tuple[int, int]) -> None:
        asked.append(shape)

    data = encoded(picture, "PNG")
    first = cut_out(data, Parrot(raw), CutoutOptions(), ImageLimits(), find_kept=not_kept)
    assert asked == [(160, 200)]
    assert first.found is not None
    assert first.found.alpha.max() == 255
    found = first.found
    again = cut_out(data, Parrot(raw * np.nan), CutoutOptions(), ImageLimits(), find_kept=lambda _: found)
    assert again.data == first.data


def test_a_kept_matte_that_was_hardly_sure_is_judged_by_the_limit_of_today() -> None:
    picture = encoded(subject(200, 160))
    with pytest.raises(UnknownForeground):
        cut_out(
            picture,
            Parrot(np.zeros((1024, 1024), np.float32)),
            CutoutOptions(),
            ImageLimits(),
            find_kept=lambda _: a_matte(0.2),
        )
