"""Export of a trained model as StableHLO and ONNX. Each file is run back and compared.

Axes: N examples, T time steps, S time steps of a decoder, O outputs of the head, C classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from lstm_jax.data.dataset import Arrays, Dataset, Split, num_examples
from lstm_jax.data.time_series import Scales, series_of
from lstm_jax.errors import EnvironmentProblem, UserError, missing_package
from lstm_jax.export.description import describe_model
from lstm_jax.export.onnx import to_onnx
from lstm_jax.export.use_file import use_file
from lstm_jax.predict import inference
from lstm_jax.predict.trained import TrainedModel, load
from lstm_jax.runs.files import make_folder, write_bytes
from lstm_jax.runs.progress import say
from lstm_jax.tasks.captions import Captions
from lstm_jax.tasks.forecast import Forecast
from lstm_jax.tasks.language import Language
from lstm_jax.tasks.task import Batch, Task
from lstm_jax.tasks.text import Text
from lstm_jax.tasks.translation import Translation

MAX_EXAMPLES = 10_000  # of the test set that are compared
BATCH_SIZE = 1000  # of a classifier; a tenth of it where each time step may have outputs
MAX_MOVED = 0.01  # of the standard deviation of a column, by rounding its numbers to float32
MAX_DIFFERENCE = 1e-4  # of the largest output, or of 1; sums in float32 depend on their order

# The types that ONNX reads. A data set may keep tokens in fewer bytes.
ONNX_TYPES = {"tensor(uint8)": np.uint8, "tensor(int32)": np.int32, "tensor(float)": np.float32}

# The arrays whose second axis may have any length: the time steps of a sequence.
TIME_AXES = {
    Text: {"symbols": "t"},
    Language: {"symbols": "t + 1"},  # the model reads all but the last one
    Translation: {"source": "t", "target": "s"},
    Captions: {"target": "s"},
}

# The files of an export, and what is said of those that are no models.
MODELS = "model.stablehlo", "model.onnx"
MEANINGS = {
    "model.json": "what the inputs and answers mean",
    "use.py": "answers raw inputs without this package",
}

Model = Callable[..., np.ndarray]  # takes the arrays that the model reads, returns its answers


def export(
    run_dir: Path,
    console: Console,
    *,
    member: str | None = None,
    onnx: bool = False,
    compare: bool = True,
    other_code: bool = False,
    trust_code: bool = False,
    dataset: Dataset | None = None,
) -> Path:
    """Writes `export/model.stablehlo`, and with `onnx` also `export/model.onnx`, into a run, and
    beside them `export/model.json` and `export/use.py`: see `export_files`. Returns the folder.

    Both take the arrays of N examples that the task reads, as in the data set, for any N. They
    return float32 class probabilities [N,C] for images and texts, or else the outputs of the head,
    [N,O] or [N,T,O]. A forecast takes rows and returns values in the units of the user's file.

    Each file is compared on the test set of `dataset`, or of the data that the task loads; without
    `compare`, on made-up inputs, and no data are loaded.

    `member`, `other_code` and `trust_code` are those of `predict.trained.load`.

    Raises UserError for a model that cannot be written as ONNX, and EnvironmentProblem where a file
    would not answer as the model does, and where the data cannot be had.
    """
    tell = partial(say, console)
    trained = load(run_dir, member, tell, other_code=other_code, trust_code=trust_code)
    if onnx:
        for package in ("onnx", "onnxruntime"):
            import_package(package)
    if compare:
        try:
            test = trained.data(tell, dataset).test
        except (UserError, EnvironmentProblem) as error:
            raise type(error)(f"{error}; `export --no-compare` needs no data") from error
    else:
        test = made_up_examples(trained)
    first = trained.member.task.gather(test, jnp.arange(1))
    contents = export_files(trained, first, onnx=onnx)
    inputs = json.loads(contents["model.json"])["inputs"]
    make_folder(run_dir / "export")
    for name, content in contents.items():
        path = run_dir / "export" / name
        if name not in MODELS:
            write_bytes(path, content)
            tell(f"{path}: {MEANINGS[name]}; run {trained.name}, {trained.member.digest}")
            continue
        # What is compared are the bytes that are written, also if somebody else exports now.
        model = run_onnx(content) if path.suffix == ".onnx" else run_stablehlo(content)
        examples = "test examples" if compare else "made-up examples"
        comparison = _compare(model, trained, test, path, examples)
        write_bytes(path, content)
        reads = ", ".join(f"{n} {each['shape']}".replace("'", "") for n, each in inputs.items())
        if isinstance(trained.member.task, Forecast):
            window, columns = np.shape(first["x"])[1], ", ".join(trained.metadata["columns"])
            reads += (
                f" ({window} rows of {columns}, unscaled), answers {trained.metadata['target']}"
            )
        tell(f"{path}: takes {reads}; {len(content) / 2**20:.2f} MiB; run back, {comparison}")
    return run_dir / "export"


def export_files(trained: TrainedModel, batch: Batch, *, onnx: bool) -> dict[str, bytes]:
    """Returns the content of each file of an export, by name: the models, then `model.json`
    (`describe_model`, with the inputs and the digests of the models), then `use.py`.

    `batch` is one of the data set. Raises what `to_onnx` raises.
    """
    description, task = describe_model(trained), trained.member.task
    models = {"model.stablehlo": to_stablehlo(trained, batch)}
    if onnx:
        models["model.onnx"] = to_onnx(trained, description)
    exported = jax.export.deserialize(bytearray(models["model.stablehlo"]))
    inputs = dict[str, dict[str, Any]]()  # of the StableHLO file; an ONNX graph names its own
    for name, aval in zip(arrays_read(trained, batch), exported.in_avals, strict=True):
        shape = [size if isinstance(size, int) else str(size) for size in aval.shape]
        inputs[name] = {"dtype": str(aval.dtype), "shape": shape}
        if count := task.symbol_counts().get(name):
            inputs[name]["symbols"] = count
        if name in time_axes(task):
            inputs[name]["time_steps"] = np.shape(batch[name])[1]  # in the data set, with padding
    # A file of another member may lie in the folder from before: the digests say which these are.
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in models.items()}
    description |= {"inputs": inputs, "files": digests}
    text = json.dumps(description, indent=1, ensure_ascii=False)
    program = use_file(trained, inputs, onnx=onnx)
    return models | {"model.json": text.encode(), "use.py": program.encode()}


def made_up_examples(trained: TrainedModel, count: int = 64) -> Arrays:
    """Returns random examples with the shapes and types of those that a model was trained on."""
    metadata, task, rng = trained.metadata, trained.member.task, np.random.default_rng(0)
    examples, arrays = metadata["examples"], Arrays()
    for name, (shape, dtype) in examples["arrays"].items():
        size = shape if name in examples["shared"] else (count, *shape[1:])
        if np.dtype(dtype).kind == "f":
            arrays[name] = rng.normal(size=size).astype(dtype)
        elif name == "images":
            arrays[name] = rng.integers(0, 256, size).astype(dtype)
        else:  # a token, a length or a class: 1 is valid as each of them
            arrays[name] = np.ones(size, dtype)
    if isinstance(task, Text):
        length = arrays["symbols"].shape[1]
        symbols = rng.integers(0, len(metadata["vocabulary"]), (count, length))
        lengths = rng.integers(1, length + 1, count)
        arrays["symbols"] = symbols.astype(arrays["symbols"].dtype)
        arrays["lengths"] = lengths.astype(arrays["lengths"].dtype)
    if isinstance(task, Forecast):
        rows = len(arrays["series"]) - task.window - task.horizon
        arrays["first"] = rng.integers(0, max(rows, 1), count).astype(arrays["first"].dtype)
    return Split(arrays, examples["shared"]) if examples["shared"] else arrays


def arrays_read(trained: TrainedModel, batch: Batch) -> list[str]:
    """Returns the names of the arrays in a batch that an exported model reads, in order of use."""
    names: dict[str, None] = {}

    class Recorder(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            names.setdefault(name)
            return super().__getitem__(name)

    # Traced, not computed.
    jax.eval_shape(lambda arrays: trained.member.task.inputs(Recorder(arrays)), dict(batch))
    if isinstance(trained.member.task, Forecast) and "series_number" in batch:
        return [*names, "series_number"]  # it reads and answers in the units of that series
    return list(names)


def _compare(
    model: Model, trained: TrainedModel, test: Arrays, path: Path, examples: str = "test examples"
) -> str:
    """Returns how near the answers of an exported model are on these examples, in words.

    Raises EnvironmentProblem where they differ by too much, or in a class.
    """
    count, task = min(num_examples(test), MAX_EXAMPLES), trained.member.task
    is_classifier = inference.is_classifier(trained.member)
    size = BATCH_SIZE if is_classifier else BATCH_SIZE // 10
    num_other_class, difference, largest = 0, 0.0, 1.0
    scales = Scales.of(trained.metadata) if isinstance(task, Forecast) else None
    rounding = moved = 0.0
    for start in range(0, count, size):
        batch = task.gather(test, jnp.arange(start, min(start + size, count)))
        arrays = {name: np.asarray(batch[name]) for name in arrays_read(trained, batch)}
        if scales:  # what the file is given are these rows in float32: so is the model
            number_N, recorded = series_of(batch, np.arange(len(arrays["x"]))), arrays["x"]
            arrays["x"] = scales.unscale_rows(arrays["x"], number_N).astype(np.float32)
            x_NTI = scales.scale_rows(arrays["x"], number_N).astype(np.float32)
            moved = float(np.maximum(moved, np.max(np.abs(x_NTI - recorded))))
            expected = trained.answers({"x": x_NTI})
            unit_N1, mean_N1 = (
                scales.target_scale_K[number_N, None],
                scales.target_mean_K[number_N, None],
            )
            # Of a value in the target's unit, whose mean may be large.
            rounding = 2e-7 * float(np.max(np.abs(expected * unit_N1 + mean_N1) / unit_N1))
            answers = (model(*arrays.values()).astype(np.float64) - mean_N1) / unit_N1
        else:
            expected, answers = trained.answers(batch), model(*arrays.values())
        # Python's `max` would lose a nan.
        difference = float(np.maximum(difference, np.max(np.abs(answers - expected))))
        largest = float(np.maximum(largest, np.max(np.abs(expected))))
        if is_classifier:
            num_other_class += int(
                np.sum(np.argmax(answers, axis=1) != np.argmax(expected, axis=1))
            )
    outputs = "probabilities" if is_classifier else "outputs"
    unit = float(scales.target_scale_K.max()) if scales else 1.0
    if num_other_class or not difference <= MAX_DIFFERENCE * largest + rounding:
        classes = f"another class than the model on {num_other_class} of {count} {examples}, "
        raise EnvironmentProblem(
            f"{path} is not written: {classes if is_classifier else ''}{outputs} off by up to "
            f"{difference * unit:.2g}"
        )
    same = "the same class on" if is_classifier else "compared on"
    coarse = (
        f"; warning: float32 rounds the numbers of the file by up to {moved:.2g} of their standard "
        "deviation: subtract a constant from the columns, and train anew"
        if moved > MAX_MOVED
        else ""
    )
    return f"{same} all {count:,} {examples}, {outputs} within {difference * unit:.1e}{coarse}"


def to_stablehlo(trained: TrainedModel, batch: Batch) -> bytes:
    """Returns the model as `jax.export` serialises it: for CPU, CUDA and TPU, for any number of
    examples, and of sequences of symbols for any number of time steps.

    The other axes have the lengths that they have in this batch. So have the time steps where a
    layer of the user must know how many there are.
    """
    names = arrays_read(trained, batch)
    model = trained.spec, trained.ready, trained.fused
    scales = Scales.of(trained.metadata) if isinstance(trained.member.task, Forecast) else None

    def answer(*arrays: jax.Array) -> jax.Array:
        named = dict(zip(names, arrays, strict=True))
        if scales is None:
            return inference.answers(*model, named)
        # One series of the file for all windows, [1,1,I]; else that of each window, [N,1,I].
        number = named.get("series_number", jnp.zeros(1, jnp.int32))
        high, low, inverse, mean, scale = (jnp.asarray(table)[number] for table in scales.tables())
        return inference.answers(*model, {"x": (named["x"] - high - low) * inverse}) * scale + mean

    def exported(axes: dict[str, str]) -> bytes:
        scope, shapes = jax.export.SymbolicScope(), []
        for name in names:
            sizes = ["n", *map(str, np.shape(batch[name])[1:])]
            if name in axes:
                sizes[1] = axes[name]
            shape = jax.export.symbolic_shape(", ".join(sizes), scope=scope)
            dtype = jax.dtypes.canonicalize_dtype(batch[name].dtype)
            shapes.append(jax.ShapeDtypeStruct(shape, dtype))
        program = jax.export.export(jax.jit(answer), platforms=("cpu", "cuda", "tpu"))(*shapes)
        return bytes(program.serialize())

    axes = time_axes(trained.member.task)
    if axes:
        with suppress(Exception):  # whatever the code of a user raises
            return exported(axes)
    return exported({})


def time_axes(task: Task) -> dict[str, str]:
    """Returns the length of the second axis of each array of sequences, in symbols, by name."""
    return next((axes for each, axes in TIME_AXES.items() if isinstance(task, each)), {})


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
