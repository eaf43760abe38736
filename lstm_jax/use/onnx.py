"""A trained model as an ONNX graph with a real LSTM, GRU or RNN node for each recurrent layer.

The operators: https://onnx.ai/onnx/operators/onnx__LSTM.html, onnx__GRU.html and onnx__RNN.html.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from lstm_jax.cells import get_cell
from lstm_jax.cells.cell import Cell
from lstm_jax.errors import UserError
from lstm_jax.tasks.images import arranged
from lstm_jax.train.declare import layer_names
from lstm_jax.use.trained import Trained

Arrays = dict[str, np.ndarray]


class Operator(NamedTuple):
    """The ONNX operator that computes a cell."""

    name: str
    columns: str  # of the cell, in the operator's order
    attributes: dict[str, Any]


OPERATORS = {
    "lstm": Operator("LSTM", "iofg", {}),
    "gru": Operator("GRU", "urn", {"linear_before_reset": 1}),
    "rnn": Operator("RNN", "n", {"activations": ["Tanh"]}),
    "irnn": Operator("RNN", "n", {"activations": ["Relu"]}),
}


def to_onnx(trained: Trained) -> bytes:
    """Returns the graph, serialised; the input layer, which is linear, is multiplied into it.

    Raises UserError for a cell that has no operator, and for a model that reads no images.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    if trained.member.cell not in OPERATORS:
        raise UserError(
            f"ONNX has no operator for the cell {trained.member.cell}, only for "
            f"{', '.join(OPERATORS)}; leave --onnx away: StableHLO holds every cell"
        )
    if trained.member.bidirectional or trained.member.residual:
        raise UserError(
            "ONNX is written of layers that read forwards, one upon the other, without residual "
            "sums; leave --onnx away: StableHLO holds every model"
        )
    node, classes = helper.make_node, trained.ends.num_outputs
    reading, weights = _reading(trained)
    layers, last = _layers(trained)
    nodes = [
        node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        node("Div", ["floats", "white"], ["scaled"]),
        *reading,
        node("Transpose", ["read"], ["rows_0"], perm=[1, 0, 2]),
        *layers,
        node("Squeeze", [last, "first_axis"], ["h"]),
        node("Gemm", ["h", "kernel", "bias"], ["logits"]),
        node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    weights |= _weights(trained)
    take, give = helper.make_tensor_value_info, TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "lstm_jax",
        [take("images", TensorProto.UINT8, ["n", *trained.image_shape])],
        [take("probabilities", give, ["n", classes])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _reading(trained: Trained) -> tuple[list[Any], Arrays]:
    """The node that arranges the images as they are read, and its constants."""
    from onnx import helper

    reading, (rows, features) = trained.images_task.reading, trained.image_shape
    if reading == "rows":
        return [helper.make_node("Identity", ["scaled"], ["read"])], {}
    if reading == "columns":
        return [helper.make_node("Transpose", ["scaled"], ["read"], perm=[0, 2, 1])], {}
    order = arranged(np.arange(rows * features).reshape(1, rows, features), reading)[0, :, 0]
    flat = helper.make_node("Reshape", ["scaled", "pixels"], ["flat"])
    gather = helper.make_node("Gather", ["flat", "order"], ["read"], axis=1)
    constants = {"pixels": np.array([0, -1, 1], np.int64), "order": order.astype(np.int64)}
    return [flat, gather], constants


def _layers(trained: Trained) -> tuple[list[Any], str]:
    """The recurrent nodes, and the name of the last one's final output [1,N,H]."""
    from onnx import helper

    operator, nodes = OPERATORS[trained.member.cell], []
    for index in range(trained.member.layers):
        inputs = [f"rows_{index}", *(f"{name}_{index}" for name in "WRB")]
        nodes.append(
            helper.make_node(
                operator.name,
                inputs,
                [f"outputs_{index}", f"last_{index}"],
                hidden_size=trained.member.hidden_size,
                **operator.attributes,
            )
        )
        if index + 1 < trained.member.layers:  # outputs have an axis of directions: [T,1,N,H]
            squeezed = [f"outputs_{index}", "second_axis"], [f"rows_{index + 1}"]
            nodes.append(helper.make_node("Squeeze", *squeezed))
    return nodes, f"last_{trained.member.layers - 1}"


def _weights(trained: Trained) -> Arrays:
    """ONNX takes kernels transposed, and a bias of the input beside one of the state."""
    member, cell = trained.member, get_cell(trained.member.cell)
    hidden, columns = member.hidden_size, OPERATORS[member.cell].columns
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), trained.params)

    def ordered(array: np.ndarray) -> np.ndarray:
        parts = dict(zip(cell.columns, np.split(array, len(cell.columns), axis=-1), strict=True))
        return np.concatenate([parts[column] for column in columns], axis=-1)

    weights = {"kernel": params["output"]["kernel"], "bias": params["output"]["bias"]}
    for index in range(member.layers):
        (name,) = layer_names(member, cell, index)
        layer = params[name]
        kernel, recurrent = np.split(layer["kernel"], [hidden])
        of_x, of_h = _biases(cell, layer["bias"], member.forget_bias)
        if not index:
            of_x = of_x + params["input"]["bias"] @ kernel
            kernel = params["input"]["kernel"] @ kernel
        weights[f"W_{index}"] = ordered(kernel).T[None]
        weights[f"R_{index}"] = ordered(recurrent).T[None]
        weights[f"B_{index}"] = np.concatenate([ordered(of_x), ordered(of_h)])[None]
    weights["white"] = np.array(255.0)
    constants = {"first_axis": np.array([0], np.int64)}
    if trained.member.layers > 1:
        constants["second_axis"] = np.array([1], np.int64)
    return {name: array.astype(np.float32) for name, array in weights.items()} | constants


def _biases(cell: Cell, bias_G: np.ndarray, forget_bias: float) -> tuple[np.ndarray, np.ndarray]:
    """The biases of blocks that take from x, and those of blocks that do not, by columns."""
    blocks = list(zip(cell.blocks, np.split(bias_G, len(cell.blocks)), strict=True))

    def of(column: str, takes_x: bool) -> np.ndarray:
        found = [b for block, b in blocks if block.column == column]
        chosen = [
            b for block, b in blocks if block.column == column and ("x" in block.takes) == takes_x
        ]
        bias = chosen[0] if chosen else np.zeros_like(found[0])
        return bias + forget_bias if takes_x and column == cell.forget else bias

    of_x, of_h = ([of(column, takes_x) for column in cell.columns] for takes_x in (True, False))
    return np.concatenate(of_x), np.concatenate(of_h)
