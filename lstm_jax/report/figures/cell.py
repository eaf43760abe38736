"""The two troubles in one figure: how far back the gradient reaches, by cell and over training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Dataset, num_examples
from lstm_jax.predict import inference
from lstm_jax.predict.trained import TrainedModel, load_member
from lstm_jax.report import drawing, plots
from lstm_jax.report.curves import rank, setting_name
from lstm_jax.report.drawing import Figure
from lstm_jax.report.figures.gradient import EXAMPLES, Curve, early_steps, flow, train_first
from lstm_jax.report.figures.model import first_examples
from lstm_jax.report.figures.training import clipping
from lstm_jax.runs.record import Record
from lstm_jax.runs.results import Result
from lstm_jax.runs.statistics import Summary, summarise

Stages = dict[str, Curve]  # by when


def of_cells(record: Record, run_dir: Path, say: Callable[[str], None]) -> Iterator[Figure]:
    """Yields the gradient flow of a trained member of each cell, where the cells differ the most:
    at the start, after the first steps, which are trained again, and at the end.

    Raises UserError or EnvironmentProblem where a member or its data is not to be had any more.
    """
    chosen = where_cells_differ(summarise(record.results.values()))
    if not chosen:
        return
    found: dict[str, Stages] = {}
    datasets: dict[str, Dataset] = {}
    for result in chosen:
        trained = load_member(record, run_dir, result.member.digest, say)
        task = trained.member.task
        if not inference.has_one_way(trained.member, trained.spec):
            return
        if task.data_key not in datasets:
            datasets[task.data_key] = trained.data(say)
        dataset = datasets[task.data_key]
        found[f"cell {trained.member.cell}"] = _stages(trained, dataset)
    member = chosen[0].member
    stages = {stage: None for each in found.values() for stage in each}
    panels = {
        stage: {cell: own[stage] for cell, own in found.items() if stage in own} for stage in stages
    }
    same = setting_name(record.study.experiment, member, "cell")
    count = min(EXAMPLES, num_examples(dataset.validation))
    yield Figure(
        "gradient_flow_cells",
        "How far back the gradient reaches, by cell",
        f"{dataset.name}, validation, n = {count}; {f'{same}, ' if same else ''}seed "
        f"{member.seed}, {clipping(member.clip_norm)}; norm of the gradient of an example's loss "
        f"by the last layer's output after each {member.task.time_step_name}, mean over examples: where "
        "it falls to the left it vanishes, where it rises it explodes; a small error makes it "
        "small everywhere",
        plots.draw_panels(panels, (member.task.time_step_name, "|d loss / d h|"), log=True),
    )


def where_cells_differ(found: list[Summary]) -> list[Result]:
    """Returns a result of each cell, of members that differ in nothing else: those between whose
    mean metrics the widest gap is; nothing where no two cells can be compared.
    """
    groups: dict[Experiment, list[Summary]] = {}
    for summary in found:
        if not summary.diverged:
            groups.setdefault(summary.setting.replace_unchecked({"cell": None}), []).append(summary)

    def gap(mates: list[Summary]) -> float:
        means = [summary.validation.mean for summary in mates]
        return max(means) - min(means)

    several = [mates for mates in groups.values() if 1 < len(mates) <= len(drawing.COLOURS)]
    if not several:
        return []
    mates = max(several, key=gap)
    by_seed = [{r.member.seed: r for r in summary.results} for summary in mates]
    common = set.intersection(*map(set, by_seed))
    if not common:
        return []
    results = [results[min(common)] for results in by_seed]
    return sorted(results, key=lambda result: rank(result.member.cell))


def _stages(trained: TrainedModel, dataset: Dataset) -> Stages:
    member, spec = trained.member, trained.spec
    batch = first_examples(trained, dataset, EXAMPLES)
    found = {"at initialisation": flow(spec, member, inference.initial_params(member, spec), batch)}
    if steps := early_steps(trained, dataset):
        early = train_first(member, dataset, steps, member.clip_norm)
        found[f"after {steps} steps"] = flow(spec, member, early.params, batch)
    found[f"after {trained.steps} steps"] = flow(spec, member, trained.params, batch)
    return found
