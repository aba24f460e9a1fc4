import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngImageFile

from app.imaging.decode import DecodedImage, decode
from app.imaging.errors import ImageError
from app.imaging.limits import ImageLimits
from app.imaging.structure import MAX_PROFILE_BYTES
from tests.imaging.pictures import corners, disc, encoded, exif, noise, photo

# Pillow warns of oddities in a picture's metadata; what comes out is judged here all the same.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

LIMITS = ImageLimits()


def read(data: bytes) -> DecodedImage:
    image = decode(data, LIMITS)
    assert image.rgb.dtype == np.uint8
    assert image.rgb.shape[2:] == (3,)
    if image.alpha is not None:
        assert image.alpha.dtype == np.uint8
        assert image.alpha.shape == image.rgb.shape[:2]
    return image


def code_of(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, LIMITS)
    return caught.value.code


@pytest.mark.parametrize(
    ("format_", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 12),
        ("JPEG", {"quality": 95}, 12),
        ("JPEG", {"quality": 95, "progressive": True}, 12),
    ],
)
def test_colours_survive(format_: str, options: dict[str, Any], tolerance: int) -> None:
    image = read(encoded(disc(), format_, **options))

    assert image.alpha is None
    assert _near(image.rgb[10, 10], (90, 150, 220), tolerance)
    assert _near(image.rgb[120, 160], (230, 120, 20), tolerance)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
def test_every_orientation_comes_out_upright(orientation: int, format_: str) -> None:
    upright = corners()
    undo = [None, None, 0, 3, 1, 5, 2, 6, 4][orientation]  # the transposition that a camera would have applied
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))

    image = read(encoded(stored, format_, exif=exif(orientation), quality=95))

    expected = np.asarray(upright)
    assert image.rgb.shape == expected.shape
    for row, column in ((10, 10), (10, 110), (70, 10), (70, 110)):
        assert _near(image.rgb[row, column], expected[row, column], 30)


def test_alpha_is_turned_with_the_picture() -> None:
    rgba = corners().convert("RGBA")
    rgba.putpixel((0, 0), (0, 0, 0, 0))

    image = read(encoded(rgba.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif(6)))

    assert image.alpha is not None
    assert image.alpha[0, 0] == 0
    assert np.count_nonzero(image.alpha == 0) == 1


def test_bad_exif_does_no_harm() -> None:
    assert read(encoded(disc(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")).rgb.shape == (240, 320, 3)


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_grey_palette_and_one_bit_become_rgb(mode: str) -> None:
    stripes = Image.new("L", (80, 60))
    stripes.paste(255, (0, 0, 40, 60))

    image = read(encoded(stripes.convert(mode), "PNG"))

    assert image.alpha is None
    assert image.rgb[30, 10].tolist() == [255, 255, 255]
    assert image.rgb[30, 70].tolist() == [0, 0, 0]


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    ramp = np.tile(np.linspace(0, 65535, 64, dtype=np.uint16), (64, 1))

    image = read(encoded(Image.fromarray(ramp), "PNG"))

    assert np.array_equal(image.rgb[0, :, 0], ramp[0] >> 8)


@pytest.mark.parametrize(
    ("colour_type", "pixel", "rgb", "alpha"),
    [
        (0, (0x8000,), (128, 128, 128), None),
        (2, (0xFF00, 0x8000, 0x0100), (255, 128, 1), None),
        (4, (0x8000, 0x4000), (128, 128, 128), 64),
        (6, (0xFF00, 0x8000, 0x0100, 0x4000), (255, 128, 1), 64),
    ],
)
def test_every_sixteen_bit_png(
    colour_type: int, pixel: tuple[int, ...], rgb: tuple[int, ...], alpha: int | None
) -> None:
    image = read(_sixteen_bit_png(colour_type, pixel))

    assert image.rgb[0, 0].tolist() == list(rgb)
    assert (None if image.alpha is None else int(image.alpha[0, 0])) == alpha


@pytest.mark.parametrize(
    ("colour_type", "pixel", "key"),
    [(0, (0x1234,), (0x1234,)), (2, (0x1234, 0x8000, 0xFFFF), (0x1234, 0x8000, 0xFFFF))],
)
def test_a_sixteen_bit_png_may_name_a_transparent_colour(
    colour_type: int, pixel: tuple[int, ...], key: tuple[int, ...]
) -> None:
    image = read(_sixteen_bit_png(colour_type, pixel, key))

    assert image.alpha is not None
    assert image.alpha.max() == 0


def test_an_eight_bit_png_may_name_a_transparent_colour() -> None:
    for mode, key in (("RGB", (90, 150, 220)), ("L", 140), ("1", 0)):
        stored = disc().convert(mode)
        image = read(encoded(stored, "PNG", transparency=key))
        expected = (np.asarray(stored) != key).reshape(240, 320, -1).any(axis=2) * np.uint8(255)
        assert image.alpha is not None, mode
        assert 0 < np.count_nonzero(expected == 0) < expected.size, mode
        assert np.array_equal(image.alpha, expected), mode


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_kept_apart(mode: str) -> None:
    stored = disc().convert(mode)
    stored.putalpha(Image.linear_gradient("L").resize((320, 240)))

    image = read(encoded(stored, "PNG"))

    assert image.alpha is not None
    assert np.array_equal(image.alpha, np.asarray(stored.getchannel("A")))
    assert np.array_equal(image.rgb, np.asarray(stored.convert("RGB")))


def test_a_palette_may_have_soft_entries() -> None:
    stored = disc().quantize(4)

    image = read(encoded(stored, "PNG", transparency=bytes([0, 64, 128, 255])))

    assert image.alpha is not None
    expected = np.asarray([0, 64, 128, 255], np.uint8)[np.asarray(stored)]
    assert np.array_equal(image.alpha, expected)


def test_alpha_that_hides_nothing_is_none() -> None:
    assert read(encoded(disc().convert("RGBA"), "PNG")).alpha is None


def test_the_empty_alpha_of_a_bmp_is_ignored() -> None:
    stored = disc().convert("RGBA")
    stored.putalpha(0)
    bmp = bytearray(encoded(stored, "BMP"))

    image = read(_with_alpha_mask(bmp))

    assert image.alpha is None
    assert _near(image.rgb[120, 160], (230, 120, 20), 0)


@pytest.mark.parametrize("colour", ["red", "white", "black", "#4080c0"])
def test_cmyk_comes_out_in_its_colours(colour: str) -> None:
    stored = Image.new("RGB", (64, 64), colour).convert("CMYK")

    image = read(encoded(stored, "JPEG", quality=95))

    assert _near(image.rgb[32, 32], np.asarray(Image.new("RGB", (1, 1), colour))[0, 0], 6)


def test_a_profile_is_converted_to_srgb() -> None:
    swapped = _profile_with_swapped_primaries()

    image = read(encoded(Image.new("RGB", (64, 64), (255, 0, 0)), "PNG", icc_profile=swapped))

    assert image.rgb[0, 0].argmax() == 1  # what the file calls red is green


def test_a_photograph_in_adobe_rgb_is_converted() -> None:
    data = photo("rocket.jpg")
    with Image.open(io.BytesIO(data)) as stored:
        as_stored = np.asarray(stored.convert("RGB"))

    assert np.abs(decode(data, LIMITS).rgb.astype(int) - as_stored).mean() > 1


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
def test_a_grey_picture_may_carry_a_screens_profile(format_: str) -> None:
    with Image.open(io.BytesIO(photo("rocket.jpg"))) as stored:
        adobe_rgb = stored.info["icc_profile"]

    image = read(encoded(Image.new("L", (64, 64), 10), format_, icc_profile=adobe_rgb, quality=95))

    assert _near(image.rgb[5, 5], (3, 3, 3), 1)  # Adobe RGB has no linear part near black


@pytest.mark.parametrize(
    "profile",
    [b"", b"not a profile", b"x" * (MAX_PROFILE_BYTES + 1)],
    ids=["empty", "broken", "huge"],
)
def test_a_profile_that_cannot_be_used_is_ignored(profile: bytes) -> None:
    image = read(encoded(disc(), "JPEG", icc_profile=profile, quality=95))

    assert _near(image.rgb[120, 160], (230, 120, 20), 6)


def test_a_profile_for_another_kind_of_picture_is_ignored() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    image = read(encoded(Image.new("CMYK", (64, 64), (0, 255, 255, 0)), "JPEG", icc_profile=srgb, quality=95))

    assert _near(image.rgb[5, 5], (255, 0, 0), 6)


@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_an_animated_picture_is_its_first_frame(format_: str) -> None:
    data = encoded(disc(), format_, save_all=True, append_images=[noise(320, 240)], lossless=True)

    assert np.array_equal(read(data).rgb, np.asarray(disc()))


def test_a_phones_mpo_is_its_first_picture() -> None:
    data = encoded(disc(), "MPO", save_all=True, append_images=[noise(320, 240)], quality=95)

    assert _near(read(data).rgb[120, 160], (230, 120, 20), 6)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_every_bmp(mode: str) -> None:
    stored = disc().convert(mode)

    assert np.array_equal(read(encoded(stored, "BMP")).rgb, np.asarray(stored.convert("RGB")))


def test_an_interlaced_png() -> None:
    assert np.array_equal(read(_interlaced_png()).rgb, np.full((64, 64, 3), 200))


@pytest.mark.parametrize(
    ("format_", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
    ],
)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_pixels_that_end_too_soon_are_truncated(format_: str, options: dict[str, Any], share: float) -> None:
    data = encoded(noise(), format_, **options)

    assert code_of(data[: int(len(data) * share)]) == "image_truncated"


def test_pixels_that_make_no_sense_are_corrupt() -> None:
    data = bytearray(encoded(noise(), "PNG"))
    data[len(data) // 2] ^= 0xFF  # the checksum tells

    assert code_of(bytes(data)) == "image_corrupt"


def test_limits_hold_here_too() -> None:
    with pytest.raises(ImageError, match=r"max 100x100"):
        decode(encoded(disc(), "PNG"), ImageLimits(max_side=100))


class TimeLimit(Exception):
    """As Celery's: any Exception, raised by a signal in the middle of anything."""


@pytest.mark.parametrize("fault", [MemoryError(), OSError("[Errno 12] Cannot allocate memory"), TimeLimit()])
@pytest.mark.parametrize("where", ["open", "load"])
def test_what_is_not_the_pictures_fault_passes_through(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, where: str
) -> None:
    def fail(*_: object) -> None:
        raise fault

    data = encoded(disc(), "PNG")
    monkeypatch.setattr(PngImageFile, "_open" if where == "open" else "load", fail)

    with pytest.raises(type(fault)):
        decode(data, LIMITS)


def grey_profile(gamma: int) -> bytes:
    """The smallest ICC profile of a grey device."""
    white = b"XYZ \0\0\0\0" + struct.pack(">III", 63190, 65536, 54061)  # D50
    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, gamma * 256, 0)
    tags = struct.pack(">I4sII4sII", 2, b"wtpt", 156, len(white), b"kTRC", 156 + len(white), len(curve))
    size = 128 + len(tags) + len(white) + len(curve)
    head = struct.pack(">I4sI4s4s4s", size, b"", 0x02400000, b"mntr", b"GRAY", b"XYZ ").ljust(36, b"\0") + b"acsp"
    illuminant = struct.pack(">III", 63190, 65536, 54061)
    return head.ljust(68, b"\0") + illuminant + b"\0" * 48 + tags + white + curve


def test_a_grey_profile_counts_with_transparency_too() -> None:
    linear = grey_profile(gamma=1)
    grey = Image.new("L", (60, 60), 138)
    both = Image.merge("LA", (grey, Image.new("L", (60, 60), 200)))

    plain = decode(encoded(grey, "PNG", icc_profile=linear), LIMITS).rgb[0, 0, 0]

    assert plain > 180
    assert decode(encoded(both, "PNG", icc_profile=linear), LIMITS).rgb[0, 0, 0] == plain


@settings(max_examples=250)
@given(data=st.data())
def test_a_damaged_picture_gives_pixels_or_an_image_error(data: st.DataObject) -> None:
    format_, mode = data.draw(
        st.sampled_from(
            [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "P"), ("WEBP", "RGB"), ("BMP", "P")]
        )
    )
    options = {} if format_ == "BMP" else {"exif": exif(6), "icc_profile": _profile_with_swapped_primaries()}
    picture = bytearray(encoded(noise().convert(mode), format_, **options))
    for _ in range(data.draw(st.integers(1, 6))):
        picture[data.draw(st.integers(0, len(picture) - 1))] = data.draw(st.integers(0, 255))

    with contextlib.suppress(ImageError):  # anything else is what this test looks for
        read(bytes(picture))


def _near(pixel: npt.ArrayLike, wanted: npt.ArrayLike, tolerance: int) -> bool:
    return bool((np.abs(np.asarray(pixel, int) - np.asarray(wanted, int)) <= tolerance).all())


def _profile_with_swapped_primaries() -> bytes:
    """sRGB with the red and green primaries' names exchanged in its tag table. Without its date: always the same."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile[:24] + bytes(12) + profile[36:]
    return profile.replace(b"rXYZ", b"tmpX", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"tmpX", b"gXYZ", 1)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _sixteen_bit_png(colour_type: int, pixel: tuple[int, ...], key: tuple[int, ...] = (), side: int = 64) -> bytes:
    """One colour all over. Pillow reads such files and writes only some of them."""
    row = b"\0" + struct.pack(f">{len(pixel)}H", *pixel) * side
    chunks = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 16, colour_type, 0, 0, 0))
    if key:
        chunks += _chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
    return b"\x89PNG\r\n\x1a\n" + chunks + _chunk(b"IDAT", zlib.compress(row * side)) + _chunk(b"IEND", b"")


def _interlaced_png() -> bytes:
    """64 x 64, grey 200, in the seven passes of Adam7. Pillow reads such files and writes none."""
    passes = [(8, 8), (8, 8), (16, 8), (16, 16), (32, 16), (32, 32), (64, 32)]
    rows = b"".join((b"\0" + b"\xc8" * width) * height for width, height in passes)
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _with_alpha_mask(bmp: bytearray) -> bytes:
    """A 32-bit BMP as Windows programs write it: a version 4 header whose masks name an alpha channel."""
    pixels = bytes(bmp[int.from_bytes(bmp[10:14], "little") :])
    width, height = struct.unpack_from("<ii", bmp, 18)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(pixels), 2835, 2835, 0, 0) + masks
    info = info.ljust(108, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + 108 + len(pixels), 0, 0, 14 + 108) + info + pixels
