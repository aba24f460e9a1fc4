"""EXTRA_MODELS in a worker: what its main process fetches, what a child loads, and the memory that it may take."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from app.core.capacity import Capacity
from app.core.config import Settings
from app.imaging import models
from app.imaging.errors import ModelUnavailable
from app.imaging.models import GIB, ModelEntry
from app.imaging.onnx_graph import prune_and_widen
from app.services.networks import ModelNotReady, OtherModels
from app.tasks import runtime, worker
from tests.conftest import make_settings
from tests.embedded_services import wait_for
from tests.imaging.networks import network
from tests.tasks.test_memory import LARGEST, run

NETWORK = network(shape=(1, 3, 320, 320))


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> ModelEntry:
    """A model of the tests' own under a known name; nothing is there to fetch it from."""
    digest = f"sha256:{hashlib.sha256(NETWORK).hexdigest()}"
    entry = replace(models.MODELS["u2netp"], url="http://127.0.0.1:9/u2netp.onnx", digest=digest)
    monkeypatch.setitem(models.MODELS, entry.name, entry)
    return entry


@pytest.fixture
def settings(environment: dict[str, str], tmp_path: Path) -> Settings:
    own = tmp_path / "own.onnx"
    own.write_bytes(prune_and_widen(network()))
    chosen = {"model_cache_dir": tmp_path, "model_path": own, "extra_models": "u2netp", "log_dir": tmp_path}
    return make_settings(environment, **chosen)


@pytest.mark.usefixtures("entry")
def test_one_that_cannot_be_fetched_is_named_and_stops_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "load_settings", lambda: settings)
    with capture_logs() as lines:
        worker._check_before_work()
        wait_for(lambda: bool(lines), "the thread that fetches has tried")
    (line,) = [line for line in lines if line["event"] == "model_not_fetched"]
    assert line["model"] == "u2netp"
    assert "could not be fetched" in line["reason"]
    assert runtime._missing(settings) == "; without u2netp, not fetched"


def test_a_child_runs_what_is_there(settings: Settings, entry: ModelEntry) -> None:
    (settings.model_cache_dir / "u2netp.onnx").write_bytes(NETWORK)
    with capture_logs() as lines:
        worker._fetch_others(settings)
    assert lines == []
    assert runtime._missing(settings) == ""
    loaded = runtime._load_other(settings, Capacity(1, 1, 1), entry)
    assert loaded.infer(np.zeros((1, 3, 320, 320), np.float32)).shape == (320, 320)


def test_a_child_runs_nothing_that_rembg_does_not_know(settings: Settings, entry: ModelEntry) -> None:
    (settings.model_cache_dir / "u2netp.onnx").write_bytes(NETWORK + b"\0")
    with pytest.raises(ModelUnavailable, match="u2netp is damaged"):
        runtime._load_other(settings, Capacity(1, 1, 1), entry)


def test_a_child_may_take_as_much_more_as_the_largest_of_them_needs() -> None:
    code = f"MemoryLimit(None, {LARGEST}, 8 << 30)\nprint((soft() - warm - LEAST - 96 * {LARGEST}) / (1 << 30))"
    assert float(run(code)) == pytest.approx(8 * GIB / 2**30, abs=0.1)
    code = f"MemoryLimit(None, {LARGEST}, 8 << 30, 7 << 30)\nprint(soft() / (1 << 30))"
    assert float(run(code)) == 7.0  # its share of the machine
    assert run(f"MemoryLimit(3 << 30, {LARGEST}, 8 << 30)\nprint(soft())") == str(3 << 30)  # a wish is a wish


def test_one_that_does_not_fit_says_so_and_the_child_lives(tmp_path: Path) -> None:
    """Under the kernel's own limit, with the libraries that are really at work."""
    path = tmp_path / "large.onnx"
    path.write_bytes(network(shape=(1, 3, 320, 320)))
    code = f"""
import numpy as np
from pathlib import Path
from app.imaging.engines.onnxruntime import OnnxRuntimeEngine
from app.services.networks import ModelNotReady, OtherModels

class Hungry:
    name, precision = "hungry", "fp32"
    def infer(self, blob):
        np.ones(8 << 30, np.uint8)
        raise AssertionError("there was room")

def load(entry):
    return Hungry() if entry.name == "u2net" else OnnxRuntimeEngine(Path({str(path)!r}), 1, side=320)

limit = MemoryLimit(1, 0)
others = OtherModels({{"u2net", "u2netp"}}, load)
try:
    engine, prepare = others.find("u2net")
    engine.infer(prepare(np.zeros((60, 60, 3), np.uint8)))
except ModelNotReady as error:
    said = str(error)
engine, prepare = others.find("u2netp")
print(said, engine.infer(prepare(np.zeros((60, 60, 3), np.uint8))).shape)
"""
    said = run(code)
    assert "u2net does not fit into the memory" in said
    assert said.endswith("(320, 320)")


def test_nothing_is_switched_on_by_itself() -> None:
    with pytest.raises(ModelNotReady):
        OtherModels().find("u2net")
