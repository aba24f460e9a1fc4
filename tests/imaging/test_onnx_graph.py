import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.imaging.engines.onnxruntime import OnnxRuntimeEngine
from app.imaging.onnx_graph import prune_and_widen
from tests.imaging.networks import SHAPE, network


@pytest.mark.parametrize("half", [False, True])
def test_one_output_in_single_precision_is_left(half: bool) -> None:
    graph = onnx.load_from_string(prune_and_widen(network(("output", "side"), half=half))).graph

    assert [output.name for output in graph.output] == ["output"]
    assert [node.op_type for node in graph.node] == ["Conv", "Sigmoid"]
    assert [(tensor.name, tensor.data_type) for tensor in graph.initializer] == [
        ("mean.weight", onnx.TensorProto.FLOAT)
    ]


@pytest.mark.parametrize("half", [False, True])
def test_it_says_what_it_said_before(half: bool) -> None:
    model = prune_and_widen(network(("output", "side"), half=half))
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    blob = np.random.default_rng(3).random(SHAPE, dtype=np.float32) - np.float32(0.5)

    before = OnnxRuntimeEngine(network(), threads=1).infer(blob)
    after = OnnxRuntimeEngine(model, threads=1).infer(blob)

    assert np.abs(before - after).max() < 1e-6


def test_an_output_that_another_node_reads_keeps_its_name() -> None:
    graph = onnx.load_from_string(prune_and_widen(network(("sum.1", "side"), half=True))).graph

    assert [list(node.output) for node in graph.node][-1] == ["sum.1"]


def test_the_same_bytes_come_out_each_time() -> None:
    assert prune_and_widen(network(half=True)) == prune_and_widen(network(half=True))


@given(st.binary(max_size=60))
def test_what_is_no_network_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="ONNX model"):
        prune_and_widen(data)
