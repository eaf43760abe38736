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

from lstm_jax.errors import SurroundingsError, not_installed
from lstm_jax.runs.files import make_folder, write_bytes
from lstm_jax.runs.screen import say
from lstm_jax.use import forward
from lstm_jax.use.onnx import to_onnx
from lstm_jax.use.trained import Trained, load

BLOCK = 1000  # test images at a time
LARGEST_DIFFERENCE = 1e-4  # of probabilities; float32 sums in another order

Classify = Callable[[np.ndarray], np.ndarray]  # uint8 [N,T,I] to probabilities [N,C]


def export(
    run_dir: Path, console: Console, *, member: str | None = None, onnx: bool = False
) -> None:
    """Writes `export/model.stablehlo` (and `model.onnx`) into the run directory.

    Both take uint8 images [N,T,I] as in the data set, any N, and give float32 probabilities [N,C].
    Raises UserError for a model that has no such form, and SurroundingsError when what would be
    written does not answer as the model does.
    """
    tell = partial(say, console)
    trained = load(run_dir, member, tell)
    writers: dict[str, tuple[Callable[..., bytes], Callable[..., Classify]]] = {
        "model.stablehlo": (stablehlo, run_stablehlo)
    }
    if onnx:
        for package in ("onnx", "onnxruntime"):
            needed(package)
        writers["model.onnx"] = (to_onnx, run_onnx)
    contents = {name: write(trained) for name, (write, _) in writers.items()}
    test = trained.images_task.load(tell).test["images"]
    wanted = trained.probabilities(test)
    make_folder(run_dir / "export")
    for name, content in contents.items():
        path = run_dir / "export" / name
        # The very bytes that were compared are written, whoever else exports at the same time.
        difference = _compare(writers[name][1](content), test, wanted, path)
        write_bytes(path, content)
        tell(
            f"{path}: {len(content) / 2**20:.2f} MiB; run back, the same digit on all "
            f"{len(test):,} test images, probabilities within {difference:.1e}"
        )


def _compare(classify: Classify, images: np.ndarray, wanted: np.ndarray, path: Path) -> float:
    """Returns the largest difference of a probability."""
    found = np.concatenate([classify(images[i : i + BLOCK]) for i in range(0, len(images), BLOCK)])
    others = int(np.sum(np.argmax(found, axis=1) != np.argmax(wanted, axis=1)))
    difference = float(np.max(np.abs(found - wanted)))
    if others or not difference <= LARGEST_DIFFERENCE:
        raise SurroundingsError(
            f"{path} is not written: another digit than the model on {others} of {len(images)} "
            f"test images, probabilities off by up to {difference:.2g}"
        )
    return difference


def stablehlo(trained: Trained) -> bytes:
    """Returns the model as `jax.export` serialises it: for CPU, CUDA and TPU, any number of images.

    Raises UserError for a model that reads no images.
    """

    rows, features = trained.image_shape
    model = trained.ends, trained.ready, trained.folded

    def classify(images_NTI: jax.Array) -> jax.Array:
        return forward.probabilities(*model, {"images": images_NTI})

    shape = jax.export.symbolic_shape(f"n, {rows}, {features}")
    images = jax.ShapeDtypeStruct(shape, jnp.uint8)
    exported = jax.export.export(jax.jit(classify), platforms=("cpu", "cuda", "tpu"))(images)
    return bytes(exported.serialize())


def run_stablehlo(content: bytes) -> Classify:
    """Returns the function that was exported."""
    exported = jax.export.deserialize(bytearray(content))
    return lambda images: np.asarray(exported.call(images))


def run_onnx(content: bytes) -> Classify:
    """Returns the function that was exported, run by onnxruntime."""
    session = needed("onnxruntime").InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(["probabilities"], {"images": images})[0])


def needed(package: str) -> Any:
    """Returns the package. Raises SurroundingsError that says how to install it."""
    try:
        return __import__(package)
    except ImportError:
        raise not_installed("--onnx", package, "onnx") from None
