from pathlib import Path

import hypothesis
import pytest

from app.imaging.engines.onnxruntime import OnnxRuntimeEngine
from app.imaging.engines.openvino import OpenVinoEngine
from tests.imaging import model

# How long one example takes says more about what else the machine does than about us.
hypothesis.settings.register_profile("imaging", deadline=None)
hypothesis.settings.load_profile("imaging")


@pytest.fixture(scope="session")
def weights_path() -> Path:
    return model.weights()


@pytest.fixture(scope="session")
def onnx_engine() -> OnnxRuntimeEngine:
    return model.real_engine()


@pytest.fixture(scope="session")
def fast_engine() -> OpenVinoEngine:
    return model.fast_engine()
