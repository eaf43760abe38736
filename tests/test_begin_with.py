"""`--begin-with RUN`: the parameters of finished members start those of a new run, on record."""

import shutil

import pytest
from trained_runs import TINY, quiet, run_tiny, tiny_dataset, tiny_split

from lstm_jax import Experiment, Images, make_dataset
from lstm_jax.config.search import Study
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.runs.begin_with import MODEL, find_origins
from lstm_jax.runs.json_files import check
from lstm_jax.runs.record import ORIGIN
from lstm_jax.runs.reproduce import reproduce

pytestmark = pytest.mark.usefixtures("fast_compile")

MEMBERS = Experiment(**TINY, task=Images(dataset="tiny"), seed=(0, 1), total_steps=2)


@pytest.fixture(scope="module")
def source(fast_compile, tmp_path_factory):
    """Returns a finished run of two seeds."""
    return run_tiny(tmp_path_factory.mktemp("runs"), MEMBERS, name="tiny")


def begun(source, experiment=MEMBERS, digits=6, **options):
    runs, name = source.directory.parent.parent, f"tiny/{source.directory.name[:digits]}"
    return run_tiny(runs, experiment, name="tiny", begin_with=name, **options)


def parameters(outcome):
    return {result.member.seed: result.parameters_sha256 for result in outcome.members}


def test_each_seed_starts_from_its_own_parameters_and_one_member_starts_all(source):
    still = MEMBERS.replace({"total_steps": 1, "learning_rate": 1e-30})  # nothing moves
    outcome = begun(source, still)
    assert parameters(outcome) == parameters(source)
    origins = outcome.record.begin_with
    for result in outcome.members:
        origin = origins[result.member.digest]
        first = next(r for r in source.members if r.member.seed == result.member.seed)
        assert origin == {
            "run": f"tiny/{source.directory.name}",
            "member": first.member.digest,
            "identity": first.identity,
            "parameters_sha256": first.parameters_sha256,
        }
        check(origin, ORIGIN)
        identity = outcome.record.identities[result.identity]
        assert identity["begin_with"] == first.parameters_sha256
    with pytest.raises(ValueError, match="run"):
        check(origin | {"run": "../elsewhere/0123456789ab"}, ORIGIN)
    with pytest.raises(UserError, match="has seeds 0, 1 of this model, and not 7"):
        begun(source, still.replace({"seed": 7}))
    alone = run_tiny(source.directory.parent.parent, MEMBERS.replace({"seed": 1}), name="alone")
    study = still.replace({"seed": (5, 6), "begin_with": f"alone/{alone.directory.name}"})
    datasets = {study.task.data_key: tiny_dataset()}
    found = find_origins(study.members(), source.directory.parent.parent, datasets, print)
    assert {each["parameters_sha256"] for each in found.values()} == {parameters(source)[1]}


def test_a_begun_run_is_never_mixed_with_one_from_scratch_and_reproduces(source, monkeypatch):
    more = MEMBERS.replace({"total_steps": 3})
    stopped = begun(source, more, checkpoint_every=1, callback=lambda _: "stop")
    assert not stopped.members
    outcome = begun(source, more, checkpoint_every=1)  # goes on from its own state
    assert outcome.directory.name != more.digest
    scratch = {member.digest for member in more.members()}
    assert not scratch & {result.member.digest for result in outcome.members}
    assert {result.reused_from for result in outcome.members} == {None}
    task = type(more.task)
    monkeypatch.setattr(task, "load", lambda *_: tiny_dataset())
    console = quiet()
    reproduce(outcome.directory, console)
    said = console.file.getvalue()
    assert "reproduced bit for bit: 2 members, up to 3 steps" in said
    assert "identity" not in said
    away = source.directory.with_name("away")
    shutil.move(source.directory, away)
    try:
        with pytest.raises(EnvironmentProblem, match=f"tiny/{source.directory.name} is gone"):
            reproduce(outcome.directory, quiet())
        again = begun(source, more, digits=12)
        assert parameters(again) == parameters(outcome)  # it is finished, and only read
    finally:
        shutil.move(away, source.directory)
    copy = source.directory.with_name("kept")
    shutil.move(source.directory / "checkpoints", copy)
    try:
        with pytest.raises(EnvironmentProblem, match="does not hold the parameters of member"):
            reproduce(outcome.directory, quiet())
    finally:
        shutil.move(copy, source.directory / "checkpoints")


WRONG = {
    "its hidden_size is 3, not 4": {"hidden_size": 4},
    "its cell is lstm, not gru": {"cell": "gru"},
}


@pytest.mark.parametrize("message", WRONG)
def test_a_model_that_does_not_fit_is_one_line_before_a_directory_is_made(source, message):
    before = sorted(source.directory.parent.iterdir())
    with pytest.raises(UserError, match=f"can start this model: {message}"):
        begun(source, MEMBERS.replace(WRONG[message]))
    assert sorted(source.directory.parent.iterdir()) == before


def test_other_classes_and_other_runs_are_refused(source):
    splits = (tiny_split(40, 3), tiny_split(16, 1), tiny_split(16, 2))
    other = make_dataset("tiny", *splits, num_classes=3, classes=["a", "b", "c"])
    with pytest.raises(UserError, match="its data have other classes"):
        begun(source, data=other)
    runs, digest = source.directory.parent.parent, source.directory.name
    for name, message in {
        "tiny": "names no run with its digest",
        f"elsewhere/tiny/{digest}": "does not lie in",
        "tiny/000000": "names no run",
    }.items():
        with pytest.raises(UserError, match=message):
            run_tiny(runs, MEMBERS, begin_with=name)


def test_a_longer_run_from_scratch_names_the_option(source, capsys):
    longer = MEMBERS.replace({"total_steps": 3, "seed": 0, "learning_rate": 1e-3})
    run_tiny(source.directory.parent.parent, longer, name="tiny", silent=False)
    line = next(o for o in capsys.readouterr().out.splitlines() if "is not continued" in o)
    assert line.endswith(f"--begin-with tiny/{source.directory.name}")


def test_experiments_without_it_keep_their_digest():
    assert Experiment().digest == "44136fa355b3"
    assert "begin_with" not in Study(MEMBERS).experiment.overrides
    assert set(MODEL) <= Experiment().values.keys()
