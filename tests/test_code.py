"""The code of a cell or task is a part of the identity under which a member is trained."""

import shutil

import jax
import pytest

import lstm_jax
from lstm_jax import Experiment, Images, cells
from lstm_jax.cli.main import main
from lstm_jax.data.dataset import say_nothing
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.plugins import load_attribute
from lstm_jax.runs import code
from lstm_jax.runs.record import read_run
from lstm_jax.train.placement import model_spec_of

pytestmark = pytest.mark.usefixtures("fast_compile")

CELLS = '''"""Two cells."""
import jax.numpy as jnp
from lstm_jax.cells.cell import Cell


def pointwise(z_BG, state, extra):
    # The formula.
    return (jnp.tanh(z_BG),)


def other_pointwise(z_BG, state, extra):
    return (jnp.sin(z_BG),)


first = Cell(name="first", columns=("n",), pointwise=pointwise)
other = Cell(name="other", columns=("n",), pointwise=other_pointwise)
'''
TASK = '''"""The digits, with a loss of its own."""
from dataclasses import dataclass
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.task import ItemScores


@dataclass(frozen=True)
class Own(Images):
    name = "own"

    def score_items(self, outputs, batch, *, training):
        scored = super().score_items(outputs, batch, training=training)
        return ItemScores(scored.loss * 1.0, scored.metric, scored.weight)
'''
SMALL = {
    "hidden_size": 4, "total_steps": 4, "batch_size": 8, "microbatches": 1, "log_every": 2,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(fast_compile, tmp_path_factory):
    """Returns a folder with `cells.py`, and a run of its first cell."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write("cells.py", CELLS)
        lstm_jax.run(grid("cells.py:first"), runs_dir="runs", silent=True)
    return folder


@pytest.fixture
def own_run(trained, folder):
    """Returns the directory of that run, in a folder of its own where the test is."""
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    (directory,) = folder.glob("runs/*/*/record.json")
    return directory.parent


def write(name, text):
    """Writes a file of the user's, as an editor does between two starts of the program."""
    with open(name, "w") as file:
        file.write(text)


def run(experiment, capsys):
    outcome = lstm_jax.run(experiment, runs_dir="runs")
    return outcome, capsys.readouterr().out


def command(capsys, *argv):
    """Returns the exit code of a command, and what it printed on both streams."""
    exit_code = 0
    try:
        main([*map(str, argv)])
    except SystemExit as left:
        exit_code = left.code
    printed = capsys.readouterr()
    return exit_code, printed.out + printed.err


def grid(*cells, **fields):
    return Experiment(task=Images(dataset="digits"), cell=cells, **{**SMALL, **fields})


@pytest.mark.slow
def test_an_edited_formula_is_trained_anew_and_the_old_result_is_kept(folder, capsys):
    write("cells.py", CELLS)
    experiment = grid("gru", "cells.py:first")
    before, _ = run(experiment, capsys)
    old = {r.member.cell: r.parameters_sha256 for r in before.members}
    write("cells.py", CELLS.replace("jnp.tanh(z_BG)", "0.5 * z_BG"))
    after, printed = run(experiment, capsys)
    assert "cells.py changed since: 1 member is trained anew" in printed
    new = {r.member.cell: r.parameters_sha256 for r in after.members}
    assert new["gru"] == old["gru"]
    assert new["cells.py:first"] != old["cells.py:first"]
    (kept,) = after.directory.parent.glob("*-old-1")
    assert {r.parameters_sha256 for r in read_run(kept).results.values()} == {*old.values()}
    assert "already finished" in run(experiment, capsys)[1]


@pytest.mark.parametrize(
    "text",
    [
        CELLS.replace("# The formula.", "# Another comment."),
        CELLS.replace("jnp.sin", "jnp.cos"),  # of a cell that the run does not use
        CELLS.replace("z_BG, state", "z, state").replace("(jnp.tanh(z_BG),)", "(jnp.tanh(z),)"),
    ],
    ids=["comment", "other cell", "name"],
)
def test_an_edit_that_changes_no_number_trains_nothing(own_run, capsys, text):
    assert text != CELLS
    write("cells.py", text)
    outcome, printed = run(grid("cells.py:first"), capsys)
    assert "already finished" in printed
    assert [path.name for path in outcome.directory.parent.iterdir()] == [outcome.directory.name]
    outcome.load()


def own_task():
    """Returns an experiment with the task that the file holds now, as a new process has it."""
    jax.clear_caches()
    task = load_attribute("task", "own.py:Own")
    return Experiment(task=task(dataset="digits"), **SMALL)


@pytest.mark.slow
def test_an_edited_loss_is_noticed(folder, capsys):
    write("own.py", TASK)
    experiment = own_task()
    run(experiment, capsys)
    write("own.py", TASK.replace("* 1.0", "* 2.0"))
    changed = own_task()
    assert changed.digest == experiment.digest
    _, printed = run(changed, capsys)
    assert "own.py changed since: 1 member is trained anew" in printed


def test_what_was_begun_under_other_code_is_not_continued(folder, capsys):
    write("cells.py", CELLS)
    experiment = grid("cells.py:first", total_steps=8)

    def stop(segment):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lstm_jax.run(experiment, callback=stop, checkpoint_every=4, silent=True)
    write("cells.py", CELLS.replace("jnp.tanh(z_BG)", "0.5 * z_BG"))
    resumed, printed = run(experiment, capsys)
    assert "trained anew" in printed
    assert "resuming" not in printed
    shutil.rmtree("runs")
    whole, _ = run(experiment, capsys)
    (a,), (b,) = resumed.members, whole.members
    assert a.parameters_sha256 == b.parameters_sha256


def test_a_moved_folder_is_the_same_code(trained, tmp_path, monkeypatch, capsys):
    shutil.copytree(trained, tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    assert "already finished" in run(grid("cells.py:first"), capsys)[1]


def test_what_reads_parameters_refuses_other_code_unless_it_is_told(own_run, capsys, monkeypatch):
    monkeypatch.setattr("lstm_jax.report.page.INSIDE", ())  # test_report.py has these figures
    monkeypatch.setattr("lstm_jax.report.page.gradient_figures", lambda *_: ())
    write("cells.py", CELLS.replace("jnp.tanh(z_BG)", "0.5 * z_BG"))
    with pytest.raises(EnvironmentProblem, match=r"cells\.py changed since .*--other-code"):
        lstm_jax.load(own_run)
    assert lstm_jax.load(own_run, other_code=True).member.cell == "cells.py:first"
    assert "another model reads" in capsys.readouterr().err
    name = f"{own_run.parent.name}/{own_run.name}"
    with pytest.raises(EnvironmentProblem, match=f"begin_with: cells.py changed since {name} was"):
        run(grid("cells.py:first", begin_with=name), capsys)
    for name in ("report", "export"):
        exit_code, printed = command(capsys, name, own_run)
        assert exit_code == 3, printed
        assert "cells.py changed since" in printed
    exit_code, printed = command(capsys, "report", own_run, "--other-code")
    assert exit_code == 0, printed
    assert "cells.py changed since" in (own_run / "report" / "index.html").read_text()
    exit_code, printed = command(capsys, "reproduce", own_run)
    assert exit_code == 5
    assert "the code of hidden size 4, learning rate 0.001, seed 0 (cells.py)" in printed


def test_runs_of_two_codes_are_not_compared_unless_it_is_told(own_run, capsys):
    write("cells.py", CELLS.replace("jnp.tanh(z_BG)", "0.5 * z_BG"))
    after, _ = run(grid("cells.py:first"), capsys)
    (kept,) = after.directory.parent.glob("*-old-1")
    exit_code, printed = command(capsys, "compare", kept, after.directory)
    assert exit_code == 3
    assert "trained by different code" in printed
    exit_code, printed = command(capsys, "compare", kept, after.directory, "--other-code")
    assert exit_code == 0
    assert "trained by different code" in printed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (CELLS.replace("jnp.tanh(z_BG)", "jnp.tanh(z_BG) @ z_BG"), r"cells\.py, line 8: TypeError"),
        (CELLS.replace("jnp.tanh(z_BG)", "undefined(z_BG)"), r"line 8: NameError: .*undefined"),
        (CELLS.replace("(jnp.tanh(z_BG),)", "z_BG"), "first: ValueError: pointwise of the cell"),
        (CELLS.replace("(z_BG, state, extra)", "(z_BG)"), "first: TypeError: .* 1 positional"),
    ],
)
def test_a_mistake_in_a_cell_is_one_line_before_a_directory_is_made(folder, text, says):
    write("cells.py", text)
    with pytest.raises(UserError, match=says):
        lstm_jax.run(grid("cells.py:first"), silent=True)
    assert not (folder / "runs").exists()


def test_a_program_depends_on_static_fields_and_on_no_traced_one():
    task = Images(dataset="digits")
    dataset = task.load(say_nothing)
    member = Experiment(task=task, **SMALL)

    def digest(member):
        spec = model_spec_of(member, dataset)
        return code.program_digest(member, spec, code.example_shapes(dataset))

    same = [{"seed": 3}, {"learning_rate": 0.1}]
    other = [{"cell": "gru"}, {"layers": 2}, {"task.shift": 1}, {"optimizer": "sgd"}]
    assert {digest(member.replace(values)) for values in same} == {digest(member)}
    digests = [digest(member), *(digest(member.replace(values)) for values in other)]
    assert len({*digests}) == len(digests)
    with jax.default_matmul_precision("float32"):
        assert digest(member) != digests[0]


def test_the_program_of_a_checkpoint_is_on_record_before_a_kill(folder):
    """Without it, a resumed run could not tell an edited comment from an edited formula."""

    def look(segment):
        (path,) = folder.glob("runs/*/*")
        seen.append({i["program"] for i in read_run(path).identities.values()})

    seen = []
    lstm_jax.run(grid("gru"), runs_dir="runs", callback=look, silent=True)
    assert len(seen[0]) == 1


def test_a_file_that_a_cell_reads_by_itself_is_noticed(folder, capsys):
    text = CELLS.replace(
        "import jax.numpy as jnp",
        "import jax.numpy as jnp\nfrom pathlib import Path\nK = float(Path('k').read_text())",
    )
    write("cells.py", text.replace("jnp.tanh(z_BG)", "jnp.tanh(K * z_BG)"))
    write("k", "1.0")
    before = run(grid("cells.py:first"), capsys)[0].members[0].parameters_sha256
    write("k", "2.0")
    cells._cells.clear()  # as in a new process
    jax.clear_caches()
    after, printed = run(grid("cells.py:first"), capsys)
    assert "1 member is trained anew" in printed
    assert after.members[0].parameters_sha256 != before
