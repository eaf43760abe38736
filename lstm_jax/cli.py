"""The command line: sets the environment before JAX starts, turns errors into exit codes.

JAX is imported only when a command needs it, so that help and mistakes are answered at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from lstm_jax.commands import (
    COMMANDS,
    Export,
    OnExperiment,
    OnRun,
    Plan,
    Predict,
    Report,
    Reproduce,
    Run,
)
from lstm_jax.errors import (
    DivergedError,
    Interrupted,
    NotReproduced,
    SurroundingsError,
    UserError,
    closest,
)
from lstm_jax.experiment import KINDS, Experiment
from lstm_jax.lookup import listing, load_experiment

EXIT_CODES: dict[type[Exception], int] = {
    NotReproduced: 1,
    UserError: 2,
    SurroundingsError: 3,
    DivergedError: 4,
    Interrupted: 75,
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
            dispatch(parse(sys.argv[1:] if argv is None else argv), console)
        except KeyboardInterrupt:
            raise Interrupted("stopped; the same command goes on from what was saved") from None
        except OSError as error:  # what no room below could name better
            raise SurroundingsError(f"{error}") from error
    except tuple(EXIT_CODES) as error:
        complaint = Console(stderr=True, soft_wrap=True)
        line = " ".join(f"lstm_jax: {error}".split())
        complaint.print(line, highlight=False, markup=False)
        sys.exit(EXIT_CODES[type(error)])


def dispatch(command: OnExperiment | OnRun, console: Console) -> None:
    """Starts JAX as the command wants it, and only then imports what the command needs."""
    check_options(command)
    prepare_jax(command.platform)
    options = {
        field.name: getattr(command, field.name)
        for field in dataclasses.fields(command)
        if field.name not in ("name", "experiment", "run_dir", "images", "platform", "report")
    }
    if isinstance(command, Reproduce):
        from lstm_jax.runs.reproduce import reproduce

        reproduce(command.run_dir, console, **options)
    elif isinstance(command, Predict):
        from lstm_jax.use.predict import predict

        predict(command.run_dir, command.images, console, **options)
    elif isinstance(command, Export):
        from lstm_jax.use.export import export

        export(command.run_dir, console, **options)
    elif isinstance(command, Report):
        from lstm_jax.report.page import report

        report(command.run_dir, console, **options)
    elif isinstance(command, Plan):
        from lstm_jax.runs.plan import plan

        plan(Path(command.name).stem, command.experiment, console, **options)
    elif isinstance(command, Run):
        from lstm_jax.runs.runner import run

        try:
            directory = run(Path(command.name).stem, command.experiment, console, **options)
        except DivergedError as error:
            write_report(command, error.directory, console)
            raise
        write_report(command, directory, console)


def write_report(command: Run, directory: Path, console: Console) -> None:
    """At the end of a run, which no failure of its report may spoil.

    A report later than the record has nothing new to say.
    """
    page, record = directory / "report" / "index.html", directory / "record.json"
    if not command.report or (
        page.exists() and page.stat().st_mtime_ns >= record.stat().st_mtime_ns
    ):
        return
    from lstm_jax.report.page import report

    try:
        report(directory, console)
    except Exception as error:
        console.print(f"no report: {type(error).__name__}: {error}", soft_wrap=True, markup=False)


def check_options(command: OnExperiment | OnRun) -> None:
    """The numbers that are no part of an experiment."""
    for name, least in {"segment_steps": 1, "steps": 1, "max_minutes": 1e-9}.items():
        value = getattr(command, name, None)
        if value is not None and not value >= least:
            raise UserError(f"{name}: {value} is not at least {least:g}")
    if isinstance(command, OnRun) and not command.run_dir.is_dir():
        raise UserError(f"{command.run_dir} is no directory; give runs/<name>/<digest>")
    if isinstance(command, Predict) and not command.images:
        raise UserError("predict: give at least one picture, or - for an array on stdin")


def parse(argv: list[str]) -> OnExperiment | OnRun:
    """The command, its overrides laid over the experiment's own values."""
    helps = not argv or bool({"-h", "--help"} & set(argv))
    word = argv[0] if argv and not argv[0].startswith("-") else ""
    if word and word not in COMMANDS:
        raise UserError(f"no command {word!r}.{closest(word, COMMANDS)} See --help")
    name = argv[1] if word and len(argv) > 1 and not argv[1].startswith("-") else ""
    takes_experiment = word in ("run", "plan")
    experiment = Experiment()
    if name:
        if takes_experiment:
            experiment = load_experiment(name)
        check_overrides(argv[2:], COMMANDS[word])
    elif not helps:
        asked = f"which experiment? {listing()}" if takes_experiment else "which run directory?"
        raise UserError(f"{word or argv[0]}: {asked}")
    commands: Any = (
        Annotated[Run, tyro.conf.subcommand("run", default=Run(name, experiment))]
        | Annotated[Plan, tyro.conf.subcommand("plan", default=Plan(name, experiment))]
        | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
        | Annotated[Predict, tyro.conf.subcommand("predict")]
        | Annotated[Export, tyro.conf.subcommand("export")]
        | Annotated[Report, tyro.conf.subcommand("report")]
    )
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed: OnExperiment | OnRun = tyro.cli(
                commands,
                prog="lstm-jax",
                args=argv or ["--help"],
                config=(tyro.conf.ConsolidateSubcommandArgs,),
            )
    except SystemExit as left:
        if not left.code:  # help was asked for
            raise
        words = re.sub("[^ -~]+", " ", complaint.getvalue()).split()  # out of its box
        raise UserError(f"{' '.join(words)[:300]}; see --help") from None
    return parsed


def check_overrides(argv: list[str], command: type) -> None:
    """One line, with the closest name, for an option or number that cannot be."""
    fields = {field.name for field in dataclasses.fields(command)}
    options = fields - {"name", "experiment", "run_dir", "images"}
    if "experiment" in fields:
        options |= KINDS.keys()
    flag, seen = "", set()
    for word in argv:
        if word.startswith("--") and word != "--help":
            name, _, word = word.removeprefix("--").partition("=")
            flag = name.removeprefix("no-").replace("-", "_")
            if flag not in options:
                near = closest(flag, options).replace("_", "-")
                raise UserError(f"no option --{name}.{near} See --help")
            if flag in seen:
                raise UserError(f"--{name} is there twice; give all its values after one")
            seen.add(flag)
        if word and not word.startswith("-") and KINDS.get(flag) in (int, float):
            try:
                KINDS[flag](word)
            except ValueError:
                kind = "a whole number" if KINDS[flag] is int else "a number"
                raise UserError(f"{flag}: expected {kind}, got {word!r}") from None


def prepare_jax(platform: str) -> None:
    """Settings that JAX reads once, when it starts; what the user has set stays.

    Raises SurroundingsError when the platform asked for is not here.
    """
    if "jax" in sys.modules:
        raise SurroundingsError("JAX is already imported: its settings can no longer be made")
    from lstm_jax.runs.environment import cores

    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(cores()))  # a host device for each core
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "lstm_jax" / "xla"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # also silences XLA's notes on its cache
    if platform == "gpu" or (platform == "auto" and _has_cuda()):
        # Without it XLA may choose kernels that add in whatever order their threads arrive.
        flags = os.environ.get("XLA_FLAGS", "")
        if "xla_gpu_deterministic_ops" not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if platform != "auto":
        os.environ["JAX_PLATFORMS"] = {"gpu": "cuda"}.get(platform, platform)
    try:
        import jax

        jax.devices()
    except Exception as error:  # JAX's own settings may be wrong in any way
        reason = str(error) or type(error).__name__
        raise SurroundingsError(
            f"JAX finds no device for platform {platform} ({reason[:200]}); check "
            "JAX_* settings, use --platform cpu, or `make experiment EXTRAS=cuda13` (cuda12, tpu)"
        ) from error


def _has_cuda() -> bool:
    return any(importlib.util.find_spec(f"jax_cuda{n}_plugin") for n in (12, 13))
