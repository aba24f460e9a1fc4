from pathlib import Path

import hypothesis
import pytest

from app.imaging.engines.onnxruntime import OnnxRuntimeEngine
from tests.imaging.model import real_engine, weights

# How long one example takes says more about what else the machine does than about us.
hypothesis.settings.register_profile("imaging", deadline=None)
hypothesis.settings.load_profile("imaging")


@pytest.fixture(scope="session")
def weights_path() -> Path:
    return weights()


@pytest.fixture(scope="session")
def onnx_engine() -> OnnxRuntimeEngine:
    return real_engine()
