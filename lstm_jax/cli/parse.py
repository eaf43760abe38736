"""Turns the words of a command line into a command. Raises UserError for a mistake."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from lstm_jax.cli.command import Command, OnRun, OnStudy
from lstm_jax.cli.commands import COMMANDS, Score
from lstm_jax.components import tables
from lstm_jax.config.experiment import Experiment
from lstm_jax.config.experiment_files import experiment_names, load_study, name_all_experiments
from lstm_jax.config.experiment_values import all_field_specs
from lstm_jax.config.labels import format_value
from lstm_jax.config.search import Search, Study
from lstm_jax.errors import UserError, did_you_mean
from lstm_jax.fields import FieldSpec, check_value, field_specs, parse_value

# Our options by the names that others, or earlier versions, have for them.
ALIASES = {
    other: ours
    for ours, others in {
        "learning-rate": "lr eta rate",
        "total-examples": "train-examples num-examples",
        "total-steps": "steps max-steps num-steps train-steps",
        "total-epochs": "epochs num-epochs train-epochs",
        "num-evals": "looks evals",
        "restore-best": "keep",
        "patience": "early-stopping early-stopping-patience",
        "checkpoint-every": "segment-steps save-every",
        "shard": "part",
        "search-minutes": "timeout minutes time-budget",
        "halving": "pruner pruning reduction-factor",
        "trials": "n-trials num-trials",
        "show-each-time-step": "rows",
        "batch-size": "bs batch train-batch-size",
        "hidden-size": "hidden units num-hidden hidden-dim dim width",
        "layers": "num-layers depth",
        "optimizer.weight-decay": "wd l2",
        "clip-norm": "clip grad-clip clip-grad-norm max-grad-norm",
        "optimizer": "opt optim",
        "schedule": "scheduler lr-schedule lr-scheduler",
        "schedule.warmup-steps": "warmup",
        "cell": "model rnn-type arch",
        "begin-with": "init-from warm-start",
        "block": "residual skip",
        "platform": "device accelerator",
        "runs-dir": "out output output-dir logdir log-dir workdir",
        "task.dataset": "data",
        "seed": "rng random-seed",
        "microbatches": "chunks",
    }.items()
    for other in others.split()
}


def parse(words: Sequence[str]) -> Command:
    """Returns the command that the words stand for. Its study holds the overrides.

    `--help` and `--version` print and exit.
    """
    name = words[0] if words else "--help"
    if name in ("-h", "--help"):
        print(
            "usage: lstm-jax COMMAND ... (lstm-jax COMMAND --help for its options) or --version\n"
        )
        for command_name, command in COMMANDS.items():
            print(f"  {command_name:12}{(command.__doc__ or '').splitlines()[0]}")
        print(f"\n{name_all_experiments()}")
        sys.exit(0)
    if name == "--version":
        import lstm_jax

        print(f"lstm_jax {lstm_jax.__version__}")
        sys.exit(0)
    if name not in COMMANDS:
        near = did_you_mean(name, [*COMMANDS, "--help", "--version"])
        raise UserError(f"no command {name!r}.{near} See --help")
    command = COMMANDS[name]
    parser = Parser(prog=f"lstm-jax {name}", description=command.__doc__, allow_abbrev=False)
    _add_options(parser, command)
    if not issubclass(command, OnStudy):
        if issubclass(command, OnRun) and not words[1:]:
            raise UserError(f"{name}: which run directory?")
        if command is not Score:
            return command(**_values(parser, _options_first(command, words[1:])))
        fields, rest = _fields_of_task(words[1:])
        return Score(values=fields, **_values(parser, _options_first(command, rest)))
    rest = _name_first(command, words[1:])
    if not rest:  # options alone are laid over `Experiment()`
        raise UserError(f"{name}: which experiment? {name_all_experiments()}")
    study = Study() if rest[0].startswith("-") else load_study(rest[0])
    study = _choose_components(study, rest)
    _add_fields(parser, study)
    values = _values(parser, rest, study.experiment)
    options = {field.name for field in dataclasses.fields(command)}
    specs: dict[str, FieldSpec] = all_field_specs(study.experiment) | field_specs(Search)
    overrides = {
        path: tuple(parse_value(path, word, specs[path]) for word in values.pop(path))
        for path in {*values} - options
    }
    of_search = {path: overrides.pop(path)[0] for path in field_specs(Search) if path in overrides}
    experiment = study.experiment.replace(overrides)
    study = replace(study, experiment=experiment, search=replace(study.search, **of_search))
    return command(study=study, **values)


def _fields_of_task(words: Sequence[str]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Returns the values of the task's fields by name, as words, and the words that are left.

    The task is that of the run, which is read later, with its fields.
    """
    fields, rest, name = dict[str, tuple[str, ...]](), list[str](), ""
    for word in words:
        if word.startswith("--task."):
            name, _, value = word.removeprefix("--task.").replace("-", "_").partition("=")
            if name in fields:
                raise UserError(f"--task.{name} is there twice; give all its values after one")
            fields[name] = (word.partition("=")[2],) if value else ()
        elif name and not (word.startswith("--") and len(word) > 2):
            fields[name] += (word,)
        else:
            name = ""
            rest.append(word)
    for name, values in fields.items():
        if not values:
            raise UserError(f"--task.{name} has no value")
    return fields, rest


class Parser(argparse.ArgumentParser):
    """A parser that raises our own error instead of leaving."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{' '.join(message.split())[:300]}; see --help")


class Once(argparse.Action):
    """Stores the value of an option. Refuses an option that is given twice."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if hasattr(namespace, self.dest):
            raise UserError(f"{option} is there twice; give all its values after one")
        if values == []:  # what argparse makes of `--option=--`
            raise UserError(f"{option} has no value")
        setattr(namespace, self.dest, values)


def _choose_components(study: Study, words: Sequence[str]) -> Study:
    """Returns the study with the components that the words name: their fields are options then."""
    names: dict[str, list[str]] = {}
    role = ""
    for word in words:
        if word.startswith("--"):
            role, _, value = word.removeprefix("--").partition("=")
            names.setdefault(role, [value] if value else [])
        elif role in names:
            names[role].append(word)
    chosen = {role: names[role] for role in tables(study.experiment) if names.get(role)}
    return replace(study, experiment=study.experiment.choose(chosen))


def _values(
    parser: Parser, words: list[str], experiment: Experiment | None = None
) -> dict[str, Any]:
    """Returns the parsed values by name. Raises UserError for a word that belongs to no option."""
    namespace, unknown = parser.parse_known_args(words)
    for word in unknown:
        if word == "--":
            continue
        if not word.startswith("--"):
            raise UserError(f"{word!r} belongs to no option; see --help")
        name = word.removeprefix("--").partition("=")[0]
        options = [o.removeprefix("--") for a in parser._actions for o in a.option_strings]
        if name in options:
            raise UserError(f"--{name} stands behind `--`, which ends the options; leave that away")
        raise _unknown_option(name, options, experiment)
    return {k: tuple(v) if isinstance(v, list) else v for k, v in vars(namespace).items()}


def _unknown_option(name: str, options: list[str], experiment: Experiment | None) -> UserError:
    """Returns the error of an option that does not exist, with the one that may be meant."""
    dashed = name.replace("_", "-")
    alias = ALIASES.get(dashed, dashed)
    for role, table in tables(experiment).items() if experiment else ():
        field = alias.removeprefix(f"{role}.").replace("-", "_")
        if any(field in field_specs(each) for each in table.values()):
            option = f"{role}.{field.replace('_', '-')}"
            if dashed == option and experiment:
                return table.no_such_field(field, *(c.name for c in experiment.components[role]))
            return UserError(f"no option --{name}. Did you mean --{option}? See --help")
    meant = [o for o in options if o in (dashed, alias, f"task.{dashed}")]
    near = f" Did you mean --{meant[0]}?" if meant else did_you_mean(dashed, options, "--")
    return UserError(f"no option --{name}.{near} See --help")


def _options_first(command: type[Command], words: Sequence[str]) -> list[str]:
    """Returns the words with all inputs behind the options, so that they may stand anywhere.

    It is for commands whose options take one value or none. An input that begins with a dash stands
    behind `--`, is `-` alone, a negative number, or has a space in it, as a sentence.
    """
    fields = {field.name: field for field in dataclasses.fields(command)}
    options, inputs = list[str](), list[str]()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            inputs += rest
            break
        if not word.startswith("-") or word == "-" or " " in word or _is_number(word):
            inputs.append(word)
            continue
        options.append(word)
        field = fields.get(word.removeprefix("--").replace("-", "_"))
        takes_value = field and "spec" in field.metadata and not _is_flag(field)
        if takes_value and rest and rest[0] != "--":
            options.append(rest.pop(0))
    return [*options, "--", *inputs] if inputs else options


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _is_flag(field: dataclasses.Field[Any]) -> bool:
    return bool(field.metadata["spec"].value_type is bool)


def _name_first(command: type[OnStudy], words: Sequence[str]) -> list[str]:
    """Returns the words with the name of the experiment before the options.

    After an option with several values, a word is the name only if it cannot be a value: in
    `--seed 1 2 digits` the last word is the name, in `--task.dataset digits` none is.
    """
    fields = all_field_specs(Experiment())
    specs = fields | field_specs(Search)
    options = {f.name: f for f in dataclasses.fields(command) if "spec" in f.metadata}
    path, values_left = "", 0.0  # of the last option
    for index, word in enumerate(words):
        if word.startswith("--"):
            path = word.removeprefix("--").replace("-", "_")
            takes_one = path in specs or (path in options and not _is_flag(options[path]))
            values_left = math.inf if path in fields else takes_one
        elif values_left and (path not in specs or _is_value(path, word, specs[path])):
            values_left -= 1
        elif word in experiment_names() or word.endswith(".py"):
            return [word, *words[:index], *words[index + 1 :]]
    return list(words)


def _is_value(path: str, word: str, spec: FieldSpec) -> bool:
    try:
        check_value(path, parse_value(path, word, spec), spec)
    except UserError:
        return False
    return True


def _add_options(parser: Parser, command: type[Command]) -> None:
    """Adds the options and the inputs of a command."""
    for field in dataclasses.fields(command):
        spec: FieldSpec | None = field.metadata.get("spec")
        if spec is None:
            continue
        if positional := field.metadata["positional"]:
            nargs = None if positional == 1 else positional
            parser.add_argument(
                field.name, nargs=nargs, default=field.default, help=_help(spec, "")
            )
            continue
        flag = f"--{(spec.option or field.name).replace('_', '-')}"
        if _is_flag(field):
            default = "on" if field.default else "off"
            parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS,
                dest=field.name,
                help=f"{spec.help} (default: {default})",
            )  # fmt: skip
            continue
        default = "" if field.default is None else f"default: {field.default}"
        parser.add_argument(
            flag, action=Once, type=_converter(spec.option or field.name, spec), dest=field.name,
            default=argparse.SUPPRESS,
            metavar=_metavar(spec), help=_help(spec, default),
        )  # fmt: skip


def _converter(name: str, spec: FieldSpec) -> Any:
    """Returns the function that makes a value of a word, within the bounds of the option."""

    def convert(word: str) -> Any:
        if spec.value_type is not Path:
            return check_value(name, parse_value(name, word, spec), spec)
        if not word.strip():  # which would be the working directory
            raise UserError(f"{name}: expected a path, got {word!r}")
        return Path(word)

    return convert


def _add_fields(parser: Parser, study: Study) -> None:
    """Adds the fields of an experiment, of its task and of its search, by their paths."""
    group = parser.add_argument_group("fields of the experiment", "each takes one value or several")
    for path, spec in all_field_specs(study.experiment).items():
        values = " ".join(map(format_value, study.experiment.values_of(path)))
        _add_field(group, path, spec, values, "+")
    group = parser.add_argument_group("which members are trained")
    for path, spec in field_specs(Search).items():
        _add_field(group, path, spec, format_value(getattr(study.search, path)), 1)


def _add_field(group: Any, path: str, spec: FieldSpec, values: str, nargs: Any) -> None:
    group.add_argument(
        f"--{(spec.option or path).replace('_', '-')}", action=Once, nargs=nargs, dest=path,
        metavar=_metavar(spec), default=argparse.SUPPRESS, help=_help(spec, f"here: {values}"),
    )  # fmt: skip


def _metavar(spec: FieldSpec) -> str:
    names = {str: "NAME", bool: "BOOL"}
    return spec.metavar or names.get(spec.value_type, spec.value_type.__name__.upper())


def _help(spec: FieldSpec, value: str) -> str:
    """Returns the help of a field or an option, with its choices or range and its value."""
    allowed = ""
    if spec.choices is not None:
        allowed = f"one of {', '.join(spec.choices())}"
    elif spec.value_type is bool:
        allowed = "true or false"
    elif spec.low > -math.inf or spec.high < math.inf:
        digits = ".15g" if spec.value_type is int else "g"
        low, high = format(spec.low, digits), format(spec.high, digits)
        allowed = f"at least {low}" if spec.high == math.inf else f"from {low} to {high}"
    if spec.optional:
        allowed += f"{', ' if allowed else ''}or none"
    notes = "; ".join(filter(None, (allowed, value)))
    return (f"{spec.help} ({notes})" if notes else spec.help).replace("%", "%%")
