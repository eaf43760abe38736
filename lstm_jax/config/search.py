"""Which members to train next, and how far, given what is known so far. Pure: no I/O, no clock.

A run is a sequence of rounds: a grid is one, to the last step; successive halving has one for each
rung, with fewer settings each time; Optuna's search one for each batch of trials. What comes next
is a function of the study and of the validation metrics on record, so a search that was killed goes
on exactly as it would have.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from lstm_jax.config.experiment import Experiment, Values
from lstm_jax.config.sampling import (
    Range,
    Space,
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
    """How members are chosen from a grid; none of it changes a bit of any of them."""

    method: Axis[str] = axis(
        "grid",
        "`grid`: all members; `random`: settings drawn at random, a real-valued field between its "
        "two values (log-uniformly where its scale is logarithmic), any other out of those given, "
        "each about as often; `tpe`: out of the same space by Optuna, which learns from the "
        "validation metric",
        choices=lambda: ("grid", "random", "tpe"),
        option="search",
    )
    trials: Axis[int] = axis(
        0, "settings that a search chooses; each is trained with every seed", low=0, high=100_000
    )
    trials_at_once: Axis[int] = axis(
        4,
        "settings that `tpe` chooses at a time, before their metrics are known",
        low=1,
        high=10_000,
    )
    search_seed: Axis[int] = axis(0, "decides what a search draws", low=0, high=2**32 - 1)
    halving: Axis[int] = axis(
        0,
        "successive halving: at fixed rungs only the best 1 / halving of the settings, by the mean "
        "of their validation metric over their seeds, train on; 0: off",
        low=0,
        high=1000,
    )

    def __post_init__(self) -> None:
        for name, spec in field_specs(self).items():
            value = check_value(spec.option or name, getattr(self, name), spec)
            if isinstance(value, tuple):
                raise UserError(f"{name}: takes one value; it is no axis")
            object.__setattr__(self, name, value)


class Round(NamedTuple):
    """Members to train side by side, until all have done this many steps."""

    members: tuple[Experiment, ...]
    until: int


@dataclass(frozen=True)
class Study:
    """What a run trains: an experiment, how its members are chosen, and which shard of them."""

    experiment: Experiment = field(default_factory=Experiment)
    search: Search = field(default_factory=Search)
    shard: Shard | None = None  # None: all members

    def __post_init__(self) -> None:
        if self.search.method == "grid":
            if self.search.trials:
                raise UserError("trials: a grid has none; use --search random or tpe")
        else:
            self._check_space()
        self._check_halving()
        if self.shard is not None:
            self._check_shard(self.shard)

    def _check_shard(self, shard: Shard) -> None:
        if self.search.halving or self.search.method == "tpe":
            raise UserError(
                f"shard: {'a halving' if self.search.halving else 'search tpe'} goes by the metrics "
                "of all members, so it is not cut into shards; --shard 1/1 trains it in one"
            )
        if shard.count > (count := len(self._whole)):
            have = "1 member" if count == 1 else f"{count} members"
            raise UserError(f"shard: {shard.count} shards are more than the study has: {have}")

    def _check_space(self) -> None:
        if not self._space:
            raise UserError(f"search: {self.search.method} needs a field with several values")
        if not self.search.trials:
            raise UserError(
                f"trials: search {self.search.method} needs to know how many settings to try"
            )

    def _check_halving(self) -> None:
        if not self.search.halving:
            return
        if self.search.halving == 1 or self.search.method == "tpe":
            raise UserError("halving: 2 or more, of a grid or of a random search; 0 for none")
        if {"batch_size", "total_examples"} & self.experiment.axes.keys():
            raise UserError(
                "halving: compares settings after as many steps; give one batch_size and one "
                "total_examples, or halving 0"
            )
        steps = [step for step, _ in self.rungs()]
        if not steps:
            raise UserError(
                f"halving: {self.search.halving} leaves no rung with {self.num_settings} settings; "
                f"give at least {self.search.halving} of them, or 0 for none"
            )
        if len({*steps, self.experiment.num_steps}) <= len(steps):
            raise UserError(
                f"halving: {len(steps)} rungs do not fit into {self.experiment.num_steps} steps; "
                "raise total_examples or halving"
            )

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits that name this study; a grid's are those of its experiment.

        Its shards have the same.
        """
        default = asdict(Search())
        given = {k: v for k, v in asdict(self.search).items() if v != default[k]}
        if not given:
            return self.experiment.digest
        text = json.dumps([self.experiment.overrides, given], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def num_settings(self) -> int:
        """Settings that are tried; one that two trials of `tpe` choose is counted twice."""
        if self.search.method == "tpe":
            return self.search.trials
        whole = self.experiment.num_members if self.search.method == "grid" else len(self._whole)
        return whole // len(self.experiment.values_of("seed"))

    @property
    def drawn(self) -> tuple[str, ...]:
        """The fields whose values a search draws from a range; none of a grid."""
        if self.search.method == "grid":
            return ()
        return tuple(path for path, shard in self._space.items() if isinstance(shard, Range))

    @property
    def num_members(self) -> int:
        """Members that are tried, each setting with every seed."""
        return self.num_all if self.shard is None else len(self._own)

    @property
    def num_all(self) -> int:
        """Members that are tried in all shards."""
        return self.num_settings * len(self.experiment.values_of("seed"))

    def rungs(self) -> tuple[tuple[int, int], ...]:
        """Returns, of a successive halving, after how many steps how many settings are kept.

        Jamieson and Talwalkar, "Non-stochastic best arm identification" (2016): each rung is
        `halving` times as long as the one before it, the last one that much before the end.
        """
        eta, steps = self.search.halving, self.experiment.num_steps if self.search.halving else 0
        if eta < 2:
            return ()
        count = 0
        while eta ** (count + 1) <= self.num_settings:
            count += 1
        powers = [eta**n for n in range(1, count + 1)]
        return tuple(
            (-(-steps // power), -(-self.num_settings // cut))
            for power, cut in zip(reversed(powers), powers, strict=True)
        )

    def next_round(self, scores: Scores) -> Round | None:
        """Returns the first round with a member whose score is not known; None when all is done."""
        return next((r for r in self.rounds(scores) if _missing(r, scores)), None)

    def members(self) -> list[Experiment]:
        """Returns all members that are known before any score: all but those of `tpe`'s later
        trials.
        """
        if self.search.method == "tpe" or self.search.halving:
            return list(next(self.rounds({})).members)
        return [member for each in self.rounds({}) for member in each.members]

    def work_share(self) -> float:
        """Returns the shard_members of all members' steps that a halving leaves to train."""
        if not self.search.halving:
            return 1.0
        steps, settings, done, total = self.experiment.num_steps, self.num_settings, 0, 0
        for step, kept in self.rungs():
            total += settings * (step - done)
            settings, done = kept, step
        return (total + settings * (steps - done)) / (self.num_settings * steps)

    def finished_rungs(self, scores: Scores) -> Iterator[tuple[Round, tuple[Experiment, ...]]]:
        """Yields the rungs at which all are scored, each with the members that go on."""
        kept = dict(self.rungs())
        for each in self.rounds(scores):
            if each.until not in kept or _missing(each, scores):
                return
            yield each, self._survivors(each, scores, kept[each.until])

    def rounds(self, scores: Scores) -> Iterator[Round]:
        """Yields the rounds in order; the scores of one must be known before the next is asked."""
        if self.search.method == "tpe":
            yield from self._tpe_rounds(scores)
            return
        members = self._own
        for step, kept in self.rungs():
            each = Round(members, step)
            yield each
            members = self._survivors(each, scores, kept)
        yield from _by_steps(members)

    def _survivors(self, each: Round, scores: Scores, kept: int) -> tuple[Experiment, ...]:
        """The members of the `kept` settings of best mean metric over their seeds.

        Whole settings stay or go: dropping the unlucky seeds of one would flatter its mean. A tie
        goes to the setting that comes first in the grid.
        """
        metrics: dict[Experiment, list[float]] = {}
        for member in each.members:
            metrics.setdefault(member.setting, []).append(scores[member.digest, each.until])
        sign = -1 if self.experiment.task.higher_is_better else 1
        best = set(sorted(metrics, key=lambda setting: sign * _mean(metrics[setting]))[:kept])
        return tuple(member for member in each.members if member.setting in best)

    @cached_property
    def _whole(self) -> tuple[Experiment, ...]:
        """All members of a grid or of a random search."""
        if self.search.method == "grid":
            return tuple(self.experiment.members())
        # Two draws may be the same setting; its members are trained once.
        drawn = random_settings(self._space, self.search.trials, self.search.search_seed)
        return tuple(dict.fromkeys(self._with_seeds(drawn)))

    @cached_property
    def _own(self) -> tuple[Experiment, ...]:
        """Those of them that are of this shard."""
        return self._whole if self.shard is None else shard_members(self._whole, self.shard)

    @cached_property
    def _space(self) -> Space:
        return search_space(self.experiment)

    def _with_seeds(self, settings: Iterable[Values]) -> Iterator[Experiment]:
        for setting, seed in itertools.product(settings, self.experiment.values_of("seed")):
            yield self.experiment.replace_unchecked({**setting, "seed": seed})

    def _tpe_rounds(self, scores: Scores) -> Iterator[Round]:
        """Optuna is asked and told again from the first trial."""
        each_time, trials = self.search.trials_at_once, self.search.trials
        study = optuna_study(
            self.search.search_seed,
            # Drawn at random: a quarter, ten at most (Optuna's own default).
            min(10, max(each_time, trials // 4)),
            higher_is_better=self.experiment.task.higher_is_better,
        )
        space = optuna_distributions(self._space)
        for first in range(0, trials, each_time):
            asked = [study.ask(space) for _ in range(min(each_time, trials - first))]
            # Two trials may choose the same setting; its members are trained once.
            members = {m.digest: m for t in asked for m in self._with_seeds([t.params])}
            yield from _by_steps(members.values())
            for trial in asked:
                mates = self._with_seeds([trial.params])
                study.tell(trial, _mean([scores[m.digest, m.num_steps] for m in mates]))

    def to_values(self) -> dict[str, Any]:
        """Returns all values as JSON has them."""
        values = {"experiment": self.experiment.to_values(), "search": asdict(self.search)}
        return values if self.shard is None else values | {"shard": str(self.shard)}

    @staticmethod
    def from_values(values: Any) -> Study:
        """Returns the study of what `to_values` gave. Raises UserError on anything else."""
        if not isinstance(values, dict) or not isinstance(search := values.get("search"), dict):
            raise UserError("study: expected an experiment and a search")
        for name in search:
            if name not in field_specs(Search):
                raise UserError(
                    f"search: no field {name!r}.{did_you_mean(name, field_specs(Search))}"
                )
        shard = values.get("shard")
        if not isinstance(shard, str | None):
            raise UserError("study: its shard is no string")
        return Study(
            Experiment.from_values(values.get("experiment")),
            Search(**search),
            parse_shard(shard, {}) if shard else None,
        )


def _by_steps(members: Iterable[Experiment]) -> Iterator[Round]:
    """Rounds to the members' last steps, which are not the same where the budget is an axis."""
    by_steps: dict[int, list[Experiment]] = {}
    for member in members:
        by_steps.setdefault(member.num_steps, []).append(member)
    for steps, mates in sorted(by_steps.items()):
        yield Round(tuple(mates), steps)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)  # `statistics` takes a hundredth of a second


def _missing(each: Round, scores: Scores) -> bool:
    return any((member.digest, each.until) not in scores for member in each.members)
