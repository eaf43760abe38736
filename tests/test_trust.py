"""A run directory may be somebody else's: what it names is run only where the user trusts it."""

import copy
import json
import pickle
import shutil
from pathlib import Path

import pytest

import lstm_jax
from lstm_jax import Experiment
from lstm_jax.cli.main import main
from lstm_jax.config.search import Study
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.runs.json_files import with_checksum
from lstm_jax.runs.record import Record
from lstm_jax.runs.trust import is_own
from lstm_jax.stand_ins import StandIn, describe, reading_record
from lstm_jax.tasks import TASKS

pytestmark = pytest.mark.usefixtures("fast_compile")

CODE = '''"""A cell and a task. The file says when it is run."""
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
from lstm_jax.cells.cell import Cell
from lstm_jax.fields import axis
from lstm_jax.tasks.images import Images


def pointwise(z_BG, state, extra):
    return (jnp.tanh(z_BG),)


cell = Cell(name="own", columns=("n",), pointwise=pointwise)


@dataclass(frozen=True)
class Own(Images):
    name = "own"
    solved_at = 0.9
    dataset: str = axis("digits", "the set", data=True)
    shade: float = axis(1.0, "of nothing", low=0.0, traced=True)

    def trivial_score(self, dataset):
        return super().trivial_score(dataset)


Path("ran").touch()
'''


def command(capsys, *argv):
    """Returns the exit code of a command, what it printed, and the lines of stderr."""
    exit_code = 0
    try:
        main([*map(str, argv)])
    except SystemExit as left:
        exit_code = left.code
    printed = capsys.readouterr()
    return exit_code, printed.out, printed.err.splitlines()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two members, one of a shipped cell, whose task and other cell lie in `mine.py`."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("mine.py").write_text(CODE)
        experiment = Experiment(
            task=TASKS.find("mine.py:Own")(shade=0.5), cell=("gru", "mine.py:cell"), hidden_size=4,
            total_steps=2, batch_size=8, microbatches=1,
        )  # fmt: skip
        return folder / lstm_jax.run(experiment, runs_dir="runs", name="own").directory


@pytest.fixture
def foreign(trained, tmp_path, monkeypatch):
    """A function that returns a copy of the run whose task lies in another file.

    The file is made, and `ran` lies in the working folder once it is run.
    """
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def make(file, digest="0123456789ab"):
        directory = Path("runs") / "own" / digest
        shutil.copytree(trained, directory)
        file = Path(file.replace("RUN", str(directory)))
        file.write_text(CODE)
        path = directory / "record.json"
        record = json.loads(path.read_text())
        spec = f"{file}:Own"
        record["experiment"]["task"] = spec
        record["components"] = {spec: record["components"].pop("mine.py:Own")}
        path.write_text(json.dumps(with_checksum(record)))
        return directory

    return make


FILES = ["../elsewhere.py", "RUN/payload.py", "runs/payload.py", "runs/own/payload.py"]


@pytest.mark.parametrize("argv", [["list"], ["clean", "--yes"], ["compare", "A", "B"]])
def test_looking_at_runs_executes_nothing_that_they_name(foreign, capsys, argv):
    paths = {"A": foreign("a.py"), "B": foreign("RUN/b.py", digest="ba9876543210")}
    exit_code, out, err = command(capsys, *(paths.get(word, word) for word in argv))
    assert (exit_code, err) == (0, [])
    if argv == ["list"]:
        assert "a.py:Own" in out
        assert "2/2" in out
        assert "unreadable" not in out
    outcome = lstm_jax.read(paths["A"])
    assert outcome.members[0].member.task.spec_string() == "a.py:Own"
    assert outcome.members[0].test_metric >= 0
    assert len(outcome.results["seed"]) == len(outcome.metrics["loss"]) == 2
    assert not Path("ran").exists()


def test_a_run_beside_foreign_runs_executes_nothing_that_they_name(foreign, capsys):
    foreign("RUN/payload.py")
    exit_code, _, err = command(
        *(capsys, "run", "--hidden-size", "4", "--total-steps", "1", "--task.dataset", "digits"),
        *("--no-report", "--batch-size", "8", "--microbatches", "1", "--runs-dir", "runs"),
    )
    assert (exit_code, err) == (0, [])
    assert not Path("ran").exists()


@pytest.mark.parametrize("file", FILES)
def test_code_that_is_not_the_users_own_is_run_only_after_trust_code(foreign, capsys, file):
    directory = foreign(file)
    commands = {"report": (), "export": (), "reproduce": (), "predict": ("picture.png",)}
    for name, words in commands.items():
        exit_code, _, err = command(capsys, name, directory, *words)
        assert (exit_code, len(err)) == (3, 1)
        assert Path(file.replace("RUN", str(directory))).name in err[0]
        assert "--trust-code" in err[0]
    with pytest.raises(EnvironmentProblem, match="trust_code=True"):
        lstm_jax.load(directory)
    with pytest.raises(EnvironmentProblem, match="trust_code=True"):
        lstm_jax.read(directory).report()
    assert not Path("ran").exists()
    Path("empty").mkdir()
    exit_code, _, err = command(capsys, "predict", directory, "empty", "--trust-code")
    assert Path("ran").exists()
    assert err[0].startswith("note: the code in ")
    assert exit_code == 2  # the folder has no pictures


@pytest.mark.parametrize(
    ("here", "file", "run", "expected"),
    [
        ("", "mine.py", "runs/a/1", True),
        ("", "code/mine.py", "runs/a/1", True),
        ("", "runs/mine.py", "runs/a/1", False),
        ("", "sent/payload.py", "sent/runs/a/1", False),  # a folder that somebody sent
        ("", "sent/payload.py", "sent/deep/er/runs/a/1", False),
        ("", "mine.py", "sent/runs/a/1", True),
        ("runs", "runs/payload.py", "runs/a/1", False),
        ("runs/a", "runs/a/payload.py", "runs/a/1", False),
        ("runs/a/1", "runs/a/1/payload.py", "runs/a/1", False),
        ("work", "mine.py", "work/runs/a/1", False),  # outside of the working folder
        ("work", "work/mine.py", "elsewhere/runs/a/1", True),
    ],
)
def test_a_folder_with_code_beside_its_runs_is_foreign_as_a_whole(
    tmp_path, monkeypatch, here, file, run, expected
):
    for folder in (tmp_path / here, (tmp_path / file).parent, tmp_path / run):
        folder.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path / here)
    assert is_own(tmp_path / file, tmp_path / run) == expected


def test_a_cell_that_is_not_the_users_own_is_run_only_after_trust_code(foreign, capsys):
    directory = foreign("RUN/payload.py")
    experiment = Experiment(cell=("gru", f"{directory}/payload.py:cell"), total_steps=2)
    Record("own", Study(experiment)).write(directory)
    assert command(capsys, "list")[0] == 0
    exit_code, _, err = command(capsys, "reproduce", directory)
    assert (exit_code, len(err)) == (3, 1)
    assert "payload.py" in err[0]
    assert not Path("ran").exists()


def test_a_member_cannot_bring_a_cell_that_the_experiment_does_not_name(foreign, capsys):
    directory = foreign("a.py")
    experiment = lstm_jax.read(directory).record.study.experiment
    record = json.loads((directory / "record.json").read_text())
    ((_, row), *_) = record["members"].items()
    member = experiment.replace_unchecked({"cell": "RUN/payload.py:cell"})
    record["members"] = {member.digest: row | {"member": {"cell": "RUN/payload.py:cell"}}}
    (directory / "record.json").write_text(json.dumps(with_checksum(record)))
    exit_code, _, err = command(capsys, "report", directory)
    assert (exit_code, len(err)) == (3, 1)
    assert "is damaged" in err[0]
    assert not Path("ran").exists()


def test_code_in_the_working_folder_is_the_users_own(foreign, capsys):
    directory = foreign("c.py")
    Path("empty").mkdir()
    _, _, err = command(capsys, "predict", directory, "empty")
    assert Path("ran").exists()
    assert not any("note: the code" in line for line in err)


def test_a_link_in_the_working_folder_that_leads_out_of_it_is_not_the_users_own(foreign, capsys):
    directory = foreign("../elsewhere.py")
    Path("inside.py").symlink_to("../elsewhere.py")
    path = directory / "record.json"
    path.write_text(path.read_text().replace("../elsewhere.py", "inside.py"))
    record = json.loads(path.read_text())
    path.write_text(json.dumps(with_checksum(record)))
    assert command(capsys, "reproduce", directory)[0] == 3
    assert not Path("ran").exists()


def test_the_stand_in_of_a_task_has_its_digests_and_runs_nothing(foreign):
    directory = foreign("b.py")
    record = lstm_jax.read(directory).record
    stand_in, own = record.study.experiment.task, TASKS.loaded("mine.py:Own")
    assert isinstance(stand_in, StandIn)
    assert describe(type(stand_in)) == describe(own)
    assert stand_in.data_key == own(shade=0.5).data_key
    experiment = record.study.experiment
    assert copy.deepcopy(experiment) == pickle.loads(pickle.dumps(experiment)) == experiment
    assert lstm_jax.read(directory).record.study == record.study
    with pytest.raises(EnvironmentProblem, match="trust_code=True"):
        lstm_jax.run(experiment)
    assert not Path("ran").exists()
    description = describe(own)
    for name in ("load", "data_key", "a b", "__class__"):
        crafted = description | {"fields": {name: description["fields"]["shade"]}}
        with reading_record({"x.py:T": crafted}, {}), pytest.raises(UserError, match="description"):
            TASKS.find("x.py:T")
