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

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import num_examples
from lstm_jax.errors import EnvironmentProblem, missing_package
from lstm_jax.export.onnx import to_onnx
from lstm_jax.model.forward import FusedParams
from lstm_jax.predict import inference
from lstm_jax.predict.trained import TrainedModel, load
from lstm_jax.runs.files import make_folder, write_bytes
from lstm_jax.runs.progress import say
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.task import Batch, ModelSpec
from lstm_jax.tasks.text import Text

MOST_EXAMPLES = 10_000  # of the test set, which are compared
BLOCK = 1000  # examples at a time; 100 where each row has outputs
LARGEST_DIFFERENCE = 1e-4  # of the largest output, or of 1; float32 sums in another order

# What is handed to ONNX; a data set keeps symbols in fewer bytes.
ONNX_TYPES = {"tensor(uint8)": np.uint8, "tensor(int32)": np.int32, "tensor(float)": np.float32}

Run = Callable[..., np.ndarray]  # the arrays that the model reads to what it answers


def export(
    run_dir: Path, console: Console, *, member: str | None = None, onnx: bool = False
) -> None:
    """Writes `export/model.stablehlo` (and `model.onnx`) into the run directory.

    Both take what the task reads of N examples, as the data set has it, any N, and give float32
    class probabilities [N,C] of images and texts, else the head's outputs, [N,O] or [N,T,O].
    Raises UserError for a model that has no such form, and EnvironmentProblem when what would be
    written does not answer as the model does.
    """
    tell = partial(say, console)
    trained = load(run_dir, member, tell)
    task = trained.member.task
    writers: dict[str, tuple[Callable[..., bytes], Callable[..., Run]]] = {
        "model.stablehlo": (stablehlo, run_stablehlo)
    }
    if onnx:
        for package in ("onnx", "onnxruntime"):
            imported(package)
        writers["model.onnx"] = (lambda trained, _: to_onnx(trained), run_onnx)
    test = trained.data(tell).test
    first = task.gather(test, jnp.arange(1))
    contents = {name: write(trained, first) for name, (write, _) in writers.items()}
    make_folder(run_dir / "export")
    for name, content in contents.items():
        path = run_dir / "export" / name
        # The very bytes that were compared are written, whoever else exports at the same time.
        said = _compared(writers[name][1](content), trained, test, path)
        write_bytes(path, content)
        takes = ", ".join(read_arrays(trained, first))
        tell(f"{path}: takes {takes}; {len(content) / 2**20:.2f} MiB; run back, {said}")


def classifies(trained: TrainedModel) -> bool:
    """Returns whether the outputs are of classes, so that probabilities are the answer."""
    return isinstance(trained.member.task, (Images, Text))


def read_arrays(trained: TrainedModel, batch: Batch) -> list[str]:
    """Returns the names of the arrays of a batch that the model reads, in the order of asking."""
    names: dict[str, None] = {}

    class Noted(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            names.setdefault(name)
            return super().__getitem__(name)

    trained.member.task.inputs(Noted({k: jnp.asarray(array) for k, array in batch.items()}))
    return list(names)


def answers(trained: TrainedModel, batch: Batch) -> np.ndarray:
    """Returns what the model says of examples: probabilities [N,C] or outputs [N,O], [N,T,O]."""
    return np.asarray(_answers(*_model(trained), batch))


def _model(trained: TrainedModel) -> tuple[bool, ModelSpec, Experiment, FusedParams]:
    return classifies(trained), trained.spec, trained.ready, trained.fused


def _of(
    probable: bool, spec: ModelSpec, member: Experiment, fused: FusedParams, batch: Batch
) -> jax.Array:
    if probable:
        return inference.probabilities(spec, member, fused, batch)
    outputs = inference.raw(spec, member, fused, batch)
    return outputs.swapaxes(0, 1) if outputs.ndim == 3 else outputs


_answers: Any = jax.jit(_of, static_argnums=(0, 1))


def _compared(run: Run, trained: TrainedModel, test: dict[str, np.ndarray], path: Path) -> str:
    """Returns in words how near the answers are. Raises EnvironmentProblem where they are not."""
    count, task = min(num_examples(test), MOST_EXAMPLES), trained.member.task
    block = BLOCK if classifies(trained) else BLOCK // 10
    others, apart, size = 0, 0.0, 1.0
    for start in range(0, count, block):
        batch = task.gather(test, jnp.arange(start, min(start + block, count)))
        wanted = answers(trained, batch)
        found = run(*(np.asarray(batch[name]) for name in read_arrays(trained, batch)))
        # Not Python's `max`, which loses a nan.
        apart = float(np.maximum(apart, np.max(np.abs(found - wanted))))
        size = float(np.maximum(size, np.max(np.abs(wanted))))
        if classifies(trained):
            others += int(np.sum(np.argmax(found, axis=1) != np.argmax(wanted, axis=1)))
    what = "probabilities" if classifies(trained) else "outputs"
    if others or not apart <= LARGEST_DIFFERENCE * size:
        classes = f"another class than the model on {others} of {count} test examples, "
        raise EnvironmentProblem(
            f"{path} is not written: {classes if classifies(trained) else ''}{what} off by up to "
            f"{apart:.2g}"
        )
    same = "the same class on" if classifies(trained) else "compared on"
    return f"{same} all {count:,} test examples, {what} within {apart:.1e}"


def stablehlo(trained: TrainedModel, batch: Batch) -> bytes:
    """Returns the model as `jax.export` serialises it: for CPU, CUDA and TPU, any number of
    examples, whose other axes are those of this batch.
    """
    names, model = read_arrays(trained, batch), _model(trained)

    def answer(*arrays: jax.Array) -> jax.Array:
        return _of(*model, dict(zip(names, arrays, strict=True)))

    (count,) = jax.export.symbolic_shape("n")
    shapes = [
        jax.ShapeDtypeStruct(
            (count, *np.shape(batch[name])[1:]), jax.dtypes.canonicalize_dtype(batch[name].dtype)
        )
        for name in names
    ]
    exported = jax.export.export(jax.jit(answer), platforms=("cpu", "cuda", "tpu"))(*shapes)
    return bytes(exported.serialize())


def run_stablehlo(content: bytes) -> Run:
    """Returns the function that was exported."""
    exported = jax.export.deserialize(bytearray(content))
    return lambda *arrays: np.asarray(exported.call(*arrays))


def run_onnx(content: bytes) -> Run:
    """Returns the function that was exported, run by onnxruntime."""
    session = imported("onnxruntime").InferenceSession(content, providers=["CPUExecutionProvider"])
    types = {given.name: ONNX_TYPES[given.type] for given in session.get_inputs()}

    def run(*arrays: np.ndarray) -> np.ndarray:
        pairs = zip(types.items(), arrays, strict=True)
        return np.asarray(session.run(None, {name: a.astype(t) for (name, t), a in pairs})[0])

    return run


def imported(package: str) -> Any:
    """Returns the package. Raises EnvironmentProblem that says how to install it."""
    try:
        return __import__(package)
    except ImportError:
        raise missing_package("--onnx", package, "onnx") from None
