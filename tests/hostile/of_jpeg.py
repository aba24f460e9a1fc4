"""JPEG files."""

import itertools
import re
import struct
from collections.abc import Iterator

from PIL import ImageCms

from app.imaging.structure import MAX_ARITHMETIC_SCANS, MAX_SCANS
from tests.hostile.cases import ANY, BROKEN, COMPLEX, CORRUPT, LARGE, SMALL, TRUNCATED, UNSUPPORTED, Case, case
from tests.hostile.parts import (
    ADOBE,
    ARITHMETIC,
    ARITHMETIC_PROGRESSIVE,
    BASELINE,
    EOI,
    JFIF,
    LOSSLESS,
    PROGRESSIVE,
    QUANTIZATION,
    SOI,
    grey_jpeg,
    huffman,
    many_scans,
    segment,
    sof,
    sos,
)
from tests.imaging.pictures import disc, encoded, exif, noise

MIB = 1 << 20
APP0, APP1, APP2, APP13, APP14, COM = 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE
DQT, DHT, DRI, DNL = 0xDB, 0xC4, 0xDD, 0xDC
PROFILE = b"ICC_PROFILE\0"
FRAMES = (BASELINE, 0xC1, PROGRESSIVE, ARITHMETIC, ARITHMETIC_PROGRESSIVE)


def cases() -> Iterator[Case]:
    yield from _modes()
    yield from _metadata()
    yield from _lies()
    yield from _scans()
    for options in ({}, {"progressive": True}):
        whole = encoded(noise(64, 56), "JPEG", quality=60, **options)
        for end in sorted(_boundaries(whole)):
            yield case(f"jpeg {options} cut off at {end}", whole[:end], may=BROKEN)


def _modes() -> Iterator[Case]:
    for mode in ("L", "RGB", "CMYK", "YCbCr"):
        for options in ({}, {"progressive": True}, {"optimize": True}, {"quality": 100, "subsampling": 0}):
            yield case(f"jpeg {mode} {options}", encoded(disc(64, 60).convert(mode), "JPEG", **options))
    for sampling in range(3):
        yield case(f"jpeg sampled {sampling}", encoded(noise(63, 51), "JPEG", subsampling=sampling))
    for mode, transform in itertools.product(("CMYK", "RGB"), (0, 1, 2, 3, 255)):
        turned = segment(APP14, ADOBE[:-1] + bytes([transform]))
        plain = _bare(encoded(disc(64, 60).convert(mode), "JPEG"))
        yield case(f"jpeg {mode} of Adobe's transform {transform}", _with(turned, plain))
    yield from _frames()
    yield case("jpeg of two pictures", encoded(disc(64, 60), "MPO", save_all=True, append_images=[noise(64, 60)]))
    yield case("jpeg with restarts", encoded(noise(64, 60), "JPEG", restart_marker_blocks=1))


def _frames() -> Iterator[Case]:
    for marker in FRAMES:
        for components in (1, 3, 4):
            yield case(f"jpeg {marker:x} of {components} components", grey_jpeg(marker, 64, 60, components=components))
    yield case("jpeg of two components", grey_jpeg(BASELINE, 64, 60, components=2), may=CORRUPT)
    for marker in (LOSSLESS, 0xC8):
        yield case(f"jpeg {marker:x}", grey_jpeg(marker, 64, 60), may=ANY)
    for marker in (0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7):
        yield case(f"jpeg {marker:x}", grey_jpeg(marker, 64, 60), may=UNSUPPORTED)
    for bits, may in ((0, CORRUPT), (2, CORRUPT), (12, UNSUPPORTED), (16, UNSUPPORTED), (255, CORRUPT)):
        for marker in FRAMES:
            yield case(f"jpeg {marker:x} of {bits} bits", grey_jpeg(marker, 64, 60, bits=bits), may=may)


def _metadata() -> Iterator[Case]:
    picture = encoded(disc(64, 60), "JPEG")
    for orientation in (*range(10), 255, 65535):
        yield case(f"jpeg turned {orientation}", encoded(disc(64, 50), "JPEG", exif=exif(orientation)))
    entries = struct.pack("<HHII", 0x9999, 7, 60_000, 8) * 5000
    for name, tiff in {
        "empty": b"",
        "broken": b"II*\0\xff\xff\xff\x7f",
        "endless": b"II*\0\x08\0\0\0" + b"\xff\xff" + bytes(12) * 10,
        "self-eating": b"II*\0\x08\0\0\0" + struct.pack("<H", 5000) + entries,
        "circular": b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHII", 0x8769, 4, 1, 8) + struct.pack(">I", 8),
    }.items():
        yield case(f"jpeg with {name} EXIF", _with(segment(APP1, b"Exif\0\0" + tiff), picture))
    piece = segment(APP1, b"Exif\0\0" + bytes(1000))
    yield case("jpeg with EXIF in 5,000 pieces", _with(piece * 5000, picture))
    yield case("jpeg with XMP", _with(segment(APP1, b"http://ns.adobe.com/xap/1.0/\0" + b"<x/>" * 9999), picture))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, data in {
        "broken": b"\1\1" + bytes(200),
        "short": b"",
        "uncounted": b"\0\0" + srgb,
        "counted wrongly": b"\1\xff" + srgb,
        "lying": b"\1\1" + struct.pack(">I", 2**31) + srgb[4:],
        "of CMYK": b"\1\1" + srgb.replace(b"RGB ", b"CMYK", 1),
        "true": b"\1\1" + srgb,
    }.items():
        yield case(f"jpeg with a {name} profile", _with(segment(APP2, PROFILE + data), picture))
    many = b"".join(segment(APP2, PROFILE + bytes([number % 256, 255]) + bytes(200)) for number in range(9999))
    yield case("jpeg with a profile in 9,999 pieces", _with(many, picture))
    resource = segment(APP13, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000)
    yield case("jpeg with Photoshop's resources", _with(resource * 20, picture))
    yield case("jpeg with 10,000 comments", _with(segment(COM, b"x") * 10_000, picture))
    yield case("jpeg with too many parts", _with(segment(COM) * 60_000, picture), may=COMPLEX)
    for name, content in {"JFIF": (APP0, JFIF[:6]), "Adobe": (APP14, ADOBE[:6]), "Exif": (APP1, b"Exif\0\0")}.items():
        yield case(f"jpeg with a short {name}", _with(segment(*content), picture))
    yield case("jpeg with tables for ever", _with(segment(DQT, QUANTIZATION * 400) * 20, picture), may=COMPLEX)
    yield case("jpeg with fill bytes", _with(b"\xff" * MIB, picture))
    yield case("jpeg with junk between its parts", _within(b"\0junk" * 200_000, picture))
    yield case("jpeg with stuffing between its parts", _within(b"\xff\0" * 500_000, picture))
    yield case("jpeg with a page behind it", picture + b"<html><script>alert(1)</script>")
    yield case("jpeg with a page in it", _with(segment(COM, b"<html><script>alert(1)</script>"), picture))
    yield case("jpeg with a ZIP behind it", picture + b"PK\3\4" + bytes(MIB) + b"PK\5\6" + bytes(18))
    yield case("jpeg with a PDF in it", _with(segment(COM, b"%PDF-1.7\n1 0 obj"), picture) + b"%%EOF")


def _lies() -> Iterator[Case]:
    picture = encoded(disc(64, 60), "JPEG")
    for width, height in ((0, 0), (0, 60), (64, 0), (65535, 65535), (65535, 64)):
        yield case(
            f"jpeg that says it is {width} x {height}", _resized(picture, width, height), may=SMALL + LARGE + CORRUPT
        )
    yield case("jpeg larger than its pixels", _resized(picture, 64, 4000), may=ANY)
    yield case("jpeg smaller than its pixels", _resized(picture, 56, 56), may=ANY)
    for marker in (APP0, DQT, DHT, 0xC0, 0xDA):
        for length in (0, 1, 2, 3, 8, 65535):
            at = picture.index(bytes([0xFF, marker]))
            lying = picture[: at + 2] + struct.pack(">H", length) + picture[at + 4 :]
            yield case(f"jpeg whose {marker:x} says it has {length}", lying, may=ANY)
    for name, part in {
        "a second start": SOI,
        "an end": EOI,
        "a second frame": sof(BASELINE, 4000, 4000),
        "a frame before": sof(PROGRESSIVE, 64, 60),
        "a reserved marker": b"\xff\x02\0\4ab",
        "another reserved marker": segment(0xF3, b"ab"),
        "a lone marker": b"\xff\x01\xff\xd0\xff\xd7",
        "a number of lines": segment(DNL, b"\0\x10"),
        "an empty table": segment(DQT) + segment(DHT) + segment(DRI),
        "half a table": segment(DQT, QUANTIZATION[:9]),
        "an impossible table": segment(DHT, b"\0" + b"\xff" * 16 + bytes(255 * 16)),
        "a fifth table": segment(DQT, b"\x0f" + bytes(64)),
    }.items():
        yield case(f"jpeg with {name}", _with(part, picture), may=ANY)
    yield case("jpeg without a frame", SOI + segment(DQT, QUANTIZATION) + sos([1]) + bytes(99) + EOI, may=CORRUPT)
    yield case("jpeg without a scan", SOI + segment(DQT, QUANTIZATION) + sof(BASELINE, 64, 60) + EOI, may=BROKEN)
    yield case("jpeg without tables", SOI + sof(BASELINE, 64, 60) + sos([1, 2, 3]) + bytes(99) + EOI, may=CORRUPT)
    yield case(
        "jpeg of strange components", _bare(grey_jpeg(BASELINE, 64, 60)).replace(b"\1\x11", b"\1\0"), may=CORRUPT
    )
    yield case("jpeg without its end", picture.removesuffix(EOI))
    yield case("jpeg without its end, and more", picture[:-9], may=TRUNCATED)
    yield case("jpeg sampled too finely", SOI + sof(BASELINE, 64, 60, sampling=0xFF) + sos([1]) + EOI, may=CORRUPT)
    yield case("jpeg with a scan of others", picture.replace(b"\xff\xda\0\x0c\3\1", b"\xff\xda\0\x0c\3\7"), may=CORRUPT)
    yield case("jpeg of nothing but a start", SOI + b"\xff", may=TRUNCATED)
    yield case("jpeg of nothing but fill bytes", SOI + b"\xff" * MIB, may=TRUNCATED)
    yield case("jpeg of nothing but junk", SOI + b"\xff\xe0\0\2" + b"\0" * MIB, may=TRUNCATED)


def _scans() -> Iterator[Case]:
    for marker, most in ((PROGRESSIVE, MAX_SCANS), (ARITHMETIC_PROGRESSIVE, MAX_ARITHMETIC_SCANS)):
        yield case(f"jpeg {marker:x} of {most} scans", many_scans(marker, 64, 60, most))
        yield case(f"jpeg {marker:x} of {most + 1} scans", many_scans(marker, 64, 60, most + 1), may=COMPLEX)
    again = SOI + segment(DQT, QUANTIZATION) + huffman(0, [0]) + huffman(0x10, [0]) + sof(BASELINE, 64, 60)
    yield case("jpeg that paints one component 1,000 times", again + sos([1]) * 1000 + EOI, may=COMPLEX)
    yield case("jpeg with a scan too many", grey_jpeg(BASELINE, 64, 60)[:-2] + sos([1]) * 1000 + EOI, may=ANY)
    picture = encoded(disc(64, 60), "JPEG", progressive=True)
    yield case("jpeg with scans behind its end", picture + sos([1, 2, 3]) * 1000)
    inner = _with(segment(COM, sos([1, 2, 3]) * 1000), picture)
    yield case("jpeg with scans in a comment", inner)


def bombs() -> Iterator[Case]:
    """As large as may be, or larger, in a few bytes."""
    for marker, most in ((PROGRESSIVE, MAX_SCANS), (ARITHMETIC_PROGRESSIVE, MAX_ARITHMETIC_SCANS)):
        yield case(f"jpeg {marker:x} of 10,000 scans", many_scans, marker, 4096, 4096, 10_000, may=COMPLEX)
        yield case(f"jpeg {marker:x} of {most} scans, large", many_scans, marker, 4096, 4096, most)
        yield case(f"jpeg {marker:x} of {most} scans in CMYK, large", many_scans, marker, 4096, 4096, most, 4)
    yield case("jpeg of arithmetic, large", grey_jpeg, ARITHMETIC, 4096, 4096)
    yield case("jpeg refined 64 times", _refined, may=ANY)
    picture = encoded(disc(64, 60), "JPEG")
    yield case("jpeg of 10 MB of fill bytes", lambda: _with(b"\xff" * 10_000_000, picture))
    yield case("jpeg of 10 MB of junk", lambda: _within(b"\0" * 10_000_000, picture))
    yield case("jpeg of 10 MB of stuffing", lambda: _within(b"\xff\0" * 5_000_000, picture))
    yield case("jpeg of two million parts", lambda: _with(segment(COM) * 2_500_000, picture), may=COMPLEX)
    yield case("jpeg with 9 MB of EXIF", lambda: _with(segment(APP1, b"Exif\0\0II*\0" + bytes(400)) * 22_000, picture))
    claims = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 5000)
    claims += b"".join(struct.pack("<HHII", 0x100 + tag, 7, 60_000, 8) for tag in range(5000))
    yield case("jpeg with EXIF that claims 300 MB", _with(segment(APP1, claims), picture))
    resource = segment(APP13, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5400)
    yield case("jpeg with a million resources", lambda: _with(resource * 150, picture))
    yield case("jpeg with 9 MB of tables", lambda: _with(segment(DQT, QUANTIZATION * 1000) * 140, picture), may=COMPLEX)
    yield case("jpeg of 65,535 x 65,535", _resized(picture, 65535, 65535), may=LARGE)


def _refined() -> bytes:
    """All coefficients are visited in every scan, and next to no data is needed for it."""
    tables = segment(DQT, QUANTIZATION) + huffman(0, [0]) + huffman(0x10, [0xE0, 0])
    once = sos([1], 1, 63, 0, 1) + b"\0\xff\0" * 20
    again = sos([1], 1, 63, 1, 0) + b"\0\xff\0" * 20
    return SOI + tables + sof(PROGRESSIVE, 4096, 4096) + sos([1, 2, 3], last=0) + once + again * 62 + EOI


def _with(part: bytes, picture: bytes) -> bytes:
    return picture[:2] + part + picture[2:]


def _within(part: bytes, picture: bytes) -> bytes:
    """Behind the first segment."""
    end = 4 + int.from_bytes(picture[4:6], "big")
    return picture[:end] + part + picture[end:]


def _bare(picture: bytes) -> bytes:
    """Without what says which colours it has."""
    return re.sub(rb"\xff\xe0\0\x10.{14}|\xff\xee\0\x0e.{12}", b"", picture, count=1, flags=re.DOTALL)


def _resized(picture: bytes, width: int, height: int) -> bytes:
    at = picture.index(b"\xff\xc0") + 5
    return picture[:at] + struct.pack(">HH", height, width) + picture[at + 4 :]


def _boundaries(data: bytes) -> set[int]:
    """In and around each segment; and some places in each scan, but for the last bytes, which may be padding."""
    found, at = {3}, 2
    while data[at + 1] != 0xD9:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + length
        found |= {at, at + 1, at + 2, at + 3, at + 4, end - 1}
        if data[at + 1] == 0xDA:
            scan = re.compile(rb"\xff[^\0]").search(data, end)
            assert scan is not None
            found |= {end, end + 1, (end + scan.start()) // 2}
            end = scan.start()
        at = end
    return {each for each in found if 3 <= each < at - 2}
