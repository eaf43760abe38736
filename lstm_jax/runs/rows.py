"""A row for each run: what `list` prints, and what `runs/index.html` shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite, nan
from pathlib import Path

from lstm_jax.errors import EnvironmentProblem
from lstm_jax.runs import checkpoints
from lstm_jax.runs.directory import in_use
from lstm_jax.runs.record import Record, read_record
from lstm_jax.runs.statistics import chosen, summarise

MAX_CONDITIONS = 4  # whose scores a row has room for
TRAINING = "training"


@dataclass(frozen=True)
class RunRow:
    """A run, in the words that tables show."""

    run: str  # its name with the beginning of its digest
    status: str
    started: str = ""  # the last session, ISO 8601 in UTC
    done: str = ""
    seconds: float = 0.0  # of training, of all members
    note: str = ""
    metric: str = ""
    num_parameters: str = ""
    # The mean metrics of the chosen setting, of each condition where there are several.
    validation: str = ""
    test: str = ""
    scores: list[str] = field(default_factory=list)  # the test metrics with their intervals
    trivial: str = ""
    rank: float | None = None  # the first mean on validation, where more is better
    problem: str = ""  # why it could not be read

    @property
    def started_shown(self) -> str:
        """The start as tables show it, to the minute."""
        return self.started[:16].replace("T", " ")


def read_row(directory: Path) -> tuple[RunRow, Record | None]:
    """Returns the row of a run, and its record, None where it has none that can be read."""
    name = short_name(directory)
    try:
        record = read_record(directory)
    except EnvironmentProblem as error:
        return RunRow(name, "unreadable", problem=str(error)), None
    if record is None:
        return RunRow(name, TRAINING if in_use(directory) else "never trained"), None
    return make_row(directory, record, status_of(directory, record)), record


def make_row(directory: Path, record: Record, status: str) -> RunRow:
    """Returns the row of a run that has a record, with the scores of its finished members."""
    experiment = record.study.experiment
    task, best = experiment.task, chosen(summarise(record.results.values()))
    few, conditions = best[:MAX_CONDITIONS], experiment.condition_axes
    labels = [f"{experiment.condition_label(each.setting)}: " if conditions else "" for each in few]
    validation = " / ".join(f"{each.validation.mean:.4f}" for each in few)
    test = " / ".join(f"{each.test.mean:.4f}" for each in few)
    parameters = " / ".join(dict.fromkeys(each.num_parameters for each in few))
    if len(best) > MAX_CONDITIONS:
        parameters, validation, test = "", f"{len(best)} conditions", ""
    trivial = [record.trivial_score_of(each.setting) for each in few]
    mean = few[0].validation.mean if few else nan
    rank = mean if task.higher_is_better else -mean
    results = [*record.results.values(), *record.dropped]
    return RunRow(
        short_name(directory),
        status,
        record.last_started,
        f"{record.num_done}/{record.num_members}",
        sum(result.seconds or 0 for result in results),
        record.note,
        task.metric.replace("_", " "),
        parameters,
        validation,
        test,
        [f"{label}{each.test}" for label, each in zip(labels, few, strict=True)],
        " / ".join(f"{score:.4g}" for score in dict.fromkeys(trivial) if score is not None),
        rank if isfinite(rank) else None,
    )


def short_name(directory: Path) -> str:
    """Returns a run's name with the beginning of its digest, and the shard if it is one."""
    return f"{directory.parent.name}/{directory.name[:6]}{directory.name[12:]}"


def status_of(directory: Path, record: Record) -> str:
    """Returns whether a run is training, finished, diverged, stopped or interrupted, and where."""
    has_ended = not record.sessions or "ended" in record.sessions[-1]
    # `in_use` locks for a moment, which a run that starts would see: so it is called last.
    if not has_ended and in_use(directory):
        return TRAINING
    if record.is_finished:
        num_diverged = sum(result.diverged_at is not None for result in record.results.values())
        if num_diverged == len(record.results) > 0:
            return "diverged"
        by_budget = " by its budget" if record.stopped_by_budget() else ""
        return f"finished{by_budget}" + (f", {num_diverged} diverged" if num_diverged else "")
    saved = checkpoints.saved_members(directory)
    steps = [step for digest, step in saved.items() if digest not in record.results]
    word = "stopped" if has_ended else "interrupted"
    return f"{word} at step {max(steps)}" if steps else word
