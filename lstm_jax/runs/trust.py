"""Whose code may be run: the user's own, and what he says that he trusts.

A record may name files, of its task, its optimiser or its cells. Reading a record runs none of
them. What needs them runs a file that this process has run before, that the user has named in this
process, or that lies in the working folder and not beside the record; any other one only with
`--trust-code`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lstm_jax.cells import is_loaded_cell
from lstm_jax.components import Table, tables
from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Say
from lstm_jax.errors import UserError
from lstm_jax.plugins import attribute_file
from lstm_jax.runs.code import user_code
from lstm_jax.runs.files import problem
from lstm_jax.runs.record import Record, read_run
from lstm_jax.stand_ins import StandIn
from lstm_jax.tasks import TASKS

TABLES: dict[str, Table[Any]] = {"task": TASKS, **tables(Experiment)}
_named: set[str] = set()  # cells and components that the user has named in this process


def name_code(experiment: Experiment) -> None:
    """Notes that the user himself has named the cells and components of an experiment."""
    _named.update(user_code(experiment))


def read_trusted(directory: Path, trust_code: bool, say: Say) -> Record:
    """Returns the record of a run whose code may be run, with its components loaded.

    With `trust_code`, tells `say` which file is run. Raises UserError where there is no record, and
    EnvironmentProblem where a file is neither the user's own nor trusted, or where it has no such
    component.
    """
    record = read_run(directory)
    for name in user_code(record.study.experiment):
        file = attribute_file(name)
        if name in _named or is_loaded(name) or is_own(file, directory):
            continue
        if not trust_code:
            raise problem(
                f"{directory} names code in {file}, and that file does not lie in the working "
                "folder, apart from the run; read it, and give --trust-code (trust_code=True) if "
                "you trust it"
            )
        say(f"note: the code in {file} is run")
    components = record.study.experiment.all_components()
    named = [each for each in components if isinstance(each, StandIn)]
    if not named:
        return record
    try:
        loaded = [TABLES[each.role].find(each.spec) for each in named]
    except UserError as error:
        raise problem(
            f"{directory}: {error}; code in a file of your own is found only from the folder in "
            "which the run was started"
        ) from error
    record = read_run(directory)
    del loaded  # the record holds these classes now
    return record


def is_loaded(name: str) -> bool:
    """Returns whether this process has loaded a cell or a component with this name."""
    return is_loaded_cell(name) or any(table.loaded(name) for table in TABLES.values())


def is_own(file: Path, directory: Path) -> bool:
    """Returns whether a file lies in the working folder, and apart from the run: neither in the
    folder of the working folder that holds the run, such as `runs/`, nor in the folders that hold
    the run directory, `runs/<experiment>/` and `runs/`. Links are followed.

    So a folder that somebody sent, with code beside its runs, is foreign as a whole.
    """
    here, path, run = Path.cwd().resolve(), file.resolve(), directory.resolve()
    if run == here or run in here.parents:
        return False
    foreign = {run, *run.parents[:2]} - {here, *here.parents}
    if here in run.parents:
        foreign.add(here / run.relative_to(here).parts[0])
    beside = here in run.parents[:2]  # the working folder is `runs/` or `runs/<experiment>/`
    return here in path.parents and not beside and not foreign & {*path.parents}
