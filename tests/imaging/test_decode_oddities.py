"""Pictures that are whole, and that few programs write."""

import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from app.imaging.decode import DecodedImage, decode
from app.imaging.errors import ImageError
from app.imaging.limits import ImageLimits
from tests.hostile.parts import ARITHMETIC, EOI, GREY, PALETTE, RGB, chunk, grey_jpeg, png
from tests.imaging.pictures import corners, disc, encoded, exif, noise

SRGB_GAMMA = 45455


def read(data: bytes) -> DecodedImage:
    return decode(data, ImageLimits())


def code_of(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        read(data)
    return caught.value.code


def of_sixteen_bits(*pixels: tuple[int, int, int], before: bytes = b"") -> bytes:
    """Rows of 64 pixels that begin with these, the others white."""
    row = b"\0" + b"".join(struct.pack(">3H", *pixel) for pixel in pixels)
    return png(depth=16, colour=RGB, before=before, pixels=zlib.compress(row.ljust(385, b"\xff") * 64))


def test_a_colour_of_sixteen_bits_is_transparent_to_the_last_bit() -> None:
    key = (0x0012, 0x80FF, 0x0001)
    named = chunk(b"tRNS", struct.pack(">3H", *key))

    image = read(of_sixteen_bits((0x0012, 0x80FF, 0x0002), key, (0x0112, 0x80FF, 0x0001), before=named))

    assert image.alpha is not None
    assert image.alpha[5, :4].tolist() == [255, 0, 255, 255]


def test_near_blacks_are_not_black() -> None:
    black = chunk(b"tRNS", bytes(6))

    assert read(of_sixteen_bits((1, 0, 0), (0, 1, 0), (0, 0, 255), before=black)).alpha is None


def test_a_colour_of_eight_bits_is_named_by_the_lower_half() -> None:
    """As the specification has it. Some writers leave something in the upper one."""
    red = chunk(b"tRNS", struct.pack(">3H", 0xABFF, 0, 0xFF00))
    pixels = zlib.compress((b"\0" + b"\xff\0\0" + b"\xff\0\1" * 63) * 64)

    image = read(png(before=red, pixels=pixels))

    assert image.alpha is not None
    assert image.alpha[5, :2].tolist() == [0, 255]


@pytest.mark.parametrize(
    ("colour", "key"),
    [(GREY, b""), (GREY, b"\0"), (GREY, bytes(3)), (RGB, bytes(2)), (RGB, bytes(7)), (PALETTE, bytes(257))],
)
def test_transparency_of_another_length_is_none(colour: int, key: bytes) -> None:
    whole = png(colour=colour)

    image = read(png(colour=colour, before=chunk(b"tRNS", key)))

    assert image.alpha is None
    assert np.array_equal(image.rgb, read(whole).rgb)


def of_gamma(gamma: int, value: int, *others: bytes, colour: int = RGB) -> npt.NDArray[np.uint8]:
    """What a value becomes in a picture that says its gamma, and what else is said."""
    pixels = zlib.compress((b"\0" + bytes([value] * (192 if colour == RGB else 64))) * 64)
    before = chunk(b"gAMA", struct.pack(">I", gamma)) + b"".join(others)
    return np.asarray(read(png(colour=colour, before=before, pixels=pixels)).rgb[7, 7])


@pytest.mark.parametrize("colour", [RGB, GREY, PALETTE])
def test_linear_light_is_made_brighter(colour: int) -> None:
    """By the formula of the PNG specification for a display of 2.2."""
    grey_palette = chunk(b"PLTE", bytes(level for level in range(256) for _ in range(3)))
    others = [grey_palette] if colour == PALETTE else []

    for value in (0, 1, 55, 128, 255):
        wanted = round(255 * (value / 255) ** (1 / 2.2))
        assert of_gamma(100_000, value, *others, colour=colour).tolist() == [wanted] * 3


@pytest.mark.parametrize("gamma", [0, 15, SRGB_GAMMA, 45000, 2**32 - 1])
def test_the_usual_gamma_or_none_changes_nothing(gamma: int) -> None:
    assert of_gamma(gamma, 55).tolist() == [55, 55, 55]


def test_gamma_gives_way_to_what_says_more() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for other in (
        chunk(b"sRGB", b"\0"),
        chunk(b"cICP", b"\x09\x10\0\1"),
        chunk(b"iCCP", b"x\0\0" + zlib.compress(profile)),
    ):
        assert of_gamma(100_000, 55, other).tolist() == [55, 55, 55]


@pytest.mark.parametrize("content", [b"", b"\0\1", bytes(5)])
def test_a_gamma_of_another_length_changes_nothing(content: bytes) -> None:
    assert np.array_equal(read(png(before=chunk(b"gAMA", content))).rgb, read(png()).rgb)


def test_alpha_has_no_gamma() -> None:
    stored = disc().convert("RGBA")
    stored.putalpha(100)
    data = encoded(stored, "PNG")

    image = read(data[:33] + chunk(b"gAMA", struct.pack(">I", 100_000)) + data[33:])

    assert image.alpha is not None
    assert (image.alpha == 100).all()
    assert image.rgb[0, 0].tolist() == [159, 200, 238]  # from 90, 150, 220


def test_a_png_may_say_behind_its_pixels_which_way_up_it_is() -> None:
    data = encoded(corners().transpose(Image.Transpose.ROTATE_90), "PNG")

    image = read(data[:-12] + chunk(b"tEXt", b"a\0b") + chunk(b"eXIf", exif(6)[6:]) + data[-12:])

    assert np.array_equal(image.rgb, np.asarray(corners()))


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"restart_marker_blocks": 3}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_may_lack_its_end(mode: str, options: dict[str, object]) -> None:
    whole = encoded(noise().convert(mode), "JPEG", **options)

    image = read(whole.removesuffix(EOI))

    assert np.array_equal(image.rgb, read(whole).rgb)


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"restart_marker_blocks": 3}])
def test_a_jpeg_may_lack_no_more(options: dict[str, object]) -> None:
    whole = encoded(noise(), "JPEG", **options).removesuffix(EOI)

    assert {code_of(whole[:-missing]) for missing in (*range(2, 40), 200, 2000)} == {"image_truncated"}


def test_where_nobody_can_tell_how_much_a_jpeg_lacks_it_lacks_too_much() -> None:
    """Scans of a progressive one may be missing altogether; arithmetic leaves out zeros at the end."""
    for whole in (encoded(noise(), "JPEG", progressive=True), grey_jpeg(ARITHMETIC, 64, 60)):
        read(whole)
        assert code_of(whole.removesuffix(EOI)) in ("image_truncated", "image_corrupt")
