from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.imaging.engines.base import Engine
from app.imaging.engines.onnxruntime import OnnxRuntimeEngine
from app.imaging.errors import ModelUnavailable
from tests.imaging.networks import SHAPE, network


def test_it_is_an_engine() -> None:
    engine: Engine = OnnxRuntimeEngine(network(), threads=1)

    assert engine.name == "onnxruntime"


@pytest.mark.parametrize("kind", ["path", "bytes"])
def test_it_runs_a_network(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(network())
    engine = OnnxRuntimeEngine(path if kind == "path" else network(), threads=1)

    raw = engine.infer(np.full(SHAPE, 0.25, np.float32))

    assert raw.shape == (1024, 1024)
    assert raw.dtype == np.float32
    assert raw[0, 0] == pytest.approx(1 / (1 + np.exp(-0.25 * 3 * 0.328125)))


def test_of_several_outputs_the_one_called_output_counts() -> None:
    blob = np.zeros(SHAPE, np.float32)

    named = OnnxRuntimeEngine(network(outputs=("side", "output")), threads=1).infer(blob)
    first = OnnxRuntimeEngine(network(outputs=("main", "side")), threads=1).infer(blob)

    assert named[0, 0] == pytest.approx(1 / (1 + np.exp(-1)))  # the second output adds 1 before its sigmoid
    assert first[0, 0] == 0.5


@pytest.mark.parametrize(
    "model",
    [b"", b"no network", network(shape=(1, 3, 320, 320)), network(outputs=("output",), channels=3)],
    ids=["empty", "text", "another size", "another depth"],
)
def test_it_refuses_what_is_not_isnet(model: bytes) -> None:
    with pytest.raises(ModelUnavailable):
        OnnxRuntimeEngine(model, threads=1)


def test_it_refuses_files_that_are_missing_or_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()

    for name in ("missing.onnx", "empty.onnx"):
        with pytest.raises(ModelUnavailable):
            OnnxRuntimeEngine(tmp_path / name, threads=1)


@pytest.mark.parametrize("kind", ["path", "bytes"])
def test_it_refuses_weights_in_a_second_file(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1]),
                helper.make_node("Add", ["mean", "w"], ["output"]),
            ],
            "external",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, SHAPE)],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, 1, 1024, 1024))],
            [numpy_helper.from_array(np.ones((1, 1, 1024, 1024), np.float32), "w")],
        ),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 15)],
    )
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin")
    assert {file.name for file in tmp_path.iterdir()} == {"model.onnx", "weights.bin"}
    monkeypatch.chdir(tmp_path)  # where onnxruntime would look for it

    with pytest.raises(ModelUnavailable, match="second file"):
        OnnxRuntimeEngine(path if kind == "path" else path.read_bytes(), threads=1)


def test_the_real_network_answers(onnx_engine: OnnxRuntimeEngine) -> None:
    raw = onnx_engine.infer(np.zeros(SHAPE, np.float32))

    assert raw.shape == (1024, 1024)
    assert 0 <= raw.min() <= raw.max() <= 1
