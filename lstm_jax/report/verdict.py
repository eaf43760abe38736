"""The first lines of a run's page: which model, on which data, and how well, in whole sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.labels import field_label
from lstm_jax.report.curves import setting_name
from lstm_jax.runs.record import Record
from lstm_jax.runs.statistics import Estimate, Summary

MAX_SENTENCES = 6  # conditions that have one each


def verdicts(record: Record, chosen_settings: Sequence[Summary]) -> list[str]:
    """Returns a sentence for the chosen setting of each condition: its test metric with an
    interval, beside the best answer that needs no model. Empty where no member is finished.
    """
    experiment, sentences = record.study.experiment, list[str]()
    for best in chosen_settings[:MAX_SENTENCES]:
        task, card = best.setting.task, _card(record, best.setting)
        metric = field_label(task.metric)
        condition = experiment.condition_label(best.setting) if experiment.condition_axes else ""
        cell = best.setting.cell
        sentence = f"{condition}: " if condition else ""
        chosen_values = setting_name(experiment, best.setting, [*experiment.condition_axes, "cell"])
        sentence += f"{cell} with {chosen_values}" if chosen_values else cell
        sentence += best.tie_note.replace(")", " on validation)")
        sentence += f" reaches a test {metric} of {_with_seeds(best.test)}"
        if best.diverged:
            sentence += f", and {best.diverged} of {best.test.n} members diverged"
        trivial = record.trivial_score_of(best.setting)
        if trivial is not None:
            sentence += _beside(best, trivial, card.get("trivial", {}))
        sentences.append(f"{sentence}.")
    return sentences


def _beside(best: Summary, trivial: float, scores: dict[str, float | None]) -> str:
    """Returns the end of a sentence: what the best answer without a model reaches. `scores` holds
    those of such answers, by their names.
    """
    names = (name for name, score in scores.items() if score == trivial)
    reached = f"{next(names, 'the best answer without a model')} reaches {trivial:.4g}"
    test, is_higher = best.test, best.setting.task.higher_is_better
    if not (test.mean > trivial if is_higher else test.mean < trivial):
        return f", no better than without a model: {reached}"
    inside = ", inside of the interval" if test.low <= trivial <= test.high else ""
    return f"; {reached}{inside}"


def _with_seeds(estimate: Estimate) -> str:
    """Returns a mean with its interval and the number of seeds, in words."""
    mean = str(estimate).partition(" (")[0]
    if estimate.n == 1:
        return f"{mean} (one seed)"
    if estimate.n == 2:
        return f"{mean} (two seeds, too few for an interval)"
    return f"{mean} (95 % interval over {estimate.n} seeds)"


def model_line(chosen_settings: Sequence[Summary]) -> str:
    """Returns the chosen models in a line: cell, layers, units, blocks, parameters."""
    lines = dict.fromkeys(_describe(each) for each in chosen_settings)
    return "; ".join(lines)


def _describe(summary: Summary) -> str:
    member: Experiment = summary.setting
    layers = "1 layer" if member.layers == 1 else f"{member.layers} layers"
    both = ", both directions" if member.bidirectional else ""
    block = member.block.spec_string()
    around = "" if block == "plain" else f", in blocks `{block}`"
    count = f", {summary.num_parameters} parameters" if summary.num_parameters else ""
    return f"{member.cell}, {layers} of {member.hidden_size} units{both}{around}{count}"


def data_line(record: Record) -> str:
    """Returns the data sets in a line, each with the numbers of its examples where known."""
    return "; ".join(dict.fromkeys(_data_lines(record)))


def _data_lines(record: Record) -> Iterator[str]:
    for metadata in record.metadata.values():
        if card := metadata.get("card"):
            counts = zip(("training", "validation", "test"), card["examples"], strict=True)
            shown = [f"{count:,} {split}" for split, count in counts if count is not None]
            yield f"{card['name']}: {', '.join(shown)} examples"


def _card(record: Record, member: Experiment) -> dict[str, Any]:
    card: dict[str, Any] = record.metadata.get(member.task.data_key, {}).get("card", {})
    return card
