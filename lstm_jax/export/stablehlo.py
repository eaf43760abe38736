"""Export of a trained model as StableHLO and ONNX. Each file is run back and compared.

Axes: N examples, T time steps, O outputs of the head, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from lstm_jax.data.dataset import Arrays, num_examples
from lstm_jax.errors import EnvironmentProblem, missing_package
from lstm_jax.export.onnx import to_onnx
from lstm_jax.predict import inference
from lstm_jax.predict.trained import TrainedModel, load
from lstm_jax.runs.files import make_folder, write_bytes
from lstm_jax.runs.progress import say
from lstm_jax.tasks.task import Batch

MAX_EXAMPLES = 10_000  # of the test set that are compared
BATCH_SIZE = 1000  # of a classifier; a tenth of it where each time step may have outputs
MAX_DIFFERENCE = 1e-4  # of the largest output, or of 1; sums in float32 depend on their order

# The types that ONNX reads. A data set may keep tokens in fewer bytes.
ONNX_TYPES = {"tensor(uint8)": np.uint8, "tensor(int32)": np.int32, "tensor(float)": np.float32}

Model = Callable[..., np.ndarray]  # takes the arrays that the model reads, returns its answers


def export(
    run_dir: Path,
    console: Console,
    *,
    member: str | None = None,
    onnx: bool = False,
    other_code: bool = False,
) -> None:
    """Writes `export/model.stablehlo`, and with `onnx` also `export/model.onnx`, into a run.

    Both take the arrays of N examples that the task reads, as in the data set, for any N. They
    return float32 class probabilities [N,C] for images and texts, or else the outputs of the head,
    [N,O] or [N,T,O].

    `member` and `other_code` are those of `predict.trained.load`.

    Raises UserError for a model that cannot be written as ONNX, and EnvironmentProblem where a file
    would not answer as the model does.
    """
    tell = partial(say, console)
    trained = load(run_dir, member, tell, other_code=other_code)
    if onnx:
        for package in ("onnx", "onnxruntime"):
            import_package(package)
    test = trained.data(tell).test
    first = trained.member.task.gather(test, jnp.arange(1))
    contents = {"model.stablehlo": to_stablehlo(trained, first)}
    if onnx:
        contents["model.onnx"] = to_onnx(trained)
    make_folder(run_dir / "export")
    for name, content in contents.items():
        path = run_dir / "export" / name
        # What is compared are the bytes that are written, also if somebody else exports now.
        model = run_onnx(content) if path.suffix == ".onnx" else run_stablehlo(content)
        comparison = _compare(model, trained, test, path)
        write_bytes(path, content)
        takes = ", ".join(arrays_read(trained, first))
        tell(f"{path}: takes {takes}; {len(content) / 2**20:.2f} MiB; run back, {comparison}")


def arrays_read(trained: TrainedModel, batch: Batch) -> list[str]:
    """Returns the names of the arrays in a batch that the model reads, in order of first use."""
    names: dict[str, None] = {}

    class Recorder(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            names.setdefault(name)
            return super().__getitem__(name)

    trained.member.task.inputs(Recorder({k: jnp.asarray(array) for k, array in batch.items()}))
    return list(names)


def _compare(model: Model, trained: TrainedModel, test: Arrays, path: Path) -> str:
    """Returns how near the answers of an exported model are, in words.

    Raises EnvironmentProblem where they differ by too much, or in a class.
    """
    count, task = min(num_examples(test), MAX_EXAMPLES), trained.member.task
    is_classifier = inference.is_classifier(trained.member)
    size = BATCH_SIZE if is_classifier else BATCH_SIZE // 10
    num_other_class, difference, largest = 0, 0.0, 1.0
    for start in range(0, count, size):
        batch = task.gather(test, jnp.arange(start, min(start + size, count)))
        expected = trained.answers(batch)
        answers = model(*(np.asarray(batch[name]) for name in arrays_read(trained, batch)))
        # Python's `max` would lose a nan.
        difference = float(np.maximum(difference, np.max(np.abs(answers - expected))))
        largest = float(np.maximum(largest, np.max(np.abs(expected))))
        if is_classifier:
            num_other_class += int(
                np.sum(np.argmax(answers, axis=1) != np.argmax(expected, axis=1))
            )
    outputs = "probabilities" if is_classifier else "outputs"
    if num_other_class or not difference <= MAX_DIFFERENCE * largest:
        classes = f"another class than the model on {num_other_class} of {count} test examples, "
        raise EnvironmentProblem(
            f"{path} is not written: {classes if is_classifier else ''}{outputs} off by up to "
            f"{difference:.2g}"
        )
    same = "the same class on" if is_classifier else "compared on"
    return f"{same} all {count:,} test examples, {outputs} within {difference:.1e}"


def to_stablehlo(trained: TrainedModel, batch: Batch) -> bytes:
    """Returns the model as `jax.export` serialises it, for CPU, CUDA and TPU and any number of
    examples. The other axes have the lengths that they have in this batch.
    """
    names = arrays_read(trained, batch)
    model = trained.spec, trained.ready, trained.fused

    def answer(*arrays: jax.Array) -> jax.Array:
        return inference.answers(*model, dict(zip(names, arrays, strict=True)))

    (count,) = jax.export.symbolic_shape("n")
    shapes = [
        jax.ShapeDtypeStruct(
            (count, *np.shape(batch[name])[1:]), jax.dtypes.canonicalize_dtype(batch[name].dtype)
        )
        for name in names
    ]
    exported = jax.export.export(jax.jit(answer), platforms=("cpu", "cuda", "tpu"))(*shapes)
    return bytes(exported.serialize())


def run_stablehlo(content: bytes) -> Model:
    """Returns the exported model as a function."""
    exported = jax.export.deserialize(bytearray(content))
    return lambda *arrays: np.asarray(exported.call(*arrays))


def run_onnx(content: bytes) -> Model:
    """Returns the exported model as a function that onnxruntime computes."""
    onnxruntime = import_package("onnxruntime")
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    types = {node.name: ONNX_TYPES[node.type] for node in session.get_inputs()}

    def model(*arrays: np.ndarray) -> np.ndarray:
        pairs = zip(types.items(), arrays, strict=True)
        return np.asarray(session.run(None, {name: a.astype(t) for (name, t), a in pairs})[0])

    return model


def import_package(name: str) -> Any:
    """Returns a package. Raises EnvironmentProblem, which says how to install it."""
    try:
        return __import__(name)
    except ImportError:
        raise missing_package("--onnx", name, "onnx") from None
