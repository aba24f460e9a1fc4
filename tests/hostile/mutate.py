"""Pictures bent at random: by their parts, by the lengths these tell, and bit by bit."""

import functools
import random
import re
import struct
import zlib
from collections.abc import Callable

from tests.hostile import corpus
from tests.hostile.cases import DONE
from tests.hostile.parts import PNG_SIGNATURE, chunk

LARGEST_SOURCE = 20_000  # bytes; larger ones are slow and show nothing more
STRANGE = (0, 1, 2, 3, 7, 8, 15, 16, 63, 64, 127, 128, 255, 256, 4095, 4096, 32767, 32768, 65535, 1 << 24)
STRANGE_LONG = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)

Parts = list[bytes]


def picture(seed: int, number: int) -> bytes:
    """The picture of this seed and number, always the same: one of the corpus that is in order, after some changes."""
    choose = random.Random(f"{seed}:{number}")  # noqa: S311 - to be made again, not to be secret
    data = choose.choice(_sources())
    for _ in range(choose.choice((1, 1, 2, 3, 5, 8))):
        data = choose.choice(_BY_PARTS if choose.random() < 0.6 else _BY_BYTES)(data, choose)
    return data


@functools.cache
def _sources() -> list[bytes]:
    made = (case.make() for case in corpus.cases() if case.may == (DONE,))
    return [data for data in made if len(data) <= LARGEST_SOURCE]


def _split(data: bytes) -> tuple[bytes, Parts]:
    """A file's beginning and its parts, as far as they can be told."""
    if data.startswith(PNG_SIGNATURE):
        return data[:8], _measured(data, 8, lambda at: int.from_bytes(data[at : at + 4], "big") + 12)
    if data.startswith(b"RIFF"):
        return data[:12], _measured(data, 12, lambda at: int.from_bytes(data[at + 4 : at + 8], "little") + 8)
    if data.startswith(b"\xff\xd8"):
        return data[:2], re.split(rb"(?=\xff[\x01-\xcf\xd8-\xfe])", data[2:])
    return data[:14], [data[14:54], *(data[at : at + 64] for at in range(54, len(data), 64))]


def _measured(data: bytes, at: int, size: Callable[[int], int]) -> Parts:
    parts = []
    while at < len(data):
        end = at + size(at)
        parts.append(data[at:end])
        at = end
    return parts


def _join(head: bytes, parts: Parts, choose: random.Random) -> bytes:
    """A PNG's checksums are mostly put right: with wrong ones nobody would look at what they are of."""
    if head.startswith(PNG_SIGNATURE) and choose.random() < 0.9:
        parts = [_checked(part) for part in parts]
    if head.startswith(b"RIFF") and choose.random() < 0.9:
        head = b"RIFF" + struct.pack("<I", 4 + sum(map(len, parts))) + head[8:]
    return head + b"".join(parts)


def _checked(part: bytes) -> bytes:
    return part[:-4] + struct.pack(">I", zlib.crc32(part[4:-4])) if len(part) >= 12 else part


def _drop(data: bytes, choose: random.Random) -> bytes:
    head, parts = _split(data)
    if parts:
        del parts[choose.randrange(len(parts))]
    return _join(head, parts, choose)


def _repeat(data: bytes, choose: random.Random) -> bytes:
    head, parts = _split(data)
    if parts:
        at = choose.randrange(len(parts))
        parts[at:at] = [parts[at]] * choose.choice((1, 1, 2, 30))
    return _join(head, parts, choose)


def _move(data: bytes, choose: random.Random) -> bytes:
    head, parts = _split(data)
    if parts:
        parts.insert(choose.randrange(len(parts)), parts.pop(choose.randrange(len(parts))))
    return _join(head, parts, choose)


def _lend(data: bytes, choose: random.Random) -> bytes:
    """A part of another picture of this kind."""
    head, parts = _split(data)
    others = _split(choose.choice([each for each in _sources() if each[:2] == data[:2]] or [data]))[1]
    if others:
        parts.insert(choose.randint(0, len(parts)), choose.choice(others))
    return _join(head, parts, choose)


def _lie(data: bytes, choose: random.Random) -> bytes:
    """A part's length or name is another."""
    head, parts = _split(data)
    if parts:
        at = choose.randrange(len(parts))
        place, size = choose.choice(((0, 4), (2, 2), (4, 4)))
        parts[at] = parts[at][:place] + _strange(size, choose) + parts[at][place + size :]
    return _join(head, parts, choose)


def _bend(data: bytes, choose: random.Random) -> bytes:
    """Something within a part: its first bytes most of all, where its fields are."""
    head, parts = _split(data)
    if parts:
        at = choose.randrange(len(parts))
        changed = bytearray(parts[at])
        for _ in range(choose.randint(1, 4)):
            place = choose.randrange(min(len(changed), choose.choice((24, 64, 4096))) or 1)
            size = choose.choice((1, 1, 2, 4))
            changed[place : place + size] = _strange(size, choose)
        parts[at] = bytes(changed)
    return _join(head, parts, choose)


def _repack(data: bytes, choose: random.Random) -> bytes:
    """What is packed within a PNG's chunk is bent, and packed again: profiles and pixels."""
    head, parts = _split(data)
    packed = [at for at, part in enumerate(parts) if part[4:8] in (b"IDAT", b"iCCP")]
    if not data.startswith(PNG_SIGNATURE) or not packed:
        return _bend(data, choose)
    at = choose.choice(packed)
    name, content = parts[at][4:8], parts[at][8:-4]
    before = content.index(b"\0") + 2 if name == b"iCCP" and b"\0" in content else 0
    try:
        inner = zlib.decompressobj().decompress(content[before:], 1 << 20)
    except zlib.error:
        return _bend(data, choose)
    inner = choose.choice(_BY_BYTES)(inner, choose)
    parts[at] = chunk(name, content[:before] + zlib.compress(inner))
    return _join(head, parts, choose)


def _flip(data: bytes, choose: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(choose.choice((1, 4, 32)) if data else 0):
        changed[choose.randrange(len(changed))] ^= 1 << choose.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, choose: random.Random) -> bytes:
    at, size = choose.randint(0, len(data)), choose.choice((1, 2, 4))
    return data[:at] + _strange(size, choose) + data[at + size :]


def _cut(data: bytes, choose: random.Random) -> bytes:
    at = choose.randint(0, len(data))
    return data[:at] if choose.random() < 0.3 else data[:at] + data[at + choose.choice((1, 2, 7, 100)) :]


def _insert(data: bytes, choose: random.Random) -> bytes:
    at = choose.randint(0, len(data))
    return data[:at] + choose.choice((choose.randbytes(9), b"\xff" * 99, bytes(99), data[at : at + 999])) + data[at:]


def _strange(size: int, choose: random.Random) -> bytes:
    if choose.random() < 0.4:
        return choose.randbytes(size)
    number = choose.choice(STRANGE + STRANGE_LONG * (size == 4)) % (1 << 8 * size)
    return number.to_bytes(size, choose.choice(("big", "little")))


_BY_PARTS = (_drop, _repeat, _move, _lend, _lie, _bend, _bend, _repack)
_BY_BYTES = (_flip, _overwrite, _cut, _insert)
