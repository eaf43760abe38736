"""Early stopping: a stopped member is frozen in its place, and equals a member alone to the bit."""

from contextlib import suppress

import numpy as np
import pytest
from trained_runs import TINY, quiet, run_tiny, tiny_dataset

import lstm_jax
from lstm_jax import Experiment, Search, Study
from lstm_jax.errors import UserError
from lstm_jax.report.summary import summary
from lstm_jax.runs.metrics_file import read_metrics
from lstm_jax.runs.reproduce import SEGMENT_STEPS, reproduce

pytestmark = pytest.mark.usefixtures("fused")

# Forty steps, evaluated after every four: one member is never stopped, two are at different steps.
GRID = Experiment(
    learning_rate=(3e-3, 1e-2, 2e-2), seed=2, patience=3, total_steps=40,
    **(TINY | {"num_evals": 10}),
)  # fmt: skip


class Killed(Exception):
    pass


def train(runs, experiment, **options):
    return run_tiny(runs, experiment, checkpoint_every=SEGMENT_STEPS, **options)


def killed_and_resumed(runs, experiment):
    """Returns the outcome of a run that is killed after each segment."""

    def kill(segment):
        raise Killed

    while True:
        with suppress(Killed):
            return train(runs, experiment, callback=kill)


def results(outcome):
    """Returns what is on record of each member, but for the time."""
    return {
        r.member.learning_rate: (r.steps, r.validation, r.test, r.parameters_sha256)
        for r in outcome.members
    }


def rows_of(outcome, member):
    rows = [row for row in read_metrics(outcome.directory) if row["member"] == member.digest]
    return sorted(rows, key=lambda row: row["step"])


@pytest.fixture(scope="module")
def outcome(fused, tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs"), GRID)


def test_a_member_stops_at_the_third_evaluation_without_a_better_metric(outcome):
    stops = set()
    for result in outcome.members:
        rows = rows_of(outcome, result.member)
        scores = [row["validation_accuracy"] for row in rows if "validation_accuracy" in row]
        steps = [row["step"] for row in rows if "validation_accuracy" in row]
        assert steps == list(range(4, 4 + 4 * len(steps), 4))
        stops.add(result.stopped_at)
        if result.stopped_at is None:
            assert len(steps) == 9
            continue
        assert result.stopped_at == result.steps == rows[-1]["step"] == steps[-1]
        assert "loss" not in rows[-1]
        best = int(np.argmax(scores))
        assert len(scores) == best + 1 + 3
    assert None in stops
    assert len(stops) == 3
    assert {*outcome.results["stopped_at"][1:]} == stops - {None}


@pytest.mark.slow
def test_a_stopped_member_equals_a_member_alone_and_one_that_was_killed(outcome, tmp_path):
    """Killed after each segment, so also at the step at which a member stops."""
    expected, alone = results(outcome), {}
    for member in GRID.members():
        solo = train(tmp_path / "solo", member)
        alone |= results(solo)
        same = solo.members[0].member  # whose digest is that of the one in the grid
        assert rows_of(solo, same) == rows_of(outcome, same)
    assert alone == expected
    assert results(killed_and_resumed(tmp_path / "killed", GRID)) == expected
    going_on = GRID.replace({"patience": None, "learning_rate": 3e-3})
    assert results(train(tmp_path / "without", going_on))[3e-3] == expected[3e-3]


def test_a_stopped_member_has_its_best_parameters_where_they_are_restored(outcome, tmp_path):
    """They are those of the evaluation from which on it got no better; also after kills."""
    grid = GRID.replace({"restore_best": True})
    restored = train(tmp_path / "whole", grid)
    assert results(killed_and_resumed(tmp_path / "killed", grid)) == results(restored)
    last = results(outcome)
    for result in restored.members:
        rate, steps = result.member.learning_rate, result.steps
        assert steps == last[rate][0]
        scores = [r.get("validation_accuracy", 0) for r in rows_of(restored, result.member)]
        # All of validation are the examples that are evaluated during training.
        best = max(scores) if result.stopped_at else max(*scores, last[rate][1]["accuracy"])
        assert result.validation["accuracy"] == best
        if result.stopped_at:
            assert result.parameters_sha256 != last[rate][3]


def test_a_run_with_stopped_members_is_finished_shown_and_reproduced(outcome, monkeypatch):
    record = outcome.record
    assert record.is_finished
    assert record.num_done == 3
    steps = {r.member.learning_rate: r.stopped_at for r in outcome.members}
    shown = {label: step for label, step, _ in summary(record, [])["stopped"]}
    assert shown == {
        f"learning rate {rate:g}": step for rate, step in steps.items() if step is not None
    }
    model = outcome.load(outcome.members[2].member.digest)
    assert model.steps == outcome.members[2].steps
    reused = train(outcome.directory.parent.parent, GRID.replace({"learning_rate": 2e-2}))
    assert reused.members[0].reused_from == outcome.directory.name
    assert reused.members[0].stopped_at == outcome.members[2].stopped_at
    monkeypatch.setattr(lstm_jax.Images, "load", lambda self, say: tiny_dataset())
    reproduce(outcome.directory, console := quiet())
    assert "the final parameters of 3 are as recorded" in console.file.getvalue()


def test_what_patience_cannot_do_is_refused():
    with pytest.raises(UserError, match=r"patience: 3 evaluations .* give num_evals 5 or more"):
        Experiment(patience=3)
    with pytest.raises(UserError, match=r"halving: .* patience stops"):
        Study(Experiment(patience=2, learning_rate=(1e-3, 1e-2)), Search(halving=2))
    assert Experiment(patience=None).digest == Experiment().digest
