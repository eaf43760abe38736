"""The head of a run's page: what ran, how well, on which data. Values for the template."""

from __future__ import annotations

import dataclasses
import re
import shlex
from typing import Any

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.labels import field_label, format_value
from lstm_jax.config.search import Study
from lstm_jax.report.curves import data_name, joined_values, setting_name, varied_paths
from lstm_jax.report.drawing import TextTable
from lstm_jax.report.verdict import data_line, model_line, verdicts
from lstm_jax.runs.record import Record
from lstm_jax.runs.results import Result
from lstm_jax.runs.statistics import Summary, chosen, summarise

FALLBACK = r" --fallback( digits)?"  # what `make` adds to every command
MAX_SETTINGS = 200  # in the page's table
MAX_TILES = 8  # of test metrics, one for each condition


def summary(record: Record, notes: list[str]) -> dict[str, Any]:
    """Returns the values of the page's head.

    Adds a note in front of `notes` where the run is unfinished.
    """
    study, results = record.study, list(record.results.values())
    experiment, total = study.experiment, record.num_members
    if not record.is_finished:
        notes.insert(0, f"This run is unfinished: {len(results)} of {total} members are done.")
    if stopped := record.stopped_by_budget():
        notes.insert(0, f"This search was {stopped}.")
    session = record.sessions[-1] if record.sessions else {}
    command = shlex.join(["lstm-jax", *session.get("command", [])])
    if experiment.task.built_in() is not None:  # no data was replaced, as the option would suggest
        command = re.sub(FALLBACK, "", command)
    summaries = summarise(results)
    best = chosen(summaries)
    is_single = len(results) == total == 1
    conditions = experiment.condition_axes
    axes = [*conditions, *(path for path in varied_paths(experiment) if path not in conditions)]
    return {
        "name": record.name,
        "data": data_name(experiment),
        "note": record.note,
        "verdicts": verdicts(record, best),
        "model_line": model_line(best),
        "data_line": data_line(record),
        "command": command,
        "when": session.get("ended", session.get("started", "")),
        "digest": study.digest,
        "identities": {
            digest: {name: _as_text(value) for name, value in identity.items()}
            for digest, identity in record.identities.items()
        },
        "commit": (session.get("commit") or "")[:12],
        "tiles": _tiles(record, best, session),
        "fields": TextTable("fields", "", "", (), [*_fields(study).items()]),
        "single": _single(results[0]) if is_single else None,
        "metric": field_label(experiment.task.metric),
        "best": [
            (
                experiment.condition_label(each.setting),
                setting_name(experiment, each.setting, conditions) + each.tie_note,
                each.test,
                record.trivial_score_of(each.setting),
            )
            for each in best
        ],
        "num_settings": len(summaries),
        "settings": _settings(experiment, summaries, axes) if best and not is_single else None,
        "rungs": {
            step: (sum(not result.dropped for result in rung.values()), len(rung))
            for step, rung in record.rungs.items()
        },
        "diverged": [
            (experiment.label(result.member), result.diverged_at)
            for result in results
            if result.diverged_at is not None
        ],
        "stopped": [
            (experiment.label(result.member), result.stopped_at, result.member.num_steps)
            for result in results
            if result.stopped_at is not None
        ][:MAX_SETTINGS],
        "total": total,
        "notes": notes,
    }


def _tiles(
    record: Record, chosen_settings: list[Summary], session: dict[str, Any]
) -> list[tuple[str, str]]:
    """Returns the numbers that a reader looks for first, each with its name."""
    experiment, metric = record.study.experiment, field_label(record.study.experiment.task.metric)
    tiles = []
    if len(chosen_settings) > 1:
        tiles += [
            (f"{best.test.mean:.4g}", f"test {metric}, {setting_name(experiment, best.setting)}")
            for best in chosen_settings[:MAX_TILES]
        ]
    for best in chosen_settings if len(chosen_settings) == 1 else ():
        of_chosen = " of the chosen setting" if varied_paths(experiment) else ""
        tiles += [(f"{best.test.mean:.4g}", f"test {metric}{of_chosen}")]
        if best.test.n > 2:  # two seeds say next to nothing
            low, high, half_width = best.test.low, best.test.high, best.test.half_width
            clipped = f"[{low:.4g}, {high:.4g}]"
            interval = clipped if best.test.is_clipped else f"± {half_width:.2g}"
            tiles += [(interval, f"95 % interval over {best.test.n} seeds")]
        tiles += [(f"{best.validation.mean:.4g}", f"validation {metric}")]
        tiles += [(best.num_parameters, f"parameters{of_chosen}")] if best.num_parameters else []
        if (trivial_score := record.trivial_score_of(best.setting)) is not None:
            trivial = f"trivial {metric}: the best answer that needs no model"
            tiles += [(f"{trivial_score:.4g}", trivial)]
    trained = [*record.results.values(), *record.dropped]
    seconds = sum(result.seconds or 0 for result in trained)
    tiles += [(f"{len(record.results)} of {record.num_members}", "members trained")]
    if seconds:
        tiles += [(_duration(seconds), "training time of all members")]
    if rate := session.get("examples_per_second"):
        tiles += [(f"{rate:,}", "examples/s in the last session")]
    return tiles


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes}:{rest:02} min"


def _as_text(value: Any) -> Any:
    """Returns a dict of an identity as text, any other value as it is."""
    if not isinstance(value, dict):
        return value
    return ", ".join(f"{name} {each}" for name, each in value.items()) or "none"


def _fields(study: Study) -> dict[str, str]:
    """Returns the fields that are not at their defaults, with the budget, as text by name."""
    experiment = study.experiment
    fields = {"task": experiment.task.name}
    for path in dict.fromkeys((*experiment.overrides, *experiment.axes)):
        if path in experiment.values and path != "total_examples":
            between = " to " if path in study.drawn else " or "
            fields[field_label(path)] = joined_values(experiment, path, between)
    pairs = experiment.budgets()
    fields["budget"] = " or ".join(
        f"{steps:,} steps of {size} examples" for steps, size in pairs[:5]
    )
    for field in dataclasses.fields(study.search):
        if (value := getattr(study.search, field.name)) != field.default:
            fields[field_label(field.name)] = format_value(value)
    return fields


def _settings(experiment: Experiment, summaries: list[Summary], axes: list[str]) -> TextTable:
    """Returns the settings with the fields in which they differ, their size and their scores."""
    metric, others = field_label(experiment.task.metric), len(summaries) - MAX_SETTINGS
    header = [*map(field_label, axes), "num parameters", f"validation {metric}", f"test {metric}"]
    rows = [
        [
            *(format_value(each.setting.values.get(path)) for path in axes),
            *(each.num_parameters, str(each.validation), str(each.test), str(each.diverged or "")),
        ]
        for each in summaries[:MAX_SETTINGS]
    ]
    if any(each.diverged for each in summaries):
        header.append("diverged")
    rows = [row[: len(header)] for row in rows]
    caption = f"{others} more settings are in results.csv." if others > 0 else ""
    return TextTable("settings", "", caption, header, rows)


def _single(result: Result) -> TextTable:
    """Returns the result of a run of one member, each value with its name."""
    scores = {
        f"{split} {field_label(name)}": "not finite" if value is None else f"{value:.4f}"
        for split, score in (("validation", result.validation), ("test", result.test or {}))
        for name, value in score.items()
    }
    member = result.member
    basic = {
        field_label(p): format_value(member.values.get(p))
        for p in ("hidden_size", "learning_rate", "seed")
    }
    count = {"num parameters": f"{result.num_parameters:,}"} if result.num_parameters else {}
    sha256 = {"parameters SHA-256": result.parameters_sha256 or "unknown"}
    values = scores | count | basic | sha256
    return TextTable("result", "", "", (), [*values.items()])
