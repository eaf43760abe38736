"""A run as one page: what was trained, how well, and what gates and gradients did.

`report/index.html` needs no network and no script to be read; its figures lie beside it, as SVG and
as PNG.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from lstm_jax.data import Dataset
from lstm_jax.errors import SurroundingsError, UserError
from lstm_jax.experiment import Experiment, shown, words
from lstm_jax.report.draw import can_be_drawn, draw_page
from lstm_jax.report.figures import Figure, Table
from lstm_jax.report.gradient_figures import of_gradients
from lstm_jax.report.model_figures import of_insides
from lstm_jax.report.render import render
from lstm_jax.report.settings_figures import of_parameters, of_settings
from lstm_jax.report.training_figures import data_name, of_training, setting_name, varied
from lstm_jax.results import Result
from lstm_jax.runs.files import make_folder, write_bytes, write_text
from lstm_jax.runs.metrics import read_metrics
from lstm_jax.runs.record import Record, read_run
from lstm_jax.runs.screen import say
from lstm_jax.statistics import Summary, summarise
from lstm_jax.use.trained import Trained, load

# By task: `of_answers(trained, dataset, who)` in it yields figures and tables of its own.
ANSWERS = {
    "images": "lstm_jax.report.images_figures",
    "translation": "lstm_jax.report.translation_figures",
    "captions": "lstm_jax.report.captions_figures",
}
FALLBACK = r" --fallback( digits)?"  # what `make` adds to every command
MOST_SETTINGS = 200  # in the page's table


def report(run_dir: Path, console: Console, *, member: str | None = None) -> Path:
    """Writes the page and returns where it lies. What needs data that is gone is left out, and
    the page says so.

    Raises UserError when the directory is no run.
    """
    record, notes, pages = read_run(run_dir), list[str](), dict[str, str]()
    say(console, "writing the report")
    found: list[Figure | Table] = [
        *of_training(record, read_metrics(run_dir, notes.append)),
        *of_settings(record),
    ]
    experiment = record.study.experiment
    try:
        found += of_parameters(record)
        trained = load(run_dir, member, notes.append)
        dataset = trained.member.task.load(partial(say, console))
        who = experiment.describe(trained.member)
        found += of_answers(trained, dataset, who)
        found += of_insides(trained, dataset, who)
        found += of_gradients(trained, experiment, dataset, who)
        if can_be_drawn(trained):
            pages["draw.html"] = draw_page(trained, who)
    except (UserError, SurroundingsError) as error:
        if member is not None and isinstance(error, UserError):
            raise
        notes.append(f"some figures are missing: {error}")
    pages["index.html"] = _page(record, found, notes, drawn="draw.html" in pages)
    folder = run_dir / "report"
    make_folder(folder)
    for figure in found:
        if isinstance(figure, Figure):
            write_text(folder / f"{figure.name}.svg", figure.drawing.svg)
            write_bytes(folder / f"{figure.name}.png", figure.drawing.png)
    for name, page in pages.items():
        write_text(folder / name, page)
    say(console, f"report: {folder / 'index.html'}")
    return folder / "index.html"


def of_answers(trained: Trained, dataset: Dataset, who: str) -> Iterator[Figure | Table]:
    """Yields what the task has to show of a model's answers."""
    if (module := ANSWERS.get(trained.member.task.name)) is not None:
        yield from import_module(module).of_answers(trained, dataset, who)


def _page(record: Record, found: list[Figure | Table], notes: list[str], drawn: bool) -> str:
    study, results = record.study, list(record.results.values())
    experiment, total = study.experiment, study.num_members
    if len(results) + len(record.dropped) < total:
        notes.insert(0, f"This run is unfinished: {len(results)} of {total} members are done.")
    session = record.sessions[-1] if record.sessions else {}
    command = " ".join(["lstm-jax", *session.get("command", [])])
    if experiment.task.built_in() is not None:  # where nothing fell back, it reads as if it had
        command = re.sub(FALLBACK, "", command)
    summaries = summarise(results)
    return render(
        "report.html",
        name=record.name,
        data=data_name(experiment),
        budget=_budget(experiment),
        command=command,
        when=session.get("ended", session.get("started", "")),
        identities=record.identities,
        commit=(session.get("commit") or "")[:12],
        single=_single(results[0]) if len(results) == total == 1 else None,
        metric=words(experiment.task.metric),
        axes=[words(path) for path in varied(experiment)],
        best=summaries[0] if summaries else None,
        best_name=setting_name(experiment, summaries[0].setting) if summaries else "",
        settings=[_row(experiment, summary) for summary in summaries[:MOST_SETTINGS]],
        others=max(0, len(summaries) - MOST_SETTINGS),
        rungs={
            step: (sum(not result.dropped for result in rung.values()), len(rung))
            for step, rung in record.rungs.items()
        },
        diverged=[
            (experiment.describe(result.member), result.diverged_at)
            for result in results
            if result.diverged_at is not None
        ],
        total=total,
        figures=[each for each in found if isinstance(each, Figure)],
        tables=[each for each in found if isinstance(each, Table)],
        notes=notes,
        drawn=drawn,
    )


def _budget(experiment: Experiment) -> str:
    """The steps of a member and their batches."""
    sizes = experiment.several("batch_size")
    pairs = [(-(-n // size), size) for n in experiment.several("train_examples") for size in sizes]
    return " or ".join(f"{steps} steps of {size} examples" for steps, size in pairs)


def _single(result: Result) -> dict[str, Any]:
    """The result of a run of one member, a line a value."""
    scores = {
        f"{split} {words(name)}": "not finite" if value is None else f"{value:.4f}"
        for split, score in (("validation", result.validation), ("test", result.test or {}))
        for name, value in score.items()
    }
    member = result.member
    basic = ("hidden_size", "learning_rate", "seed")
    given = {path: member.values[path] for path in basic} | member.given
    values = {words(path): shown(value) for path, value in given.items()}
    return scores | values | {"parameters SHA-256": result.parameters_sha256}


def _row(experiment: Experiment, summary: Summary) -> list[str]:
    """A line of the table of settings."""
    values = [shown(summary.setting.values[path]) for path in varied(experiment)]
    return [*values, str(summary.validation), str(summary.diverged or "")]
