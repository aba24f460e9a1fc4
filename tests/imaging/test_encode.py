import numpy as np

from app.imaging.encode import encode_png
from tests.imaging.pictures import decoded_png

RGBA = np.random.default_rng(2).integers(0, 256, (40, 60, 4), dtype=np.uint8)


def test_every_pixel_survives() -> None:
    assert np.array_equal(decoded_png(encode_png(RGBA)), RGBA)


def test_a_view_survives_too() -> None:
    view = RGBA[5:30, 10:50]

    assert np.array_equal(decoded_png(encode_png(view)), view)


def test_it_holds_pixels_and_nothing_else() -> None:
    png, chunks = encode_png(RGBA), set()
    position = 8
    while position < len(png):
        chunks.add(png[position + 4 : position + 8])
        position += 12 + int.from_bytes(png[position : position + 4], "big")

    assert chunks == {b"IHDR", b"IDAT", b"IEND"}
