"""A case of the corpus: a file, and what may become of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

DONE = "done"
CORRUPT = ("refused image_corrupt", "failed image_corrupt")
TRUNCATED = ("refused image_truncated", "failed image_truncated")
BROKEN = CORRUPT + TRUNCATED
COMPLEX = ("refused image_too_complex", "failed image_too_complex")
UNSUPPORTED = ("refused unsupported_format",)
LARGE = ("refused dimensions_too_large",)
SMALL = ("refused dimensions_too_small",)
ANY = (DONE, *BROKEN)


@dataclass(frozen=True)
class Case:
    """`may`: the verdicts (`judge.Verdict.said`) that are right."""

    name: str
    make: Callable[[], bytes] = field(repr=False)
    may: tuple[str, ...]


def case(name: str, make: Callable[..., bytes] | bytes, *arguments: Any, may: tuple[str, ...] = (DONE,)) -> Case:
    if isinstance(make, bytes):
        given = make
        return Case(name, lambda: given, may)
    return Case(name, partial(make, *arguments), may)


def unsupported(name: str, data: bytes) -> Case:
    return case(f"{name} is no picture of ours", data, may=UNSUPPORTED)
