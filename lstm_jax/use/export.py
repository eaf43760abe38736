"""A trained model for use without this package: StableHLO and ONNX, each run back and compared."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from lstm_jax.data.load import arranged, load
from lstm_jax.errors import SurroundingsError, not_installed
from lstm_jax.report import diagnose
from lstm_jax.runs import store
from lstm_jax.runs.screen import say
from lstm_jax.use.trained import Trained
from lstm_jax.use.trained import load as load_trained

BLOCK = 1000  # test images at a time
LARGEST_DIFFERENCE = 1e-4  # of probabilities; float32 sums in another order

Classify = Callable[[np.ndarray], np.ndarray]  # uint8 [N,T,I] to probabilities [N,C]


def export(
    run_dir: Path, console: Console, *, member: str | None = None, onnx: bool = False
) -> None:
    """Writes `export/model.stablehlo` (and `model.onnx`) into the run directory.

    Both take uint8 images [N,T,I] as in the data set, any N, and give float32 probabilities [N,C].
    Raises SurroundingsError when what was written does not answer as the model does.
    """
    tell = partial(say, console)
    trained = load_trained(run_dir, member, tell)
    test = load(trained.experiment.dataset, tell).test.images
    wanted = trained.probabilities(test)
    folder = run_dir / "export"
    with store.disk(folder):
        folder.mkdir(exist_ok=True)
    writers = {"model.stablehlo": (stablehlo, run_stablehlo)}
    if onnx:
        writers["model.onnx"] = (to_onnx, run_onnx)
    for name, (write, run_back) in writers.items():
        path, aside = folder / name, folder / f"unproved.{name}"
        store.write_bytes(aside, write(trained))
        difference = _compare(run_back(aside), test, wanted, aside)
        with store.disk(path):
            aside.replace(path)
        tell(
            f"{path}: {path.stat().st_size / 2**20:.2f} MiB; run back, the same digit on all "
            f"{len(test):,} test images, probabilities within {difference:.1e}"
        )


def _compare(classify: Classify, images: np.ndarray, wanted: np.ndarray, path: Path) -> float:
    """The largest difference of a probability."""
    found = np.concatenate([classify(images[i : i + BLOCK]) for i in range(0, len(images), BLOCK)])
    others = int(np.sum(np.argmax(found, axis=1) != np.argmax(wanted, axis=1)))
    difference = float(np.max(np.abs(found - wanted)))
    if others or not difference <= LARGEST_DIFFERENCE:
        raise SurroundingsError(
            f"{path} is not to be used: another digit than the model on {others} of {len(images)} "
            f"test images, probabilities off by up to {difference:.2g}"
        )
    return difference


def stablehlo(trained: Trained) -> bytes:
    """Serialised by `jax.export`, for CPU, CUDA and TPU, the number of images left open."""

    def classify(images_NTI: jax.Array) -> jax.Array:
        read = arranged(images_NTI, trained.experiment.reading)
        return diagnose.probabilities(trained.folded, read)

    rows, features = trained.image_shape
    shape = jax.export.symbolic_shape(f"n, {rows}, {features}")
    images = jax.ShapeDtypeStruct(shape, jnp.uint8)
    exported = jax.export.export(jax.jit(classify), platforms=("cpu", "cuda", "tpu"))(images)
    return bytes(exported.serialize())


def run_stablehlo(path: Path) -> Classify:
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    return lambda images: np.asarray(exported.call(images))


def to_onnx(trained: Trained) -> bytes:
    """With one real ONNX `LSTM` node: the input layer, which is linear, is multiplied into it."""
    onnx = _needed("onnx")
    from onnx import TensorProto, helper, numpy_helper

    weights = _onnx_weights(trained)
    hidden = trained.model.hidden_size
    node = helper.make_node
    nodes = [
        node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        node("Div", ["floats", "white"], ["scaled"]),
        *_onnx_reading(trained.experiment.reading),
        node("Transpose", ["read"], ["steps_first"], perm=[1, 0, 2]),
        node("LSTM", ["steps_first", "W", "R", "B"], ["", "last"], hidden_size=hidden),
        node("Squeeze", ["last", "axis"], ["h"]),
        node("Gemm", ["h", "kernel", "bias"], ["logits"]),
        node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "row_lstm",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", *trained.image_shape])],
        [
            helper.make_tensor_value_info(
                "probabilities", TensorProto.FLOAT, ["n", trained.model.num_classes]
            )
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _onnx_reading(reading: str) -> list[Any]:
    from onnx import helper

    if reading == "rows":
        return [helper.make_node("Identity", ["scaled"], ["read"])]
    if reading == "columns":
        return [helper.make_node("Transpose", ["scaled"], ["read"], perm=[0, 2, 1])]
    flat = helper.make_node("Reshape", ["scaled", "pixels"], ["flat"])
    return [flat, helper.make_node("Gather", ["flat", "order"], ["read"], axis=1)]


def _onnx_weights(trained: Trained) -> dict[str, np.ndarray]:
    """ONNX's gates lie in the order i, o, f, c; it takes kernels transposed, and two biases."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), trained.params)
    hidden = trained.model.hidden_size
    over, recurrent = np.split(params["lstm"]["kernel"], 2)
    bias = params["input"]["bias"] @ over + params["lstm"]["bias"]
    bias[2 * hidden : 3 * hidden] += trained.experiment.forget_bias

    def gates(array: np.ndarray) -> np.ndarray:
        i, g, f, o = np.split(array, 4, axis=-1)
        return np.concatenate([i, o, f, g], axis=-1).T[None]

    kernels = {
        "W": gates(params["input"]["kernel"] @ over),
        "R": gates(recurrent),
        "B": np.concatenate([gates(bias), np.zeros((1, 4 * hidden))], axis=1),
        "kernel": params["output"]["kernel"],
        "bias": params["output"]["bias"],
        "white": np.array(255.0),
    }
    weights = {name: array.astype(np.float32) for name, array in kernels.items()}
    weights["axis"] = np.array([0], np.int64)
    if trained.experiment.reading in ("pixels", "permuted"):
        rows, features = trained.image_shape
        order = np.arange(rows * features).reshape(1, rows, features)
        weights["pixels"] = np.array([0, -1, 1], np.int64)
        weights["order"] = arranged(order, trained.experiment.reading)[0, :, 0].astype(np.int64)
    return weights


def run_onnx(path: Path) -> Classify:
    session = _needed("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(["probabilities"], {"images": images})[0])


def _needed(package: str) -> Any:
    try:
        return __import__(package)
    except ImportError:
        raise not_installed("--onnx", package, "onnx") from None
