"""Scores of trained members on other conditions of their task, or on other data.

    scores/<member>-<condition>.json

Each file holds the scores of one member on one condition, with what they come from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.labels import field_label, format_value
from lstm_jax.data.dataset import Dataset, Say
from lstm_jax.errors import EnvironmentProblem, UserError, did_you_mean
from lstm_jax.fields import field_specs, parse_value
from lstm_jax.predict import inference
from lstm_jax.predict.trained import TrainedModel, load_member
from lstm_jax.runs import provenance, results
from lstm_jax.runs.data_card import best_trivial_score, trivial_scores
from lstm_jax.runs.evaluation import score_splits
from lstm_jax.runs.files import list_folder, make_folder
from lstm_jax.runs.json_files import read_json, with_checksum, write_json
from lstm_jax.runs.progress import say, text_table
from lstm_jax.runs.record import Record, digest_with_prefix
from lstm_jax.runs.results import Result, Score
from lstm_jax.runs.session import now
from lstm_jax.runs.statistics import estimate
from lstm_jax.runs.trust import read_trusted
from lstm_jax.tasks.task import Task
from lstm_jax.train.placement import Placement, build_programs, named_leaves

FILE = re.compile(r"[0-9a-f]{12}-[0-9a-f]{12}\.json")
SCHEMA: dict[str, Any] = {
    "member": str,
    "parameters_sha256": (str, None),
    "task": dict,  # its fields by name
    "validation": results.SCHEMA["validation"],
    "test": results.SCHEMA["validation"],
    "trivial_score": (float, None),
    "identity": dict,  # of this evaluation
    "trained_under": str,  # the identity of the training, as the result names it
    "scored": str,
    "sha256": str,
}


class ScoredElsewhere(NamedTuple):
    """The scores of a finished member on a condition."""

    result: Result
    task: dict[str, Any]  # the fields of its task in this condition
    validation: Score
    test: Score
    trivial_score: float | None


def score(
    directory: Path,
    values: Mapping[str, Any],
    console: Console,
    *,
    member: str | None = None,
    other_code: bool = False,
    trust_code: bool = False,
) -> list[ScoredElsewhere]:
    """Scores the finished members of a run on other conditions, or only one member.

    `values` holds one value or several of fields of the task, by name; a value may be a word as the
    command line has it. Their grid is scored. Prints a table, writes a file for each member and
    condition, and returns the scores.

    Raises UserError where a field does not exist or the model cannot read the data, and what
    `trained.load` and `Task.load` raise.
    """
    log = partial(say, console)
    record = read_trusted(directory, trust_code, log)
    if not record.results:
        raise UserError(f"{directory} has no finished member to score")
    digests = list(record.results)
    if member is not None:
        digests = [digest_with_prefix(member, digests)]
    loaded: dict[str, Dataset] = {}
    adapted: dict[tuple[str, str], Dataset] = {}
    scores = []
    for digest in digests:
        trained = load_member(record, directory, digest, log, other_code=other_code)
        for condition in conditions(trained.member, values).members():
            task = condition.task
            if task.data_key not in loaded:
                loaded[task.data_key] = task.load(log)
            key = task.data_key, trained.member.task.data_key
            if key not in adapted:
                adapted[key] = task.adapt_data(loaded[task.data_key], trained.metadata)
                for fact in task.describe_data(adapted[key]):
                    log(f"{adapted[key].name}: {fact}")
            scores.append(score_member(trained, condition, adapted[key], directory))
    show_scores(console, record, scores)
    log(f"the scores are in {directory / 'scores'}; lstm-jax report {directory} draws them")
    return scores


def conditions(member: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Returns a member with other values of its task's fields. Raises UserError for a wrong one."""
    specs = field_specs(member.task)
    given = dict[str, Any]()
    for name, value in values.items():
        if name not in specs:
            near = did_you_mean(name, specs, "task.")
            fields = f"its fields are {', '.join(specs)}" if specs else "it has none"
            raise UserError(
                f"score: the task {member.task.name} has no field {name!r}; {fields}.{near}"
            )
        several = value if isinstance(value, (list, tuple, range)) else [value]
        given[f"task.{name}"] = tuple(
            parse_value(name, each, specs[name]) if isinstance(each, str) else each
            for each in several
        )
    if member.total_epochs is not None:  # of training; another file has epochs of another size
        given |= {"total_epochs": None, "total_steps": member.num_steps}
    return member.replace(given)


def score_member(
    trained: TrainedModel, condition: Experiment, dataset: Dataset, directory: Path
) -> ScoredElsewhere:
    """Returns the scores of a member on a condition, whose data are adapted to it, and writes them
    to a file.
    """
    result, task = trained.result, condition.task
    assert result is not None  # only finished members are scored
    spec = task.model_spec(dataset.metadata)
    shapes = [
        {name: leaf.shape for name, leaf in named_leaves(params).items()}
        for params in (inference.param_shapes(condition, spec), trained.params)
    ]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"{describe(task, condition)}: needs a model of another shape than the one that was "
            "trained, so there is nothing to score"
        )
    # By the program that scores a member in a run. A score depends on neither of these fields, and
    # a small data set may have less than a batch.
    scoring = condition.replace_unchecked({"batch_size": 1, "microbatches": 1})
    programs = build_programs(Placement((scoring,), 1, 1), dataset, 1)
    params = jax.tree.map(lambda array: array[None], trained.params)
    splits = {"validation": dataset.validation, "test": dataset.test}
    by_split = score_splits(programs, params, [condition], splits, dataset)
    scored = ScoredElsewhere(
        result, task_values(task), by_split["validation"][0], by_split["test"][0],
        best_trivial_score(task, trivial_scores(task, dataset)),
    )  # fmt: skip
    folder = directory / "scores"
    make_folder(folder)
    write_json(
        folder / f"{result.member.digest}-{condition.digest}.json",
        with_checksum(
            {
                "member": result.member.digest,
                "parameters_sha256": result.parameters_sha256,
                **{k: v for k, v in scored._asdict().items() if k != "result"},
                "identity": provenance.identity(dataset.fingerprint, ""),
                "trained_under": result.identity,
                "scored": now(),
            }
        ),
    )
    return scored


def task_values(task: Task) -> dict[str, Any]:
    """Returns the fields of a task of single values, by name."""
    return {name: getattr(task, name) for name in field_specs(task)}


def describe(task: Task, condition: Experiment) -> str:
    """Returns the values of a task that are not the defaults, as text."""
    changed = [path for path in condition.overrides if path.startswith("task.")]
    values = [f"{path} {format_value(condition.values[path])}" for path in changed]
    return ", ".join(values) or task.name


def read_scores(record: Record, directory: Path, log: Say) -> list[ScoredElsewhere]:
    """Returns the scores on record of finished members. Tells `log` which of them are not used."""
    scores = []
    for name in sorted(list_folder(directory / "scores")):
        if not FILE.fullmatch(name):
            continue
        path = directory / "scores" / name
        try:
            value = read_json(path, SCHEMA)
        except EnvironmentProblem as error:
            log(str(error))
            continue
        result = record.results.get(value["member"])
        if result is None or value != with_checksum(value):
            log(f"{path} is not used: it was changed, or its member is not finished")
        elif value["parameters_sha256"] != result.parameters_sha256:
            log(f"{path} is not used: its member has other parameters since")
        elif value["task"].keys() != task_values(result.member.task).keys():
            log(f"{path} is not used: its task has other fields since; score it again")
        else:
            fields = ("task", "validation", "test", "trivial_score")
            scores.append(ScoredElsewhere(result, *(value[name] for name in fields)))
    order = {digest: index for index, digest in enumerate(record.results)}
    return sorted(scores, key=lambda each: order[each.result.member.digest])


def varied(scores: Sequence[ScoredElsewhere]) -> list[str]:
    """Returns the fields of the task in which conditions differ from each other or from those of
    training.
    """
    first = scores[0].task
    return [
        name
        for name in first
        if any(
            each.task[name] != first[name]
            or each.task[name] != getattr(each.result.member.task, name)
            for each in scores
        )
    ]


def by_setting(
    scores: Sequence[ScoredElsewhere],
) -> dict[Experiment, dict[tuple[Any, ...], list[ScoredElsewhere]]]:
    """Returns the scores by setting and by the values of the varied fields, which are sorted."""
    names = varied(scores)
    groups: dict[Experiment, dict[tuple[Any, ...], list[ScoredElsewhere]]] = {}
    for each in scores:
        group = groups.setdefault(each.result.member.setting, {})
        group.setdefault(tuple(each.task[name] for name in names), []).append(each)
    return {
        setting: dict(sorted(group.items(), key=lambda item: [_rank(value) for value in item[0]]))
        for setting, group in groups.items()
    }


def _rank(value: Any) -> tuple[bool, Any, str]:
    """Returns the key that sorts the values of a field: None first, then numbers, then names."""
    return value is not None, value if isinstance(value, (int, float)) else 0, str(value)


def table_of(
    record: Record, scores: Sequence[ScoredElsewhere]
) -> tuple[list[str], list[list[str]]]:
    """Returns the header and the rows of the scores on the test: a row for each setting and
    condition, and a column for each metric, mean over seeds; the first one with its interval.
    """
    experiment, task = record.study.experiment, record.study.experiment.task
    groups, paths = by_setting(scores), [p for p in experiment.axes if p != "seed"]
    metrics = [name for name in task.metrics if any(name in each.test for each in scores)]
    rows = []
    for setting, conditions_of in groups.items():
        for values, seeds in conditions_of.items():
            columns = [[_number(each.test.get(name)) for each in seeds] for name in metrics]
            trivial = seeds[0].trivial_score
            rows.append(
                [
                    *(format_value(setting.values.get(path)) for path in paths),
                    *map(format_value, values),
                    str(estimate(columns[0], task.metric_range)),
                    *(f"{estimate(column).mean:.4g}" for column in columns[1:]),
                    "" if trivial is None else f"{trivial:.4g}",
                ]
            )
    fields = [f"scored at {field_label(name)}" for name in varied(scores)]
    names = [f"test {field_label(name)}" for name in metrics]
    return [*map(field_label, paths), *fields, *names, "trivial"], rows


def show_scores(console: Console, record: Record, scores: Sequence[ScoredElsewhere]) -> None:
    """Prints the scores on the test."""
    console.print(text_table(*table_of(record, scores)), highlight=False)


def _number(value: float | None) -> float:
    return np.nan if value is None else value
