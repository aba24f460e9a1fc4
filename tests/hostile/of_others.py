"""WEBP and BMP files, and what is none of ours."""

import struct
from collections.abc import Iterator

from PIL import Image, ImageCms

from tests.hostile.cases import ANY, BROKEN, CORRUPT, LARGE, SMALL, UNSUPPORTED, Case, case, unsupported
from tests.hostile.parts import bmp, png, riff, vp8x
from tests.imaging.pictures import disc, encoded, exif, noise

MIB = 1 << 20
ICC, ALPHA, EXIF, XMP, ANIMATION = 0x20, 0x10, 0x08, 0x04, 0x02
LAYOUTS = {
    "BGRX": (32, (0xFF0000, 0xFF00, 0xFF)),
    "BGRA": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    "RGBA": (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    "565": (16, (0xF800, 0x7E0, 0x1F)),
    "555": (16, (0x7C00, 0x3E0, 0x1F)),
}


def cases() -> Iterator[Case]:
    yield from _webp()
    yield from _bmp()
    yield from _foreign()


def _webp() -> Iterator[Case]:
    rgba = disc(64, 60)
    rgba.putalpha(Image.linear_gradient("L").resize((64, 60)))
    frames = [noise(64, 60)]
    for name, data in {
        "lossy": encoded(disc(64, 60), "WEBP"),
        "lossless": encoded(disc(64, 60), "WEBP", lossless=True),
        "lossy with alpha": encoded(rgba, "WEBP"),
        "lossless with alpha": encoded(rgba, "WEBP", lossless=True, exact=True),
        "that moves": encoded(rgba, "WEBP", save_all=True, append_images=frames),
    }.items():
        yield case(f"webp {name}", data)
        for end in sorted({13, 16, 19, 20, 21, 25, 29, 30, 31, len(data) // 2, len(data) - 2}):
            yield case(f"webp {name}, cut off at {end}", data[:end], may=BROKEN)
        yield case(f"webp {name}, with more behind it", data + bytes(MIB))
    for orientation in (*range(10), 65535):
        yield case(f"webp turned {orientation}", encoded(disc(64, 50), "WEBP", exif=exif(orientation)))
    picture = _image(encoded(disc(64, 60), "WEBP"))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, flags, chunks in (
        ("a broken profile", ICC, [(b"ICCP", b"no profile")]),
        ("a true profile", ICC, [(b"ICCP", srgb)]),
        ("a huge profile", ICC, [(b"ICCP", srgb + bytes(2 * MIB))]),
        ("an empty profile", ICC, [(b"ICCP", b"")]),
        ("two profiles", ICC, [(b"ICCP", srgb)] * 2),
        ("broken EXIF", EXIF, [(b"EXIF", b"II*\0\xff\xff\xff\x7f")]),
        ("XMP", XMP, [(b"XMP ", b"<x/>" * 9999)]),
        ("10,000 unknown parts", 0, [(b"what", b"x")] * 10_000),
    ):
        yield case(f"webp with {name}", riff(vp8x(64, 60, flags), *chunks, picture), may=ANY)
    for width, height in ((1, 1), (64, 61), (4096, 4096)):
        yield case(f"webp of a canvas of {width} x {height}", riff(vp8x(width, height), picture), may=SMALL + BROKEN)
    for size in (0, 4, 2**31, 2**32 - 1):
        yield case(f"webp that says it has {size}", riff(picture, size=size), may=ANY)
    for name, data in {
        "of nothing": riff(),
        "of an empty part": riff((b"VP8 ", b"")),
        "of a canvas alone": riff(vp8x(64, 60)),
        "of alpha alone": riff(vp8x(64, 60, ALPHA), (b"ALPH", bytes(99))),
        "of broken alpha": riff(vp8x(64, 60, ALPHA), (b"ALPH", b"\1" + bytes(99)), picture),
        "of another format": riff((b"VP9 ", bytes(99))),
        "of zeros": riff((b"VP8L", b"\x2f\x3f\xc0\x0e\0" + bytes(99))),
        "of ones": riff((b"VP8L", b"\x2f\x3f\xc0\x0e\0" + b"\xff" * 999)),
        "of random bytes": riff((b"VP8L", b"\x2f\x3f\xc0\x0e\0" + noise().tobytes())),
    }.items():
        yield case(f"webp {name}", data, may=ANY)
    yield case("webp that moves nowhere", riff(vp8x(64, 60, ANIMATION), (b"ANIM", bytes(6))), may=BROKEN)
    frame = struct.pack("<I", 0)[:3] * 2 + b"\x3f\0\0\x3b\0\0" + bytes(4)
    body = frame + riff(picture)[12:]
    moving = riff(vp8x(64, 60, ANIMATION), (b"ANIM", bytes(6)), *[(b"ANMF", body)] * 1000)
    yield case("webp of 1,000 frames", moving)
    outside = b"\xff" * 12 + bytes(4) + riff(picture)[12:]
    yield case("webp with a frame outside", riff(vp8x(64, 60, 2), (b"ANIM", bytes(6)), (b"ANMF", outside)), may=BROKEN)


def _bmp() -> Iterator[Case]:
    yield from _bmp_modes()
    yield from _bmp_lies()
    yield from _run_lengths()
    whole = encoded(noise(64, 60), "BMP")
    for end in (18, 19, 30, 53, 54, 55, len(whole) // 2, len(whole) - 1):
        yield case(f"bmp cut off at {end}", whole[:end], may=BROKEN)


def _bmp_modes() -> Iterator[Case]:
    pixels = noise(64, 60).tobytes()
    for header in (12, 40, 52, 56, 64, 108, 124):
        for bits in (1, 4, 8, 16, 24, 32):
            colours = 1 << bits if bits <= 8 else 0
            palette = bytes(range(256)) * 4
            palette = palette[: colours * (3 if header == 12 else 4)]
            data = bmp(64, 60, bits, pixels=pixels + pixels, header=header, palette=palette)
            yield case(f"bmp of {bits} bits with a header of {header}", data)
    for name, (bits, masks) in LAYOUTS.items():
        for header in (40, 56, 108, 124):
            packed = struct.pack(f"<{len(masks)}I", *masks)
            data = bmp(64, 60, bits, pixels=pixels * 2, header=header, compression=3, masks=packed)
            yield case(f"bmp of {name} with a header of {header}", data, may=ANY + UNSUPPORTED)
    yield case(
        "bmp of odd masks",
        bmp(bits=32, pixels=pixels * 2, header=108, compression=3, masks=bytes(range(16))),
        may=UNSUPPORTED,
    )
    yield case("bmp from its top", bmp(64, -60, pixels=pixels))


def _bmp_lies() -> Iterator[Case]:
    pixels = noise(64, 60).tobytes()
    for width, height in ((-64, 60), (64, -(2**31)), (-(2**31), -(2**31)), (2**31 - 1, 1), (0, 0), (64, 0), (1, 64)):
        yield case(
            f"bmp that says it is {width} x {height}", bmp(width, height, pixels=pixels), may=SMALL + LARGE + CORRUPT
        )
    for compression in (4, 5, 6, 11, 2**32 - 1):
        yield case(f"bmp packed by {compression}", bmp(pixels=pixels, compression=compression), may=UNSUPPORTED)
    for bits in (0, 2, 3, 64, 65535):
        yield case(f"bmp of {bits} bits", bmp(bits=bits, pixels=pixels), may=UNSUPPORTED)
    for colours in (1, 3, 257, 65536, 65537, 2**32 - 1):
        data = bmp(bits=8, pixels=pixels * 30, palette=b"\1\2\3\0" * 256, colours=colours)
        yield case(f"bmp of {colours} colours", data, may=ANY)
    for offset in (0, 1, 54, 10**6, 2**32 - 1):
        yield case(f"bmp whose pixels are said to be at {offset}", bmp(pixels=pixels, offset=offset), may=ANY)


def _run_lengths() -> Iterator[Case]:
    palette = bytes(range(256)) * 4
    end, line, delta = b"\0\1", b"\0\0", b"\0\2"
    for bits, compression in ((8, 1), (4, 2)):
        for name, pixels, may in (
            ("runs", (b"\x40\7" + line) * 60 + end, ("done",)),
            ("runs that never end", b"\xff\7" * 600, ANY),
            ("runs of nothing", b"\0\0" * 600, ANY),
            ("literals", (b"\0\x40" + bytes(64 * bits // 8)) * 60 + end, ("done",)),
            ("jumps", delta + b"\xff\xff" + end, ANY),
            ("endless jumps", (delta + b"\xff\xff") * 600, ANY),
            ("half a literal", b"\0\xff\1\2", ANY),
            ("nothing", b"", BROKEN),
            ("an end", end, BROKEN),
        ):
            colours = palette[: (1 << bits) * 4]
            data = bmp(64, 60, bits, pixels=pixels, compression=compression, palette=colours)
            yield case(f"bmp of {bits} bits packed as {name}", data, may=may)
        yield case(
            f"bmp of 24 bits that says {compression}", bmp(pixels=bytes(9999), compression=compression), may=BROKEN
        )


def _foreign() -> Iterator[Case]:
    gif = encoded(disc(64, 60), "GIF")
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>'
    for name, data in {
        "a GIF": gif,
        "a GIF with a page": gif + b"<html><script>alert(1)</script>",
        "a TIFF": encoded(disc(64, 60), "TIFF"),
        "an ICO": encoded(disc(64, 60), "ICO"),
        "a PSD": b"8BPS\0\1" + bytes(99),
        "a HEIC": b"\0\0\0\x18ftypheic" + bytes(99),
        "an AVIF": b"\0\0\0\x1cftypavif" + bytes(99),
        "an SVG": svg,
        "an SVG with entities": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + svg,
        "a page": b"<!doctype html><script>alert(1)</script>",
        "a PDF": b"%PDF-1.7\n" + bytes(99),
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n" + bytes(99),
        "a ZIP": b"PK\3\4" + bytes(99),
        "a program": b"\x7fELF" + bytes(99),
        "a text": b"What is this?",
        "a byte": b"\x89",
        "half a signature": b"\x89PNG\r\n\x1a",
        "a GIF behind a byte": b"\n" + gif,
        "a png behind a ZIP": b"PK\3\4" + png(),
        "a bmp of another header": b"BM" + bytes(99),
        "zeros": bytes(MIB),
    }.items():
        yield unsupported(name, data)
    yield case("nothing", b"", may=("refused file_empty",))
    yield case("too much", lambda: png(after=bytes(10 * MIB)), may=("refused file_too_large",))
    yield case("png with a ZIP behind it", png() + b"PK\3\4" + bytes(999))
    yield case(
        "webp with a page in it", riff(vp8x(64, 60, XMP), _image(encoded(disc(64, 60), "WEBP")), (b"XMP ", b"<html>"))
    )


def bombs() -> Iterator[Case]:
    """As large as may be, or larger, in a few bytes."""
    blank = Image.new("RGB", (4096, 4096))
    yield case("blank webp", lambda: encoded(blank, "WEBP", method=0))
    yield case("blank webp, lossless", lambda: encoded(blank, "WEBP", lossless=True, method=0))
    yield case("webp of 16,383 x 16,383", riff(vp8x(16383, 16383), (b"VP8L", bytes(99))), may=LARGE + BROKEN)
    yield case(
        "webp of 16,777,216 x 16,777,216", riff(vp8x(1 << 24, 1 << 24), (b"VP8L", bytes(99))), may=LARGE + BROKEN
    )
    lossless = b"\x2f" + struct.pack("<I", 11_999 << 14 | 11_999) + bytes(99)
    yield case("webp of 12,000 x 12,000", riff((b"VP8L", lossless)), may=LARGE)
    small = _image(encoded(disc(64, 60), "WEBP"))
    yield case("webp of a million parts", lambda: riff(vp8x(64, 60), small, *[(b"what", b"")] * 1_000_000))
    frame = bytes(6) + b"\x3f\0\0\x3b\0\0" + bytes(4) + riff(small)[12:]
    count = 10_000_000 // (len(frame) + 8)
    moving = [(b"ANMF", frame)] * count
    yield case("webp of many frames", lambda: riff(vp8x(64, 60, ANIMATION), (b"ANIM", bytes(6)), *moving))
    yield case("webp with 10 MB of EXIF", lambda: riff(vp8x(64, 60, EXIF), small, (b"EXIF", bytes(10_000_000))))
    palette = bytes(range(256)) * 4
    for bits, compression in ((8, 1), (4, 2)):
        colours = palette[: (1 << bits) * 4]
        for name, pixels in {
            "jumps": b"\0\2\xff\xff" * 2_000_000,
            "long runs": b"\xff\1" * 100_000,
            "runs of one": b"\1\1" * 5_000_000,
            "runs behind the line": b"\xff\1" * 17 + b"\1\1" * 5_000_000,
            "lines": b"\1\1\0\0" * 2_500_000,
            "literals of three": b"\0\3abc\0" * 1_700_000,
        }.items():
            make = lambda bits=bits, compression=compression, pixels=pixels, colours=colours: bmp(  # noqa: E731
                4096, 4096, bits, pixels=pixels, compression=compression, palette=colours
            )
            yield case(f"bmp of {bits} bits packed as {name}", make, may=ANY)
    yield case("bmp of one bit", lambda: bmp(4096, 4096, 1, pixels=bytes(2 * MIB), palette=b"abcdefgh"))
    huge = bmp(30_000, 30_000, 8, pixels=b"\xff\1" * 99, compression=1, palette=palette)
    yield case("bmp of 30,000 x 30,000", huge, may=LARGE)


def _image(data: bytes) -> tuple[bytes, bytes]:
    """The pixels of a plain WEBP."""
    return data[12:16], data[20 : 20 + int.from_bytes(data[16:20], "little")]
