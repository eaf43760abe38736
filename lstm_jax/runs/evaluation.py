"""Evaluation of members that train side by side: scores, columns of metrics, best parameters.

Axes: M members.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Arrays, Dataset, Split, shared_arrays
from lstm_jax.model.init import Params
from lstm_jax.runs.checkpoints import fingerprint
from lstm_jax.runs.code import user_errors
from lstm_jax.runs.results import Score, finite
from lstm_jax.train.placement import Programs, named_leaves
from lstm_jax.train.processes import to_host
from lstm_jax.train.step import Metrics, Sums, TrainState

EVAL_EXAMPLES = 2_000  # examples of validation, the first ones, that are used during training
BEST = "best/"  # prefix of the names under which a checkpoint holds what is known of the best
NEVER = -1  # the step of what has not happened


def eval_steps(member: Experiment) -> list[int]:
    """Returns the steps, before the last one, at which a member is evaluated on validation.

    They are evenly spaced and rounded to logged steps.
    """
    every, num_evals = member.log_every, member.num_evals
    steps = {round(member.num_steps * i / num_evals / every) * every for i in range(1, num_evals)}
    return sorted(step for step in steps if 0 < step < member.num_steps)


@dataclass
class Evaluator:
    """Evaluates the members of a placement on validation during training.

    `best` holds what is known of the best evaluation so far as a checkpoint holds it, arrays
    [M, ...] by name: its metric; with `restore_best` its parameters; with `patience` its step, and
    the step at which a member was stopped.
    """

    members: tuple[Experiment, ...]
    programs: Programs
    dataset: Dataset  # the first EVAL_EXAMPLES of its validation are used
    best: Arrays = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.steps = eval_steps(self.members[0])
        self.restores_best = self.members[0].restore_best
        self.patience = self.members[0].patience
        validation = self.dataset.validation
        shared = shared_arrays(validation)  # such as a series: it has no entry per example
        first = {
            name: array if name in shared else array[:EVAL_EXAMPLES]
            for name, array in validation.items()
        }
        self.validation: Arrays = Split(first, shared) if shared else first

    @property
    def stopped_at_M(self) -> np.ndarray:
        """The step at which each member was stopped, int64 [M]; `NEVER` where it goes on."""
        return self.best.get(f"{BEST}stopped_at", np.full(len(self.members), NEVER))

    def next_stop(self, step: int, stop: int) -> int:
        """Returns the end of a segment from `step`: the next evaluation, at the latest `stop`."""
        return min([stop, *(each for each in self.steps if each > step)])

    def evaluate(self, step: int, state: TrainState) -> list[Score] | None:
        """Returns the members' scores after `step` steps; None where no evaluation is due.

        At the last step there is one only where the best parameters are to be restored. Stops the
        members that `patience` stops. To evaluate a second time at a step changes nothing.
        """
        at_end = self.restores_best and step == self.members[0].num_steps
        if step not in self.steps and not at_end:
            return None
        split = {"validation": self.validation}
        scored = score_splits(self.programs, state.params, self.members, split, self.dataset)
        scores = scored["validation"]
        if self.restores_best or self.patience is not None:
            self._update_best(step, scores, state.params)
        return scores

    def _update_best(self, step: int, scores: list[Score], params: Params) -> None:
        task, count = self.members[0].task, len(self.members)
        sign = 1 if task.higher_is_better else -1
        values = [score[task.metric] for score in scores]
        rank_M = np.array([-np.inf if value is None else sign * value for value in values])
        best_rank_M = self.best.get(f"{BEST}rank", np.full(count, -np.inf))
        is_better_M = rank_M > best_rank_M  # never of a stopped member: it is as it was
        self.best[f"{BEST}rank"] = np.where(is_better_M, rank_M, best_rank_M)
        if self.patience is not None:
            best_step_M = self.best.get(f"{BEST}step", np.full(count, NEVER))
            self.best[f"{BEST}step"] = best_step_M = np.where(is_better_M, step, best_step_M)
            evaluated = np.array([each for each in self.steps if each <= step])
            num_worse_M = (evaluated[:, None] > best_step_M[None]).sum(axis=0)
            is_stopped_M = (num_worse_M >= self.patience) & (self.stopped_at_M == NEVER)
            self.best[f"{BEST}stopped_at"] = np.where(is_stopped_M, step, self.stopped_at_M)
        if not self.restores_best:
            return
        for name, array in to_host(named_leaves(params)).items():
            key, array = f"{BEST}params/{name}", array[:count]
            mask = is_better_M.reshape(-1, *[1] * (array.ndim - 1))
            self.best[key] = np.where(mask, array, self.best.get(key, array))

    def final_params(self, params: Params) -> Params:
        """Returns the parameters that are the members' results: the best ones, or the last ones.

        `params` are the last ones, with a row for each row of the placement; so is the result.
        """
        if not self.restores_best:
            return params
        leaves = []
        for name, array in named_leaves(params).items():
            best = self.best[f"{BEST}params/{name}"]
            padding = [best[-1:]] * (len(array) - len(best))  # copies that fill up a tile
            leaves.append(np.concatenate([best, *padding]))
        return self.programs.put(jax.tree.unflatten(jax.tree.structure(params), leaves))


def best_of(states: Iterable[Arrays]) -> Arrays:
    """Returns `Evaluator.best` of members whose states, as checkpoints hold them, are given."""
    rows = [{n: a for n, a in arrays.items() if n.startswith(BEST)} for arrays in states]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def without_best(arrays: Arrays) -> Arrays:
    """Returns a saved state without the best parameters beside it."""
    return {name: array for name, array in arrays.items() if not name.startswith(BEST)}


def result_parameters(arrays: Arrays) -> Arrays:
    """Returns, by name, the parameters of a saved state that are its member's result.

    They are the best ones where the state holds them, else the last ones.
    """
    best = f"{BEST}params/"
    prefix = best if any(name.startswith(best) for name in arrays) else "params/"
    return {n.removeprefix(prefix): array for n, array in arrays.items() if n.startswith(prefix)}


def parameter_digests(params: Params, count: int) -> list[str]:
    """Returns the SHA-256 of the parameters of each of the first `count` members."""
    arrays = to_host(named_leaves(params))
    return [fingerprint({k: array[row] for k, array in arrays.items()}) for row in range(count)]


def score_splits(
    programs: Programs,
    params: Params,
    members: Sequence[Experiment],
    splits: Mapping[str, Arrays],
    dataset: Dataset,
) -> dict[str, list[Score]]:
    """Returns loss and metrics of each member on each split of a data set, by the split's name.

    Raises UserError where a user's own task fails.
    """
    scores = {}
    for name, split in splits.items():
        with user_errors(members[0]), np.errstate(all="ignore"):
            sums: Sums = to_host(programs.score(params, split))
            scores[name] = [
                _score(member, jax.tree.map(lambda a, row=row: np.float64(a[row]), sums), dataset)
                for row, member in enumerate(members)
            ]
    return scores


def _score(member: Experiment, sums: Sums, dataset: Dataset) -> Score:
    """Returns loss and metrics of a member from its sums over a split, in the task's order."""
    task = member.task
    by_name = sums.others | {"loss": sums.loss, task.metric: sums.metric, "weight": sums.weight}
    values = task.finalise(by_name, dataset)
    metrics = {name: finite(values[name]) for name in task.metrics if name in values}
    return {"loss": finite(sums.loss / sums.weight)} | metrics


def metric_columns(members: Sequence[Experiment], metrics: Metrics) -> dict[str, np.ndarray]:
    """Returns the metrics of a segment by their names on record, float32 [M, steps]."""
    metric = members[0].task.metric
    return {
        metric if name == "metric" else name: np.asarray(column)
        for name, column in metrics._asdict().items()
    }
