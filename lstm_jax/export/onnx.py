"""Export of a trained model as an ONNX graph with one LSTM, GRU or RNN node per recurrent layer.

The operators: https://onnx.ai/onnx/operators/onnx__LSTM.html, onnx__GRU.html and onnx__RNN.html.
Axes: T time steps, N examples, I features, H hidden, G columns of all gates.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.cells import get_cell
from lstm_jax.data.dataset import Arrays
from lstm_jax.data.time_series import Scales
from lstm_jax.errors import UserError
from lstm_jax.model.block import make_blocks
from lstm_jax.model.directions import Directions
from lstm_jax.model.forward import reads_mean
from lstm_jax.predict import inference
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.tasks.forecast import Forecast
from lstm_jax.tasks.images import Images, to_sequences
from lstm_jax.tasks.text import Text


class Operator(NamedTuple):
    """The ONNX operator that computes a cell."""

    name: str
    columns: str  # the gates of the cell in the operator's order
    attributes: dict[str, int]
    activations: list[str]  # of one direction; none: the operator's own


OPERATORS = {
    "lstm": Operator("LSTM", "iofg", {}, []),
    "gru": Operator("GRU", "urn", {"linear_before_reset": 1}, []),
    "gru_reset_before": Operator("GRU", "urn", {"linear_before_reset": 0}, []),
    "rnn": Operator("RNN", "n", {}, ["Tanh"]),
    "irnn": Operator("RNN", "n", {}, ["Relu"]),
}


class InputGraph(NamedTuple):
    """The nodes before the recurrent layers. Their result is `rows_0`, [T,N,I]."""

    inputs: list[Any]
    nodes: list[Any]
    constants: Arrays
    lengths: str = ""  # the input with the number of time steps of each example; "": all


def to_onnx(trained: TrainedModel, description: dict[str, Any] | None = None) -> bytes:
    """Returns the serialised graph. The dense input layer is multiplied into the first kernel.

    Each entry of `description` is JSON in the metadata of the file (`metadata_props`).

    Raises UserError for a cell without an operator, for products in bfloat16, for zoneout, for a
    task other than images, texts and forecasts, and for layers in residual blocks.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    member = trained.member
    if member.cell not in OPERATORS:
        raise UserError(
            f"ONNX has no operator for the cell {member.cell}, only for "
            f"{', '.join(OPERATORS)}; leave --onnx away: StableHLO holds every cell"
        )
    if member.precision != "float32":
        raise UserError(
            f"ONNX is written with products in float32, not in {member.precision}; leave --onnx "
            "away: StableHLO holds every precision"
        )
    if member.zoneout is not None:
        raise UserError(
            "ONNX has no operator with zoneout; leave --onnx away: StableHLO holds every model"
        )
    if not isinstance(member.task, (Images, Text, Forecast)):
        raise UserError(
            f"ONNX is written of images, texts and forecasts, not of the task {member.task.name}; "
            "leave --onnx away: StableHLO holds every task"
        )
    if not all(isinstance(block, Directions) for block in make_blocks(member)):
        raise UserError(
            f"ONNX is written of layers upon each other, not of the block {member.block.name}; "
            "leave --onnx away: StableHLO holds every model"
        )
    node = helper.make_node
    is_classifier = inference.is_classifier(member)
    answer = "probabilities" if is_classifier else "forecast"
    front = _input_graph(trained)
    pooling = []
    if reads_mean(trained.member, trained.spec) and not front.lengths:
        pooling = [node("ReduceMean", ["h"], ["mean"], axes=[0], keepdims=0)]
    elif reads_mean(trained.member, trained.spec):
        pooling = [  # the operator's outputs are zero after an example's end
            node("ReduceSum", ["h", "first_axis"], ["total"], keepdims=0),
            node("Cast", ["lengths"], ["count"], to=TensorProto.FLOAT),
            node("Unsqueeze", ["count", "second_axis"], ["counts"]),
            node("Max", ["counts", "one"], ["at_least_one"]),  # an empty text has the mean zero
            node("Div", ["total", "at_least_one"], ["mean"]),
        ]
    read = "mean" if pooling else "h"
    nodes = [
        *front.nodes,
        *_layers(trained, front.lengths),
        *pooling,
        node("Gemm", [read, "kernel", "bias"], ["logits" if is_classifier else answer]),
        *([node("Softmax", ["logits"], [answer], axis=-1)] if is_classifier else []),
    ]
    weights = front.constants | _weights(trained)
    if isinstance(member.task, Forecast):
        nodes[-1] = node("Gemm", [read, "kernel", "bias"], ["scaled_forecast"])
        nodes.append(node("Mul", ["scaled_forecast", "target_scale"], ["spread"]))
        nodes.append(node("Add", ["spread", "target_mean"], [answer]))
    read_by_a_node = {name for each in nodes for name in each.input}
    shape: list[str | int] = ["n", trained.spec.num_outputs]
    graph = helper.make_graph(
        nodes,
        "lstm_jax",
        front.inputs,
        [helper.make_tensor_value_info(answer, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(a, name) for name, a in weights.items() if name in read_by_a_node],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    props = {key: json.dumps(value) for key, value in (description or {}).items()}
    helper.set_model_props(model, props)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _input_graph(trained: TrainedModel) -> InputGraph:
    """Returns the nodes that read the arrays of the task."""
    from onnx import TensorProto, helper

    node, info, task = helper.make_node, helper.make_tensor_value_info, trained.member.task
    transpose = node("Transpose", ["read"], ["rows_0"], perm=[1, 0, 2])
    if isinstance(task, Forecast):
        window = trained.member.values["task.window"]
        shape: list[str | int] = ["n", window, trained.spec.num_features]
        inputs = [info("x", TensorProto.FLOAT, shape)]
        scaling = [
            node("Sub", ["x", "means_high"], ["near"]),
            node("Sub", ["near", "means_low"], ["centred"]),
            node("Mul", ["centred", "inverse_scales"], ["read"]),
        ]
        scales = Scales.of(trained.metadata)
        tables = scales.tables()
        if not scales.of_several:
            first = {name: table[0] for name, table in tables._asdict().items()}
            return InputGraph(inputs, [*scaling, transpose], first)
        inputs.append(info("series_number", TensorProto.INT32, ["n"]))
        chosen = [
            node("Gather", [f"{name}_by_series", "series_number"], [name], axis=0)
            for name in tables._fields
        ]
        constants = {f"{name}_by_series": table for name, table in tables._asdict().items()}
        return InputGraph(inputs, [*chosen, *scaling, transpose], constants)
    if isinstance(task, Text):
        inputs = [
            info("symbols", TensorProto.INT32, ["n", "t"]),
            info("lengths", TensorProto.INT32, ["n"]),
        ]
        table = np.asarray(trained.params["embedding"], np.float32)
        embed = node("Gather", ["embedding", "symbols"], ["read"], axis=0)
        return InputGraph(inputs, [embed, transpose], {"embedding": table}, "lengths")
    constants = {"white": np.array(255.0, np.float32)}
    reading, (rows, features) = trained.images_task.reading, trained.image_shape
    nodes = [
        node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        node("Div", ["floats", "white"], ["whole"]),
    ]
    scaled = "whole"
    if (size := trained.images_task.pool) > 1:
        channels = features // rows
        rows, features = trained.images_task.read_shape(trained.metadata)
        squares = [-1, rows, size, rows, size, channels]
        constants |= {
            "squares": np.array(squares, np.int64),
            "pooled": np.array([-1, rows, features], np.int64),
        }
        nodes += [
            node("Reshape", ["whole", "squares"], ["in_squares"]),
            node("ReduceMean", ["in_squares"], ["means"], axes=[2, 4], keepdims=0),
            node("Reshape", ["means", "pooled"], ["scaled"]),
        ]
        scaled = "scaled"
    if reading == "rows":
        nodes += [node("Identity", [scaled], ["read"])]
    elif reading == "columns":
        nodes += [node("Transpose", [scaled], ["read"], perm=[0, 2, 1])]
    else:  # pixel by pixel
        order = to_sequences(np.arange(rows * features).reshape(1, rows, features), reading)[
            0, :, 0
        ]
        constants |= {"pixels": np.array([0, -1, 1], np.int64), "order": order.astype(np.int64)}
        nodes += [
            node("Reshape", [scaled, "pixels"], ["flat"]),
            node("Gather", ["flat", "order"], ["read"], axis=1),
        ]
    nodes.append(transpose)
    inputs = [info("images", TensorProto.UINT8, ["n", *trained.image_shape])]
    return InputGraph(inputs, nodes, constants)


def _layers(trained: TrainedModel, lengths: str) -> list[Any]:
    """Returns the recurrent nodes. Their result is `h`: the last outputs of the last layer, [N,D*H]
    for D directions, or all of its outputs, [T,N,D*H], where the head reads their mean.
    """
    from onnx import helper

    operator, nodes, count = OPERATORS[trained.member.cell], [], len(trained.fused.layers)
    directions = len(trained.fused.layers[0])
    attributes: dict[str, Any] = dict(operator.attributes)
    if directions == 2:
        attributes["direction"] = "bidirectional"
    if operator.activations:
        attributes["activations"] = operator.activations * directions
    for index in range(count):
        inputs = [f"rows_{index}", *(f"{name}_{index}" for name in "WRB"), lengths]
        is_last = index + 1 == count and not reads_mean(trained.member, trained.spec)
        if is_last:  # the second output: [D,N,H] of the last time steps
            read, order, shape = "last", [1, 0, 2], "last_shape"
        else:  # the first one: [T,D,N,H] of all
            read, order, shape = f"outputs_{index}", [0, 2, 1, 3], "rows_shape"
        result = "h" if index + 1 == count else f"rows_{index + 1}"
        nodes += [
            helper.make_node(
                operator.name,
                inputs,
                ["", read] if is_last else [read, ""],
                hidden_size=trained.member.hidden_size,
                **attributes,
            ),
            helper.make_node("Transpose", [read], [f"turned_{index}"], perm=order),
            helper.make_node("Reshape", [f"turned_{index}", shape], [result]),
        ]
    return nodes


def _weights(trained: TrainedModel) -> Arrays:
    """Returns the weights as ONNX takes them: transposed kernels, the columns in its own order, and
    one bias for the input beside one for the state.
    """
    head_DO = np.asarray(trained.fused.head_DO)
    weights = {"kernel": head_DO[:-1], "bias": head_DO[-1]}
    for index, layers in enumerate(trained.fused.layers):
        each = [_layer_weights(trained, layer.kernel_KG) for layer in layers]
        weights |= {f"{name}_{index}": np.stack([w[name] for w in each]) for name in "WRB"}
    return weights | {
        "first_axis": np.array([0], np.int64),
        "second_axis": np.array([1], np.int64),
        "one": np.array(1, np.float32),
        "last_shape": np.array([0, -1], np.int64),
        "rows_shape": np.array([0, 0, -1], np.int64),
    }


def _layer_weights(trained: TrainedModel, kernel_KG: Any) -> Arrays:
    """Returns the weights W, R and B of one direction of a layer."""
    cell, columns = get_cell(trained.member.cell), OPERATORS[trained.member.cell].columns
    kernels = np.split(np.asarray(kernel_KG), len(cell.blocks), axis=1)
    blocks = [(b, kernel / b.scale) for b, kernel in zip(cell.blocks, kernels, strict=True)]
    by_source = {(b.column, source): kernel_KH for b, kernel_KH in blocks for source in b.sources}
    of_x, of_h = ([by_source[column, source] for column in columns] for source in "xh")
    num_inputs = len(kernel_KG) - 1 - trained.member.hidden_size
    bias_x = [kernel_KH[num_inputs] for kernel_KH in of_x]
    # A block that reads x and h has one bias, which is that of x.
    bias_h = [
        np.zeros_like(h[num_inputs]) if h is x else h[num_inputs]
        for h, x in zip(of_h, of_x, strict=True)
    ]
    return {
        "W": np.concatenate([kernel_KH[:num_inputs].T for kernel_KH in of_x]),
        "R": np.concatenate([kernel_KH[num_inputs + 1 :].T for kernel_KH in of_h]),
        "B": np.concatenate([*bias_x, *bias_h]),
    }
