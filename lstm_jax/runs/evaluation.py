"""Evaluator at validation while training, and the best parameters seen at them.

Axes: M members that train side by side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import jax
import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.results import Score
from lstm_jax.data.dataset import Arrays
from lstm_jax.model.init import Params
from lstm_jax.runs.scoring import scores
from lstm_jax.train.distributed import fetch
from lstm_jax.train.step import TrainState
from lstm_jax.train.sweep import Programs, name_arrays

EVAL_EXAMPLES = 2_000  # examples of validation, the first ones
BEST = "best/"  # how the names of kept arrays begin in a checkpoint


def eval_steps(member: Experiment) -> list[int]:
    """Returns after which steps a member is looked at before its end: those of logged rows."""
    every, parts = member.log_every, range(1, member.num_evals)
    wanted = {round(member.num_steps * i / member.num_evals / every) * every for i in parts}
    return sorted(step for step in wanted if 0 < step < member.num_steps)


@dataclass
class Evaluator:
    """The members of a placement, looked at as they train.

    Where they keep their best parameters, `best` holds these as they lie in a checkpoint: arrays
    [M, ...] by name, with the metric they had.
    """

    members: tuple[Experiment, ...]
    programs: Programs
    validation: Arrays
    best: Arrays = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.steps = eval_steps(self.members[0])
        self.keeps_best = self.members[0].restore_best
        self.validation = {name: array[:EVAL_EXAMPLES] for name, array in self.validation.items()}

    @staticmethod
    def without(arrays: Arrays) -> Arrays:
        """Returns a saved state without the best parameters that lie beside it."""
        return {name: array for name, array in arrays.items() if not name.startswith(BEST)}

    @staticmethod
    def gone_on(saved: Iterable[Arrays]) -> Arrays:
        """Returns `best` as it stood when these members were saved."""
        rows = [{n: a for n, a in arrays.items() if n.startswith(BEST)} for arrays in saved]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def end_of_segment(self, step: int, until: int) -> int:
        """Returns where a segment from `step` ends at the latest: at a look or at `until`."""
        return min([until, *(look for look in self.steps if look > step)])

    def look(self, step: int, state: TrainState) -> list[Score] | None:
        """Returns how the members stand after so many steps; None where none looks then."""
        at_end = self.keeps_best and step == self.members[0].num_steps
        if step not in self.steps and not at_end:
            return None
        split = {"validation": self.validation}
        found = scores(self.programs, state.params, self.members, split)["validation"]
        if self.keeps_best:
            self._note(found, state.params)
        return found

    def _note(self, found: list[Score], params: Params) -> None:
        task, count = self.members[0].task, len(self.members)
        sign = 1 if task.higher_is_better else -1
        ranks = [score[task.metric] for score in found]
        rank_M = np.array([-np.inf if rank is None else sign * rank for rank in ranks])
        arrays = fetch(name_arrays(params))
        now = {f"{BEST}params/{name}": array[:count] for name, array in arrays.items()}
        before_M = self.best.get(f"{BEST}rank", np.full(count, -np.inf))
        better_M = rank_M > before_M
        for name, array in now.items():
            kept = self.best.get(name, array)
            mask = better_M.reshape(-1, *[1] * (array.ndim - 1))
            self.best[name] = np.where(mask, array, kept)
        self.best[f"{BEST}rank"] = np.where(better_M, rank_M, before_M)

    def kept(self, params: Params) -> Params:
        """Returns the parameters that are the members' results, in rows as `params` has them."""
        if not self.keeps_best:
            return params

        def leaf(name: str, array: jax.Array) -> np.ndarray:
            best = self.best[f"{BEST}params/{name}"]
            copies = [best[-1:]] * (len(array) - len(best))  # that fill up a tile
            return np.concatenate([best, *copies])

        leaves = [leaf(name, array) for name, array in name_arrays(params).items()]
        return self.programs.put(jax.tree.unflatten(jax.tree.structure(params), leaves))


def parameters_of(arrays: Arrays) -> Arrays:
    """Returns the parameters of a saved state that are its member's result, by name: the best
    where they were kept, else the last.
    """
    kept = f"{BEST}params/" if f"{BEST}rank" in arrays else "params/"
    return {n.removeprefix(kept): array for n, array in arrays.items() if n.startswith(kept)}
