"""Cuts a network down to its one output and widens half precision to single.

Set-up time only: this is the one module that needs `onnx`, which is not part of what runs.
"""

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper


def prune_and_widen(model: bytes) -> bytes:
    """The same network in fp32 with nothing but its first output.

    Args:
        model: a serialised ONNX model, in fp32 or in fp16 with Cast nodes around it.

    Returns:
        A serialised ONNX model without Cast nodes. The result is the same bytes on every run.

    Raises:
        ValueError: the bytes are no ONNX model.
    """
    try:
        parsed = onnx.load_from_string(model)
    except Exception as error:  # protobuf's DecodeError is reachable by no public name
        raise ValueError("not an ONNX model") from error
    graph = parsed.graph
    if not graph.output:
        raise ValueError("an ONNX model without an output")
    _drop_casts(graph)
    _keep_ancestors_of(graph, graph.output[0].name)
    _widen(graph)
    del graph.output[1:]
    del graph.value_info[:]  # types of what lies between: they still say fp16, and nobody needs them
    serialised: bytes = parsed.SerializeToString(deterministic=True)
    return serialised


def _drop_casts(graph: GraphProto) -> None:
    """Takes the Cast nodes out: each name that a Cast gave becomes the name of what it was given."""
    alias = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}

    def source_of(name: str) -> str:
        while name in alias:
            name = alias[name]
        return name

    # The output's own name must survive its Cast: the node that feeds it takes that name over.
    wanted = graph.output[0].name
    names = {source_of(wanted): wanted}
    nodes = [node for node in graph.node if node.op_type != "Cast"]
    for node in nodes:
        for names_of_node in (node.input, node.output):
            renamed = [source_of(name) for name in names_of_node]
            names_of_node[:] = [names.get(name, name) for name in renamed]
    _replace_nodes(graph, nodes)


def _keep_ancestors_of(graph: GraphProto, output: str) -> None:
    """Keeps the nodes and initialisers that `output` depends on, in their order (which is topological)."""
    needed = {output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    _replace_nodes(graph, kept[::-1])
    initialisers = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(initialisers)


def _widen(graph: GraphProto) -> None:
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))


def _replace_nodes(graph: GraphProto, nodes: list[NodeProto]) -> None:
    del graph.node[:]
    graph.node.extend(nodes)
