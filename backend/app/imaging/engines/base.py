"""What a network runtime must do for us, and what a network must be for it."""

import mmap
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

INPUT_SHAPE = (1, 3, 1024, 1024)
OUTPUT_SHAPE = (1, 1, 1024, 1024)
NOT_ISNET = "The model is not IS-Net: it needs one input 1x3x1024x1024 and an output 1x1x1024x1024"
OTHER_ENDS = "The model is not the one of this name: its input or its output has another shape"

EXTERNAL_DATA = "The model keeps its weights in a second file, which is not supported"
# The protobuf field that starts every reference to tensor data in another file (StringStringEntryProto.key).
# Left to itself, a runtime would open whatever path stands there.
_EXTERNAL_DATA = b"\n\x08location"


class Engine(Protocol):
    """Runs a network on one prepared picture. One engine belongs to one thread at a time.

    `name`: the runtime. `precision`: what it computes in: "bf16", "fp32" …
    """

    name: str
    precision: str

    def infer(self, blob: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The raw sigmoid output.

        Args:
            blob: float32, 1 x 3 x 1024 x 1024 (another square for another network), as `isnet.preprocess` makes it.

        Returns:
            float32, 1024 x 1024 (of that square), in 0..1; the caller's own.
        """
        ...


def has_external_data(model: Path | bytes) -> bool:
    """Whether an ONNX file, or its bytes, names a second file."""
    if isinstance(model, bytes):
        return _EXTERNAL_DATA in model
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return mapped.find(_EXTERNAL_DATA) >= 0
