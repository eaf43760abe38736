"""What a command is: a dataclass whose fields are its options, with its own `run`.

A command imports what it needs when it runs, after JAX was told how to start.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstm_jax.api import UNNAMED
from lstm_jax.config.search import Study
from lstm_jax.config.shards import parse_shard
from lstm_jax.fields import FieldSpec

if TYPE_CHECKING:
    from rich.console import Console

PLATFORMS = ("auto", "cpu", "gpu", "tpu")
RUNS_DIR = "the folder of the run directories"
RUN = "a run: its directory, NAME (its latest), NAME/begin-of-digest, or latest"


def option(
    default: Any, help: str, *, value_type: type | None = None, positional: Any = None, **spec: Any
) -> Any:
    """Returns a dataclass field that is an option of a command, with its declaration.

    `value_type` and `spec` are as in `fields.axis`. `positional` makes it an input: 1 for one, or
    `?`, `*`, `+` as argparse has them.
    """
    declared = FieldSpec(value_type or type(default), help, **spec)
    return field(default=default, metadata={"spec": declared, "positional": positional})


@dataclass(frozen=True)
class Command:
    """A command of the command line. Its fields are its options."""

    def check(self) -> None:
        """Raises UserError for a mistake that can be found before JAX starts."""

    def prepare(self, words: Sequence[str]) -> None:
        """Starts what the command needs; `words` are those of the command line."""

    def run(self, console: Console) -> None:
        """Runs the command and prints its results."""
        raise NotImplementedError


@dataclass(frozen=True)
class OnDevice(Command):
    """A command that computes with JAX."""

    platform: str = option(
        "auto",
        "the kind of device; if the machine has none, the command stops and never uses another one",
        choices=lambda: PLATFORMS,
    )

    def prepare(self, words: Sequence[str]) -> None:
        from lstm_jax.runs.devices import prepare_jax  # a tenth of a second

        prepare_jax(self.platform, partial(print, file=sys.stderr))


@dataclass(frozen=True)
class OnStudy(OnDevice):
    """A command on an experiment."""

    name: str = option(
        "",
        "an experiment by its name (see `lstm-jax experiments`) or by the path of its Python file; "
        "without it, all fields have their defaults",
        positional="?",
    )
    study: Study = field(default_factory=Study)  # the experiment with the overrides
    runs_dir: Path = option(Path("runs"), RUNS_DIR, value_type=Path)
    run_name: str | None = option(
        None,
        "the folder of the run in the runs folder, by which other commands find it; without it the "
        "name of the experiment",
        value_type=str,
        option="name",
    )
    fallback: bool = option(
        False, "train on the task's built-in data, under its own name, where the data is missing"
    )
    shard: str | None = option(
        None,
        "train only this shard of the members, such as 3/16. In a job of an array give /16: the "
        "index is read from the scheduler. A SLURM array needs no option. The same run without "
        "--shard joins the shards",
        value_type=str,
    )

    @cached_property
    def sharded_study(self) -> Study:
        """The study, or the shard of it that is asked for. Raises UserError for a wrong shard."""
        return dataclasses.replace(self.study, shard=parse_shard(self.shard, os.environ))

    def check(self) -> None:
        self.sharded_study  # noqa: B018

    @property
    def stem(self) -> str:
        """The name of the run: as given, or that of the experiment or of its file."""
        return self.run_name or Path(self.name).stem or UNNAMED


@dataclass(frozen=True)
class OnRun(OnDevice):
    """A command on a run directory."""

    run_dir: str = option("", RUN, positional=1)
    runs_dir: Path = option(Path("runs"), RUNS_DIR, value_type=Path)
    member: str | None = option(
        None,
        "the digest of one member, or its beginning; without it, the member chosen on validation "
        "(`reproduce`, `score`: all members)",
        value_type=str,
    )
    other_code: bool = option(
        False, "go on although the code of the run has changed since it was trained"
    )
    trust_code: bool = option(
        False,
        "run the code of the files that the run names, also where they do not lie in the working "
        "folder, or lie beside the run",
    )

    @cached_property
    def directory(self) -> Path:
        """The run directory. Raises UserError where there is none."""
        from lstm_jax.runs.directory import find_run  # a hundredth of a second or two

        return find_run(self.run_dir, self.runs_dir)

    def check(self) -> None:
        self.directory  # noqa: B018
