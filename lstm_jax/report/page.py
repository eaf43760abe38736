"""A run as one page: what was trained, how well, and what gates and gradients did.

`report/index.html` needs no network and no script to be read; its figures lie beside it, as SVG and
as PNG.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from lstm_jax.data import Dataset
from lstm_jax.errors import SurroundingsError, UserError
from lstm_jax.report.cell_figures import of_cells
from lstm_jax.report.draw import can_be_drawn, draw_page
from lstm_jax.report.figures import Figure, Table
from lstm_jax.report.gradient_figures import of_gradients
from lstm_jax.report.halving_figures import of_halving
from lstm_jax.report.model_figures import of_insides
from lstm_jax.report.render import render
from lstm_jax.report.settings_figures import of_parameters, of_settings
from lstm_jax.report.summary import summary
from lstm_jax.report.training_figures import of_training
from lstm_jax.runs.files import make_folder, write_bytes, write_text
from lstm_jax.runs.metrics import read_metrics
from lstm_jax.runs.record import SEAL, read_run, seal
from lstm_jax.runs.screen import say
from lstm_jax.use.forward import has_one_way
from lstm_jax.use.trained import Trained, load_of


class Section(NamedTuple):
    """A part of the page with a heading."""

    title: str
    shown: list[Figure | Table]

    @property
    def name(self) -> str:
        """Where a link leads."""
        return self.title.lower().replace(" ", "_")

    @property
    def figures(self) -> list[Figure]:
        """The figures, in their order."""
        return [each for each in self.shown if isinstance(each, Figure)]

    @property
    def tables(self) -> list[Table]:
        """The tables, in their order."""
        return [each for each in self.shown if isinstance(each, Table)]


def report(
    run_dir: Path, console: Console, *, member: str | None = None, dataset: Dataset | None = None
) -> Path:
    """Writes the page and returns where it lies. What needs data that is gone is left out, and
    the page says so. A data set that was given as arrays has to be given again.

    Raises UserError when the directory is no run.
    """
    record, sealed = read_run(run_dir), seal(run_dir)
    notes, pages = list[str](), dict[str, str]()
    say(console, "writing the report")
    experiment, floor = record.study.experiment, None
    result = Section("Result", [*of_halving(record), *of_settings(record)])
    training = Section("Training", list(of_training(record, read_metrics(run_dir, notes.append))))
    answers, inside, gradients = (Section(t, []) for t in ("Answers", "Inside", "Gradients"))
    try:
        result.shown.extend(of_parameters(record))
        trained = load_of(record, run_dir, member, notes.append)
        dataset = trained.expect(dataset) if dataset else trained.data(partial(say, console))
        floor = trained.member.task.floor(dataset)
        who = experiment.describe(trained.member)
        answers.shown.extend(of_answers(trained, dataset, who))
        inside.shown.extend(of_insides(trained, dataset, who))
        gradients.shown.extend(of_gradients(trained, experiment, dataset, who))
        gradients.shown.extend(of_cells(record, run_dir, notes.append))
        if not has_one_way(trained.member, trained.ends):
            notes.append(
                "Gates and gradients by row are not shown: they need recurrent layers read "
                "forwards, the last of which leads straight into the head."
            )
        if can_be_drawn(trained):
            pages["draw.html"] = draw_page(trained, who)
    except (UserError, SurroundingsError) as error:
        if member is not None and isinstance(error, UserError):
            raise
        notes.append(f"some figures are missing: {error}")
        say(console, notes[-1])
    sections = [each for each in (training, answers, inside, gradients) if each.shown]
    pages["index.html"] = render(
        "report.html",
        **summary(record, floor, notes),
        result=result,
        sections=sections,
        drawn="draw.html" in pages,
    )
    _write(run_dir / "report", pages, [result, *sections], sealed)
    say(console, f"report: {run_dir / 'report' / 'index.html'}")
    return run_dir / "report" / "index.html"


def _write(folder: Path, pages: dict[str, str], sections: list[Section], sealed: str) -> None:
    """Pages, each figure as SVG, as PNG, and, where it has curves, as CSV; the record's seal."""
    make_folder(folder)
    for section in sections:
        for figure in section.figures:
            write_text(folder / f"{figure.name}.svg", figure.drawing.svg)
            write_bytes(folder / f"{figure.name}.png", figure.drawing.png)
            if figure.drawing.csv:
                write_text(folder / f"{figure.name}.csv", figure.drawing.csv)
    for name, page in pages.items():
        write_text(folder / name, page)
    write_text(folder / SEAL, sealed)  # when all else is there


def of_answers(trained: Trained, dataset: Dataset, who: str) -> Iterator[Figure | Table]:
    """Yields what the task has to show of a model's answers: `of_answers` in the file of this
    folder that is named after the task, if there is one.
    """
    module = f"lstm_jax.report.{trained.member.task.name}_figures"
    if find_spec(module):
        yield from import_module(module).of_answers(trained, dataset, who)
