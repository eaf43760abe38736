"""A run as one page: what was trained, how well, and what gates and gradients did.

`report/index.html` needs no network and no script to be read; its figures lie beside it as SVG.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from rich.console import Console

from lstm_jax import diagnose, figures, store
from lstm_jax.config import Experiment, SurroundingsError, UserError
from lstm_jax.data import Dataset, arranged, load
from lstm_jax.model import RowLSTM
from lstm_jax.record import read_run
from lstm_jax.screen import say
from lstm_jax.statistics import Setting, settings
from lstm_jax.sweep import build_model
from lstm_jax.train import fold, init_state
from lstm_jax.trained import Trained
from lstm_jax.trained import load as load_trained

LOOKED_AT = 500  # validation images that the diagnostics read
MISTAKES = 8
FORGET_BIASES = (0.0, 1.0, 3.0)

Results = dict[str, dict[str, Any]]


class Figure(NamedTuple):
    """One figure of the page: its file's name, what it shows, of what, and the drawing."""

    name: str
    title: str
    caption: str
    svg: str


def report(run_dir: Path, console: Console, *, member: str | None = None) -> Path:
    """Writes the page and says where it lies. What needs data that is gone is left out, and said.

    Raises UserError when the directory is no run.
    """
    experiment, record = read_run(run_dir)
    results: Results = record["members"]
    rows = store.read_metrics(run_dir)
    notes: list[str] = []
    pages: dict[str, str] = {}
    found = list(_of_training(experiment, results, rows, record["data"]))
    try:
        tell = partial(say, console)
        images = load(experiment.dataset, tell).validation.images
        dataset = load(experiment.dataset, tell, experiment.reading)
        trained = load_trained(run_dir, member, notes.append)
        found += _of_answers(trained, dataset, images)
        found += _of_insides(experiment, trained, dataset, images)
        if trained.image_shape[0] == trained.image_shape[1]:
            pages["draw.html"] = draw_page(trained)
    except (UserError, SurroundingsError) as error:
        notes.append(f"some figures are missing: {error}")
    pages["index.html"] = _page(experiment, record, found, notes, drawn="draw.html" in pages)
    folder = run_dir / "report"
    with store.disk(folder):
        folder.mkdir(exist_ok=True)
    for figure in found:
        store.write_text(folder / f"{figure.name}.svg", figure.svg)
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
    results: Results = record["members"]
    total = experiment.num_settings * len(experiment.axis("seed"))
    dropped = sum(row.get("dropped", False) for r in record["rungs"].values() for row in r.values())
    if len(results) + dropped < total:
        notes.insert(0, f"This run is unfinished: {len(results)} of {total} members are done.")
    session = record["sessions"][-1] if record["sessions"] else {}
    return _render(
        "report.html",
        name=record.get("name", ""),
        experiment=experiment,
        command=" ".join(["lstm-jax", *session.get("command", [])]),
        when=session.get("ended", session.get("started", "")),
        identity=record.get("identity", {}),
        commit=(session.get("commit") or "")[:12],
        settings=settings(results.values()) if results else [],
        single=next(iter(results.values())) if len(results) == 1 else None,
        diverged=[row for row in results.values() if row["diverged_at"] is not None],
        total=total,
        figures=found,
        notes=notes,
        drawn=drawn,
    )


def _render(template: str, **values: Any) -> str:
    loader = PackageLoader("lstm_jax", ".")
    environment = Environment(loader=loader, autoescape=select_autoescape())
    return environment.get_template(template).render(**values)


def draw_page(trained: Trained) -> str:
    """A page to draw a digit on, with the run's own weights, in plain JavaScript.

    UserError where an image is no square of grey pixels.
    """
    rows, features = trained.image_shape
    if rows != features:
        raise UserError(f"one cannot draw images of {rows} x {features} on a page")
    folded = fold(trained.model, trained.params)
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
        "step": _step(trained.experiment),
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


def _step(experiment: Experiment) -> str:
    """What a step reads: row, column or pixel."""
    return {"permuted": "pixel"}.get(experiment.reading, experiment.reading.rstrip("s"))


def _of_training(
    experiment: Experiment,
    results: Results,
    rows: list[dict[str, Any]],
    data: dict[str, Any],
) -> Iterator[Figure]:
    """Curves of the metrics; for a sweep the map of its settings as well."""
    of_batch = f"{experiment.dataset}, training batches of {experiment.batch_size}"
    for name, label in (("loss", "cross-entropy"), ("accuracy", "accuracy")):
        lines = _by_setting(results, rows, name)
        if lines:
            seeds = len(experiment.axis("seed"))
            yield Figure(
                name,
                f"{label.capitalize()} while training",
                f"{of_batch}, every {experiment.log_every} steps, each before its update"
                + (f"; mean over {seeds} seeds, band from least to most" if seeds > 1 else ""),
                figures.draw(figures.curves, lines, ("step", label)),
            )
    norms = {
        label: lines
        for name, label in (("gradient_norm", "gradient"), ("update_norm", "update"))
        for lines in _by_setting(results, rows, name, most=1).values()
    }
    if norms:
        yield Figure(
            "norms",
            "Norms of gradient and update",
            f"{of_batch}; over all parameters, the gradient before it is clipped"
            + (f" at {experiment.clip_norm:g}" if experiment.clip_norm else " (clipping is off)"),
            figures.draw(figures.curves, norms, ("step", "global norm (log10)")),
        )
    if len(settings(results.values()) if results else []) > 1:
        yield from _of_settings(experiment, results, data)


def _by_setting(
    results: Results, rows: list[dict[str, Any]], name: str, most: int = 8
) -> dict[str, tuple[Any, Any]]:
    """Steps and values [seeds, steps] of the best settings, by their names."""
    lines: dict[str, tuple[Any, Any]] = {}
    columns: dict[str, dict[int, float]] = {}
    for row in rows:
        value = row.get(name)
        if value is not None:
            shown = np.log10(max(value, 1e-12)) if name.endswith("norm") else value
            columns.setdefault(row["member"], {})[row["step"]] = float(shown)
    groups: dict[str, list[str]] = {}
    best = settings(results.values())[:most] if results else []
    for setting in best:
        groups[_name(setting)] = [
            digest
            for digest, result in results.items()
            if (result["hidden_size"], result["learning_rate"]) == setting[:2]
        ]
    if not best:
        groups = {digest: [digest] for digest in list(columns)[:most]}
    for title, digests in groups.items():
        members = [columns[digest] for digest in digests if digest in columns]
        steps = sorted(set.intersection(*(set(m) for m in members))) if members else []
        if steps:
            lines[title] = steps, [[m[step] for step in steps] for m in members]
    return lines


def _name(setting: Setting) -> str:
    return f"H {setting.hidden_size}, lr {setting.learning_rate:g}"


def _of_settings(
    experiment: Experiment, results: Results, data: dict[str, Any]
) -> Iterator[Figure]:
    """Hidden size x learning rate, and what parameters buy."""
    found = settings(results.values())
    sizes = sorted({s.hidden_size for s in found})
    rates = sorted({s.learning_rate for s in found})
    where = f"{experiment.dataset}, validation"
    if len(sizes) * len(rates) <= 100:
        values = np.full((len(rates), len(sizes)), np.nan)
        notes = [["" for _ in sizes] for _ in rates]
        for s in found:
            x, y = rates.index(s.learning_rate), sizes.index(s.hidden_size)
            values[x, y] = s.validation.mean
            half = "" if s.validation.n == 1 else f"\n±{100 * s.validation.half_width:.1f}"
            notes[x][y] = f"{100 * s.validation.mean:.1f}{half}\nn={s.validation.n}"
        yield Figure(
            "settings",
            "Accuracy by hidden size and learning rate",
            f"{where}; mean over n seeds in percent, ± the half width of its 95 % interval",
            figures.draw(
                figures.heat_map, values, notes,
                ([f"{r:g}" for r in rates], [str(s) for s in sizes]),
                ("learning rate", "hidden size"), size=(6.4, 3.6),
            ),
        )  # fmt: skip

    def number_of(hidden: int) -> int:
        layers = data["features"] * hidden + 8 * hidden * hidden + hidden * data["classes"]
        return layers + 5 * hidden + data["classes"]

    points = {
        f"lr {rate:g}": tuple(
            zip(
                *(
                    (number_of(r["hidden_size"]), r["validation_accuracy"])
                    for r in results.values()
                    if r["learning_rate"] == rate
                ),
                strict=True,
            )
        )
        for rate in rates[:8]
    }
    yield Figure(
        "parameters",
        "Accuracy against parameters",
        f"{where}; a point for each of {len(results)} members",
        figures.draw(figures.scatter, points, ("parameters", "accuracy")),
    )


def _of_answers(trained: Trained, dataset: Dataset, images: np.ndarray) -> Iterator[Figure]:
    """Confusion and worst mistakes on validation: the test set is for one number only."""
    labels = dataset.validation.labels
    probabilities = trained.probabilities(images)
    answers = np.argmax(probabilities, axis=1)
    counts = np.zeros((dataset.num_classes, dataset.num_classes), int)
    np.add.at(counts, (labels, answers), 1)
    who = f"{dataset.name}, validation, n = {len(labels):,}; {trained.member}"
    if dataset.num_classes <= 26:
        yield Figure(
            "confusion",
            "What is taken for what",
            f"{who}; rows are labels, the diagonal is right",
            figures.draw(figures.confusion, counts, size=(4.6, 4.2)),
        )
    wrong = np.flatnonzero(answers != labels)
    wrong = wrong[np.argsort(probabilities[wrong, labels[wrong]])][:MISTAKES]
    if len(wrong):
        titles = [f"{labels[i]}, taken for {answers[i]}" for i in wrong]
        yield Figure(
            "mistakes",
            "The worst mistakes",
            f"{who}; least probability for the label first",
            figures.draw(
                figures.pictures, list(images[wrong]), titles, columns=MISTAKES, size=(1.15, 1.45)
            ),
        )


def _of_insides(
    experiment: Experiment, trained: Trained, dataset: Dataset, whole: np.ndarray
) -> Iterator[Figure]:
    """Belief by row, gates by row, gradient flow; `whole` images are as before reading."""
    images, labels = (jnp.asarray(array[:LOOKED_AT]) for array in dataset.validation)
    model, params = trained.model, trained.params
    who = f"{dataset.name}, validation, n = {len(labels):,}; {trained.member}"
    accuracy = jax.jit(partial(diagnose.accuracy_by_row, model))(params, images, labels)
    steps = np.arange(1, len(accuracy) + 1)
    step = _step(experiment)
    yield Figure(
        "accuracy_by_row",
        f"When it knows: accuracy after each {step}",
        f"{who}; read out as if the {step} were the last",
        figures.draw(figures.curves, {"": (steps, accuracy)}, (f"{step}s read", "accuracy")),
    )
    chosen = [int(np.flatnonzero(labels == label)[0]) for label in (2, 5, 8) if label in labels]
    beliefs = np.asarray(diagnose.beliefs(model, params, images[jnp.array(chosen)]))
    for index, image in enumerate(chosen):
        yield Figure(
            f"belief_{index}",
            f"Belief {step} by {step}: a {labels[image]}",
            f"{who}; probability of each class (columns) after each {step} (downwards)",
            figures.draw(
                figures.belief, whole[image], beliefs[:, index], "",
                columns=2, size=(2.1, 2.6),
            ),
        )  # fmt: skip
    found = jax.jit(partial(diagnose.gates, model))(params, images)
    gates = {name: (g.mean_T, g.sd_T) for name, g in found.items() if name != "cell"}
    yield Figure(
        "gates",
        "The gates",
        f"{who}; mean over images and units, band of one standard deviation",
        figures.draw(figures.bands, gates, (step, "gate")),
    )
    full = {f"{n}, {w}": (steps, v) for n, g in found.items() if n != "cell"
            for w, v in (("shut", g.low_T), ("open", g.high_T))}  # fmt: skip
    yield Figure(
        "saturation",
        "Saturated gates",
        f"{who}; share of units below {diagnose.SATURATED} (shut) and above "
        f"{1 - diagnose.SATURATED} (open)",
        figures.draw(figures.curves, full, (step, "share")),
    )
    yield Figure(
        "cell",
        "The cell",
        f"{who}; mean over images and units, band of one standard deviation",
        figures.draw(
            figures.bands, {"cell": (found["cell"].mean_T, found["cell"].sd_T)}, (step, "c")
        ),
    )
    yield _gradient_flow(experiment, trained, dataset, (images[:100], labels[:100]), step)


def _gradient_flow(
    experiment: Experiment,
    trained: Trained,
    dataset: Dataset,
    examples: tuple[jax.Array, jax.Array],
    step: str,
) -> Figure:
    """At the first values, for each hidden size and for other forget biases, and trained."""
    images, _ = examples
    models: dict[str, RowLSTM] = {}
    for hidden in experiment.axis("hidden_size")[:4]:
        models[f"first values, H {hidden}"] = build_model(experiment, hidden, dataset)
    for bias in FORGET_BIASES:
        if bias != experiment.forget_bias:
            models[f"first values, H {trained.model.hidden_size}, forget bias {bias:g}"] = (
                trained.model.clone(forget_bias=bias)
            )
    lines: dict[str, tuple[Any, Any]] = {}
    steps = np.arange(1, images.shape[1] + 1)

    def add(name: str, model: RowLSTM, params: Any) -> None:
        flow = jax.jit(partial(diagnose.gradient_flow, model))(params, *examples)
        lines[name] = steps, np.log10(np.maximum(np.asarray(flow), 1e-12))

    for name, model in models.items():
        add(name, model, init_state(model, jnp.uint32(trained.member.seed)).params)
    add(f"trained, {trained.steps} steps", trained.model, trained.params)
    return Figure(
        "gradient_flow",
        "How far back the gradient reaches",
        f"{dataset.name}, validation, n = {len(images)}; norm of the gradient of an image's loss "
        f"by the output after each {step}, mean over images: where it falls to the left it "
        "vanishes, where it rises it explodes",
        figures.draw(figures.curves, lines, (step, "log10 |d loss / d h|"), size=(6.4, 3.8)),
    )
