"""Which members are trained next, and up to which step. Pure: no I/O and no clock.

A run is a sequence of rounds. A grid is one round, up to the last step. Successive halving has one
round for each rung, with fewer settings each time. Optuna's search has one round for each batch of
trials. The next round is a function of the study and of the recorded validation metrics, so a
search that was killed continues exactly as it would have.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.experiment_fields import BUDGETS
from lstm_jax.config.experiment_values import Values
from lstm_jax.config.sampling import (
    Range,
    Space,
    from_optuna,
    optuna_distributions,
    optuna_study,
    random_settings,
    search_space,
)
from lstm_jax.config.shards import Shard, parse_shard, shard_members
from lstm_jax.errors import UserError, did_you_mean
from lstm_jax.fields import Axis, axis, check_value, field_specs

Scores = Mapping[tuple[str, int], float]  # validation metric by member's digest and steps


@dataclass(frozen=True)
class Search:
    """How members are chosen from a grid. It changes no bit of any member."""

    method: Axis[str] = axis(
        "grid",
        "`grid`: all members; `random`: random settings, where a real-valued field with two values "
        "is drawn between them (log-uniformly if its scale is logarithmic) and any other field is "
        "drawn from its values, each about equally often; `tpe`: settings of the same space that "
        "Optuna chooses from the validation metrics so far",
        choices=lambda: ("grid", "random", "tpe"), option="search",
    )  # fmt: skip
    trials: Axis[int] = axis(
        0, "number of settings to search; each is trained with every seed", low=0, high=100_000
    )
    trials_at_once: Axis[int] = axis(
        4, "number of settings that `tpe` chooses at once, before their metrics are known",
        low=1, high=10_000,
    )  # fmt: skip
    search_seed: Axis[int] = axis(0, "random seed of the search", low=0, high=2**32 - 1)
    halving: Axis[int] = axis(
        0,
        "successive halving: at each rung only the best 1 / halving of the settings, by their mean "
        "validation metric over seeds, are trained further; 0: off",
        low=0, high=1000,
    )  # fmt: skip

    def __post_init__(self) -> None:
        for name, spec in field_specs(self).items():
            option = spec.option or name
            value = check_value(option, getattr(self, name), spec)
            if isinstance(value, tuple):
                raise UserError(f"{option}: takes one value, not several")
            object.__setattr__(self, name, value)


class Round(NamedTuple):
    """Members that are trained side by side until all have done this many steps."""

    members: tuple[Experiment, ...]
    until: int


@dataclass(frozen=True)
class Study:
    """What a run trains: an experiment, how its members are chosen, and a shard of them."""

    experiment: Experiment = field(default_factory=Experiment)
    search: Search = field(default_factory=Search)
    shard: Shard | None = None  # None: all members

    def __post_init__(self) -> None:
        search = self.search
        compares = search.method != "grid" or search.halving
        if compares and (conditions := self.experiment.condition_axes):
            name = "halving" if search.halving else "search"
            raise UserError(
                f"{name}: {', '.join(conditions)} decides what is asked, and results of different "
                "questions are not ranked; give it one value, and search each in a run of its own"
            )
        if search.method == "grid":
            if search.trials:
                raise UserError("trials: a grid has none; use --search random or tpe")
        elif not self._space:
            raise UserError(f"search: {search.method} needs a field with several values")
        elif not search.trials:
            raise UserError(f"trials: search {search.method} needs the number of settings to try")
        if search.halving:
            self._check_halving()
        if self.shard is None:
            return
        if search.halving or search.method == "tpe":
            name = "a halving" if search.halving else "search tpe"
            raise UserError(
                f"shard: {name} depends on the metrics of all members, so it cannot be split into "
                "shards; --shard 1/1 trains it as a whole"
            )
        if self.shard.count > (count := len(self._all_members)):
            have = "1 member" if count == 1 else f"{count} members"
            raise UserError(f"shard: {self.shard.count} shards are more than the study has: {have}")

    def _check_halving(self) -> None:
        halving, experiment = self.search.halving, self.experiment
        if halving == 1 or self.search.method == "tpe":
            raise UserError("halving: 2 or more, of a grid or of a random search; 0 for none")
        if experiment.values_of("patience") != (None,):
            raise UserError(
                "halving: compares settings after the same number of steps, and patience stops "
                "members before; use one of them"
            )
        in_epochs = experiment.values_of("total_epochs") != (None,)
        if {"batch_size", *BUDGETS} & experiment.axes.keys() or (
            in_epochs and len(experiment.data_tasks()) > 1
        ):
            raise UserError(
                "halving: compares settings after the same number of steps; give one batch_size "
                "and one total_examples, total_steps or total_epochs of one data set, or halving 0"
            )
        if self.num_settings < halving:
            raise UserError(
                f"halving: {halving} leaves no rung with {self.num_settings} settings; give at "
                f"least {halving} of them, or 0 for none"
            )
        if experiment.needs_data_sizes:
            return
        steps = [step for step, _ in self.rungs()]
        if len({*steps, experiment.num_steps}) <= len(steps):
            raise UserError(
                f"halving: {len(steps)} rungs do not fit into {experiment.num_steps} steps; "
                "raise the budget or halving"
            )

    def with_data_sizes(self, sizes: Mapping[str, int]) -> Study:
        """Returns this study with the number of training examples of each data set.

        See `Experiment.with_data_sizes`. Raises UserError when the steps that follow do not fit.
        """
        return replace(self, experiment=self.experiment.with_data_sizes(sizes))

    def with_widths(self, widths: Mapping[str, int]) -> Study:
        """Returns this study with hidden sizes: see `Experiment.with_widths`."""
        return replace(self, experiment=self.experiment.with_widths(widths))

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits that name this study and its shards; a grid has its experiment's."""
        default = asdict(Search())
        changed = {k: v for k, v in asdict(self.search).items() if v != default[k]}
        if not changed:
            return self.experiment.digest
        text = json.dumps([self.experiment.overrides, changed], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def num_settings(self) -> int:
        """The number of settings that are tried; `tpe` may choose a setting twice."""
        if self.search.method == "tpe":
            return self.search.trials
        grid = self.search.method == "grid"
        count = self.experiment.num_members if grid else len(self._all_members)
        return count // len(self.experiment.values_of("seed"))

    @property
    def drawn(self) -> tuple[str, ...]:
        """The paths of the fields that a search draws from a range."""
        if self.search.method == "grid":
            return ()
        return tuple(path for path, values in self._space.items() if isinstance(values, Range))

    @property
    def num_members(self) -> int:
        """The number of members that are tried, in this shard if there is one."""
        return self.num_all if self.shard is None else len(self._shard_members)

    @property
    def num_all(self) -> int:
        """The number of members that are tried in all shards."""
        return self.num_settings * len(self.experiment.values_of("seed"))

    def rungs(self) -> tuple[tuple[int, int], ...]:
        """Returns the rungs of successive halving: (step, number of settings that are kept).

        Jamieson and Talwalkar, "Non-stochastic best arm identification" (2016): each rung lies at
        `halving` times the step of the rung before it, and so does the last step of training.
        """
        eta = self.search.halving
        if eta < 2:
            return ()
        steps, count = self.experiment.num_steps, 0
        while eta ** (count + 1) <= self.num_settings:
            count += 1
        powers = [eta**n for n in range(1, count + 1)]
        return tuple(
            (-(-steps // power), -(-self.num_settings // cut))
            for power, cut in zip(reversed(powers), powers, strict=True)
        )

    def next_round(self, scores: Scores) -> Round | None:
        """Returns the first round with a member that has no score; None when all are done."""
        return next((r for r in self.rounds(scores) if not _is_scored(r, scores)), None)

    def members(self) -> list[Experiment]:
        """Returns all members that are known before any score: of `tpe` the first trials only."""
        if self.search.method == "tpe" or self.search.halving:
            return list(next(self.rounds({})).members)
        return [member for each in self.rounds({}) for member in each.members]

    def work_share(self) -> float:
        """Returns the fraction of all members' steps that halving trains, from 0 to 1."""
        if not self.search.halving:
            return 1.0
        steps, settings, done, total = self.experiment.num_steps, self.num_settings, 0, 0
        for step, kept in self.rungs():
            total += settings * (step - done)
            settings, done = kept, step
        return (total + settings * (steps - done)) / (self.num_settings * steps)

    def finished_rungs(self, scores: Scores) -> Iterator[tuple[Round, tuple[Experiment, ...]]]:
        """Yields each rung at which all members are scored, and the members that go on."""
        kept = dict(self.rungs())
        for each in self.rounds(scores):
            if each.until not in kept or not _is_scored(each, scores):
                return
            yield each, self._survivors(each, scores, kept[each.until])

    def rounds(self, scores: Scores) -> Iterator[Round]:
        """Yields the rounds in order. `scores` must hold a round before the next one is taken."""
        if self.search.method == "tpe":
            yield from self._tpe_rounds(scores)
            return
        members = self._shard_members
        for step, kept in self.rungs():
            each = Round(members, step)
            yield each
            members = self._survivors(each, scores, kept)
        yield from _by_steps(members)

    def _survivors(self, each: Round, scores: Scores, kept: int) -> tuple[Experiment, ...]:
        """Returns the members of the `kept` settings with the best mean metric over seeds.

        A setting is kept or dropped as a whole: dropping its unlucky seeds would flatter its mean.
        A tie goes to the setting that comes first in the grid.
        """
        metrics: dict[Experiment, list[float]] = {}
        for member in each.members:
            metrics.setdefault(member.setting, []).append(scores[member.digest, each.until])
        sign = -1 if self.experiment.task.higher_is_better else 1
        best = set(sorted(metrics, key=lambda setting: sign * _mean(metrics[setting]))[:kept])
        return tuple(member for member in each.members if member.setting in best)

    @cached_property
    def _all_members(self) -> tuple[Experiment, ...]:
        """All members of a grid or of a random search, of all shards."""
        if self.search.method == "grid":
            return tuple(self.experiment.members())
        # Two draws may be the same setting; its members are trained once.
        drawn = random_settings(self._space, self.search.trials, self.search.search_seed)
        return tuple(dict.fromkeys(self._with_seeds(drawn)))

    @cached_property
    def _shard_members(self) -> tuple[Experiment, ...]:
        """The members of this shard, or all members where there is none."""
        members = self._all_members
        return members if self.shard is None else shard_members(members, self.shard)

    @cached_property
    def _space(self) -> Space:
        return search_space(self.experiment)

    def _with_seeds(self, settings: Iterable[Values]) -> Iterator[Experiment]:
        for setting, seed in itertools.product(settings, self.experiment.values_of("seed")):
            yield self.experiment.at({**setting, "seed": seed})

    def _tpe_rounds(self, scores: Scores) -> Iterator[Round]:
        """Yields the rounds of `tpe`: Optuna's sampler replays all trials from their scores."""
        at_once, trials = self.search.trials_at_once, self.search.trials
        study = optuna_study(
            self.search.search_seed,
            # A quarter is drawn at random, at most ten (Optuna's own default).
            min(10, max(at_once, trials // 4)),
            higher_is_better=self.experiment.task.higher_is_better,
        )
        space, distributions = self._space, optuna_distributions(self._space)
        for first in range(0, trials, at_once):
            asked = [study.ask(distributions) for _ in range(min(at_once, trials - first))]
            batch = [(trial, from_optuna(space, trial.params)) for trial in asked]
            # Two trials may choose the same setting; its members are trained once.
            members = {m.digest: m for _, each in batch for m in self._with_seeds([each])}
            yield from _by_steps(members.values())
            for trial, setting in batch:
                metrics = [scores[m.digest, m.num_steps] for m in self._with_seeds([setting])]
                study.tell(trial, _mean(metrics))

    def to_values(self) -> dict[str, Any]:
        """Returns all values as JSON has them."""
        values = {"experiment": self.experiment.to_values(), "search": asdict(self.search)}
        return values if self.shard is None else values | {"shard": str(self.shard)}

    @staticmethod
    def from_values(values: Any) -> Study:
        """Returns the study whose `to_values` is given. Raises UserError on anything else."""
        if not isinstance(values, dict) or not isinstance(search := values.get("search"), dict):
            raise UserError("study: expected an experiment and a search")
        for name in search:
            if name not in field_specs(Search):
                raise UserError(
                    f"search: no field {name!r}.{did_you_mean(name, field_specs(Search))}"
                )
        shard = values.get("shard")
        if not isinstance(shard, str | None):
            raise UserError("study: expected its shard as a string such as 3/16")
        return Study(
            Experiment.from_values(values.get("experiment")),
            Search(**search),
            parse_shard(shard, {}) if shard else None,
        )


def _by_steps(members: Iterable[Experiment]) -> Iterator[Round]:
    """Yields a round for each last step: members differ in it where the budget is an axis."""
    by_steps: dict[int, list[Experiment]] = {}
    for member in members:
        by_steps.setdefault(member.num_steps, []).append(member)
    for steps, alike in sorted(by_steps.items()):
        yield Round(tuple(alike), steps)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)  # `statistics` takes a hundredth of a second


def _is_scored(each: Round, scores: Scores) -> bool:
    return all((member.digest, each.until) in scores for member in each.members)
