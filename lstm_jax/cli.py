"""The command line: sets the environment before JAX starts, turns errors into exit codes.

JAX is imported only when a command needs it, so that help and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from lstm_jax.commands import COMMANDS, Command, OnStudy
from lstm_jax.errors import (
    DivergedError,
    Interrupted,
    NothingToSave,
    NotReproduced,
    SurroundingsError,
    UserError,
    closest,
)
from lstm_jax.experiment import all_specs, shown
from lstm_jax.fields import Spec, parsed, specs
from lstm_jax.interrupts import NOTHING_TO_SAVE, SAVED
from lstm_jax.lookup import listing, load_study
from lstm_jax.runs.files import harmless
from lstm_jax.search import Search, Study

EXIT_CODES: dict[type[Exception], int] = {
    UserError: 2,
    SurroundingsError: 3,
    DivergedError: 4,
    NotReproduced: 5,
    Interrupted: SAVED,
    NothingToSave: NOTHING_TO_SAVE,
}


class Output(Console):
    """The console of our results. When its reader leaves, as `head` does, that is a stop."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Interrupted("nobody reads the output any more; the same command goes on")


def main(argv: list[str] | None = None) -> None:
    """Runs a command and leaves with the exit code of the design."""
    # No wrapping into a pipe: scripts read whole lines there.
    console = Output(soft_wrap=not (sys.stdout and sys.stdout.isatty()))
    try:
        try:
            command = parse(sys.argv[1:] if argv is None else argv)
            command.check()
            prepare_jax(command.platform)
            command.run(console)
        except KeyboardInterrupt:
            raise NothingToSave("stopped; nothing had to be saved") from None
        except OSError as error:  # what no room below could name better
            raise SurroundingsError(f"{error}") from error
    except tuple(EXIT_CODES) as error:
        line = harmless(" ".join(f"lstm_jax: {error}".split()))
        Console(stderr=True, soft_wrap=True).print(line, highlight=False, markup=False)
        sys.exit(EXIT_CODES[type(error)])


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
        setattr(namespace, self.dest, values)


def parse(argv: Sequence[str]) -> Command:
    """Returns the command, its overrides laid over the experiment's own values."""
    word = argv[0] if argv else "--help"
    if word in ("-h", "--help"):
        _overview()
    if word not in COMMANDS:
        raise UserError(f"no command {word!r}.{closest(word, COMMANDS)} See --help")
    kind, rest = COMMANDS[word], list(argv[1:])
    helps = bool({"-h", "--help"} & set(rest))
    study = Study()
    if issubclass(kind, OnStudy):
        if rest and not rest[0].startswith("-"):
            study = load_study(rest[0])
        elif not helps:
            raise UserError(f"{word}: which experiment? {listing()}")
    elif not rest:
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
    if "images" in values:
        values["images"] = tuple(values["images"])
    return kind(**values)


def _overview() -> NoReturn:
    print("usage: lstm-jax COMMAND ... (lstm-jax COMMAND --help for its options)\n")
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
            parser.add_argument(each.name, nargs=nargs, help=text, type=convert)
        elif "bool" in str(each.type):
            boolean = argparse.BooleanOptionalAction
            parser.add_argument(flag, action=boolean, default=argparse.SUPPRESS, help=text)
        else:
            named = {"int": int, "float": float, "Path": Path}
            convert = next((t for name, t in named.items() if name in str(each.type)), str)
            parser.add_argument(
                flag, action=Once, type=_converted(each.name, convert), choices=choices, help=text,
                default=argparse.SUPPRESS, metavar=None if choices else convert.__name__.upper(),
            )  # fmt: skip


def _converted(name: str, convert: Any) -> Any:
    def converted(word: str) -> Any:
        try:
            return convert(word)
        except ValueError:
            kind = "a whole number" if convert is int else "a number"
            raise UserError(f"{name}: expected {kind}, got {word!r}") from None

    return converted


def _add_fields(parser: Parser, study: Study) -> None:
    """Adds the fields of an experiment, of its task and of its search, by their paths."""
    experiment = parser.add_argument_group(
        "fields of the experiment", "each takes one value or several"
    )
    for path, spec in all_specs(study.experiment).items():
        _add_field(experiment, path, spec, study.experiment.several(path), "+")
    search = parser.add_argument_group("which members are trained")
    for path, spec in specs(Search).items():
        _add_field(search, path, spec, (getattr(study.search, path),), 1)


def _add_field(group: Any, path: str, spec: Spec, values: Sequence[Any], nargs: Any) -> None:
    choices = list(spec.choices()) if spec.choices else []
    metavar = "{" + ",".join(choices) + "}" if choices else spec.kind.__name__.upper()
    shown_values = " ".join(map(shown, values))
    group.add_argument(
        f"--{path.replace('_', '-')}", action=Once, nargs=nargs, dest=path, metavar=metavar,
        default=argparse.SUPPRESS, help=f"{spec.help} (here: {shown_values})".replace("%", "%%"),
    )  # fmt: skip


def _overridden(study: Study, words: dict[str, list[str]]) -> Study:
    """The study with the values that these words stand for."""
    known: dict[str, Spec] = all_specs(study.experiment) | specs(Search)
    values = {
        path: tuple(parsed(path, word, known[path]) for word in given)
        for path, given in words.items()
    }
    of_search = {path: values.pop(path)[0] for path in specs(Search) if path in values}
    return Study(study.experiment.replaced(values), replace(study.search, **of_search))


def _refuse(word: str, parser: Parser) -> NoReturn:
    if not word.startswith("--"):
        raise UserError(f"{word!r} belongs to no option; see --help")
    name = word.removeprefix("--").partition("=")[0]
    options = [option.removeprefix("--") for option in _options(parser)]
    raise UserError(f"no option --{name}.{closest(name.replace('_', '-'), options)} See --help")


def _options(parser: Parser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings


def prepare_jax(platform: str) -> None:
    """Makes the settings that JAX reads once, when it starts; what the user has set stays.

    In a process that has imported JAX, its devices are taken as they are. Raises SurroundingsError
    when the platform asked for is not here.
    """
    if "jax" not in sys.modules:
        _set_environment(platform)
    try:
        import jax

        found = jax.devices()[0].platform
    except Exception as error:  # JAX's own settings may be wrong in any way
        reason = str(error) or "no such device"
        raise SurroundingsError(
            f"JAX finds no device for platform {platform} ({reason[:200]}); check "
            "JAX_* settings, use --platform cpu, or `make experiment EXTRAS=cuda13` (cuda12, tpu)"
        ) from error
    if platform not in ("auto", found):
        raise SurroundingsError(f"JAX runs on {found} in this process already, not on {platform}")


def _set_environment(platform: str) -> None:
    from lstm_jax.runs.environment import cores

    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(cores()))  # a host device for each core
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lstm_jax" / "xla"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # also silences XLA's notes on its cache
    has_cuda = any(importlib.util.find_spec(f"jax_cuda{n}_plugin") for n in (12, 13))
    flags = os.environ.get("XLA_FLAGS", "")
    names_file = bool(flags) and not flags.startswith("-")  # XLA reads its flags from there
    if (platform == "gpu" or (platform == "auto" and has_cuda)) and not (
        names_file or "xla_gpu_deterministic_ops" in flags
    ):
        # Without it XLA may choose kernels that add in whatever order their threads arrive.
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if platform != "auto":
        os.environ["JAX_PLATFORMS"] = {"gpu": "cuda"}.get(platform, platform)
