"""From Python: one call trains, goes on, answers; own arrays; other threads; tables of columns."""

import json
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from trained_runs import TINY, quiet, run_tiny, tiny_dataset, tiny_split

import lstm_jax
from lstm_jax import Experiment, Study, UserError, api
from lstm_jax.errors import DivergedError, EnvironmentProblem
from lstm_jax.report.runs_page import RunsPage
from lstm_jax.runs import devices
from lstm_jax.runs.array_columns import Columns

pytestmark = pytest.mark.usefixtures("fast_compile")

ROOT = Path(__file__).parent.parent
GRID = Experiment(seed=(0, 1), total_examples=96, **TINY)


def train(runs, experiment=GRID, **options):
    return run_tiny(runs, experiment, **options)


@pytest.fixture(scope="module")
def seen():
    """What a callback heard of the run below."""
    return []


@pytest.fixture(scope="module")
def outcome(tmp_path_factory, seen):
    return train(tmp_path_factory.mktemp("runs"), callback=seen.append)


def test_a_run_returns_its_members_metrics_and_results(outcome):
    assert [result.member.seed for result in outcome.members] == [0, 1]
    digests = [result.member.digest for result in outcome.members]
    assert sorted(set(outcome.metrics["member"])) == sorted(digests)
    assert outcome.metrics["step"].tolist() == [0, 0, 4, 4, 8, 8]
    assert outcome.metrics["loss"].dtype == np.float64
    assert outcome.results["member"].tolist() == digests  # joins the metrics
    metric = [result.validation_metric for result in outcome.members]
    assert outcome.results["validation_accuracy"].tolist() == metric


@pytest.mark.parametrize(
    ("page", "file", "arguments"),
    [("commands.md", "from_python.py", set()), ("data.md", "arrays.py", {"data", "callback"})],
)
def test_what_the_pages_show_of_python_is_there(outcome, monkeypatch, page, file, arguments):
    text = (ROOT / "docs" / page).read_text()
    block = text.split(f"```python\n# {file}\n")[1].split("```")[0]
    calls, names = [], {}
    monkeypatch.setattr(lstm_jax, "run", lambda *args, **kws: calls.append(kws) or outcome)
    monkeypatch.setattr(lstm_jax.Images, "load", lambda self, say: tiny_dataset())
    exec(block, names)
    names["train"]()
    assert [set(kws) for kws in calls] == [arguments]


def test_reprs_are_short(outcome, seen):
    things = [outcome, outcome.members[0], outcome.metrics, outcome.load(), seen[0], tiny_dataset()]
    assert max(len(repr(thing)) for thing in things) < 250
    assert "2 of 2 members" in repr(outcome)


def test_the_callback_hears_of_each_segment_what_is_logged_of_it(outcome, seen):
    assert [(segment.start, segment.stop) for segment in seen] == [(0, 5), (5, 10), (10, 12)]
    logged = outcome.metrics["loss"][outcome.metrics["step"] == 8]
    assert seen[1].metrics["loss"][:, 8 - 5].tolist() == logged.tolist()
    assert seen[2].metrics["accuracy"].shape == (2, 2)  # of members and steps


def test_the_same_call_again_finds_it_finished_and_read_finds_it_too(outcome):
    runs = outcome.directory.parent.parent
    before = outcome.record.sessions
    assert train(runs).record.sessions == before
    for name in ("latest", "unnamed", f"unnamed/{outcome.directory.name[:4]}"):
        assert lstm_jax.read(name, runs_dir=runs).record.sessions == before
    first = lstm_jax.load("latest", outcome.members[1].member.digest[:6], runs_dir=runs)
    assert len(first.predict(tiny_split(4)["images"])) == 4


def test_the_page_of_all_runs_is_written_while_it_trains_and_a_note_is_kept(tmp_path, monkeypatch):
    pages, runs = [], tmp_path / "runs"

    def look(segment):
        pages.append((runs / "index.html").read_text())

    outcome = train(runs, callback=look, note="first")
    assert 'class="training"' in pages[0]
    assert "accuracy 0." in pages[0]
    page = (runs / "index.html").read_text()
    assert "2/2" in page
    assert "first" in page
    assert 'class="training"' not in page
    digest = outcome.record.study.digest
    again = train(runs, note="second")
    assert (again.record.note, again.record.study.digest) == ("second", digest)
    assert "second" in (runs / "index.html").read_text()
    assert train(runs).record.note == "second"
    said = []
    page = RunsPage(said.append)
    (leftover := runs / f".{'0' * 16}.tmp").write_text("")
    page.begin(outcome.record, outcome.directory)
    monkeypatch.setattr("lstm_jax.report.runs_page.write_text", lambda *_, **__: 1 / 0)
    assert not leftover.exists()
    page.close()
    page.close()
    assert len(said) == 1
    assert "the page of all runs is not written" in said[0]
    (runs / "index.html").unlink()
    train(runs, index=False)
    assert not (runs / "index.html").exists()


def test_what_a_callback_raises_ends_the_run_and_the_same_call_goes_on(outcome, tmp_path):
    def stop(segment):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        train(tmp_path, callback=stop)
    steps = []
    again = train(tmp_path, callback=lambda segment: steps.append(segment.start))
    assert steps == [5, 10]
    sha = [result.parameters_sha256 for result in outcome.members]
    assert [result.parameters_sha256 for result in again.members] == sha


def test_a_run_trains_in_another_thread_where_no_signal_can_be_listened_to(outcome, tmp_path):
    outcomes = [outcome]
    thread = threading.Thread(target=lambda: outcomes.append(train(tmp_path)))
    thread.start()
    thread.join()
    first, second = ([r.parameters_sha256 for r in each.members] for each in outcomes)
    assert first == second


def test_other_arrays_are_another_experiment(outcome):
    (task,) = outcome.record.study.experiment.data_tasks().values()
    assert task.dataset == f"tiny@{tiny_dataset().fingerprint[:12]}"
    study, datasets = api._with_data(outcome.record.study, tiny_dataset(seed=1))
    assert study.digest != outcome.record.study.digest
    assert datasets.keys() == study.experiment.data_tasks().keys()


def test_without_its_arrays_such_a_run_says_in_a_line_what_is_missing(outcome):
    with pytest.raises(EnvironmentProblem, match="give the same arrays again"):
        outcome.members[0].member.task.load(print)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": np.zeros(16)}, r"labels are float64\[16\], not int32\[16\] in its test split"),
        ({"images": np.zeros((16, 5, 6))}, "images are float64"),
        ({"labels": np.full(16, 3, np.int32)}, "labels from 3 to 3, not 0 to 2"),
    ],
)
def test_arrays_that_are_no_images_are_refused(tmp_path, change, says):
    data = lstm_jax.make_dataset(
        "odd", tiny_split(40), tiny_split(16), tiny_split(16) | change, num_classes=3
    )
    with pytest.raises(UserError, match=says):
        train(tmp_path, data=data)
    assert not list(tmp_path.iterdir())


def test_arrays_without_names_are_refused(tmp_path):
    with pytest.raises(UserError, match="odd: train is not a dict of arrays by name"):
        lstm_jax.make_dataset("odd", np.zeros((9, 5, 6), np.uint8), tiny_split(16), tiny_split(16))
    with pytest.raises(UserError, match="expected a data set from `make_dataset`, not dict"):
        train(tmp_path, data=tiny_split(16))


@pytest.mark.parametrize(
    ("experiment", "options", "says"),
    [
        (GRID, {"data": lstm_jax.make_dataset("x", {}, {}, {})}, "say num_classes"),
        (GRID, {"data": tiny_dataset()._replace(name="../x")}, "its name is"),
        (Experiment(task=lstm_jax.Images(dataset=("mnist", "digits"))), {}, "several values"),
        (GRID, {"checkpoint_every": 0}, "checkpoint_every: 0"),
        (GRID, {"name": ".."}, "not a valid directory name"),
        (7, {}, "expected an Experiment"),
        ("digts", {"data": None}, "Did you mean digits"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_written(tmp_path, experiment, options, says):
    with pytest.raises(UserError, match=says):
        train(tmp_path, experiment, **options)
    assert not list(tmp_path.iterdir())


def test_an_experiment_is_taken_by_its_name_or_the_path_of_its_file_anywhere(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from lstm_jax import Experiment\nexperiment = Experiment(seed=7)"
    )
    study, name = api._study(tmp_path / "mine.py")
    assert (study.experiment.seed, name) == (7, "mine")
    assert api._study("digits")[1] == "digits"


def test_columns_have_the_type_of_what_is_in_them():
    rows = [{"n": 1, "x": 1.5, "word": "a", "odd": None}, {"n": 2, "x": None, "word": "b"}]
    columns = Columns(rows)
    assert [columns[name].dtype.kind for name in columns] == ["i", "f", "U", "O"]
    assert np.isnan(columns["x"][1])
    assert repr(columns) == "Columns(2 rows: n, x, word, odd)"


def test_a_notebook_gets_plain_lines_though_its_stdout_says_it_is_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert api._console(silent=False).is_terminal
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    console = api._console(silent=False)
    assert (console.is_terminal, console.is_jupyter, console.quiet) == (False, False, False)


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_without_pandas_or_polars_a_line_says_what_to_install(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EnvironmentProblem, match=f"pip install {package}"):
        getattr(Columns([]), f"to_{package}")()


def test_one_device_for_several_cores_is_told_with_what_it_costs(monkeypatch):
    """As in a process in which JAX has started before."""
    messages = []
    devices.prepare_jax("auto", messages.append)  # the four of `conftest.py`
    assert not messages
    monkeypatch.setattr(devices, "cores", lambda: 8)
    monkeypatch.setattr(devices, "_set_options", lambda platform: None)  # JAX takes none any more
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES")
    (device, *_) = jax.devices()
    monkeypatch.setattr(jax, "devices", lambda: [device])
    devices.prepare_jax("auto", messages.append)
    assert len(messages) == 1
    assert "the bits are the same, training may take up to 8 times as long" in messages[0]


def test_where_jax_is_imported_and_has_not_started_each_core_gets_its_device(tmp_path):
    probe = (
        "import jax\nfrom lstm_jax.runs.devices import cores, prepare_jax\n"
        "prepare_jax('cpu', print)\nassert len(jax.devices()) == cores()\n"
        "print(jax.config.values['jax_compilation_cache_dir'])"
    )
    bare = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=120,
        env=bare | {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (f"{tmp_path / 'lstm_jax' / 'xla'}\n", "")


def test_without_jit_a_line_says_so(tmp_path):
    with jax.disable_jit(), pytest.raises(UserError, match=r"jax\.disable_jit is on"):
        lstm_jax.run("digits", runs_dir=tmp_path, silent=True)
    assert not list(tmp_path.iterdir())


FORKED = """
import os, sys, jax, lstm_jax
from lstm_jax import Experiment, Images
if sys.argv[1] == "after":
    jax.devices()
if os.fork():
    os.wait()
else:
    try:
        lstm_jax.run(Experiment(task=Images(dataset="nothing@0")), runs_dir=sys.argv[2])
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    os._exit(0)
"""


@pytest.mark.parametrize(("when", "says"), [("after", "get_context"), ("before", "same arrays")])
def test_a_process_forked_after_jax_had_started_says_so_and_does_not_hang(tmp_path, when, says):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, when, str(tmp_path)],
        capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (says in done.stdout, done.stdout.count("\n")) == (True, 1), done


def test_a_model_in_a_forked_process_refuses_to_answer(outcome, monkeypatch):
    model = outcome.load()
    monkeypatch.setattr(lstm_jax, "jax_had_started", True)
    for call in (lambda: model.predict(tiny_split(4)["images"]), outcome.load, outcome.report):
        with pytest.raises(UserError, match=r"forked after JAX .* get_context\(.spawn.\)"):
            call()


def test_an_error_with_a_directory_travels_between_processes():
    error = pickle.loads(pickle.dumps(DivergedError("nan", Path("runs"))))
    assert (str(error), error.directory) == ("nan", Path("runs"))


def test_without_a_home_directory_there_is_no_cache_and_tfds_says_what_to_set(monkeypatch):
    def nowhere(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nowhere)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    assert "JAX_COMPILATION_CACHE_DIR" not in devices._default_variables()
    with pytest.raises(EnvironmentProblem, match="set HOME or TFDS_DATA_DIR"):
        lstm_jax.Images().load(print)


class Column:
    """Stands for a column of a table or a tensor: NumPy makes an array of it when it is asked."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        if isinstance(self.array, list):
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")
        return np.asarray(self.array, dtype)


class Tensor(Column):
    def detach(self):
        return self

    def cpu(self):
        return Column(np.array(self.array))


def as_dataset(change, **metadata):
    splits = [tiny_split(40), tiny_split(16, 1), tiny_split(16, 2)]
    changed = [split | {k: f(split[k]) for k, f in change.items()} for split in splits]
    return lstm_jax.make_dataset("tiny", *changed, **(metadata or {"num_classes": 3}))


@pytest.mark.parametrize(
    "change",
    [
        {"images": np.ndarray.tolist, "labels": np.ndarray.tolist},
        {"images": jax.numpy.asarray, "labels": lambda labels: Column(labels.astype(object))},
        {"images": lambda images: Tensor(images.tolist()), "labels": Column},
        {"images": lambda images: images.astype(">i2"), "labels": lambda labels: labels[:, None]},
        {"images": np.ma.asarray, "labels": lambda labels: labels.astype(np.uint64)},
    ],
)
def test_images_of_any_kind_are_the_same_data_as_their_arrays(change):
    """Whatever NumPy makes the same numbers of has the same fingerprint once it is converted."""
    wanted = tiny_dataset()
    _, datasets = api._with_data(Study(Experiment()), as_dataset(change))
    (found,) = datasets.values()
    assert (found.fingerprint, found.metadata) == (wanted.fingerprint, wanted.metadata)
    assert found.train["labels"].dtype == np.int32


def test_metadata_of_numpy_are_the_numbers_and_lists_they_stand_for():
    wanted = as_dataset({}, num_classes=3, classes=["a", "b", "c"])
    found = as_dataset({}, num_classes=np.int64(3), classes=np.array(["a", "b", "c"]))
    assert (found.fingerprint, found.metadata) == (wanted.fingerprint, wanted.metadata)
    with pytest.raises(UserError, match="tiny: classes is a set, which a record cannot hold"):
        as_dataset({}, num_classes=3, classes={"a"})


def test_arrays_that_were_taken_before_keep_their_fingerprints():
    """Of another task, which may read 64 bits: nothing is converted."""
    splits = [{"x": np.arange(4), "y": np.ones((4, 2))}] * 3
    dataset = lstm_jax.make_dataset("own", *splits, scale=np.float64(0.5))
    assert dataset.fingerprint[:12] == "94eee0a28704"
    assert dataset.train["x"].dtype == np.int64
    assert tiny_dataset().fingerprint[:12] == "085f123d55a2"


@pytest.mark.parametrize(
    ("change", "metadata", "says"),
    [
        ({"labels": lambda a: np.ma.masked_equal(a, 1)}, {}, "labels of train has .* masked.*fill"),
        ({"labels": lambda a: [[1] * k for k in a]}, {}, "different lengths; pad them"),
        ({"labels": lambda a: a.astype(str)}, {}, "holds strings; give numbers.*numpy.unique"),
        ({"labels": lambda a: [*a[1:], None]}, {}, "holds objects such as None; give numbers"),
        ({"labels": lambda a: Column([1])}, {}, "is no array .*give a NumPy array"),
        ({"labels": lambda a: a / 1}, {}, r"float64\[40\].*labels.astype"),
        ({"labels": lambda a: np.eye(3)[a]}, {}, r"labels.argmax\(axis=1\)"),
        ({"images": lambda a: a / 255}, {}, r"numpy.rint\(images \* 255\)"),
        ({"images": lambda a: a[:, 0]}, {}, "give each image its rows"),
        ({"images": lambda a: a[..., None]}, {}, "channels lie side by side"),
        ({"images": lambda a: -a.astype(int)}, {}, "integers from 0 to 255"),
        ({"images": lambda a: a[:, : 6 - len(a) // 16]}, {}, "all splits the same size"),
        ({}, {"classes": ["a"]}, "say num_classes"),
        ({}, {"num_classes": "3"}, "num_classes is '3'; give a whole number"),
    ],
)
def test_arrays_of_which_nothing_plain_can_be_made_are_refused_in_a_line(change, metadata, says):
    with pytest.raises(UserError, match=says) as error:
        api._with_data(Study(Experiment()), as_dataset(change, **metadata))
    assert "\n" not in str(error.value)


def test_texts_are_taken_as_arrays_with_their_vocabulary_and_else_a_line_says_what_is_needed():
    split = {
        "symbols": [[1, 2], [2, 0]],
        "lengths": np.array([2, 1], np.int32),
        "labels": np.array([0, 1]),
    }
    metadata = {"vocabulary": ["", "a", "b"], "classes": ["x", "y"], "widths": [2]}
    study = Study(Experiment(task=lstm_jax.Text(), hidden_size=3, num_evals=1, total_examples=8))

    def texts(**change):
        values = {k: v for k, v in (metadata | change).items() if v is not None}
        return lstm_jax.make_dataset("texts", *[split] * 3, **values)

    api._with_data(study, texts())
    for change, says in (
        ({"classes": None}, r"a file of lines .* of arrays it needs .*classes=\[...\]"),
        ({"vocabulary": ["", "a"]}, "symbols of train are from 0 to 2, not from 0 to 1"),
        ({"widths": [1]}, "lengths of train are from 1 to 2, not from 0 to 1"),
    ):
        with pytest.raises(UserError, match=says):
            api._with_data(study, texts(**change))


def test_a_task_whose_metadata_is_missing_names_it():
    arrays = [{"text": np.zeros((4, 2), np.uint8)}] * 3
    study = Study(Experiment(task=lstm_jax.Translation(dataset="dates")))
    with pytest.raises(UserError, match=r"translation needs '\w+' beside the arrays"):
        api._with_data(study, lstm_jax.make_dataset("own", *arrays))


def test_a_run_of_arrays_is_exported_with_them_at_hand_and_without_them_on_demand(outcome, capsys):
    talking = replace(outcome, silent=False)
    assert talking.export(onnx=True) == outcome.directory / "export"
    assert capsys.readouterr().out.count("the same class on all 16 test examples") == 2
    folder = outcome.directory / "export"
    (folder / "model.stablehlo").unlink()
    without = replace(talking, data=None)
    with pytest.raises(EnvironmentProblem, match=r"same arrays again.* `export --no-compare`"):
        without.export()
    assert not (folder / "model.stablehlo").exists()
    folder = without.export(compare=False)
    known = json.loads((folder / "model.json").read_text())
    assert known["classes"] == ["0", "1", "2"]
    assert known["inputs"] == {"images": {"dtype": "uint8", "shape": ["n", 5, 6]}}
    assert "the same class on all 64 made-up examples" in capsys.readouterr().out
    assert (folder / "model.stablehlo").exists()


def test_a_longer_training_says_that_the_shorter_one_is_not_continued(tmp_path):
    lines = []
    for fields in ({"total_examples": 16}, {"total_steps": 4}, {"total_steps": 2, "seed": 1}):
        console = quiet()
        outcome = run_tiny(tmp_path, Experiment(**TINY, **fields), silent=False, console=console)
        said = console.file.getvalue().splitlines()
        lines.append([line for line in said if "trained anew" in line])
        if len(lines) == 1:
            digest = outcome.directory.name
    assert lines[0] == lines[2] == []
    (line,) = lines[1]
    assert line.startswith(f"{digest} has 2 of these 4 steps; they are trained anew")
