import io
import struct

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from app.imaging import png
from app.imaging.png import write_png

Pixels = npt.NDArray[np.uint8]

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def read(data: bytes) -> Pixels:
    """In OpenCV's order; Pillow is the judge, and strict about checksums."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        pixels = np.asarray(image)
        return pixels if image.mode == "L" else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def noise(height: int, width: int, channels: int) -> Pixels:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


@given(
    st.one_of(
        arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=20)),
        arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([3, 4]))),
    )
)
def test_every_pixel_survives(pixels: Pixels) -> None:
    assert np.array_equal(read(write_png(pixels)), pixels)


@pytest.mark.parametrize("channels", MODES)
@pytest.mark.parametrize(("height", "width"), [(1, 5000), (5000, 1), (700, 900)])
def test_strips_meet_without_a_seam(height: int, width: int, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noise(height, width, channels)
    at_once = write_png(pixels)
    monkeypatch.setattr(png, "_STRIP_BYTES", 7000)

    assert np.array_equal(read(write_png(pixels)), pixels)
    assert np.array_equal(read(at_once), pixels)


def test_a_view_is_as_good_as_its_copy() -> None:
    view = noise(300, 400, 4)[20:290, 3:350]

    assert write_png(view) == write_png(view.copy())


@pytest.mark.parametrize("channels", MODES)
def test_other_readers_agree_and_find_nothing_but_pixels(channels: int) -> None:
    pixels = noise(40, 60, channels)
    data = write_png(pixels)

    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    assert np.array_equal(decoded, pixels)
    assert chunks(data) == ["IHDR", "IDAT", "IEND"]
    with Image.open(io.BytesIO(data)) as image:
        assert (image.mode, image.info) == (MODES[channels], {})


def test_it_packs() -> None:
    smooth = np.add.outer(np.arange(600), np.arange(800)).astype(np.uint8)

    assert len(write_png(smooth)) < smooth.size / 20


def chunks(data: bytes) -> list[str]:
    names, at = [], 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        names.append(data[at + 4 : at + 8].decode())
        at += 12 + length
    return names
