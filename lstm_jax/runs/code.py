"""The code that a member's numbers come from: its program, and the files it was read from.

The *program* of a member is its initial state, its choice of examples, its training step and its
scoring, as JAX traces them. An edited formula changes it; an edited comment, or another cell in the
same file, does not. What a user's own task does outside of JAX, such as reading its data, is a part
of it too, as the syntax of these functions. The program is a part of the identity under which a
member is trained. The *sources* are the files that may decide a program, each with its SHA-256.
They are no part of the identity: where no code is the user's own and they are as on record, nothing
has to be traced.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

import lstm_jax
from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Dataset, Split, num_examples, shared_arrays
from lstm_jax.errors import EnvironmentProblem, Interrupted, UserError, one_line
from lstm_jax.model import forward
from lstm_jax.model.fused_params import fuse_kernels
from lstm_jax.plugins import attribute_file, is_file_attribute
from lstm_jax.tasks.task import ModelSpec, Task
from lstm_jax.train.batches import next_batch
from lstm_jax.train.placement import stack_fields
from lstm_jax.train.step import init_state, train_step

PACKAGE = Path(lstm_jax.__file__).parent
INSTALLED = {Path(path).resolve() for path in sysconfig.get_paths().values()}
# The rooms that may decide a number of a member.
ROOMS = (
    *("cells", "config", "data", "model", "optim", "tasks", "train"),
    *("components.py", "fields.py", "plugins.py"),
)
# Methods of a task that run outside of a program and decide numbers on record.
HOST_METHODS = (
    *("load", "adapt_data", "convert_data", "model_spec", "finalise"),
    *("trivial_score", "trivial_scores"),
)
ADDRESS = re.compile(r"0x[0-9a-f]{6,}")  # of an object in memory


def program_digest(member: Experiment, spec: ModelSpec, examples: dict[str, Any]) -> str:
    """Returns the SHA-256 of a member's program; it is the same for members of one static key.

    `examples` is what `example_shapes` returns for the data. The program is traced without a mesh
    and for one step, so it does not depend on devices or segments.
    Raises UserError, with file and line where the error is in a user's file, for a cell or a task
    of a user that cannot be traced.
    """
    task = member.task
    # What a user's own task does may be edited, tasks of this package are as its version says.
    is_outside = is_file_attribute(task.spec_string())
    # A program of this package is traced once: JAX keeps it. A user's own code may have been edited
    # since, and what it reads, so a new function makes JAX trace it again.
    program = _program(spec, is_outside) if user_files(member) else _package_program(spec)
    arrays: dict[str, Any] = {
        name: jax.ShapeDtypeStruct(shape, dtype)
        for name, (shape, dtype) in examples["arrays"].items()
    }
    if examples["shared"]:
        arrays = Split(arrays, examples["shared"])
    count = num_examples(arrays)
    fields = jax.tree.map(lambda a: jax.ShapeDtypeStruct((), a.dtype), stack_fields([member]))
    scalar = jax.ShapeDtypeStruct((), jnp.int32)
    order = jax.ShapeDtypeStruct((count,), jnp.int32)
    try:
        with user_errors(member):
            traced = program.trace(fields, arrays, scalar, order, scalar).jaxpr
    except (TypeError, ValueError) as error:  # such as a wrong return value, found by its caller
        if not (names := user_code(member)):
            raise
        raise UserError(f"{', '.join(names)}: {one_line(error)}") from error
    text = ADDRESS.sub("", f"{task.metric} {task.higher_is_better} {traced.jaxpr}")
    digest = hashlib.sha256(text.encode())
    for constant in constants(traced):
        digest.update(np.asarray(constant).tobytes())
    if is_outside:
        digest.update(f"{task.metrics} {host_code(type(task))}".encode())
    if "callback[" in text:  # Python code that JAX calls and does not trace
        for path in user_files(member):
            digest.update(ast.dump(_without_docstrings(ast.parse(path.read_text()))).encode())
    return digest.hexdigest()


def _program(spec: ModelSpec, with_items: bool = False) -> jax.stages.Wrapped:
    """Returns all that JAX computes for a member, as a function of its fields and its examples.

    `with_items` asks for what the task scores of each example besides, which a user's own decides.
    """

    def program(
        member: Experiment, examples: Any, step: Any, order_N: Any, order_epoch: Any
    ) -> tuple[Any, ...]:
        state = init_state(spec, member)
        batch, order_N, _ = next_batch(spec, member, examples, step, order_N, order_epoch)
        if spec.bucket_lengths:
            batch = member.task.truncate(batch, spec.bucket_lengths[-1])
        new = train_step(spec, member, state, batch, step)
        fused = fuse_kernels(member, state.params)
        outputs = forward.apply_model(member, spec, fused, member.task.inputs(batch))
        scored = member.task.score_items(outputs, batch, training=False)
        items = member.task.evaluation_items(outputs, batch) if with_items else {}
        return new, order_N, scored, items

    return jax.jit(program)


_package_program = cache(_program)


def constants(traced: Any) -> Iterator[Any]:
    """Yields the constants of a traced program, and of the programs inside of it."""
    yield from traced.consts
    pending = [traced.jaxpr]
    while pending:
        for equation in pending.pop().eqns:
            yield from (each.val for each in equation.invars if isinstance(each, Literal))
            for value in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program):
                if isinstance(value, ClosedJaxpr):
                    yield from value.consts
                    pending.append(value.jaxpr)
                elif isinstance(value, Jaxpr):
                    pending.append(value)


def _is_program(value: Any) -> bool:
    return isinstance(value, (ClosedJaxpr, Jaxpr))


def host_code(task: type[Task]) -> str:
    """Returns the methods of a user's own task that JAX does not trace, and all that they name.

    It is the syntax of these functions, and of the functions, classes and values of their files
    whose names occur in them: without comments and docstrings, so that an edit of those changes
    nothing. Figures and answers of `predict` are no part of it: they decide no number.
    """
    found = set[str]()
    for base in task.__mro__:
        functions = (value for value in vars(base).values() if inspect.isfunction(value))
        file = next((function.__code__.co_filename for function in functions), "")
        if not Path(file).is_file() or _is_installed(file):
            continue
        defined = _definitions(ast.parse(Path(file).read_text()))
        pending = [
            node
            for node in getattr(defined.get(base.__name__), "body", ())
            if getattr(node, "name", "") in HOST_METHODS
        ]
        while pending:
            node = pending.pop()
            text = ast.dump(_without_docstrings(node))
            if text not in found:
                found.add(text)
                names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
                pending += [defined[name] for name in sorted(names & defined.keys())]
    return " ".join(sorted(found))


def _definitions(module: ast.Module) -> dict[str, ast.AST]:
    """Returns the functions, classes, values and imported modules of a module, by name."""
    defined = dict[str, ast.AST]()
    for node in module.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                name = getattr(node, "module", None) or alias.name
                file = getattr(sys.modules.get(name), "__file__", None) or ""
                if file.endswith(".py") and not _is_installed(file):
                    bound = alias.asname or alias.name.partition(".")[0]
                    defined[bound] = ast.parse(Path(file).read_text())
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            defined[node.name] = node
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                names = (each.id for each in ast.walk(target) if isinstance(each, ast.Name))
                defined |= dict.fromkeys(names, node)
    return defined


def _without_docstrings(node: ast.AST) -> ast.AST:
    for each in ast.walk(node):
        body = getattr(each, "body", None)
        first = body[0] if isinstance(body, list) and len(body) > 1 else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            del each.body[0]  # type: ignore[attr-defined]
    return node


@cache  # asked of each of some thousand modules
def _is_installed(file: str) -> bool:
    """Returns whether a file is this package's, Python's, or of an installed package."""
    return bool({PACKAGE, *INSTALLED} & {*Path(file).resolve().parents})


def example_shapes(dataset: Dataset) -> dict[str, Any]:
    """Returns, as JSON values, the shape and dtype of each array of the training examples."""
    arrays = {name: [list(a.shape), a.dtype.str] for name, a in dataset.train.items()}
    return {"arrays": arrays, "shared": list(shared_arrays(dataset.train))}


def user_errors(member: Experiment) -> AbstractContextManager[None]:
    """Turns an error from a user's own cell or task into a UserError with its file and line."""
    return errors_in(user_files(member))


@contextmanager
def errors_in(paths: Iterable[Path]) -> Iterator[None]:
    """Turns an error from one of these files into a UserError with file and line."""
    try:
        yield
    except (UserError, EnvironmentProblem, Interrupted):
        raise
    except Exception as error:
        files = {str(path.resolve()): path for path in paths}
        frames = [f for f in traceback.extract_tb(error.__traceback__) if resolved(f) in files]
        if not frames:
            raise
        where = f"{files[resolved(frames[-1])]}, line {frames[-1].lineno}"
        raise UserError(f"{where}: {one_line(error)}") from error


def resolved(frame: traceback.FrameSummary) -> str:
    """Returns the absolute path of a frame's file."""
    return str(Path(frame.filename).resolve())


def user_files(experiment: Experiment) -> list[Path]:
    """Returns the files of a user's own cells and components that an experiment names."""
    return [attribute_file(name) for name in user_code(experiment)]


def user_code(experiment: Experiment) -> list[str]:
    """Returns the names of a user's own cells and components, `path/to/file.py:attribute`."""
    names = [each.spec_string() for each in experiment.all_components()]
    names = [*experiment.values_of("cell"), *names]
    return [name for name in names if is_file_attribute(name)]


def sources(experiment: Experiment) -> dict[str, str]:
    """Returns the SHA-256 of each source, by its name.

    Sources are the user's own files that the experiment names, the modules that these may have
    imported, which are no installed ones, and, as `lstm_jax`, the files of this package that may
    decide a number.
    """
    digests = {str(path): file_digest(path) for path in user_files(experiment)}
    folders = {path.resolve().parent for path in user_files(experiment)}
    for module in list(sys.modules.values()) if folders else ():
        file = getattr(module, "__file__", None)
        if not file or not file.endswith(".py"):
            continue
        if _is_installed(file):
            continue
        path = Path(file).resolve()
        beside = [folder for folder in folders if folder in path.parents]
        name = str(path.relative_to(beside[0])) if beside else str(path)
        digests[name] = file_digest(path)
    return dict(sorted(digests.items())) | {"lstm_jax": package_digest()}


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file; empty where it is gone."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


@cache
def package_digest() -> str:
    """Returns the SHA-256 of the package's files that may decide a member's numbers."""
    digest = hashlib.sha256()
    for room in ROOMS:
        place = PACKAGE / room
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(str(path.relative_to(PACKAGE)).encode() + path.read_bytes())
    return digest.hexdigest()
