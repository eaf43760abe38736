"""A run as one page: what was trained, how well, and what gates and gradients did.

`report/index.html` needs no network and no script. Its figures lie beside it as SVG, PDF and PNG.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from lstm_jax.data.dataset import Dataset
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.model.forward import why_not_traced
from lstm_jax.plugins import load_attribute
from lstm_jax.predict.trained import TrainedModel, load_member
from lstm_jax.report.curves import training_figures
from lstm_jax.report.draw_digit import can_draw_digit, draw_digit_page
from lstm_jax.report.drawing import Figure, TextTable
from lstm_jax.report.element_files import write_files, write_pictures
from lstm_jax.report.figures.activations import activation_figures
from lstm_jax.report.figures.data import data_tables
from lstm_jax.report.figures.gradients import cell_gradient_figures, gradient_figures
from lstm_jax.report.figures.lyapunov import lyapunov_figures
from lstm_jax.report.figures.scores import score_figures
from lstm_jax.report.figures.search_history import search_figures
from lstm_jax.report.figures.settings import (
    halving_figures,
    metric_tables,
    parameter_figures,
    settings_figures,
)
from lstm_jax.report.figures.time_scales import time_scale_figures
from lstm_jax.report.grid import grid_elements
from lstm_jax.report.runs_page import write_runs_page
from lstm_jax.report.summary import summary
from lstm_jax.report.template import render
from lstm_jax.runs.code import user_errors
from lstm_jax.runs.files import make_folder, write_text
from lstm_jax.runs.metrics_file import read_metrics
from lstm_jax.runs.progress import say
from lstm_jax.runs.record import RECORD_CHECKSUM, Record, record_checksum
from lstm_jax.runs.session import check_code
from lstm_jax.runs.trust import read_trusted

UNFINISHED = "further figures follow"
# Figures of what happens inside of a model, whatever its task is: functions of the trained model,
# its data set and the member's label.
INSIDE = (activation_figures, time_scale_figures, lyapunov_figures)


class Section(NamedTuple):
    """Figures and tables of the page under one heading."""

    title: str
    elements: list[Figure | TextTable]

    @property
    def name(self) -> str:
        """The name that links lead to."""
        return self.title.lower().replace(" ", "_")

    @property
    def figures(self) -> list[Figure]:
        """The figures in their order."""
        return [each for each in self.elements if isinstance(each, Figure)]

    @property
    def tables(self) -> list[TextTable]:
        """The tables in their order."""
        return [each for each in self.elements if isinstance(each, TextTable)]


def report(
    run_dir: Path,
    console: Console,
    *,
    member: str | None = None,
    dataset: Dataset | None = None,
    other_code: bool = False,
    trust_code: bool = False,
) -> Path:
    """Writes the page of a run and returns its path.

    The page is there at once with the results and the curves of training. Then it is written again
    with the figures that need the model: answers, gates, gradients. Leaves out the figures whose
    data is no longer available, and says so on the page. A data set that the run got as arrays has
    to be given as `dataset`. Raises UserError when the directory is no run, and EnvironmentProblem
    where the code of a finished member has changed since it was trained; with `other_code` the
    page says so instead. `trust_code` is as in `runs/trust.py`.
    """
    record = read_trusted(run_dir, trust_code, partial(say, console))
    checksum = record_checksum(run_dir)
    notes, pages = list[str](), dict[str, str]()
    for finished in {r.member.static_key: r for r in record.results.values()}.values():
        check_code(record, finished.member, finished.identity, other_code, notes.append)
    experiment = record.study.experiment
    figures = (
        *(halving_figures(record), search_figures(record), metric_tables(record)),
        *(score_figures(record, run_dir, notes.append), settings_figures(record)),
        grid_elements([(record.name, record)]),
    )
    result = Section("Result", [element for each in figures for element in each])
    metrics = read_metrics(run_dir, notes.append)
    training = Section("Training", list(training_figures(record, metrics)))
    data = Section("Data", list(data_tables(record)))
    folder = run_dir / "report"
    make_folder(folder)
    write_text(folder / RECORD_CHECKSUM, "")  # until all figures are there
    write_page(folder, record, [*notes, UNFINISHED], result, [data, training], pages)
    say(console, f"report: {folder / 'index.html'}; {UNFINISHED}")
    if (run_dir.parent.parent / "index.json").is_file():  # the page of all runs links to it
        with suppress(EnvironmentProblem):
            write_runs_page(run_dir.parent.parent)
    outcome = "the report has all its figures"
    answers, inside, gradients = (Section(t, []) for t in ("Answers", "Inside", "Gradients"))
    try:
        result.elements.extend(parameter_figures(record))
        trained = load_member(record, run_dir, member, notes.append, other_code=other_code)
        dataset = trained.data(partial(say, console), dataset)
        label = experiment.label(trained.member)
        for figures_of in INSIDE:
            inside.elements.extend(figures_of(trained, dataset, label))
        if record.begin_with:
            notes.append(
                "Gradients at initialisation and in the first steps are not shown: this run begins "
                f"with the parameters of {trained.member.begin_with}."
            )
        else:
            gradients.elements.extend(gradient_figures(trained, experiment, dataset, label))
            gradients.elements.extend(cell_gradient_figures(record, run_dir, notes.append))
        if reason := why_not_traced(trained.member, trained.spec):
            notes.append(f"Gates and gradients over time are not shown: {reason}.")
        if can_draw_digit(trained):
            pages["draw_digit.html"] = draw_digit_page(trained, label)
        # The last ones: an error in a user's own figures leaves the others as they are.
        answers.elements.extend(answer_figures(trained, dataset, label))
    except (UserError, EnvironmentProblem) as error:
        if member is not None and isinstance(error, UserError):
            raise
        notes.append(f"some figures are missing: {error}")
        say(console, notes[-1])
        outcome = "the report is written without them"
    sections = [data, training, answers, inside, gradients]
    write_page(folder, record, notes, result, sections, pages)
    write_pictures(folder, [figure for each in (result, *sections) for figure in each.figures])
    write_text(folder / RECORD_CHECKSUM, checksum)
    say(console, outcome)
    return folder / "index.html"


def write_page(
    folder: Path,
    record: Record,
    notes: Sequence[str],
    result: Section,
    others: Sequence[Section],
    pages: Mapping[str, str],
) -> None:
    """Writes `index.html` with the sections that have elements, their figures, and other pages."""
    sections = [each for each in others if each.elements]
    head = summary(record, [*notes])
    index = render(
        "report.html",
        **head,
        result=result,
        sections=sections,
        has_sketch="draw_digit.html" in pages,
    )
    of_head = [head[name] for name in ("fields", "single", "settings") if head[name] is not None]
    write_files(folder, [*of_head, *(e for each in (result, *sections) for e in each.elements)])
    for name, page in {**pages, "index.html": index}.items():
        write_text(folder / name, page)


def answer_figures(
    trained: TrainedModel, dataset: Dataset, member_label: str
) -> Iterator[Figure | TextTable]:
    """Yields the figures of a model's answers, by the function that its task names, if any.

    Raises UserError with file and line for an error in the file of a user's own task.
    """
    if name := trained.member.task.figures:
        with user_errors(trained.member):
            yield from load_attribute("figures", name)(trained, dataset, member_label)
