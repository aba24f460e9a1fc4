"""Small networks with IS-Net's ends, for tests of what handles networks."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SHAPE = (1, 3, 1024, 1024)


def network(
    outputs: tuple[str, ...] = ("output",), shape: tuple[int, ...] = SHAPE, channels: int = 1, *, half: bool = False
) -> bytes:
    """The sigmoid of the channels' mean; each further output adds 1 before its sigmoid.

    With `half`, in fp16 between Cast nodes that stand at the end of the list, as in the npm package.
    """
    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    mean = np.full((channels, 3, 1, 1), 1 / 4 + 1 / 16 + 1 / 64, dtype)
    initialisers = [numpy_helper.from_array(mean, "mean.weight")]
    nodes = [helper.make_node("Conv", ["cast_in" if half else "input", "mean.weight"], ["sum.0"])]
    casts = [helper.make_node("Cast", ["input"], ["cast_in"], to=kind)] if half else []
    for index, output in enumerate(outputs):
        if index:
            initialisers.append(numpy_helper.from_array(np.ones(1, dtype), f"one.{index}"))
            nodes.append(helper.make_node("Add", [f"sum.{index - 1}", f"one.{index}"], [f"sum.{index}"]))
        nodes.append(helper.make_node("Sigmoid", [f"sum.{index}"], [f"cast.{output}" if half else output]))
        if half:
            casts.append(helper.make_node("Cast", [f"cast.{output}"], [output], to=TensorProto.FLOAT))
    graph = helper.make_graph(
        nodes + casts,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, (1, channels, *shape[2:])) for output in outputs],
        initialisers,
    )
    made = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 15)])
    return bytes(made.SerializeToString())
