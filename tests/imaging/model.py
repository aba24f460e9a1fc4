"""The real network for the tests: one engine for each pytest process, and its outputs kept."""

import functools
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.imaging.decode import DecodedImage, decode
from app.imaging.engines.onnxruntime import OnnxRuntimeEngine
from app.imaging.engines.openvino import OpenVinoEngine
from app.imaging.isnet import preprocess
from app.imaging.limits import ImageLimits
from app.imaging.weights import ensure_weights
from tests.imaging.pictures import photo

PROJECT_ROOT = Path(__file__).parents[2]

Raw = npt.NDArray[np.float32]


@functools.cache
def weights() -> Path:
    """The weights of this machine, fetched if they are missing."""
    return ensure_weights(Path(os.environ.get("MODEL_CACHE_DIR", PROJECT_ROOT / "var" / "models")), None)


@functools.cache
def real_engine() -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(weights(), threads=2)


@functools.cache
def fast_engine() -> OpenVinoEngine:
    return OpenVinoEngine(weights(), threads=2, ir_dir=weights().parent)


def decoded_photo(name: str) -> DecodedImage:
    return decode(photo(name), ImageLimits())


@functools.cache
def raw_of_photo(name: str) -> Raw:
    """What the network says of one of scikit-image's photographs, in full precision."""
    return real_engine().infer(preprocess(decoded_photo(name).rgb))


class Parrot:
    """An engine that says what it was told to, and keeps what it was given."""

    name = "parrot"
    precision = "fp32"

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.blobs: list[Raw] = []

    def infer(self, blob: Raw) -> Raw:
        self.blobs.append(blob)
        return self.raw
