"""What is shown to a reader of a JPEG or a PNG: all that decides its pixels, and nothing else."""

import contextlib
import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from app.imaging.errors import ImageError, TooComplex
from app.imaging.structure import MAX_PARTS, MAX_PROFILE_BYTES, Essence, essence_of_jpeg, essence_of_png, size_of_webp
from tests.hostile.parts import EOI, SOI, chunk, png, segment, sos
from tests.imaging.pictures import disc, encoded, exif, noise

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
COM, APP1 = 0xFE, 0xE1


def jpeg_of(data: bytes, *, pixels: bool = True) -> Essence:
    return essence_of_jpeg(io.BytesIO(data), pixels=pixels)


def png_of(data: bytes, *, pixels: bool = True) -> Essence:
    return essence_of_png(io.BytesIO(data), pixels=pixels)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_pixels_of_a_jpeg_are_the_same(mode: str, progressive: bool) -> None:
    data = encoded(noise().convert(mode), "JPEG", progressive=progressive, comment=b"hello", exif=exif(6), xmp=b"<x/>")

    essence = jpeg_of(data)

    with Image.open(io.BytesIO(data)) as whole, Image.open(essence.file) as kept:
        assert np.array_equal(np.asarray(kept), np.asarray(whole))
        assert not {"exif", "comment", "xmp"} & set(kept.info)
    assert essence.exif == exif(6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_the_pixels_of_a_png_are_the_same(mode: str) -> None:
    data = encoded(disc().convert(mode), "PNG", exif=exif(6), dpi=(300, 300))

    essence = png_of(data)

    with Image.open(io.BytesIO(data)) as whole, Image.open(essence.file) as kept:
        assert np.array_equal(np.asarray(kept.convert("RGBA")), np.asarray(whole.convert("RGBA")))
        assert not {"exif", "dpi"} & set(kept.info)
    assert essence.exif == exif(6).removeprefix(b"Exif\0\0")


@pytest.mark.parametrize(("format_", "essence_of"), [("JPEG", jpeg_of), ("PNG", png_of)])
def test_a_header_is_small(format_: str, essence_of: Callable[..., Essence]) -> None:
    data = encoded(noise(640, 480), format_, icc_profile=SRGB, **({"quality": 95} if format_ == "JPEG" else {}))

    header = essence_of(data, pixels=False).file.read()

    assert len(header) < 1000 < len(data)
    assert b"ICC" not in header
    with Image.open(io.BytesIO(header)) as image:
        assert image.size == (640, 480)


@pytest.mark.parametrize("size", [len(SRGB), MAX_PROFILE_BYTES - 2000, MAX_PROFILE_BYTES + 1])
def test_a_profile_is_kept_unless_it_is_huge(size: int) -> None:
    profile = SRGB.ljust(size, b"\0")

    for format_, essence_of in (("JPEG", jpeg_of), ("PNG", png_of)):
        with Image.open(essence_of(encoded(disc(), format_, icc_profile=profile)).file) as image:
            assert image.info.get("icc_profile") == (profile if size <= MAX_PROFILE_BYTES else None)


@pytest.mark.parametrize("length", [0, 1, 61, 62, 63, 64, 65, 65_535, 65_536, 65_599, 65_600, 65_601, 131_135, 131_136])
@pytest.mark.parametrize("junk", [b"\0", b"\xff", b"\xff\0"])
def test_a_marker_is_found_wherever_it_stands(length: int, junk: bytes) -> None:
    """Also where it lies across two of the blocks that are read."""
    data = encoded(noise(), "JPEG")
    end = 4 + int.from_bytes(data[4:6], "big")

    assert jpeg_of(data[:end] + (junk * length)[:length] + data[end:]).file.read() == jpeg_of(data).file.read()


def test_scans_are_counted_to_the_end_of_the_picture_and_no_further() -> None:
    data = encoded(noise(), "JPEG", progressive=True)
    scans = sos([1]) * 99

    for harmless in (data + scans + EOI, SOI + segment(COM, scans) + data[2:]):
        jpeg_of(harmless)
    with pytest.raises(TooComplex):
        jpeg_of(data[:-2] + scans + EOI)
    with pytest.raises(TooComplex):
        jpeg_of(data[:-2] + scans)


def test_a_second_palette_or_header_has_no_say() -> None:
    twice = png(before=chunk(b"IHDR", bytes(13)) + chunk(b"tRNS", bytes(6)) + chunk(b"tRNS", b"\1" * 6))

    once = png(before=chunk(b"tRNS", bytes(6)))

    assert png_of(twice).file.read() == once.removesuffix(chunk(b"IEND"))


def test_empty_exif_does_not_hide_what_follows() -> None:
    data = encoded(noise(), "JPEG", exif=exif(6))

    assert jpeg_of(SOI + segment(APP1, b"Exif\0\0") + data[2:]).exif == exif(6)


@pytest.mark.parametrize("pixels", [True, False])
def test_exif_is_found_behind_the_pixels(pixels: bool) -> None:
    turned = chunk(b"eXIf", exif(6)[6:])

    assert png_of(png(after=chunk(b"tEXt", b"a\0b") + turned), pixels=pixels).exif == exif(6)[6:]
    for harmless in (png() + turned, png(after=b"\0\0\0\1!!!!") + turned, png(after=turned[:-5])[:-12]):
        assert png_of(harmless, pixels=pixels).exif is None
    assert png_of(png(before=chunk(b"eXIf", b"first"), after=turned), pixels=pixels).exif == b"first"


@pytest.mark.parametrize("pixels", [True, False])
def test_parts_are_counted_to_the_end_of_a_png(pixels: bool) -> None:
    many = chunk(b"tEXt") * MAX_PARTS

    png_of(png() + many, pixels=pixels)
    for name in (b"tEXt", b"IDAT"):
        with pytest.raises(TooComplex):
            png_of(png(after=chunk(name) * MAX_PARTS), pixels=pixels)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (1, 2), (200, 333)])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": exif(6)}])
def test_a_webp_says_its_size(width: int, height: int, options: dict[str, object]) -> None:
    data = encoded(noise(width, height), "WEBP", **options)

    assert size_of_webp(io.BytesIO(data)) == (width, height)
    assert size_of_webp(io.BytesIO(data[:14])) is None


@given(data=st.binary(max_size=400), pixels=st.booleans())
def test_any_bytes_have_an_essence_or_a_fault(data: bytes, pixels: bool) -> None:
    for essence_of in (essence_of_jpeg, essence_of_png):
        with contextlib.suppress(ImageError):
            assert essence_of(io.BytesIO(data), pixels=pixels).file.read()
