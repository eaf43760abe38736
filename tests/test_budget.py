"""The training budget in examples, steps or epochs: the same steps are the same bits."""

import json
import re
from dataclasses import replace

import pytest
from rich.console import Console
from trained_runs import TINY, quiet, run_tiny, tiny_dataset

import lstm_jax
from lstm_jax import Adding, Experiment, Images, Search, Study, UserError
from lstm_jax.cli.main import main, parse
from lstm_jax.data.dataset import say_nothing
from lstm_jax.errors import EnvironmentProblem
from lstm_jax.optim import Constant
from lstm_jax.report.summary import summary
from lstm_jax.runs.datasets import load_data
from lstm_jax.runs.record import read_record
from lstm_jax.runs.rows import read_row

pytestmark = pytest.mark.usefixtures("fast_compile")


def with_tiny(**fields):
    """An experiment on data of 40 training examples, whose size is known."""
    experiment = Experiment(task=Images(dataset="tiny"), **TINY | fields)
    return experiment.with_data_sizes({experiment.task.data_key: 40})


@pytest.fixture(scope="module")
def in_epochs(tmp_path_factory):
    return run_tiny(tmp_path_factory.mktemp("runs"), Experiment(total_epochs=2, **TINY))


def test_three_ways_to_give_the_same_steps_are_the_same_bits(in_epochs, tmp_path):
    others = ({"total_steps": 10}, {"total_examples": 80})
    outcomes = [in_epochs, *(run_tiny(tmp_path, Experiment(**b, **TINY)) for b in others)]
    results = [outcome.members[0] for outcome in outcomes]
    assert {result.steps for result in results} == {10}
    assert len({result.parameters_sha256 for result in results}) == 1
    assert len({result.member.digest for result in results}) == 3


def test_the_record_holds_what_was_given_and_the_steps_that_follow(in_epochs):
    record = json.loads((in_epochs.directory / "record.json").read_text())
    assert record["experiment"]["total_epochs"] == 2
    ((_, size),) = record["experiment"]["data_sizes"]
    assert size == 40
    assert [row["steps"] for row in record["members"].values()] == [10]
    study = read_record(in_epochs.directory).study
    assert study.experiment.num_steps == 10
    assert "epochs" in repr(study.experiment)
    assert "data_sizes" not in repr(study.experiment)
    assert "data_sizes" not in (in_epochs.directory / "results.csv").read_text()
    assert list(in_epochs.results["total_epochs"]) == [2.0]


def test_a_run_in_epochs_resumes_and_is_found_finished(in_epochs, tmp_path):
    experiment = Experiment(total_epochs=2, **TINY)
    with pytest.raises(lstm_jax.Interrupted):
        run_tiny(tmp_path, experiment, max_minutes=1e-9)
    outcome = run_tiny(tmp_path, experiment)
    assert outcome.members[0].parameters_sha256 == in_epochs.members[0].parameters_sha256
    assert outcome.record.sessions[1:]
    again = run_tiny(tmp_path, experiment)
    assert again.members == outcome.members


def test_a_run_in_epochs_refuses_data_that_have_grown(tmp_path, monkeypatch):
    monkeypatch.setattr("lstm_jax.api.arrays_name", lambda data: data.name)
    experiment = Experiment(total_epochs=2, **TINY)
    run_tiny(tmp_path, experiment)
    with pytest.raises(EnvironmentProblem, match=r"were \[40\] and are now \[48\]"):
        run_tiny(tmp_path, experiment, data=tiny_dataset(48))


def test_a_search_and_a_halving_in_epochs(tmp_path):
    experiment = Experiment(total_epochs=2, learning_rate=(1e-3, 1e-1), **TINY)
    study = Study(experiment, Search(method="random", trials=2, halving=2))
    outcome = run_tiny(tmp_path, study)
    assert [result.steps for result in outcome.members] == [10]
    assert list(outcome.record.rungs) == [5]
    assert outcome.record.study.search == study.search


def test_a_search_stops_at_its_budget_in_minutes_and_goes_on_with_a_larger_one(tmp_path):
    data, console = tiny_dataset(), quiet()
    experiment = Experiment(total_steps=4, learning_rate=(1e-3, 1e-1), **TINY)
    search = Search("random", trials=4, trials_at_once=2, halving=2, search_minutes=1e-9)
    stopped = run_tiny(
        tmp_path, Study(experiment, search), data=data, console=console, silent=False
    )
    assert (len(stopped.members), len(stopped.record.dropped)) == (1, 1)
    assert (stopped.record.batches_begun, stopped.record.num_members) == (1, 2)
    line, notes = "stopped by its budget of 1e-09 minutes after 2 of 4 settings", []
    summary(stopped.record, notes)
    assert [line in text for text in (console.file.getvalue(), *notes)] == [True, True]
    assert read_row(stopped.directory)[0].status == "finished by its budget"
    assert run_tiny(tmp_path, Study(experiment, search), data=data).record == stopped.record

    larger = replace(search, search_minutes=60)
    whole = run_tiny(tmp_path, Study(experiment, larger), data=data)
    assert (len(whole.members), len(whole.record.dropped)) == (2, 2)
    assert (whole.record.stopped_by_budget(), whole.record.num_members) == ("", 4)
    assert stopped.members[0] in whole.members
    assert stopped.record.dropped[0] in whole.record.dropped
    assert read_row(whole.directory)[0].status == "finished"
    assert whole.record.study.search == larger

    # It has begun all settings: killed after the first two, it trains the others.
    killed = replace(whole.record, study=stopped.record.study, results=stopped.record.results)
    assert [killed.batches_begun, killed.is_finished] == [2, False]


def test_shards_in_epochs_are_the_members_of_the_whole(tmp_path):
    experiment = with_tiny(total_epochs=(1, 2), seed=(0, 1))
    shards = [Study(experiment, shard=lstm_jax.config.shards.Shard(n, 2)) for n in (1, 2)]
    members = {member for shard in shards for member in shard.members()}
    assert members == set(experiment.members())
    outcome = run_tiny(tmp_path, Experiment(total_epochs=(1, 2), seed=(0, 1), **TINY), shard="1/2")
    assert len(outcome.members) == 2


def test_epochs_of_two_data_sets_are_different_steps():
    task = Images(dataset=("small", "large"))
    experiment = Experiment(task=task, total_epochs=(None, 2, 0.5), **TINY)
    datasets = dict(zip(experiment.data_tasks(), (tiny_dataset(40), tiny_dataset(80)), strict=True))
    _, study, _ = load_data("two", Study(experiment), False, Console(quiet=True), datasets)
    steps = {(m.task.dataset, m.total_epochs): m.num_steps for m in study.members()}
    assert steps == {
        ("small", None): 12_500, ("small", 2): 10, ("small", 0.5): 3,
        ("large", None): 12_500, ("large", 2): 20, ("large", 0.5): 5,
    }  # fmt: skip
    assert study.digest == Study(experiment).digest
    assert set(study.experiment.budgets()) == {(n, 8) for n in steps.values()}


@pytest.mark.parametrize(
    ("epochs", "size", "steps"), [(1, 40, 5), (1, 41, 6), (0.1, 30, 1), (0.5, 33, 2), (1e-6, 9, 1)]
)
def test_steps_are_the_smallest_number_that_reaches_the_budget(epochs, size, steps):
    experiment = Experiment(**TINY, total_epochs=epochs)
    assert experiment.with_data_sizes({experiment.task.data_key: size}).num_steps == steps


def test_the_size_of_the_data_is_no_part_of_the_digest():
    bare = Experiment(total_epochs=2, task=Images(dataset="tiny"), **TINY)
    known = with_tiny(total_epochs=2)
    assert known.digest == bare.digest
    assert known != bare
    assert "data_sizes" not in bare.to_values()
    again = Experiment.from_values(json.loads(json.dumps(known.to_values())))
    assert (again, again.num_steps) == (known, 10)
    assert with_tiny(total_steps=3) == replace(bare, total_epochs=None, total_steps=3)
    for member in with_tiny(total_epochs=(1, 2), seed=(0, 1)).members():
        assert member.num_steps == 5 * member.total_epochs


def test_a_budget_at_its_default_leaves_the_digest():
    assert Experiment(total_steps=None, total_epochs=None).digest == "44136fa355b3"
    digests = {
        Experiment(**fields).digest
        for fields in ({}, {"total_steps": 782}, {"total_epochs": 1}, {"total_examples": 99_999})
    }
    assert len(digests) == 4


def test_steps_before_the_data_are_loaded_are_an_internal_error():
    experiment = Experiment(total_epochs=3, schedule=Constant(warmup_steps=10**6))
    assert experiment.needs_data_sizes
    with pytest.raises(RuntimeError, match="num_steps of 3 epochs: the size of the data with"):
        _ = experiment.num_steps


def test_fields_that_do_not_fit_the_steps_are_refused_once_these_are_known():
    key = Images(dataset="tiny").data_key
    experiment = Experiment(
        task=Images(dataset="tiny"), total_epochs=2, schedule=Constant(warmup_steps=10), **TINY
    )
    with pytest.raises(UserError, match="10 is not below the 10 steps that total_epochs 2 allows"):
        experiment.with_data_sizes({key: 40})
    rates = replace(experiment, schedule="constant", total_epochs=1e-3, learning_rate=(1e-3, 1e-2))
    with pytest.raises(UserError, match="1 rungs do not fit into 1 steps"):
        Study(rates, Search(halving=2)).with_data_sizes({key: 40})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"total_steps": 10, "total_epochs": 1}, "total_steps and total_epochs: give one of"),
        ({"total_examples": 10, "total_steps": 10}, "total_examples and total_steps: give one of"),
        ({"total_epochs": (None, 1), "total_steps": 10}, "total_steps and total_epochs: give one"),
        ({"task": Adding(), "total_epochs": 1}, "total_epochs: the task adding makes new examples"),
        ({"total_epochs": 0}, "total_epochs: 0 is not between 1e-06 and 1e"),
        ({"total_steps": 1.5}, "total_steps: expected a whole number"),
        ({"total_steps": 0}, "total_steps: 0 is not between 1 and"),
        (
            {"total_steps": 5, "schedule": Constant(warmup_steps=5)},
            "5 is not below the 5 steps that total_steps 5",
        ),
        ({"data_sizes": 3}, "data_sizes: expected pairs"),
        ({"data_sizes": (("x", 0),)}, "data_sizes: expected pairs"),
    ],
)
def test_a_budget_that_cannot_be_is_one_line(fields, says):
    with pytest.raises(UserError, match=re.escape(says)) as caught:
        Experiment(**fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "axes"),
    [
        ({"total_epochs": (1, 2)}, {}),
        ({"total_steps": (10, 20)}, {}),
        ({"total_epochs": 1}, {"task.dataset": ("small", "large")}),
    ],
)
def test_a_halving_compares_after_the_same_steps_alone(fields, axes):
    experiment = Experiment(learning_rate=(1e-3, 1e-2), **fields).replace(axes)
    lines = "give one batch_size and one total_examples, total_steps|not ranked; give it one value"
    with pytest.raises(UserError, match=lines):
        Study(experiment, Search(halving=2))


def test_a_budget_on_the_command_line_replaces_the_one_of_the_file():
    def experiment(*argv):
        return parse(["run", "digits", *argv]).study.experiment

    default = experiment()
    assert default.total_examples == 30_000
    for option, value in (("total_steps", 7), ("total_epochs", 1.5), ("total_examples", 9)):
        changed = experiment(f"--{option.replace('_', '-')}", str(value))
        assert changed == replace(default, **{"total_examples": 100_000, option: value})
    with pytest.raises(UserError, match="total_steps and total_epochs: give one of"):
        experiment("--total-steps", "7", "--total-epochs", "1")


def test_plan_says_the_steps_of_epochs(tmp_path, capsys):
    size = Images(dataset="digits").load(say_nothing).num_examples
    main(["plan", "digits", "--total-epochs", "2", "--runs-dir", str(tmp_path)])
    assert f"{-(-2 * size // 128)} steps of 128 examples" in capsys.readouterr().out
