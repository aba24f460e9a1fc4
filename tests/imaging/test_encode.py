import io
import zipfile
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from app.imaging.compose import apply_alpha
from app.imaging.decode import decode
from app.imaging.encode import ENCODERS, encode, settled
from app.imaging.errors import DimensionsTooLarge
from app.imaging.limits import ImageLimits
from tests.imaging.pictures import decoded_png, photo

NOISE = np.random.default_rng(2).integers(0, 256, (40, 60, 4), dtype=np.uint8)
BGR = [2, 1, 0]


def cutout(height: int = 300, width: int = 420) -> npt.NDArray[np.uint8]:
    """A soft-edged oval of a photograph. BGRA, uint8, H x W x 4."""
    alpha = np.zeros((height, width), np.uint8)
    cv2.ellipse(alpha, (width // 2, height // 2), (width // 3, height // 3), 0, 0, 360, 255, -1)
    image = decode(photo("coffee.png"), ImageLimits())
    return apply_alpha(image.rgb[:height, :width], np.asarray(cv2.GaussianBlur(alpha, (0, 0), 4), dtype=np.uint8))


def opened(data: bytes, mode: str = "RGBA") -> tuple[Image.Image, npt.NDArray[np.int64]]:
    """The picture, and its pixels in OpenCV's order."""
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == mode
        pixels = np.asarray(image).astype(int)
        return image, pixels if mode == "L" else pixels[..., [*BGR, 3][: len(mode)]]


def test_every_pixel_of_a_png_survives() -> None:
    assert np.array_equal(decoded_png(encode(NOISE, "png"))[..., [2, 1, 0, 3]], NOISE)


@pytest.mark.parametrize("format_", ["png", "webp", "zip"])
def test_a_view_is_as_good_as_its_copy(format_: str) -> None:
    view = cutout()[25:250, 31:402]

    assert encode(view, format_) == encode(view.copy(), format_)


@pytest.mark.parametrize("format_", sorted(ENCODERS))
def test_the_same_cutout_is_the_same_file(format_: str) -> None:
    pixels = NOISE[..., :3] if format_ == "jpg" else NOISE

    assert encode(pixels.copy(), format_) == encode(pixels.copy(), format_)


def test_auto_is_a_jpg_where_nothing_is_transparent() -> None:
    opaque, nearly = NOISE.copy(), NOISE.copy()
    opaque[..., 3] = nearly[..., 3] = 255
    nearly[-1, -1, 3] = 254
    for pixels, format_ in ((NOISE[..., :3], "jpg"), (NOISE[..., 0], "jpg"), (opaque, "jpg"), (nearly, "png")):
        made, told = settled(pixels, "auto")
        assert told == format_
        assert np.array_equal(made, opaque[..., :3] if pixels is opaque else pixels)
        assert encode(made, told)
    for format_ in ENCODERS:
        made, told = settled(opaque, format_)
        assert (made is opaque, told) == (True, format_)


def test_a_png_holds_pixels_and_nothing_else() -> None:
    png, chunks = encode(NOISE, "png"), set()
    position = 8
    while position < len(png):
        chunks.add(png[position + 4 : position + 8])
        position += 12 + int.from_bytes(png[position : position + 4], "big")

    assert chunks == {b"IHDR", b"IDAT", b"IEND"}


def test_the_alpha_of_a_webp_is_exact_and_its_colours_are_near() -> None:
    pixels = cutout()

    image, found = opened(encode(pixels, "webp"))

    assert image.format == "WEBP"
    assert not {"exif", "icc_profile", "xmp"} & set(image.info)
    assert np.array_equal(found[..., 3], pixels[..., 3])
    opaque = pixels[..., 3] == 255
    assert np.abs(found - pixels)[opaque].mean() < 3
    assert len(encode(pixels, "webp")) < len(encode(pixels, "png")) / 5


def test_a_webp_cannot_be_wider_than_its_format_allows() -> None:
    with pytest.raises(DimensionsTooLarge, match="max 16383x16383"):
        encode(np.zeros((1, 16384, 4), np.uint8), "webp")


def test_a_webp_may_be_as_large_and_as_detailed_as_a_picture_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least effort describes such a picture in more bytes than the format has room for."""
    tile = np.random.default_rng(3).integers(96, 160, (32, 32, 3), dtype=np.uint8).repeat(2, 0).repeat(2, 1)
    efforts, save = [], Image.Image.save

    def watched(image: Image.Image, *arguments: Any, **options: Any) -> None:
        efforts.append(options["method"])
        save(image, *arguments, **options)

    monkeypatch.setattr(Image.Image, "save", watched)

    with Image.open(io.BytesIO(encode(np.tile(tile, (64, 64, 1)), "webp"))) as image:
        assert (image.format, image.size) == ("WEBP", (4096, 4096))
    assert efforts == [0, 4]  # of a smaller or plainer one this test would prove nothing


def test_memory_that_is_short_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fail(*_: object, **options: object) -> None:
        asked.append(options)
        raise ValueError("encoding error 1")

    monkeypatch.setattr(Image.Image, "save", fail)

    with pytest.raises(ValueError, match="encoding error 1"):
        encode(NOISE, "webp")
    assert len(asked) == 1


@pytest.mark.parametrize("format_", ["png", "webp", "jpg"])
def test_what_lies_on_a_background_has_no_alpha(format_: str) -> None:
    pixels = np.ascontiguousarray(cutout()[..., :3])

    _, found = opened(encode(pixels, format_), "RGB")

    assert np.abs(found - pixels).mean() < 3


def test_a_jpg_keeps_colour_where_its_edge_is() -> None:
    """Blue beside red, the edge in the middle of a pair of columns, which halved colour would mix."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :31] = (255, 0, 0)
    pixels[:, 31:] = (0, 0, 255)

    image, found = opened(encode(pixels, "jpg"), "RGB")

    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert np.abs(found - pixels)[:, 30:32].max() < 40


def test_a_jpg_with_transparency_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="background"):
        encode(NOISE, "jpg")


def test_a_zip_holds_colour_and_alpha_apart() -> None:
    pixels = cutout()

    with zipfile.ZipFile(io.BytesIO(encode(pixels, "zip"))) as archive:
        assert archive.namelist() == ["color.jpg", "alpha.png"]
        for entry in archive.infolist():
            assert (entry.compress_type, entry.date_time[0]) == (zipfile.ZIP_STORED, 1980)
            assert entry.external_attr >> 16 == 0o644
        assert archive.testzip() is None
        _, colour = opened(archive.read("color.jpg"), "RGB")
        _, alpha = opened(archive.read("alpha.png"), "L")

    assert np.array_equal(alpha, pixels[..., 3])
    assert np.abs(colour - pixels[..., :3])[pixels[..., 3] > 0].mean() < 3


def test_no_black_bleeds_into_the_edge_of_a_zips_colour() -> None:
    pixels = cutout()
    pixels[..., :3][pixels[..., 3] > 0] = (200, 210, 220)

    with zipfile.ZipFile(io.BytesIO(encode(pixels, "zip"))) as archive:
        _, colour = opened(archive.read("color.jpg"), "RGB")

    assert np.abs(colour - (200, 210, 220))[pixels[..., 3] > 0].max() <= 1
    assert (colour[:20, :20] <= 1).all()  # far away there is nothing to take a colour from


@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (17, 1), (63, 65), (130, 9)])
@pytest.mark.parametrize("format_", ["png", "webp", "zip"])
def test_odd_sizes(shape: tuple[int, int], format_: str) -> None:
    data = encode(np.full((*shape, 4), 200, np.uint8), format_)

    if format_ == "zip":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data = archive.read("color.jpg")
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == shape[::-1]
