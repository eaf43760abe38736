"""What a run's metrics show: the curves of its training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lstm_jax.experiment import Experiment, shown, words
from lstm_jax.report import figures
from lstm_jax.report.figures import Figure
from lstm_jax.runs.looks import LOOKED_AT
from lstm_jax.runs.metrics import Row
from lstm_jax.runs.record import Record
from lstm_jax.statistics import summarise

MOST_SETTINGS = 60  # curves; the best of them in colour

Line = tuple[list[int], list[list[float]]]  # steps, and values [seeds, steps]


def of_training(record: Record, rows: list[Row]) -> Iterator[Figure]:
    """Yields the curves of loss, metric and norms."""
    experiment = record.study.experiment
    batch = f"{data_name(experiment)}, training batches of {either(experiment, 'batch_size')}"
    metric = experiment.task.metric
    for name in ("loss", metric):
        if lines := by_setting(record, rows, name, MOST_SETTINGS):
            several = len(experiment.several("seed")) > 1
            seeds = "; mean over a setting's seeds, band from least to most" if several else ""
            title = f"{words(name).capitalize()} while training"
            looks = by_setting(record, rows, f"validation_{name}", MOST_SETTINGS)
            drawn = lines
            if len(lines) == len(looks) == 1:
                drawn = {"training": lines.popitem()[1], "validation": next(iter(looks.values()))}
            yield Figure(
                name,
                title,
                f"{batch}, every {either(experiment, 'log_every')} steps, each before its update"
                + seeds + coloured(len(drawn)),
                figures.draw(figures.curves, drawn, ("step", words(name))),
            )  # fmt: skip
            if len(looks) > 1:
                yield Figure(
                    f"validation_{name}",
                    f"{title}, on validation",
                    f"{data_name(experiment)}, the first {LOOKED_AT:,} examples of validation at "
                    f"most{seeds}{coloured(len(looks))}",
                    figures.draw(figures.curves, looks, ("step", words(name))),
                )
    norms = {
        f"{label}, {name}" if name else label: line
        for column, label in (("gradient_norm", "gradient"), ("update_norm", "update"))
        for name, line in by_setting(record, rows, column, 1).items()
    }
    if norms:
        clips = " or ".join(clipping(norm) for norm in experiment.several("clip_norm"))
        yield Figure(
            "norms",
            "Norms of gradient and update",
            f"{batch}; over all parameters of the best setting; the gradient as it is before "
            f"clipping (here it is {clips})",
            figures.draw(figures.curves, norms, ("step", "global norm"), log=True),
        )


def coloured(count: int) -> str:
    """Returns which of so many curves have colours, in words; nothing where all have."""
    if count <= len(figures.COLOURS):
        return ""
    return f"; the best {figures.COLOURED} of {count} in colour, best first"


def clipping(clip_norm: float | None) -> str:
    """Returns whether a gradient is clipped, in words."""
    return "not clipped" if clip_norm is None else f"clipped at {clip_norm:g}"


def data_name(experiment: Experiment) -> str:
    """Returns what is read: the names of the data sets, or of a task that has none."""
    named = "task.dataset" in experiment.values
    return either(experiment, "task.dataset") if named else experiment.task.name


def either(experiment: Experiment, path: str) -> str:
    """Returns a field's values as one reads them."""
    return " or ".join(shown(value) for value in experiment.several(path))


def varied(experiment: Experiment) -> list[str]:
    """Returns the paths in which settings differ."""
    return [path for path in experiment.axes if path != "seed"]


def setting_name(experiment: Experiment, setting: Experiment) -> str:
    """Returns the values in which a setting differs from the others; empty where it is alone."""
    return ", ".join(f"{words(p)} {shown(setting.values[p])}" for p in varied(experiment))


def by_setting(record: Record, rows: Iterable[Row], name: str, most: int) -> dict[str, Line]:
    """Steps and values of the best settings, by their names; of an unfinished run, of members."""
    columns: dict[str, dict[int, float]] = {}
    for row in rows:
        if (value := row.get(name)) is not None:
            columns.setdefault(row["member"], {})[row["step"]] = float(value)
    groups = {
        setting_name(record.study.experiment, best.setting): [r.member.digest for r in best.results]
        for best in summarise(record.results.values())[:most]
    } or {digest: [digest] for digest in list(columns)[:most]}
    lines: dict[str, Line] = {}
    for title, digests in groups.items():
        members = [columns[digest] for digest in digests if digest in columns]
        members = [m for m in members if len(m) == max(map(len, members))]  # not the diverged
        steps = sorted(set.intersection(*map(set, members))) if members else []
        if steps:
            lines[title] = steps, [[m[step] for step in steps] for m in members]
    return lines
