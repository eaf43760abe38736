"""A run as one page: what was trained, how well, and what gates and gradients did.

`report/index.html` needs no network and no script to be read; its figures lie beside it, as SVG and
as PNG.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from lstm_jax.data.dataset import Dataset
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.plugins import load_attribute
from lstm_jax.predict.inference import has_one_way
from lstm_jax.predict.trained import TrainedModel, load_member
from lstm_jax.report.drawing import Figure, Table
from lstm_jax.report.figures.cell import of_cells
from lstm_jax.report.figures.gradient import of_gradients
from lstm_jax.report.figures.halving import of_halving
from lstm_jax.report.figures.model import of_insides
from lstm_jax.report.figures.settings import of_parameters, of_settings
from lstm_jax.report.figures.training import of_training
from lstm_jax.report.render import render
from lstm_jax.report.sketch import can_sketch, sketch_page
from lstm_jax.report.summary import summary
from lstm_jax.runs.files import make_folder, write_bytes, write_text
from lstm_jax.runs.metrics_file import read_metrics
from lstm_jax.runs.progress import say
from lstm_jax.runs.record import RECORD_CHECKSUM, read_run, record_checksum


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
    record, checksum = read_run(run_dir), record_checksum(run_dir)
    notes, pages = list[str](), dict[str, str]()
    say(console, "writing the report")
    experiment, trivial_score = record.study.experiment, None
    result = Section("Result", [*of_halving(record), *of_settings(record)])
    training = Section("Training", list(of_training(record, read_metrics(run_dir, notes.append))))
    answers, inside, gradients = (Section(t, []) for t in ("Answers", "Inside", "Gradients"))
    try:
        result.shown.extend(of_parameters(record))
        trained = load_member(record, run_dir, member, notes.append)
        dataset = trained.data(partial(say, console), dataset)
        trivial_score = trained.member.task.trivial_score(dataset)
        who = experiment.label(trained.member)
        answers.shown.extend(of_answers(trained, dataset, who))
        inside.shown.extend(of_insides(trained, dataset, who))
        gradients.shown.extend(of_gradients(trained, experiment, dataset, who))
        gradients.shown.extend(of_cells(record, run_dir, notes.append))
        if not has_one_way(trained.member, trained.spec):
            notes.append(
                "Gates and gradients by row are not shown: they need recurrent layers read "
                "forwards, the last of which leads straight into the head."
            )
        if can_sketch(trained):
            pages["draw.html"] = sketch_page(trained, who)
    except (UserError, EnvironmentProblem) as error:
        if member is not None and isinstance(error, UserError):
            raise
        notes.append(f"some figures are missing: {error}")
        say(console, notes[-1])
    sections = [each for each in (training, answers, inside, gradients) if each.shown]
    pages["index.html"] = render(
        "report.html",
        **summary(record, trivial_score, notes),
        result=result,
        sections=sections,
        drawn="draw.html" in pages,
    )
    _write(run_dir / "report", pages, [result, *sections], checksum)
    say(console, f"report: {run_dir / 'report' / 'index.html'}")
    return run_dir / "report" / "index.html"


def _write(folder: Path, pages: dict[str, str], sections: list[Section], checksum: str) -> None:
    """Pages, each figure as SVG, as PNG, and, where it has curves, as CSV; the record's checksum."""
    make_folder(folder)
    for section in sections:
        for figure in section.figures:
            write_text(folder / f"{figure.name}.svg", figure.drawing.svg)
            write_bytes(folder / f"{figure.name}.png", figure.drawing.png)
            if figure.drawing.csv:
                write_text(folder / f"{figure.name}.csv", figure.drawing.csv)
    for name, page in pages.items():
        write_text(folder / name, page)
    write_text(folder / RECORD_CHECKSUM, checksum)  # when all else is there


def of_answers(trained: TrainedModel, dataset: Dataset, who: str) -> Iterator[Figure | Table]:
    """Yields the figures and tables of a model's answers, by the function that its task names."""
    if name := trained.member.task.figures:
        yield from load_attribute("figures", name)(trained, dataset, who)
