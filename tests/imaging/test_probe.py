import contextlib
import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.WebPImagePlugin import WebPImageFile

from app.imaging.errors import ImageError
from app.imaging.limits import ImageLimits
from app.imaging.probe import ImageFacts, probe
from tests.hostile.parts import LOSSLESS, PROGRESSIVE, bmp, grey_jpeg
from tests.imaging.pictures import disc, encoded, exif, noise, photo

# Pillow warns of oddities in a picture's metadata; whether the picture may come in is decided here all the same.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

LIMITS = ImageLimits()


def look(data: bytes, limits: ImageLimits = LIMITS) -> ImageFacts:
    return probe(io.BytesIO(data), limits)


def refusal(data: bytes, limits: ImageLimits = LIMITS) -> tuple[str, str]:
    with pytest.raises(ImageError) as caught:
        look(data, limits)
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize(
    ("format_", "options", "content_type"),
    [
        ("JPEG", {}, "image/jpeg"),
        ("JPEG", {"progressive": True}, "image/jpeg"),
        ("PNG", {}, "image/png"),
        ("WEBP", {}, "image/webp"),
        ("WEBP", {"lossless": True}, "image/webp"),
        ("BMP", {}, "image/bmp"),
    ],
)
def test_it_tells_what_the_header_says(format_: str, options: dict[str, Any], content_type: str) -> None:
    data = encoded(disc(320, 240), format_, **options)

    facts = look(data)

    assert (facts.format, facts.width, facts.height) == (format_, 320, 240)
    assert (facts.size_bytes, facts.content_type) == (len(data), content_type)


def test_it_leaves_the_file_at_its_start_whatever_happens() -> None:
    for data in (encoded(disc(), "PNG"), encoded(disc(), "PNG")[:30], b"GIF89a", b""):
        file = io.BytesIO(data)
        file.seek(len(data) // 2)
        with contextlib.suppress(ImageError):
            probe(file, LIMITS)
        assert file.tell() == 0


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 4, 5, 8])
def test_the_size_is_the_displayed_one(format_: str, orientation: int) -> None:
    facts = look(encoded(disc(320, 240), format_, exif=exif(orientation)))

    assert (facts.width, facts.height) == ((240, 320) if orientation >= 5 else (320, 240))


def test_a_phones_mpo_is_a_jpeg() -> None:
    data = encoded(disc(), "MPO", save_all=True, append_images=[disc(100, 100)])

    facts = look(data)

    assert (facts.format, facts.width, facts.height) == ("JPEG", 320, 240)


@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_an_animated_file_is_its_first_frame(format_: str) -> None:
    assert look(encoded(disc(), format_, save_all=True, append_images=[noise(320, 240)])).width == 320


def test_the_checks_have_an_order() -> None:
    tiny = ImageLimits(max_bytes=10)

    assert refusal(b"") == ("file_empty", "File is empty")
    assert refusal(b"GIF89a" + bytes(20), tiny)[0] == "file_too_large"
    assert refusal(b"GIF89a") == ("unsupported_format", "Unsupported image format: GIF")
    assert refusal(b"what is this") == ("unsupported_format", "Unsupported image format: unknown")


def test_sides_and_pixels_have_limits() -> None:
    limits = ImageLimits(min_side=50, max_side=300, max_pixels=20_000)

    assert look(encoded(disc(50, 300), "PNG"), limits).height == 300
    assert refusal(encoded(disc(301, 60), "PNG"), limits) == (
        "dimensions_too_large",
        "Image dimensions too large (max 300x300)",
    )
    assert refusal(encoded(disc(49, 60), "PNG"), limits) == (
        "dimensions_too_small",
        "Image dimensions too small (min 50x50)",
    )
    assert refusal(encoded(disc(200, 200), "PNG"), limits) == (
        "dimensions_too_large",
        "Image has too many pixels (40,000, max 20,000)",
    )


@pytest.mark.parametrize("side", [20_000, 2**31 - 1])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(1000)))

    assert refusal(data)[0] == "dimensions_too_large"


def test_a_webp_of_the_largest_size_is_refused_like_any_other() -> None:
    canvas = struct.pack("<I", 16383 - 1)[:3] * 2
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + canvas
    data = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk

    assert refusal(data)[0] == "dimensions_too_large"


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_header_that_ends_too_soon_is_truncated(format_: str) -> None:
    assert refusal(encoded(noise(), format_)[:30])[0] == "image_truncated"


def test_a_broken_header_is_corrupt() -> None:
    png = bytearray(encoded(disc(), "PNG"))
    png[20] ^= 0xFF  # in IHDR, so that its checksum is wrong

    assert refusal(bytes(png)) == ("image_corrupt", "Image is damaged and cannot be read")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (grey_jpeg(0xC1, 64, 60, bits=12), "JPEG with 12 bits"),
        (grey_jpeg(PROGRESSIVE, 64, 60, bits=12), "JPEG with 12 bits"),
        (grey_jpeg(LOSSLESS, 64, 60, bits=16), "JPEG with 16 bits"),
        (grey_jpeg(0xC5, 64, 60), "hierarchical JPEG"),
        (grey_jpeg(0xCB, 64, 60), "lossless arithmetic JPEG"),
        (grey_jpeg(0xF7, 64, 60), "JPEG-LS"),
        (bmp(64, 60, 2, pixels=bytes(9999), palette=bytes(16)), "BMP pixel depth (2)"),
        (bmp(64, 60, 64, pixels=bytes(99999)), "BMP pixel depth (64)"),
        (bmp(64, 60, 24, pixels=bytes(99999), compression=4), "BMP compression (4)"),
        (
            bmp(64, 60, 16, pixels=bytes(9999), compression=3, masks=struct.pack("<3I", 0xF00, 0xF0, 0xF)),
            "BMP bitfields layout",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_kind_that_no_reader_reads_is_named_and_not_called_damaged(data: bytes, name: str) -> None:
    assert refusal(data) == ("unsupported_format", f"Unsupported image format: {name}")


@given(data=st.binary(max_size=300), format_=st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", ""]))
def test_any_bytes_give_facts_or_an_image_error(data: bytes, format_: str) -> None:
    start = encoded(disc(), format_)[: len(data) // 2] if format_ else b""

    _facts_or_image_error(start + data)


@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_picture_gives_facts_or_an_image_error(data: st.DataObject) -> None:
    format_ = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP"]))
    picture = bytearray(encoded(noise(), format_, exif=exif(6)) if format_ != "BMP" else encoded(noise(), format_))
    for _ in range(data.draw(st.integers(1, 6))):
        picture[data.draw(st.integers(0, min(len(picture), 400) - 1))] = data.draw(st.integers(0, 255))

    _facts_or_image_error(bytes(picture[: data.draw(st.integers(1, len(picture)))]))


def test_it_decodes_no_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("pixels were asked for")

    pictures = {format_: encoded(disc(), format_) for format_ in ("JPEG", "PNG", "WEBP", "BMP")}
    for kind in (Image.Image, ImageFile, WebPImageFile):
        monkeypatch.setattr(kind, "load", refuse)

    for format_, data in pictures.items():
        assert look(data).format == format_
    assert look(photo("astronaut.png")).width == 512


def _facts_or_image_error(data: bytes) -> None:
    with contextlib.suppress(ImageError):  # anything else is what these tests look for
        facts = look(data)
        assert LIMITS.min_side <= min(facts.width, facts.height)
        assert max(facts.width, facts.height) <= LIMITS.max_side


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
