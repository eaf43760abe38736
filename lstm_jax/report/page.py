"""A run as one page: what was trained, how well, and what gates and gradients did.

`report/index.html` needs no network and no script to be read; its figures lie beside it, as SVG and
as PNG.
"""

from __future__ import annotations

import base64
import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from rich.console import Console

from lstm_jax.data.load import arranged, load
from lstm_jax.errors import SurroundingsError, UserError
from lstm_jax.experiment import Experiment
from lstm_jax.report.figures import Figure
from lstm_jax.report.gradient_figures import of_gradients
from lstm_jax.report.model_figures import of_answers, of_insides, step_name
from lstm_jax.report.training_figures import of_training
from lstm_jax.runs import store
from lstm_jax.runs.record import read_run
from lstm_jax.runs.screen import say
from lstm_jax.statistics import settings
from lstm_jax.use.trained import Trained
from lstm_jax.use.trained import load as load_trained

FALLBACK = " --fallback digits"  # what `make` adds to every command
LARGEST_DRAWN = 1024  # hidden size: beyond it the page one draws on would take 20 MB


def report(run_dir: Path, console: Console, *, member: str | None = None) -> Path:
    """Writes the page and says where it lies. What needs data that is gone is left out, and said.

    Raises UserError when the directory is no run.
    """
    experiment, record = read_run(run_dir)
    say(console, "writing the report")
    results: dict[str, dict[str, Any]] = record["members"]
    rows = store.read_metrics(run_dir)
    notes: list[str] = []
    pages: dict[str, str] = {}
    found = list(of_training(experiment, results, rows, record["data"]))
    tell = partial(say, console)
    try:
        trained = load_trained(run_dir, member, notes.append)
        images = load(experiment.dataset, tell).validation.images
        dataset = load(experiment.dataset, tell, experiment.reading)
        found += of_answers(trained, dataset, images)
        found += of_insides(experiment, trained, dataset, images)
        found += of_gradients(trained, dataset)
        square = dataset.image_shape[0] == dataset.image_shape[1]
        if square and trained.model.hidden_size <= LARGEST_DRAWN:
            pages["draw.html"] = draw_page(trained)
    except (UserError, SurroundingsError) as error:
        if member is not None and isinstance(error, UserError):
            raise
        notes.append(f"some figures are missing: {error}")
    pages["index.html"] = _page(experiment, record, found, notes, drawn="draw.html" in pages)
    folder = run_dir / "report"
    with store.disk(folder):
        folder.mkdir(exist_ok=True)
    for figure in found:
        store.write_text(folder / f"{figure.name}.svg", figure.drawing.svg)
        store.write_bytes(folder / f"{figure.name}.png", figure.drawing.png)
    for name, page in pages.items():
        store.write_text(folder / name, page)
    say(console, f"report: {folder / 'index.html'}")
    return folder / "index.html"


def _page(
    experiment: Experiment,
    record: dict[str, Any],
    found: list[Figure],
    notes: list[str],
    drawn: bool,
) -> str:
    results: dict[str, dict[str, Any]] = record["members"]
    total = experiment.num_settings * len(experiment.axis("seed"))
    dropped = sum(row.get("dropped", False) for r in record["rungs"].values() for row in r.values())
    if len(results) + dropped < total:
        notes.insert(0, f"This run is unfinished: {len(results)} of {total} members are done.")
    session = record["sessions"][-1] if record["sessions"] else {}
    command = " ".join(["lstm-jax", *session.get("command", [])])
    if experiment.dataset != "digits":  # where nothing fell back, it reads as if something had
        command = command.replace(FALLBACK, "")
    return _render(
        "report.html",
        name=record.get("name", ""),
        experiment=experiment,
        command=command,
        when=session.get("ended", session.get("started", "")),
        identity=record.get("identity", {}),
        commit=(session.get("commit") or "")[:12],
        settings=settings(results.values()) if results else [],
        single=next(iter(results.values())) if len(results) == total == 1 else None,
        rungs={
            step: (sum(not row.get("dropped", False) for row in rung.values()), len(rung))
            for step, rung in record["rungs"].items()
        },
        diverged=[row for row in results.values() if row["diverged_at"] is not None],
        total=total,
        figures=found,
        notes=notes,
        drawn=drawn,
    )


def _render(template: str, **values: Any) -> str:
    loader = PackageLoader("lstm_jax", "report")
    environment = Environment(loader=loader, autoescape=select_autoescape())
    return environment.get_template(template).render(**values)


def draw_page(trained: Trained) -> str:
    """A page to draw a digit on, with the run's own weights, in plain JavaScript.

    UserError where an image is no square of grey pixels.
    """
    rows, features = trained.image_shape
    if rows != features:
        raise UserError(f"one cannot draw images of {rows} x {features} on a page")
    folded = trained.folded
    order = arranged(
        np.arange(rows * features).reshape(1, rows, features), trained.experiment.reading
    )
    model = {
        "kernel": _base64(folded.kernel_KG),
        "read_out": _base64(folded.output_kernel_DC),
        "order": order.ravel().tolist(),
        "hidden": trained.model.hidden_size,
        "features": order.shape[2],
        "steps": order.shape[1],
        "classes": trained.model.num_classes,
        "side": rows,
        "reading": trained.experiment.reading,
        "step": step_name(trained.experiment),
    }
    return _render(
        "draw.html",
        name=trained.name,
        member=str(trained.member),
        step=model["step"],
        model=json.dumps(model),
    )


def _base64(array: jax.Array) -> str:
    """Little-endian float32, as JavaScript reads them on every machine of today."""
    return base64.b64encode(np.asarray(array, "<f4").tobytes()).decode()
