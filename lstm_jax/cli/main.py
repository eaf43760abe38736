"""The command line: sets the environment before JAX starts, turns errors into exit codes.

JAX is imported only when a command needs it, so that help and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from lstm_jax.cli.commands import COMMANDS, Command, OnDevice, OnRun, OnStudy
from lstm_jax.config.experiment import Experiment, all_field_specs, format_value
from lstm_jax.config.experiment_files import available, listing, load_study
from lstm_jax.config.search import Search, Study
from lstm_jax.errors import (
    DivergedError,
    EnvironmentProblem,
    Interrupted,
    NothingToSave,
    NotReproduced,
    UserError,
    did_you_mean,
    explain_missing_packages,
    one_line,
)
from lstm_jax.fields import FieldSpec, check_value, field_specs, parse_value
from lstm_jax.runs.files import printable
from lstm_jax.signals import NOTHING_TO_SAVE, SAVED

# Our options, by what others call them.
ALIASES = {
    other: ours
    for ours, others in {
        "learning-rate": "lr eta rate",
        "total-examples": "train-examples num-examples",
        "total-steps": "steps max-steps num-steps train-steps",
        "total-epochs": "epochs num-epochs train-epochs",
        "num-evals": "looks evals",
        "restore-best": "keep",
        "checkpoint-every": "segment-steps save-every",
        "shard": "part",
        "by-time-step": "rows",
        "batch-size": "bs batch train-batch-size",
        "hidden-size": "hidden units num-hidden hidden-dim dim width",
        "layers": "num-layers depth",
        "weight-decay": "wd l2",
        "clip-norm": "clip grad-clip clip-grad-norm max-grad-norm",
        "optimizer": "opt optim",
        "schedule": "scheduler lr-schedule lr-scheduler",
        "warmup-steps": "warmup",
        "cell": "model rnn-type arch",
        "platform": "device accelerator",
        "runs-dir": "out output output-dir logdir log-dir workdir",
        "task.dataset": "data",
        "seed": "rng random-seed",
        "microbatches": "chunks",
    }.items()
    for other in others.split()
}
OVERALL = ("--help", "--version")  # what stands in the place of a command
EXIT_CODES: dict[type[Exception], int] = {
    UserError: 2,
    EnvironmentProblem: 3,
    DivergedError: 4,
    NotReproduced: 5,
    Interrupted: SAVED,
    NothingToSave: NOTHING_TO_SAVE,
}


class Output(Console):
    """The console of our results. When its reader leaves, as `head` does, that stops a command that
    computes; any other ends without a word, as programs do.
    """

    computes = False

    def on_broken_pipe(self) -> None:
        if not self.computes:
            super().on_broken_pipe()
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Interrupted("nobody reads the output any more; the same command goes on")


def main(argv: list[str] | None = None) -> None:
    """Runs a command and leaves with the exit code of the design."""
    # No wrapping into a pipe: scripts read whole lines there.
    console = Output(soft_wrap=not (sys.stdout and sys.stdout.isatty()))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # one that may not know our ±
            stream.reconfigure(errors="backslashreplace")
    joined = False
    try:
        try:
            given = sys.argv[1:] if argv is None else argv
            command = parse(given)
            joined = getattr(command, "join", False)
            command.check()
            _expect_home()
            with explain_missing_packages():
                if isinstance(command, OnDevice):
                    console.computes = True
                    command.prepare(given)
                command.run(console)
        except KeyboardInterrupt:
            raise NothingToSave("stopped; nothing had to be saved") from None
        except (OSError, MemoryError) as error:  # what no room below could name better
            raise EnvironmentProblem(str(error) or "there is not enough memory") from error
        except Exception as error:
            if (failed := _of_jax(error)) is None:
                raise  # a defect of ours: its traceback says where
            raise failed from error
    except tuple(EXIT_CODES) as error:
        line = printable(" ".join(f"lstm_jax: {error}".split()))
        Console(stderr=True, soft_wrap=True).print(line, highlight=False, markup=False)
        code = EXIT_CODES[type(error)]
        if joined and not isinstance(error, (Interrupted, DivergedError)):
            os._exit(code)  # the runtime would wait for processes that wait for this one
        sys.exit(code)


def _expect_home() -> None:
    """Raises EnvironmentProblem for a user without a home directory: caches and data lie there."""
    try:
        Path.home()
    except RuntimeError as error:
        raise EnvironmentProblem("this user has no home directory; set HOME to a folder") from error


def _of_jax(error: Exception) -> EnvironmentProblem | None:
    """Returns what to say where JAX itself failed: memory, a device, what it was asked to check."""
    jax = sys.modules.get("jax")
    said = one_line(error)
    if isinstance(error, FloatingPointError):
        return EnvironmentProblem(
            f"JAX was told to stop where a number is not finite ({said}); unset JAX_DEBUG_NANS and "
            "JAX_DEBUG_INFS: a member that diverges is frozen and reported"
        )
    if jax is not None and isinstance(error, jax.errors.JaxRuntimeError):
        return EnvironmentProblem(
            f"the device failed ({said}); what was saved is not lost: the same command goes on. "
            "Where memory ran out, give fewer members or a smaller batch_size"
        )
    return None


class Parser(argparse.ArgumentParser):
    """One whose complaints are ours."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{' '.join(message.split())[:300]}; see --help")


class Once(argparse.Action):
    """Stores what an option is given, and refuses to be given it twice."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if hasattr(namespace, self.dest):
            raise UserError(f"{option} is there twice; give all its values after one")
        if values == []:  # what argparse makes of `--option=--`
            raise UserError(f"{option} has no value")
        setattr(namespace, self.dest, values)


def parse(argv: Sequence[str]) -> Command:
    """Returns the command, its overrides laid over the experiment's own values."""
    word = argv[0] if argv else "--help"
    if word in ("-h", OVERALL[0]):
        _overview()
    if word == OVERALL[1]:
        _version()
    if word not in COMMANDS:
        raise UserError(
            f"no command {word!r}.{did_you_mean(word, [*COMMANDS, *OVERALL])} See --help"
        )
    kind = COMMANDS[word]
    rest = _name_first(kind, list(argv[1:])) if issubclass(kind, OnStudy) else list(argv[1:])
    study = Study()
    if issubclass(kind, OnStudy):
        if rest and not rest[0].startswith("-"):
            study = load_study(rest[0])
        elif not rest:  # options alone are laid over `Experiment()`
            raise UserError(f"{word}: which experiment? {listing()}")
    elif issubclass(kind, OnRun) and not rest:
        raise UserError(f"{word}: which run directory?")
    parser = Parser(prog=f"lstm-jax {word}", description=kind.__doc__, allow_abbrev=False)
    _add_options(parser, kind)
    if issubclass(kind, OnStudy):
        _add_fields(parser, study)
    given, unknown = parser.parse_known_args(rest)
    if unknown:
        _refuse(unknown[0], parser)
    values = vars(given)
    if issubclass(kind, OnStudy):
        names = {f.name for f in dataclasses.fields(kind)}
        values["study"] = _overridden(study, {k: values.pop(k) for k in {*values} - names})
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _name_first(kind: type[OnStudy], words: list[str]) -> list[str]:
    """Returns the words with the experiment's name before the options that it stands behind.

    Behind an option that takes several values only what cannot be one of them is taken for a name:
    in `--seed 1 2 digits` the last word, in `--task.dataset digits` none.
    """
    fields = all_field_specs(Experiment())
    known, own = fields | field_specs(Search), {f.name: f for f in dataclasses.fields(kind)}
    path, left = "", 0.0  # the option, and how many values it may still take
    for place, word in enumerate(words):
        if word.startswith("--"):
            path = word.removeprefix("--").replace("-", "_")
            flag = path in own and "bool" in str(own[path].type)
            left = math.inf if path in fields else path in known or (path in own and not flag)
        elif left and (path not in known or _is_value(path, word, known[path])):
            left -= 1
        elif word in available() or word.endswith(".py"):
            return [word, *words[:place], *words[place + 1 :]]
    return words


def _is_value(path: str, word: str, spec: FieldSpec) -> bool:
    try:
        check_value(path, parse_value(path, word, spec), spec)
    except UserError:
        return False
    return True


def _version() -> NoReturn:
    import lstm_jax

    print(f"lstm_jax {lstm_jax.__version__}")
    sys.exit(0)


def _overview() -> NoReturn:
    print("usage: lstm-jax COMMAND ... (lstm-jax COMMAND --help for its options) or --version\n")
    for name, kind in COMMANDS.items():
        print(f"  {name:12}{(kind.__doc__ or '').splitlines()[0]}")
    print(f"\n{listing()}")
    sys.exit(0)


def _add_options(parser: Parser, kind: type[Command]) -> None:
    """Adds a command's own fields."""
    for each in dataclasses.fields(kind):
        if "help" not in each.metadata:
            continue
        text = each.metadata["help"].replace("%", "%%")
        choices = each.metadata.get("choices")
        flag = f"--{each.name.replace('_', '-')}"
        if positional := each.metadata.get("positional"):
            nargs = None if positional == 1 else positional
            convert: Any = Path if "Path" in str(each.type) else str
            parser.add_argument(
                each.name, nargs=nargs, help=text, type=convert, default=each.default
            )
        elif "bool" in str(each.type):
            boolean = argparse.BooleanOptionalAction
            parser.add_argument(flag, action=boolean, default=argparse.SUPPRESS, help=text)
        else:
            named = {"int": int, "float": float, "Path": Path}
            kind = next((t for name, t in named.items() if name in str(each.type)), str)
            convert = _path if kind is Path else _converted(each.name, kind, choices or ())
            parser.add_argument(
                flag, action=Once, type=convert, help=text, default=argparse.SUPPRESS,
                metavar=_metavar(choices or (), kind),
            )  # fmt: skip


def _path(word: str) -> Path:
    if not word.strip():  # which would be the working directory
        raise UserError(f"expected a path, got {word!r}")
    return Path(word)


def _converted(name: str, kind: type, choices: Sequence[str]) -> Callable[[str], Any]:
    """Returns what makes a word a value of a command's field, as of one of an experiment's."""

    def converted(word: str) -> Any:
        value = parse_value(name, word, FieldSpec(kind, ""))
        if choices and value not in choices:
            near = did_you_mean(word, choices)
            raise UserError(f"{name}: {word!r} is not one of {', '.join(choices)}.{near}")
        if kind is int and value != value // 1:  # such as 1.5; 1e4 is one
            raise UserError(f"{name}: expected a whole number, got {word!r}")
        return kind(value)

    return converted


def _metavar(choices: Sequence[str], kind: type) -> str:
    return "{" + ",".join(choices) + "}" if choices else kind.__name__.upper()


def _add_fields(parser: Parser, study: Study) -> None:
    """Adds the fields of an experiment, of its task and of its search, by their paths."""
    experiment = parser.add_argument_group(
        "fields of the experiment", "each takes one value or several"
    )
    for path, spec in all_field_specs(study.experiment).items():
        _add_field(experiment, path, spec, study.experiment.values_of(path), "+")
    search = parser.add_argument_group("which members are trained")
    for path, spec in field_specs(Search).items():
        _add_field(search, path, spec, (getattr(study.search, path),), 1)


def _add_field(group: Any, path: str, spec: FieldSpec, values: Sequence[Any], nargs: Any) -> None:
    choices = list(spec.choices()) if spec.choices else []
    if spec.value_type is bool:
        choices = ["false", "true"]
    metavar = _metavar(choices, spec.value_type)
    shown_values = " ".join(map(format_value, values))
    group.add_argument(
        f"--{(spec.option or path).replace('_', '-')}", action=Once, nargs=nargs, dest=path, metavar=metavar,
        default=argparse.SUPPRESS, help=f"{spec.help} (here: {shown_values})".replace("%", "%%"),
    )  # fmt: skip


def _overridden(study: Study, words: dict[str, list[str]]) -> Study:
    """The study with the values that these words stand for."""
    known: dict[str, FieldSpec] = all_field_specs(study.experiment) | field_specs(Search)
    values = {
        path: tuple(parse_value(path, word, known[path]) for word in given)
        for path, given in words.items()
    }
    of_search = {path: values.pop(path)[0] for path in field_specs(Search) if path in values}
    search = replace(study.search, **of_search)
    return replace(study, experiment=study.experiment.replace(values), search=search)


def _refuse(word: str, parser: Parser) -> NoReturn:
    if not word.startswith("--"):
        raise UserError(f"{word!r} belongs to no option; see --help")
    name = word.removeprefix("--").partition("=")[0]
    options = [option.removeprefix("--") for option in _options(parser)]
    known = name.replace("_", "-")
    if name in options:
        raise UserError(f"--{name} stands behind `--`, which ends the options; leave that away")
    meant = [o for o in options if o in (ALIASES.get(known), f"task.{known}")]
    near = f" Did you mean {meant[0]}?" if meant else did_you_mean(known, options)
    raise UserError(f"no option --{name}.{near} See --help")


def _options(parser: Parser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
