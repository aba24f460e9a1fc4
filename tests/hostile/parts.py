"""What picture files are made of, put together by hand: no writer makes what a hostile one does."""

import struct
import zlib
from collections.abc import Sequence

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # PNG's colour types
_CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
BASELINE, PROGRESSIVE, LOSSLESS, ARITHMETIC, ARITHMETIC_PROGRESSIVE = 0xC0, 0xC2, 0xC3, 0xC9, 0xCA
ADOBE = b"Adobe\0\x64\0\0\0\0"
_BLOCK = bytes(1 << 20)
JFIF = b"JFIF\0\1\1\0\0\1\0\1\0\0"
QUANTIZATION = b"\0" + bytes([1] * 64)


def chunk(name: bytes, content: bytes = b"", *, length: int | None = None, crc: int | None = None) -> bytes:
    """One of a PNG, with a wrong length or checksum where one is given."""
    length = len(content) if length is None else length
    crc = zlib.crc32(name + content) if crc is None else crc
    return struct.pack(">I", length) + name + content + struct.pack(">I", crc)


def ihdr(width: int, height: int, depth: int = 8, colour: int = RGB, *, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def rows(width: int, height: int, depth: int = 8, colour: int = RGB) -> bytes:
    """Rows of a gradient, unfiltered, before they are packed."""
    size = (width * depth * _CHANNELS[colour] + 7) // 8
    return b"".join(b"\0" + bytes((row + column) % 256 for column in range(size)) for row in range(height))


def png(
    width: int = 64,
    height: int = 64,
    depth: int = 8,
    colour: int = RGB,
    *,
    before: bytes = b"",
    after: bytes = b"",
    pixels: bytes | None = None,
) -> bytes:
    """`before`, `after`: chunks before and after the pixels; `pixels`: packed."""
    packed = zlib.compress(rows(width, height, depth, colour)) if pixels is None else pixels
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if colour == PALETTE and b"PLTE" not in before else b""
    header = PNG_SIGNATURE + ihdr(width, height, depth, colour) + palette + before
    return header + chunk(b"IDAT", packed) + after + chunk(b"IEND")


def blank_png(width: int, height: int, depth: int = 1, colour: int = GREY, *, interlace: int = 0) -> bytes:
    """All zeros: whatever the size, a few bytes."""
    size = (width * depth * _CHANNELS[colour] + 7) // 8
    packer = zlib.compressobj(9)
    packed = [packer.compress(bytes(1 + size)) for _ in range(height)]
    if interlace:  # seven passes, each with rows of its own; a little more than enough for all of them
        packed += [packer.compress(bytes(size)) for _ in range(height)]
    packed.append(packer.flush())
    header = PNG_SIGNATURE + ihdr(width, height, depth, colour, interlace=interlace)
    if colour == PALETTE:
        header += chunk(b"PLTE", bytes(range(256)) * 3)
    return header + chunk(b"IDAT", b"".join(packed)) + chunk(b"IEND")


def zeros(size: int) -> bytes:
    """So many zeros, packed: gigabytes at once, from a block that is repeated."""
    blocks, rest = divmod(size, len(_BLOCK))
    body = _flushed(_BLOCK) * blocks + _flushed(_BLOCK[:rest])
    return b"\x78\xda" + body + b"\x03\0" + struct.pack(">HH", size % 65521, 1)


def _flushed(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)


def segment(marker: int, content: bytes = b"", *, length: int | None = None) -> bytes:
    """One of a JPEG."""
    length = len(content) + 2 if length is None else length
    return b"\xff%c%b%b" % (marker, struct.pack(">H", length), content)


def sof(marker: int, width: int, height: int, components: int = 3, bits: int = 8, sampling: int = 0x11) -> bytes:
    described = b"".join(bytes([each + 1, 0x11 if each else sampling, 0]) for each in range(components))
    return segment(marker, struct.pack(">BHHB", bits, height, width, components) + described)


def huffman(where: int, symbols: Sequence[int]) -> bytes:
    """A table (0: of DC, 0x10: of AC) in which each symbol has eight bits: its place in the sequence."""
    counts = [0] * 16
    counts[7] = len(symbols)
    return segment(0xC4, bytes([where, *counts, *symbols]))


def sos(components: Sequence[int], first: int = 0, last: int = 63, high: int = 0, low: int = 0) -> bytes:
    """A scan's header; `first` to `last` are the coefficients, `high` and `low` the bits."""
    chosen = b"".join(bytes([each, 0]) for each in components)
    return segment(0xDA, bytes([len(components)]) + chosen + bytes([first, last, high << 4 | low]))


def grey_jpeg(marker: int, width: int, height: int, *, components: int = 3, bits: int = 8) -> bytes:
    """Its pixels are all the same: one scan of zeros."""
    blocks = -(-width // 8) * -(-height // 8) * components
    tables = segment(0xDB, QUANTIZATION) + huffman(0, [0]) + huffman(0x10, [0])
    scan = bytes(2 * blocks) if marker in (BASELINE, PROGRESSIVE) else b""
    last = 0 if marker in (PROGRESSIVE, ARITHMETIC_PROGRESSIVE) else 63
    header = SOI + tables + sof(marker, width, height, components, bits)
    return header + sos(range(1, components + 1), last=last) + scan + EOI


def many_scans(marker: int, width: int, height: int, scans: int, components: int = 3) -> bytes:
    """A progressive JPEG that paints itself again and again, with next to no data."""
    tables = segment(0xDB, QUANTIZATION) + huffman(0, [0]) + huffman(0x10, [0xE0, 0])
    header = SOI + tables + sof(marker, width, height, components) + sos(range(1, components + 1), last=0)
    return header + sos(range(1, components + 1), last=0, low=1) * (scans - 1) + EOI


def riff(*chunks: tuple[bytes, bytes], size: int | None = None) -> bytes:
    """A WEBP of these chunks."""
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) for name, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def vp8x(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return b"VP8X", struct.pack("<I", flags) + canvas


def bmp(
    width: int = 64,
    height: int = 64,
    bits: int = 24,
    *,
    pixels: bytes,
    header: int = 40,
    compression: int = 0,
    masks: bytes = b"",
    palette: bytes = b"",
    colours: int = 0,
    offset: int | None = None,
) -> bytes:
    """`header`: its size, which says what it is; 12 is OS/2's."""
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        info = struct.pack(
            "<IiiHHIIiiII", header, width, height, 1, bits, compression, len(pixels), 2835, 2835, colours, 0
        )
        info = (info + (masks if header > 40 else b"")).ljust(header, b"\0") + (masks if header == 40 else b"")
    start = 14 + len(info) + len(palette)
    size = start + len(pixels)
    return struct.pack("<2sIHHI", b"BM", size, 0, 0, start if offset is None else offset) + info + palette + pixels
