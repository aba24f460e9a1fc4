"""What can be made of a picture and its matte: one small file for each operation, and its name is the file's.

The first line of a file's docstring is what users read. `compose` draws; `matte`, where there is one, stands in for the
network. What is said in capitals is read without running the file (by `core.operations`), so it is written out:
`DEFAULTS` of options that are others than usual, the options that it `NEEDS` and `REFUSES`, and `OPAQUE` for one whose
results are never transparent.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from app.imaging.cutout import CutoutOptions
from app.imaging.decode import DecodedImage
from app.imaging.drawing import Bytes, Composed


class Compose(Protocol):
    def __call__(self, image: DecodedImage, alpha: Bytes, options: CutoutOptions) -> Composed: ...


class OwnMatte(Protocol):
    def __call__(self, data: bytes, width: int, height: int) -> Bytes: ...


@dataclass(frozen=True)
class Operation:
    compose: Compose
    matte: OwnMatte | None


def load(name: str) -> Operation:
    """The operation of this name, such as "remove-background"."""
    module = import_module(f"{__name__}.{name.replace('-', '_')}")
    return Operation(module.compose, getattr(module, "matte", None))
