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
from lstm_jax.model.init import layer_names
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.tasks.forecast import Forecast
from lstm_jax.tasks.images import Images, to_sequences
from lstm_jax.tasks.text import Text

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


class InputGraph(NamedTuple):
    """What stands before the recurrent layers: it makes `rows_0`, [T,N,I]."""

    inputs: list[Any]
    nodes: list[Any]
    constants: Arrays
    lengths: str = ""  # the input that holds how many rows of each example count


def to_onnx(trained: TrainedModel) -> bytes:
    """Returns the graph, serialised; the input layer, which is linear, is multiplied into it.

    It is of images, texts and forecasts. Raises UserError for every other model, and for a cell
    that has no operator.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    _refuse(trained)
    node = helper.make_node
    classes = not isinstance(trained.member.task, Forecast)
    front = _front(trained)
    layers, last = _layers(trained, front.lengths)
    answer = "probabilities" if classes else "forecast"
    nodes = [
        *front.nodes,
        *layers,
        *(
            _mean(last)
            if trained.spec.mean_pool
            else [node("Squeeze", [last, "first_axis"], ["h"])]
        ),
        node("Gemm", ["h", "kernel", "bias"], ["logits" if classes else answer]),
        *([node("Softmax", ["logits"], [answer], axis=-1)] if classes else []),
    ]
    weights = front.constants | _weights(trained)
    shape: list[str | int] = ["n", trained.spec.num_outputs]
    graph = helper.make_graph(
        nodes,
        "lstm_jax",
        front.inputs,
        [helper.make_tensor_value_info(answer, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _refuse(trained: TrainedModel) -> None:
    member = trained.member
    if member.cell not in OPERATORS:
        raise UserError(
            f"ONNX has no operator for the cell {member.cell}, only for "
            f"{', '.join(OPERATORS)}; leave --onnx away: StableHLO holds every cell"
        )
    if not isinstance(member.task, (Images, Text, Forecast)):
        raise UserError(
            f"ONNX is written of images, texts and forecasts, not of the task {member.task.name}; "
            "leave --onnx away: StableHLO holds every task"
        )
    if member.bidirectional or member.residual:
        raise UserError(
            "ONNX is written of layers that read forwards, one upon the other, without residual "
            "sums; leave --onnx away: StableHLO holds every model"
        )


def _front(trained: TrainedModel) -> InputGraph:
    """What reads an example of the task."""
    from onnx import TensorProto, helper

    node, info, task = helper.make_node, helper.make_tensor_value_info, trained.member.task
    turn = node("Transpose", ["read"], ["rows_0"], perm=[1, 0, 2])
    if isinstance(task, Forecast):
        shape: list[str | int] = [
            "n",
            trained.member.values["task.window"],
            trained.spec.num_features,
        ]
        return InputGraph(
            [info("x", TensorProto.FLOAT, shape)], [node("Identity", ["x"], ["read"]), turn], {}
        )
    if isinstance(task, Text):
        takes = [
            info("symbols", TensorProto.INT32, ["n", "t"]),
            info("lengths", TensorProto.INT32, ["n"]),
        ]
        table = np.asarray(trained.params["embedding"], np.float32)
        look_up = node("Gather", ["embedding", "symbols"], ["read"], axis=0)
        return InputGraph(takes, [look_up, turn], {"embedding": table}, "lengths")
    reading, constants = _reading(trained)
    nodes = [
        node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        node("Div", ["floats", "white"], ["scaled"]),
        *reading,
        turn,
    ]
    takes = [info("images", TensorProto.UINT8, ["n", *trained.image_shape])]
    return InputGraph(takes, nodes, constants | {"white": np.array(255.0, np.float32)})


def _mean(outputs: str) -> list[Any]:
    """The mean over the rows that count: an operator's outputs [T,1,N,H] are zero in the others."""
    from onnx import TensorProto, helper

    node = helper.make_node
    return [
        node("Squeeze", [outputs, "second_axis"], ["h_TNH"]),
        node("ReduceSum", ["h_TNH", "first_axis"], ["total"], keepdims=0),
        node("Cast", ["lengths"], ["count"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["count", "second_axis"], ["counts"]),
        node("Div", ["total", "counts"], ["h"]),
    ]


def _reading(trained: TrainedModel) -> tuple[list[Any], Arrays]:
    """The node that arranges the images as they are read, and its constants."""
    from onnx import helper

    reading, (rows, features) = trained.images_task.reading, trained.image_shape
    if reading == "rows":
        return [helper.make_node("Identity", ["scaled"], ["read"])], {}
    if reading == "columns":
        return [helper.make_node("Transpose", ["scaled"], ["read"], perm=[0, 2, 1])], {}
    order = to_sequences(np.arange(rows * features).reshape(1, rows, features), reading)[0, :, 0]
    flat = helper.make_node("Reshape", ["scaled", "pixels"], ["flat"])
    gather = helper.make_node("Gather", ["flat", "order"], ["read"], axis=1)
    constants = {"pixels": np.array([0, -1, 1], np.int64), "order": order.astype(np.int64)}
    return [flat, gather], constants


def _layers(trained: TrainedModel, lengths: str) -> tuple[list[Any], str]:
    """The recurrent nodes, and the name of the last one's final output [1,N,H], or of its outputs
    [T,1,N,H] where their mean is asked for.
    """
    from onnx import helper

    operator, nodes = OPERATORS[trained.member.cell], []
    for index in range(trained.member.layers):
        inputs = [f"rows_{index}", *(f"{name}_{index}" for name in "WRB"), lengths]
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
    return nodes, f"{'outputs' if trained.spec.mean_pool else 'last'}_{trained.member.layers - 1}"


def _weights(trained: TrainedModel) -> Arrays:
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
        if not index and "input" in params:
            of_x = of_x + params["input"]["bias"] @ kernel
            kernel = params["input"]["kernel"] @ kernel
        weights[f"W_{index}"] = ordered(kernel).T[None]
        weights[f"R_{index}"] = ordered(recurrent).T[None]
        weights[f"B_{index}"] = np.concatenate([ordered(of_x), ordered(of_h)])[None]
    constants = {"first_axis": np.array([0], np.int64)}
    if trained.member.layers > 1 or trained.spec.mean_pool:
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
