"""Runs one command and ends with its exit code.

JAX is imported only when a command needs it, so that help and mistakes are answered at once.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from lstm_jax.api import console_layout
from lstm_jax.cli.command import OnDevice
from lstm_jax.cli.parse import parse
from lstm_jax.errors import (
    DivergedError,
    EnvironmentProblem,
    Interrupted,
    NothingToSave,
    NotReproduced,
    UserError,
    explain_missing_packages,
    one_line,
)
from lstm_jax.runs.files import printable
from lstm_jax.signals import NOTHING_TO_SAVE, SAVED

EXIT_CODES: dict[type[Exception], int] = {
    UserError: 2,
    EnvironmentProblem: 3,
    DivergedError: 4,
    NotReproduced: 5,
    Interrupted: SAVED,
    NothingToSave: NOTHING_TO_SAVE,
}


def main(argv: list[str] | None = None) -> None:
    """Parses the words of a command line and runs the command.

    If the command fails, ends the process with the exit code in `EXIT_CODES`.
    """
    words = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal whose encoding has no ±
            stream.reconfigure(errors="backslashreplace")
    console = Output(**console_layout(sys.stdout is not None and sys.stdout.isatty()))
    with exit_codes(joined="--join" in words):
        command = parse(words)
        command.check()
        console.computes = isinstance(command, OnDevice)
        try:
            Path.home()
        except RuntimeError:  # caches and data lie there
            raise EnvironmentProblem(
                "this user has no home directory; set HOME to a folder"
            ) from None
        with explain_missing_packages():
            command.prepare(words)
            command.run(console)


class Output(Console):
    """The console of our results. When its reader leaves, as `head` does, a command that computes
    stops, and any other command ends without a message, as programs do.
    """

    computes = False

    def on_broken_pipe(self) -> None:
        if not self.computes:
            super().on_broken_pipe()
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Interrupted("nobody reads the output any more; the same command goes on")


@contextmanager
def exit_codes(*, joined: bool) -> Iterator[None]:
    """Turns an error in the block into one line on stderr and an exit code.

    A defect of ours keeps its traceback. `joined` says that this process is one of several.
    """
    try:
        try:
            yield
        except KeyboardInterrupt:
            raise NothingToSave("stopped; nothing had to be saved") from None
        except (OSError, MemoryError) as error:  # nothing below has named it better
            raise EnvironmentProblem(str(error) or "there is not enough memory") from error
        except FloatingPointError as error:
            raise EnvironmentProblem(
                f"JAX was told to stop where a number is not finite ({one_line(error)}); unset "
                "JAX_DEBUG_NANS and JAX_DEBUG_INFS: a member that diverges is frozen and reported"
            ) from error
        except Exception as error:
            jax = sys.modules.get("jax")
            if jax is None or not isinstance(error, jax.errors.JaxRuntimeError):
                raise
            raise EnvironmentProblem(
                f"the device failed ({one_line(error)}); what was saved is not lost: the same "
                "command goes on. Where memory ran out, give fewer members or a smaller batch_size"
            ) from error
    except tuple(EXIT_CODES) as error:
        line = printable(" ".join(f"lstm_jax: {error}".split()))
        Console(stderr=True, soft_wrap=True).print(line, highlight=False, markup=False)
        code = EXIT_CODES[type(error)]
        if joined and not isinstance(error, (Interrupted, DivergedError)):
            os._exit(code)  # JAX's runtime would wait for processes that wait for this one
        sys.exit(code)
