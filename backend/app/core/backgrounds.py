"""Backgrounds as people write them: a colour, a gradient, the picture itself blurred, or another picture."""

import re
from dataclasses import dataclass
from itertools import pairwise

from app.core.colours import normalised
from app.core.measures import Length, plain, read_length, read_percent

MAX_STOPS = 8
MAX_LENGTH = 2048
TRANSPARENT = {"", "transparent"}
S3 = "s3:"
OPAQUE = 255

_CALL = re.compile(r"(linear-gradient|blur)\s*\((.*)\)", re.ASCII | re.DOTALL | re.IGNORECASE)
_ANGLE = re.compile(r"(-?\d{1,4}(?:\.\d{1,6})?)deg", re.ASCII)
_DOWNWARDS = 180.0  # what CSS takes a gradient for that names no angle

Rgb = tuple[int, int, int]


class NotABackground(ValueError):
    """What was written is none; the text says what may be written instead."""


@dataclass(frozen=True)
class Colour:
    """`alpha`: 0..255, how much of it there is."""

    rgb: Rgb
    alpha: int = OPAQUE

    def __str__(self) -> str:
        return "#" + bytes((*self.rgb, self.alpha)[: 3 if self.alpha == OPAQUE else 4]).hex()


@dataclass(frozen=True)
class Gradient:
    """`degrees` as in CSS: 0 upwards, 90 to the right. `stops`: colours with their places in percent, never falling."""

    degrees: float
    stops: tuple[tuple[Rgb, float], ...]

    def __str__(self) -> str:
        stops = (f"{Colour(rgb)} {plain(place)}%" for rgb, place in self.stops)
        return f"linear-gradient({plain(self.degrees)}deg, {', '.join(stops)})"


@dataclass(frozen=True)
class Blur:
    """The original, blurred by so much (the deviation of a Gaussian); percent of its longer side."""

    by: Length

    def __str__(self) -> str:
        return f"blur({self.by})"


@dataclass(frozen=True)
class Address:
    """A picture by its key in the object store (`s3:`), or by its URL."""

    text: str

    @property
    def s3_key(self) -> str | None:
        return self.text.removeprefix(S3) if self.text.startswith(S3) else None

    def __str__(self) -> str:
        return self.text


Background = Colour | Gradient | Blur | Address


def read_background(text: str) -> Background | None:
    """What is written, None for transparent. Raises `NotABackground` with the reason as a sentence."""
    word = text.strip()
    if word.lower() in TRANSPARENT:
        return None
    if call := _CALL.fullmatch(word):
        return _gradient(call[2]) if call[1].lower() == "linear-gradient" else _blur(call[2])
    scheme = word.partition(":")[0].lower()
    if scheme in {"s3", "http", "https"} and ":" in word:
        return _address(scheme, word)
    colour = _colour(word)
    return colour if colour.alpha else None


def is_opaque(background: Background | None) -> bool:
    """Whether nothing shines through it."""
    return background is not None and not (isinstance(background, Colour) and background.alpha < OPAQUE)


def _colour(word: str) -> Colour:
    colour = normalised(word)
    if colour is None:
        raise NotABackground(
            "this is no background; write a colour (#rgb, #rrggbb, #rrggbbaa or a name such as white), "
            "linear-gradient(…), blur(…), s3: and a key, or a URL"
        )
    red, green, blue, *alpha = bytes.fromhex(colour.removeprefix("#"))
    return Colour((red, green, blue), *alpha)


def _address(scheme: str, word: str) -> Address:
    rest = word.partition(":")[2]
    if not rest or len(word) > MAX_LENGTH or not word.isprintable():
        raise NotABackground(f"an address has at most {MAX_LENGTH} characters, all of them printable")
    return Address(f"{scheme}:{rest}")


def _blur(inside: str) -> Blur:
    by = read_length(inside.strip().lower())
    if by is None or by.value == 0:
        raise NotABackground("a blur is written like blur(20px) or blur(2%), up to 4096px or 100%")
    return Blur(by)


def _gradient(inside: str) -> Gradient:
    parts = [part.strip() for part in inside.split(",")]
    angle = _ANGLE.fullmatch(parts[0].lower())
    written = parts[1:] if angle else parts
    if not 2 <= len(written) <= MAX_STOPS:
        raise NotABackground(
            f"a gradient is written like linear-gradient(90deg, #fff, red 30%, navy), with 2 to {MAX_STOPS} colours"
        )
    colours, places = zip(*map(_stop, written), strict=True)
    degrees = round(float(angle[1]) % 360, 6) if angle else _DOWNWARDS
    return Gradient(degrees, tuple(zip(colours, _filled(list(places)), strict=True)))


def _stop(text: str) -> tuple[Rgb, float | None]:
    colour, _, place = text.partition(" ")
    if len(normalised(colour) or "") != len("#rrggbb"):
        raise NotABackground("each colour of a gradient is #rgb, #rrggbb or a name, and a place such as 30% if need be")
    if not place.strip():
        return _colour(colour).rgb, None
    percent = read_percent(place, 0, 100)
    if percent is None:
        raise NotABackground("the place of a gradient's colour is 0% to 100%")
    return _colour(colour).rgb, percent


def _filled(places: list[float | None]) -> list[float]:
    """As CSS does it: the ends are 0 and 100, none lies before an earlier one, what is left out is spread evenly."""
    given = [0.0 if places[0] is None else places[0], *places[1:-1], 100.0 if places[-1] is None else places[-1]]
    so_far = 0.0
    known: list[tuple[int, float]] = []
    for index, place in enumerate(given):
        if place is not None:
            so_far = max(so_far, place)
            known.append((index, so_far))
    filled = [known[0][1]]
    for (first, low), (last, high) in pairwise(known):
        filled += [round(low + (high - low) * step / (last - first), 6) for step in range(1, last - first + 1)]
    return filled
