import sys
from pathlib import Path

import onnxruntime as ort
import pytest

from app.imaging.engines.choice import choose, load
from app.imaging.errors import EngineUnavailable, ModelUnavailable
from tests.imaging.networks import network


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(network())
    return path


def test_by_itself_it_is_openvino_and_says_why(model: Path) -> None:
    engine, reason = load("auto", model, 1, model.parent)

    assert engine.name == "openvino"
    assert "bf16" in reason
    assert (engine.precision == "bf16") == ("computes in bf16" in reason)


@pytest.mark.parametrize("wish", ["openvino", "onnxruntime"])
def test_the_one_asked_for_is_taken(model: Path, wish: str) -> None:
    engine, reason = load(wish, model, 1, model.parent)  # type: ignore[arg-type]

    assert engine.name == wish
    assert "ENGINE" in reason


@pytest.mark.parametrize("wish", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there_is_an_error_and_no_quiet_run_on_the_processor(model: Path, wish: str) -> None:
    with pytest.raises(EngineUnavailable, match=wish):
        load(wish, model, 1, model.parent)  # type: ignore[arg-type]


def test_a_gpu_that_cannot_be_started_is_an_error(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As with onnxruntime-gpu on a machine without a driver: the provider is offered, and silently left out.
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])

    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(EngineUnavailable, match="could not start"),
    ):
        load("cuda", model, 1, model.parent)


def test_by_itself_it_passes_over_a_gpu_that_cannot_be_started(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])

    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        engine, reason = load("auto", model, 1, model.parent, lambda wish, error: told.append((wish, str(error))))

    assert engine.name == "openvino"
    assert "cuda could not be started" in reason
    assert [wish for wish, _ in told] == ["cuda"]
    assert "No GPU" in told[0][1]


def test_without_openvino_it_is_onnxruntime(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "app.imaging.engines.openvino", raising=False)

    engine, reason = load("auto", model, 1, model.parent)

    assert engine.name == "onnxruntime"
    assert "OpenVINO cannot be used" in reason
    with pytest.raises(EngineUnavailable, match="OpenVINO cannot be used"):
        choose("openvino")


def test_a_network_that_nobody_can_load_is_the_networks_fault(model: Path) -> None:
    model.write_bytes(b"no network")

    with pytest.raises(ModelUnavailable):
        load("auto", model, 1, model.parent)
