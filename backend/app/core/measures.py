"""Lengths, sizes and places as people write them: `10px`, `5%`, `2000x2000`, `4:5`, `50% 100%`."""

import re
from dataclasses import dataclass

MAX_PX, MAX_PERCENT = 4096, 100
MAX_SIDE, MAX_MEGAPIXELS = 8192, 25
MAX_SHAPE = 10  # a canvas is at most so many times as long as it is wide, or the other way round

CAPS = {"preview": 0.25, "medium": 1.5, "hd": 4.0, "10MP": 10.0, "full": 25.0, "50MP": 50.0}
"""The names of sizes that are upper bounds, in megapixels."""
_OTHER_NAMES = {
    "small": "preview",
    "regular": "preview",
    "4k": "full",
    "10mp": "10MP",
    "50mp": "50MP",
    "auto": "original",  # the largest that we do
    "": "original",
}

_LENGTH = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(px|%|)", re.ASCII)
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%", re.ASCII)
_CORNER = re.compile(r"(\d{1,6})px|(\d{1,3}(?:\.\d{1,6})?)%|0", re.ASCII)
_SIDES = re.compile(r"(\d{1,6})\s*([x:])\s*(\d{1,6})", re.ASCII)


@dataclass(frozen=True)
class Length:
    """Pixels, or percent of something else."""

    value: float
    percent: bool = False

    def __str__(self) -> str:
        return plain(self.value) + ("%" if self.percent else "px")


@dataclass(frozen=True)
class Sides:
    """A canvas: its size in pixels, or (`exact` is False) the shape that its sides have to each other."""

    width: int
    height: int
    exact: bool

    def __str__(self) -> str:
        return f"{self.width}{'x' if self.exact else ':'}{self.height}"


def plain(number: float) -> str:
    """A number as people write it: 10, 2.5."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


def read_length(text: str) -> Length | None:
    """`10`, `10px` or `2.5%`, up to 4096 px and 100 %; None for anything else."""
    found = _LENGTH.fullmatch(text)
    if found is None:
        return None
    value, percent = float(found[1]), found[2] == "%"
    fits = value <= MAX_PERCENT if percent else value <= MAX_PX and value.is_integer()
    return Length(value, percent) if fits else None


def read_padding(text: str) -> tuple[Length, Length, Length, Length] | None:
    """1, 2 or 4 lengths as CSS writes them: all; vertical, horizontal; top, right, bottom, left. In the last order."""
    lengths = [length for length in map(read_length, text.lower().split()) if length is not None]
    if len(lengths) != len(text.split()) or len(lengths) not in {1, 2, 4}:
        return None
    top, right, bottom, left = {1: lengths * 4, 2: lengths * 2, 4: lengths}[len(lengths)]
    return top, right, bottom, left


def padding_text(padding: tuple[Length, Length, Length, Length]) -> str:
    """The shortest way to write it."""
    top, right, bottom, left = padding
    if (top, right) != (bottom, left):
        return f"{top} {right} {bottom} {left}"
    return str(top) if top == right else f"{top} {right}"


Region = tuple[Length, Length, Length, Length]
"""Part of a picture: left, top, right and bottom, each from the picture's left or upper edge; percent of its sides."""

WHOLE: Region = (Length(0), Length(0), Length(100, percent=True), Length(100, percent=True))


def read_region(text: str) -> Region | None:
    """`x1 y1 x2 y2`, each `10px`, `5%` (up to 100 %) or a bare `0`; None for anything else."""
    corners = [_CORNER.fullmatch(part) for part in text.lower().split()]
    read = [Length(float(part[2] or part[1] or 0), percent=part[2] is not None) for part in corners if part]
    if len(corners) != 4 or len(read) != 4 or any(side.percent and side.value > MAX_PERCENT for side in read):
        return None
    # Nothing is the same in both units.
    left, top, right, bottom = (side if side.value else Length(0) for side in read)
    return left, top, right, bottom


def region_text(region: Region) -> str:
    """As it is stored."""
    return " ".join(map(str, region))


def read_size(text: str) -> float | Sides | str | None:
    """Megapixels at most, a canvas, or "original"; None for anything else."""
    name = size_name(text)
    if name == "original":
        return name
    if name in CAPS:
        return CAPS[name]
    found = _SIDES.fullmatch(name)
    if found is None:
        return None
    sides = Sides(int(found[1]), int(found[3]), exact=found[2] == "x")
    width, height = sides.width, sides.height
    if min(width, height) == 0:
        return None
    if sides.exact:
        fits = max(width, height) <= MAX_SIDE and width * height <= MAX_MEGAPIXELS * 1_000_000
    else:
        fits = 1 / MAX_SHAPE <= width / height <= MAX_SHAPE
    return sides if fits else None


def size_name(text: str) -> str:
    """Of the names that mean the same the one that is kept, and sides as we write them."""
    word = text.strip().lower()
    word = _OTHER_NAMES.get(word, word)
    found = _SIDES.fullmatch(word)
    return f"{int(found[1])}{found[2]}{int(found[3])}" if found else word


def read_percent(text: str, least: float, most: float) -> float | None:
    """`85%` as 85.0, when it is within the limits."""
    found = _PERCENT.fullmatch(text.strip())
    value = float(found[1]) if found else -1.0
    return value if least <= value <= most else None


def read_position(text: str) -> tuple[float, float] | None:
    """`N%` or `H% V%` as shares of the free room, 0..1, from the left and from the top."""
    parts = [read_percent(part, 0, 100) for part in text.split()]
    shares = [part / 100 for part in parts if part is not None]
    if len(shares) != len(parts) or len(shares) not in {1, 2}:
        return None
    return shares[0], shares[-1]


def position_text(position: tuple[float, float]) -> str:
    """The shortest way to write it."""
    across, down = (f"{plain(share * 100)}%" for share in position)
    return across if across == down else f"{across} {down}"
