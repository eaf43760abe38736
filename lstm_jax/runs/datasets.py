"""The data sets of a study, loaded before anything is trained."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from functools import partial
from glob import glob
from pathlib import Path

from rich.console import Console

from lstm_jax.config.search import Study
from lstm_jax.data.dataset import Dataset, Say, check_finite
from lstm_jax.errors import EnvironmentProblem, UserError, one_line
from lstm_jax.fields import field_specs
from lstm_jax.model.block import sets_time_scales
from lstm_jax.model.size import choose_width
from lstm_jax.plugins import is_file_attribute
from lstm_jax.runs.code import example_shapes, program_digest, user_errors, user_files
from lstm_jax.runs.data_card import count_table, data_card, describe
from lstm_jax.runs.progress import say
from lstm_jax.runs.task_checks import check_items, check_step, with_data_fields
from lstm_jax.tasks.task import Task
from lstm_jax.train.placement import Datasets, model_spec_of, refuse_absent_backend

# How the lines begin that say what takes time, and nothing of the data.
PROGRESS = ("reading ", "decoding ", "preparing ", "downloading ")


def load_data(
    name: str, study: Study, fallback: bool, console: Console, given: Datasets | None = None
) -> tuple[str, Study, Datasets]:
    """Returns the name of the run, the study with all that follows from its data, and the data.

    Data sets that are given are not loaded. With `fallback`, the built-in data set of the task
    replaces data that cannot be had: a line says so, and the name of the run ends in its name.
    """
    experiment = study.experiment
    refuse_absent_backend(experiment)
    tell = partial(say, console)
    try:
        tasks = experiment.data_tasks().items()
        datasets = {key: (given or {}).get(key) or _loaded(task, tell) for key, task in tasks}
    except EnvironmentProblem as error:
        built_in = experiment.task.built_in()
        if not fallback or built_in is None:
            raise
        study = replace(study, experiment=replace(experiment, task=built_in))
        datasets = {key: _loaded(t, tell) for key, t in study.experiment.data_tasks().items()}
        dataset = next(iter(datasets.values()))
        tell(f"{error}")
        tell(f"FALLING BACK to the data set {dataset.name}: these are not the results of {name}")
        name = f"{name}-{dataset.name}"
    study = study.with_data_sizes({key: data.num_examples for key, data in datasets.items()})
    return name, _choose_widths(study, datasets, tell), datasets


def check_members(study: Study, datasets: Datasets, tell: Say) -> None:
    """Raises UserError where members do not fit their data, or where a user's own code is wrong.

    It finds mistakes before a directory is made. Says which cells `chrono_steps` does not reach.
    """
    unreached, checked_cells = dict[str, None](), set[str]()
    for member in {member.static_key: member for member in study.members()}.values():
        dataset = datasets[member.task.data_key]
        with user_errors(member):
            spec = model_spec_of(member, dataset)
            if user_files(member):
                if is_file_attribute(member.task.spec_string()):
                    check_items(member, spec, dataset)
                program_digest(member, spec, example_shapes(dataset))
                if is_file_attribute(member.cell) and member.cell not in checked_cells:
                    check_step(member)
                    checked_cells.add(member.cell)
                data_card(member.task, dataset)
        if member.chrono_steps and not sets_time_scales(member):
            unreached[member.cell] = None
    for cell in unreached:
        tell(
            f"warning: chrono_steps: {cell} has no gate, decay rate or time step that sets how "
            "long a unit keeps its state, so its initial values are those of chrono_steps 0"
        )


def _choose_widths(study: Study, datasets: Datasets, say: Say) -> Study:
    """Returns the study with the hidden sizes that its numbers of parameters lead to, if any.

    Says each of them.
    """
    widths: dict[str, int] = {}
    lines: dict[str, None] = {}
    for member in study.experiment.static_members():
        if member.parameters is None:
            continue
        with user_errors(member):
            spec = model_spec_of(member, datasets[member.task.data_key])
            width, count = choose_width(member, spec, member.parameters)
        widths[member.model_key] = width
        layers = f" of {member.layers} layers" if member.layers > 1 else ""
        lines[f"{member.cell}{layers}: hidden size {width} makes {count:,} parameters"] = None
    for line in lines:
        say(line)
    return study.with_widths(widths) if widths else study


def file_stamp(task: Task) -> str:
    """Returns a SHA-256 of the files that a task's data are read from; empty where they have names.

    It is of the content of a file, and of the names, sizes and times of the files in a folder or of
    a pattern. It only tells when to read the data again: the fingerprint of the data decides.
    """
    digest, is_there = hashlib.sha256(), False
    for name, spec in field_specs(task).items():
        value = getattr(task, name)
        if not spec.data or not isinstance(value, str):
            continue
        path = Path(value).expanduser()
        with suppress(OSError, ValueError):
            if path.is_file():
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
                is_there = True
            elif path.is_dir() or "*" in value:
                found = path.rglob("*") if path.is_dir() else map(Path, sorted(glob(str(path))))
                for each in sorted(each for each in found if each.is_file()):
                    status = each.stat()
                    digest.update(f"{each} {status.st_size} {status.st_mtime_ns}".encode())
                is_there = True
    return digest.hexdigest() if is_there else ""


def show_data(name: str, study: Study, console: Console, *, fallback: bool = False) -> None:
    """Prints a data card of each data set of a study. Trains nothing.

    A card shows the number of examples and of each class in each split, the arrays, the scores of
    answers that need no model, three examples as they were read, and warnings.
    """
    name, study, datasets = load_data(name, study, fallback, console)
    for key, task in study.experiment.data_tasks().items():
        dataset = datasets[key]
        with user_errors(study.experiment):
            card = data_card(task, dataset)
        fingerprint = dataset.fingerprint[:12]
        say(console, f"{dataset.name} ({card['source']}), fingerprint {fingerprint}")
        console.print(count_table(card), highlight=False)
        for line in describe(card):
            say(console, line)
    try:
        check_members(study, datasets, partial(say, console))
    except UserError as error:
        if user_files(study.experiment):  # a mistake in the user's own code
            raise
        # The data can be looked at all the same.
        say(console, f"warning: `run` refuses this experiment: {error}")


def _loaded(task: Task, tell: Say) -> Dataset:
    """Returns the data of a task, which checks them if it is from a user's file.

    The metadata keep as `notes` what was said of how the data were read.
    """
    notes = list[str]()

    def hear(line: str) -> None:
        tell(line)
        if not line.startswith(PROGRESS):
            notes.append(line)

    dataset = _read(task, hear)
    return dataset._replace(metadata=dataset.metadata | {"notes": notes}) if notes else dataset


def _read(task: Task, tell: Say) -> Dataset:
    """Returns the data of a task, which checks them if it is from a user's file."""
    if task.spec_string() == task.name:
        return task.load(tell)
    try:
        dataset = with_data_fields(task).load(tell)
    except (UserError, EnvironmentProblem, KeyboardInterrupt):
        raise
    except BaseException as error:  # the file is the user's own program
        raise UserError(f"{task.spec_string()}: its load: {one_line(error)}") from error
    check_finite(dataset)
    task.check_data(dataset)
    return dataset
