"""Which members are trained next, and up to which step. Pure: no I/O and no clock.

A run is a sequence of batches of settings, and a batch is a sequence of rounds. A grid is one
batch, Optuna's search has one for each few trials that are chosen at once. A batch is one round, up
to the last step; with successive halving it has one for each rung, with fewer settings each time.
The next round is a function of the study and of what is on record, so a search that was killed
continues exactly as it would have.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.experiment_fields import BUDGETS
from lstm_jax.config.experiment_values import Values
from lstm_jax.config.rounds import (
    Round,
    Scores,
    bracket,
    halving_rungs,
    halving_steps,
    is_scored,
    mean,
    rounds_by_steps,
)
from lstm_jax.config.sampling import (
    Range,
    Space,
    from_optuna,
    optuna_distributions,
    optuna_study,
    random_settings,
    search_space,
    tell_optuna,
)
from lstm_jax.config.shards import Shard, parse_shard, shard_members
from lstm_jax.errors import UserError, did_you_mean
from lstm_jax.fields import Axis, axis, check_value, field_specs


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
        4,
        "number of settings that `tpe` chooses at once, before their metrics are known; with a "
        "halving they are compared with each other; a search with `search_minutes` begins so many "
        "at once",
        low=1, high=10_000,
    )  # fmt: skip
    search_seed: Axis[int] = axis(0, "random seed of the search", low=0, high=2**32 - 1)
    halving: Axis[int] = axis(
        0,
        "successive halving: at each rung only the best 1 / halving of the settings, by their mean "
        "validation metric over seeds, are trained further; 0: off",
        low=0, high=1000,
    )  # fmt: skip
    search_minutes: Axis[float | None] = axis(
        None,
        "budget of a search in minutes on the clock: `random` and `tpe` begin no new settings once "
        "the run has taken so long; those that it has begun are trained to their end",
        low=1e-9, high=1e7,
    )  # fmt: skip

    def __post_init__(self) -> None:
        for name, spec in field_specs(self).items():
            option = spec.option or name
            value = check_value(option, getattr(self, name), spec)
            if isinstance(value, tuple):
                raise UserError(f"{option}: takes one value, not several")
            object.__setattr__(self, name, value)

    @property
    def in_batches(self) -> bool:
        """Whether settings are tried a few at a time, not all side by side."""
        has_budget = self.search_minutes is not None
        return self.method == "tpe" or (self.method == "random" and has_budget)


class Position(NamedTuple):
    """How far a search is."""

    next_round: Round | None  # None: it is finished
    batch: int  # the number of the batch of this round, from 0
    num_tried: int  # settings in the batches before it


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
            if search.search_minutes is not None:
                raise UserError(
                    "search_minutes: a grid has no such budget, since all its settings are "
                    "compared; use --search random or tpe, or --max-minutes, which stops a run and "
                    "saves it"
                )
        elif not self._space:
            raise UserError(f"search: {search.method} needs a field with several values")
        elif not search.trials:
            raise UserError(f"trials: search {search.method} needs the number of settings to try")
        if search.halving:
            self._check_halving()
        if self.shard is None:
            return
        if search.halving or search.in_batches:
            depends = "a budget in minutes depends on the time"
            if search.halving or search.method == "tpe":
                name = "a halving" if search.halving else "search tpe"
                depends = f"{name} depends on the metrics"
            raise UserError(
                f"shard: {depends} of all members, so it cannot be split into shards; "
                "--shard 1/1 trains it as a whole"
            )
        if self.shard.count > (count := len(self._all_members)):
            have = "1 member" if count == 1 else f"{count} members"
            raise UserError(f"shard: {self.shard.count} shards are more than the study has: {have}")

    def _check_halving(self) -> None:
        halving, experiment = self.search.halving, self.experiment
        if halving == 1:
            raise UserError("halving: 2 or more; 0 for none")
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
        if self.search.in_batches and self.batch_sizes[0] < halving <= self.num_settings:
            raise UserError(
                f"halving: {halving} leaves no rung with {self.batch_sizes[0]} settings at once; "
                f"give a trials_at_once of at least {halving}, or 0 for no halving"
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
        # A run goes on with another budget, so its name does not depend on it, except where a
        # budget changes which settings halving compares.
        has_budget = changed.pop("search_minutes", None) is not None
        if has_budget and self.search.halving and self.search.method == "random":
            changed["in_batches"] = True
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

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The number of settings in each batch."""
        count = self.num_settings
        size = self.search.trials_at_once if self.search.in_batches else count
        return tuple(min(size, count - first) for first in range(0, count, size))

    def rungs(self) -> tuple[tuple[int, int], ...]:
        """Returns the rungs of the first batch: (step, number of settings that are kept)."""
        if not self.search.halving:
            return ()
        return halving_rungs(self.batch_sizes[0], self.experiment.num_steps, self.search.halving)

    def position(self, scores: Scores, seconds: float = 0.0, num_begun: int = 0) -> Position:
        """Returns the first round that has a member without a score, and what comes before it.

        `seconds` is the time that the run has taken. Once it reaches `search_minutes`, no new batch
        is begun; the first batch and the `num_begun` first ones are trained to their end.
        """
        budget, num_tried = self.search.search_minutes, 0
        is_spent = budget is not None and seconds >= 60 * budget
        for number, (size, rounds) in enumerate(
            zip(self.batch_sizes, self._batches(scores), strict=False)
        ):
            for each in rounds:
                if not is_scored(each, scores):
                    is_over = is_spent and number >= max(num_begun, 1)
                    return Position(None if is_over else each, number, num_tried)
            num_tried += size
        return Position(None, len(self.batch_sizes), num_tried)

    def members(self) -> list[Experiment]:
        """Returns all members that are known before any score: of `tpe` the first trials only."""
        if self.search.method == "tpe":
            return list(next(self.rounds({})).members)
        return [m for each in rounds_by_steps(self._shard_members) for m in each.members]

    def work_share(self) -> float:
        """Returns the fraction of all members' steps that halving trains, from 0 to 1."""
        if not self.search.halving:
            return 1.0
        steps, eta = self.experiment.num_steps, self.search.halving
        trained = sum(halving_steps(size, steps, eta) for size in self.batch_sizes)
        return trained / (self.num_settings * steps)

    def finished_rungs(self, scores: Scores) -> Iterator[tuple[Round, tuple[Experiment, ...]]]:
        """Yields each rung at which all members are scored, and the members that go on."""
        for rounds in self._batches(scores) if self.search.halving else ():
            rung = None
            for each in rounds:
                if rung is not None:
                    yield rung, each.members
                if not is_scored(each, scores):
                    return
                rung = each

    def rounds(self, scores: Scores) -> Iterator[Round]:
        """Yields the rounds in order. `scores` must hold a round before the next one is taken."""
        return itertools.chain.from_iterable(self._batches(scores))

    def settings_tried(self, scores: Scores) -> list[Experiment]:
        """Returns the settings of all rounds that are scored, in the order in which they came."""
        done = itertools.takewhile(lambda each: is_scored(each, scores), self.rounds(scores))
        return list(dict.fromkeys(member.setting for each in done for member in each.members))

    def _batches(self, scores: Scores) -> Iterator[Iterator[Round]]:
        """Yields the rounds of each batch. `scores` must hold them before the next one is taken."""
        if self.search.method == "tpe":
            yield from self._tpe_batches(scores)
            return
        members, num_seeds = self._shard_members, len(self.experiment.values_of("seed"))
        if not self.search.in_batches:
            yield bracket(members, scores, self.search.halving)
            return
        for size in self.batch_sizes:
            yield bracket(members[: size * num_seeds], scores, self.search.halving)
            members = members[size * num_seeds :]

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

    def _tpe_batches(self, scores: Scores) -> Iterator[Iterator[Round]]:
        """Yields the batches of `tpe`: Optuna's sampler replays all trials from their scores.

        A setting that is chosen again is not trained again: the trial has the scores of the first.
        """
        at_once, trials = self.search.trials_at_once, self.search.trials
        study = optuna_study(
            self.search.search_seed,
            # A quarter is drawn at random, at most ten (Optuna's own default).
            min(10, max(at_once, trials // 4)),
            higher_is_better=self.experiment.task.higher_is_better,
        )
        space, distributions = self._space, optuna_distributions(self._space)
        rung_steps, known = [step for step, _ in self.rungs()], set[str]()
        for size in self.batch_sizes:
            asked = [study.ask(distributions) for _ in range(size)]
            settings = [from_optuna(space, trial.params) for trial in asked]
            members = {m.digest: m for m in self._with_seeds(settings) if m.digest not in known}
            known |= members.keys()
            yield bracket(tuple(members.values()), scores, self.search.halving)
            for trial, setting in zip(asked, settings, strict=True):
                alike = list(self._with_seeds([setting]))
                reached = {
                    step: mean([scores[m.digest, step] for m in alike])
                    for step in (*rung_steps, alike[0].num_steps)
                    if all((m.digest, step) in scores for m in alike)
                }
                tell_optuna(study, trial, reached, is_pruned=alike[0].num_steps not in reached)

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
