"""PNG files."""

import itertools
import struct
import zlib
from collections.abc import Iterator

from PIL import Image, ImageCms

from tests.hostile.cases import ANY, BROKEN, COMPLEX, CORRUPT, DONE, LARGE, SMALL, Case, case
from tests.hostile.parts import (
    GREY,
    GREY_ALPHA,
    PALETTE,
    PNG_SIGNATURE,
    RGB,
    RGBA,
    blank_png,
    chunk,
    ihdr,
    png,
    rows,
    zeros,
)
from tests.imaging.pictures import disc, encoded, exif, noise

MIB = 1 << 20
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}
KEYS = {GREY: b"\0\1", RGB: b"\0\1\0\2\0\3", PALETTE: bytes(range(256))}
PLTE = chunk(b"PLTE", bytes(range(256)) * 3)
HIDDEN = ("failed unknown_foreground",)  # all is transparent
BIT_FIVE = 0x20  # of a chunk's name, in each letter


def cases() -> Iterator[Case]:
    yield from _modes()
    yield from _metadata()
    yield from _lies()
    yield from _animations()
    whole = png(before=chunk(b"gAMA", bytes(4)) + chunk(b"eXIf", exif(6)[6:]))
    for end in sorted(_boundaries(whole)):
        yield case(f"png cut off at {end}", whole[:end], may=BROKEN)


def _modes() -> Iterator[Case]:
    for colour, depths in DEPTHS.items():
        for depth in depths:
            yield case(f"png type {colour} of {depth} bits", png, 64, 60, depth, colour)
            hidden = HIDDEN if colour in (GREY_ALPHA, RGBA) else (DONE,)
            yield case(f"png type {colour} of {depth} bits, interlaced", _interlaced(depth, colour), may=hidden)
            if colour in KEYS:
                key = chunk(b"tRNS", KEYS[colour])
                yield case(f"png type {colour} of {depth} bits, with a key", png(64, 60, depth, colour, before=key))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        yield case(f"png mode {mode}", encoded(_in_mode(mode), "PNG"))
    yield case("png of odd filters", png(pixels=zlib.compress(_filtered(64, 64))))
    for colour, depth in ((1, 8), (5, 8), (7, 8), (RGB, 4), (PALETTE, 16), (GREY, 3), (255, 255)):
        yield case(f"png of no type: {colour} of {depth} bits", _typed(colour, depth), may=CORRUPT)


def _metadata() -> Iterator[Case]:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for orientation in (*range(10), 255, 65535):
        yield case(f"png turned {orientation}", png(64, 50, before=chunk(b"eXIf", exif(orientation)[6:])))
        yield case(
            f"png turned {orientation} behind its pixels", png(64, 50, after=chunk(b"eXIf", exif(orientation)[6:]))
        )
    for gamma in (0, 1, 16, 45455, 100_000, 625_000_000, 2**32 - 1):
        yield case(f"png of gamma {gamma}", png(before=chunk(b"gAMA", struct.pack(">I", gamma))))
    for name, content in {
        "empty": b"",
        "broken": b"II*\0\xff\xff\xff\x7f",
        "endless": b"II*\0\x08\0\0\0" + b"\xff\xff" + bytes(12) * 10,
        "huge": b"MM\0*" + bytes(MIB),
    }.items():
        yield case(f"png with {name} EXIF", png(before=chunk(b"eXIf", content)))
    for name, packed in {
        "true": zlib.compress(srgb),
        "cut off": zlib.compress(srgb[:100]),
        "no": b"",
        "unpacked": srgb,
        "huge": zlib.compress(srgb + bytes(2 * MIB)),
        "exploding": zeros(256 * MIB),
        "lying": zlib.compress(struct.pack(">I", 2**31) + srgb[4:]),
        "of CMYK": zlib.compress(srgb.replace(b"RGB ", b"CMYK", 1)),
        "of grey": zlib.compress(srgb.replace(b"RGB ", b"GRAY", 1)),
    }.items():
        yield case(f"png with a {name} profile", png(before=chunk(b"iCCP", b"x\0\0" + packed)))
    yield case("png with a profile of another method", png(before=chunk(b"iCCP", b"x\0\1" + zlib.compress(srgb))))
    yield case("png with an empty profile chunk", png(before=chunk(b"iCCP")))
    yield case("png with 2,000 profiles", png(before=chunk(b"iCCP", b"x\0\0" + zeros(MIB)) * 2000))
    yield case("png with 10,000 texts", png(before=chunk(b"tEXt", b"a\0b") * 10_000, after=chunk(b"zTXt") * 10_000))
    yield case("png with too many parts", png(before=chunk(b"tEXt") * 60_000), may=COMPLEX)
    yield case("png with too many parts behind its pixels", png(after=chunk(b"tEXt") * 60_000), may=COMPLEX)
    yield case("png with too many parts of pixels", _in_parts(60_000), may=COMPLEX)
    yield case("png with its pixels byte by byte", _in_parts(20_000))
    bomb = chunk(b"zTXt", b"a\0\0" + zeros(MIB)) * 200
    yield case("png with exploding texts", png(before=bomb, after=bomb))
    yield case("png with one exploding text", png(before=chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(256 * MIB))))
    for key in ("exif", "transparency", "interlace", "bbox", "icc_profile", "default_image"):
        text = chunk(b"tEXt", key.encode() + b"\0(0, 0, 9, 9)")
        yield case(f"png with a text that is called {key}", png(before=text, after=text))
    yield case(
        "png with a broken text", png(before=chunk(b"iTXt", b"\xff\0\0\0\xff\0\xff\0\xff") + chunk(b"tEXt", b"\0"))
    )
    yield case("png with XMP", png(before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<x/>" * 9999)))


def _lies() -> Iterator[Case]:
    for name, size in {
        "none": (0, 0),
        "a line": (64, 0),
        "all": (2**31 - 1, 2**31 - 1),
        "more": (2**32 - 1, 64),
    }.items():
        yield case(f"png that says it is {name}", _sized(*size), may=SMALL + LARGE + CORRUPT)
    yield case("png of 49 x 64", png(49, 64), may=SMALL)
    yield case("png of 4097 x 50", blank_png, 4097, 50, may=LARGE)
    yield case("png that is larger than its pixels", _sized(64, 640), may=ANY)
    yield case("png that is smaller than its pixels", _sized(64, 50))
    yield case("png that unpacks to a hundred times its pixels", png(pixels=zeros(100 * 64 * 193)))
    whole = png(before=PLTE)
    for of in (b"IHDR", b"PLTE"):
        bent = _bent(whole, _end(whole, whole.index(of)) - 1)
        yield case(f"png whose {of.decode()} has a wrong checksum", bent, may=CORRUPT)
    yield case("png whose text has a wrong checksum", png(before=chunk(b"tEXt", b"a\0b", crc=0)))
    yield case("png whose pixels have a wrong checksum", _bent(whole, _end(whole, whole.index(b"IDAT")) - 1))
    for length in (0, 1, 2**31 - 1, 2**32 - 1):
        yield case(f"png whose text says it has {length}", png(before=chunk(b"tEXt", b"ab", length=length)), may=ANY)
        yield case(f"png whose header says it has {length}", _header_of(length), may=BROKEN)
        yield case(f"png whose pixels say they have {length}", _pixels_of(length), may=ANY)
    for name, pixels in {
        "nothing": b"",
        "no stream": b"no stream at all" * 9,
        "half": zlib.compress(rows(64, 64))[:-40],
        "unknown filters": zlib.compress(b"\xff" * 64 * 193),
        "a dictionary": b"\x78\xbb\0\0\0\1" + zlib.compress(rows(64, 64))[2:],
    }.items():
        yield case(f"png whose pixels are {name}", png(pixels=pixels), may=BROKEN)
    yield case("png without pixels", PNG_SIGNATURE + ihdr(64, 64) + chunk(b"IEND"), may=BROKEN)
    yield case("png without a header", PNG_SIGNATURE + chunk(b"IDAT", zlib.compress(rows(64, 64))), may=CORRUPT)
    yield case("png with two headers", png(before=ihdr(4000, 4000)))
    yield case("png with a short header", PNG_SIGNATURE + chunk(b"IHDR", bytes(12)) + chunk(b"IDAT"), may=CORRUPT)
    yield case("png with a short key", png(before=chunk(b"tRNS", b"\0")))
    for entries in (0, 1, 255, 257, 9999):
        short = PNG_SIGNATURE + ihdr(64, 64, 8, PALETTE) + chunk(b"PLTE", b"\1\2\3" * entries)
        pixels = chunk(b"IDAT", zlib.compress(rows(64, 64, 8, PALETTE)))
        yield case(f"png with a palette of {entries}", short + pixels + chunk(b"IEND"), may=ANY)
        key = chunk(b"tRNS", b"\x80" * entries)
        yield case(f"png with a palette and {entries} keys", short + key + pixels + chunk(b"IEND"), may=ANY)
    yield case("png without its palette", _without_palette(), may=ANY)
    for of in (b"\0\0\0\0", b"IDA\xd4", b"idat", b"12cd"):
        yield case(f"png with a chunk called {of!r}", png(before=chunk(of, b"x")), may=ANY)
    yield case("png that goes on behind its end", png() + bytes(MIB))


def _animations() -> Iterator[Case]:
    frames = [noise(64, 60), disc(64, 60)]
    yield case("png that moves", encoded(disc(64, 60), "PNG", save_all=True, append_images=frames))
    hidden = encoded(disc(64, 60), "PNG", save_all=True, append_images=frames, default_image=True)
    yield case("png that moves behind a picture", hidden)
    control = chunk(b"acTL", struct.pack(">II", 2**31, 0))
    frame = struct.pack(">IIIIIHHBB", 0, 2**31, 2**31, 2**31, 2**31, 0, 0, 9, 9)
    yield case("png that moves wildly", png(before=control * 3 + chunk(b"fcTL", frame) * 3))
    yield case(
        "png that moves and has no pixels", png(before=control + chunk(b"fdAT", bytes(4)), pixels=b""), may=BROKEN
    )
    moves = chunk(b"fcTL", frame) + chunk(b"fdAT", bytes(9))
    yield case("png of 10,000 frames", png(before=chunk(b"acTL", struct.pack(">II", 10_000, 0)), after=moves * 10_000))


def bombs() -> Iterator[Case]:
    """As large as may be, or larger, in a few bytes."""
    for depth, colour in ((1, GREY), (8, PALETTE), (16, RGBA)):
        yield case(
            f"blank png of {depth} bits",
            blank_png,
            4096,
            4096,
            depth,
            colour,
            may=HIDDEN if colour == RGBA else (DONE,),
        )
    yield case("blank png, interlaced", lambda: blank_png(4096, 4096, 16, RGBA, interlace=1), may=HIDDEN)
    yield case("png of 30,000 x 30,000", blank_png, 30_000, 30_000, may=LARGE)
    yield case("png that unpacks to 8 GB", lambda: _full(zeros(8 << 30)))
    yield case(
        "png with 64 MB of texts", lambda: _full(zeros(4096 * 513), chunk(b"zTXt", b"a\0\0" + zeros(MIB)) * 9000)
    )
    yield case(
        "png with 9,000 profiles", lambda: _full(zeros(4096 * 513), chunk(b"iCCP", b"a\0\0" + zeros(MIB)) * 9000)
    )
    yield case("png of a million parts", lambda: _full(zeros(4096 * 513), chunk(b"tEXt") * 850_000), may=COMPLEX)
    yield case("png of a million parts of pixels", lambda: _in_parts(850_000), may=COMPLEX)
    exif = b"II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 0x9999, 7, 9 * MIB, 8) * 65535
    yield case(
        "png with EXIF that claims 600 GB", lambda: _full(zeros(4096 * 513), chunk(b"eXIf", exif.ljust(9 * MIB)))
    )


def _full(pixels: bytes, before: bytes = b"") -> bytes:
    return PNG_SIGNATURE + ihdr(4096, 4096, 1, GREY) + before + chunk(b"IDAT", pixels) + chunk(b"IEND")


def _interlaced(depth: int, colour: int) -> bytes:
    return blank_png(64, 60, depth, colour, interlace=1)


def _in_mode(mode: str) -> Image.Image:
    return Image.new("I;16", (64, 60), 0x1234) if mode == "I;16" else disc(64, 60).convert(mode)


def _filtered(width: int, height: int) -> bytes:
    return b"".join(bytes([row % 5]) + bytes(column % 256 for column in range(3 * width)) for row in range(height))


def _typed(colour: int, depth: int) -> bytes:
    pixels = chunk(b"IDAT", zlib.compress(bytes(64 * 65 * 8)))
    return PNG_SIGNATURE + ihdr(64, 64, depth, colour) + pixels + chunk(b"IEND")


def _sized(width: int, height: int) -> bytes:
    return PNG_SIGNATURE + ihdr(width, height) + png()[33:]


def _in_parts(count: int) -> bytes:
    """Each part of the pixels in a chunk of its own: most of them are empty."""
    packed = zlib.compress(rows(64, 64))
    parts = [packed[at : at + 1] for at in range(len(packed))] + [b""] * (count - len(packed))
    parts = list(itertools.chain(parts[len(packed) :], parts[: len(packed)]))
    return PNG_SIGNATURE + ihdr(64, 64) + b"".join(chunk(b"IDAT", part) for part in parts) + chunk(b"IEND")


def _header_of(length: int) -> bytes:
    content = struct.pack(">IIBBBBB", 64, 64, 8, RGB, 0, 0, 0)
    return PNG_SIGNATURE + chunk(b"IHDR", content, length=length) + png()[33:]


def _pixels_of(length: int) -> bytes:
    return PNG_SIGNATURE + ihdr(64, 64) + chunk(b"IDAT", zlib.compress(rows(64, 64)), length=length) + chunk(b"IEND")


def _without_palette() -> bytes:
    return PNG_SIGNATURE + ihdr(64, 64, 8, PALETTE) + chunk(b"IDAT", zlib.compress(rows(64, 64, 8, PALETTE)))


def _end(data: bytes, name_at: int) -> int:
    """Where the chunk ends whose name stands there."""
    return int(name_at + 8 + struct.unpack_from(">I", data, name_at - 4)[0])


def _bent(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ BIT_FIVE]) + data[at + 1 :]


def _boundaries(data: bytes) -> set[int]:
    """In and around the signature and each chunk's length, name, content and checksum; not those behind the pixels."""
    found, at = {8, 9}, 8
    while data[at + 4 : at + 8] != b"IEND":
        name_at = at + 4
        end = _end(data, name_at)
        found |= {at + 3, at + 4, at + 7, at + 8, at + 9, end - 5, end - 4}
        at = end
    return {each for each in found if each < at - 4 - 1}
