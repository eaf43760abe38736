"""The code that the documents show runs, and their links lead to files."""

import pickle
import re
import runpy
import shlex
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest
from fast_compile import fast_jit
from flax import nnx
from rich.console import Console
from trained_runs import METADATA, quiet, zero_model

import lstm_jax
from lstm_jax import Experiment
from lstm_jax.cli.parse import parse
from lstm_jax.config.search import Study
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.predict.predict import PredictOptions, predict
from lstm_jax.report.figures.settings import metric_tables
from lstm_jax.report.page import answer_figures
from lstm_jax.runs.code import user_files
from lstm_jax.runs.datasets import check_members, load_data
from lstm_jax.runs.record import Record, read_record
from lstm_jax.runs.trust import read_trusted
from lstm_jax.tasks.images import Images

pytestmark = pytest.mark.usefixtures("fast_compile")

ROOT = Path(__file__).parent.parent
SMALL = {"hidden_size": 4, "batch_size": 8, "microbatches": 1}


def write_blocks(document, folder):
    """Writes the Python blocks of a document as files, each named by its first line."""
    for block in re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL):
        path = folder / block.split("\n")[0].removeprefix("# ")
        path.parent.mkdir(exist_ok=True)
        path.write_text(block)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The folder with the files that docs/extend.md shows; it is the working directory."""
    monkeypatch.chdir(tmp_path)
    write_blocks("docs/extend.md", tmp_path)
    return tmp_path


@pytest.fixture
def rank_promotion():
    """Allows what other frameworks do: they add a bias of one axis to arrays of two."""
    with jax.numpy_rank_promotion("allow"):
        yield


def losses(files, experiment):
    """Returns the losses of eight steps of a small model."""
    few_steps = runpy.run_path(str(files / "few_steps.py"))["few_steps"]
    return np.asarray(few_steps(experiment.replace(SMALL), steps=8))


def test_a_cell_from_a_file_trains(files):
    experiment = Experiment(task=Images(dataset="digits"), cell="ugrnn.py:ugrnn")
    assert np.all(np.isfinite(losses(files, experiment)))


def test_a_layer_from_a_file_trains(files):
    experiment = Experiment(task=Images(dataset="digits"), cell="min_gru.py:MinGRU", layers=2)
    assert np.all(np.isfinite(losses(files, experiment)))


def test_a_task_from_a_file_trains(files):
    """A value out of its range is refused as an experiment's is."""
    values = runpy.run_path(str(files / "average.py"))
    assert np.all(np.isfinite(losses(files, values["experiment"])))
    with pytest.raises(UserError, match=r"task\.length: 0 is not between 1 and 1000"):
        values["Average"](length=0)


def test_a_task_with_an_answer_at_every_time_step_trains_and_counts_no_padding(files):
    experiment = runpy.run_path("running_max.py")["experiment"]
    values = losses(files, experiment)
    assert values[-1] < values[0]
    task, data = experiment.task, experiment.task.load(print)
    batch = {name: array[:3] for name, array in data.test.items()}
    inside_BT = np.arange(task.length) < batch["lengths"][:, None]
    outputs_TB1 = np.where(inside_BT, batch["y"], np.float32(9)).T[:, :, None]
    scored = task.score_items(outputs_TB1, batch, training=True)
    assert float((scored.loss * scored.weight).sum()) == 0
    assert float(scored.weight.sum()) == float(task.total_weight(batch)) == inside_BT.sum()
    check_members(Study(experiment.replace(SMALL)), {task.data_key: data}, print)


def test_an_optimizer_and_a_schedule_from_a_file_train(files):
    argv = "run digits --optimizer adam mine.py:Signum --optimizer.momentum 0.9 0.99"
    schedule = "--schedule mine.py:InverseRoot --schedule.warmup-steps 5"
    experiment = parse(f"{argv} {schedule}".split()).study.experiment
    assert Experiment.from_values(experiment.to_values()) == experiment
    adam, *signum = experiment.members()
    assert len({losses(files, member)[-1] for member in signum}) == 2 == len(signum)
    assert {path.name for path in user_files(adam)} == {"mine.py"}
    np.testing.assert_allclose(adam.schedule.factor(jax.numpy.arange(8), 99)[::4], [0.2, 1.0])


def test_a_record_names_a_task_by_its_file(files, monkeypatch):
    """The record, and another process, find the task again."""
    experiment = runpy.run_path("average.py")["experiment"]
    values = experiment.to_values()
    assert values["task"] == "average.py:Average"
    for again in (Experiment.from_values(values), pickle.loads(pickle.dumps(experiment))):
        assert again == experiment
    (files / "moved.py").write_text((files / "average.py").read_text())
    moved = Experiment.from_values(values | {"task": "moved.py:Average"})
    assert (moved.digest, moved.differences(experiment)) == (experiment.digest, "")
    directory = files / "runs" / "average" / "run"
    directory.mkdir(parents=True)
    Record("average", Study(moved)).write(directory)
    monkeypatch.setattr("lstm_jax.components.subclasses", lambda task: ())  # as in a new process
    assert read_record(directory).study.experiment.digest == experiment.digest
    (files / "moved.py").unlink()
    assert read_record(directory).study.experiment.digest == experiment.digest
    with pytest.raises(EnvironmentProblem, match=r"'moved\.py:Average': no such file") as error:
        read_trusted(directory, False, print)
    assert "damaged" not in str(error.value)


def test_a_second_metric_from_a_file_is_in_rows_results_and_report(files, capsys):
    experiment = runpy.run_path("top_three.py")["experiment"]
    experiment = experiment.replace(SMALL | {"total_steps": 41, "num_evals": 2, "seed": (0, 1)})
    outcome = lstm_jax.run(experiment)
    assert "also on the test: top 5 accuracy 0." in capsys.readouterr().out
    names = experiment.task.metrics
    for result in outcome.members:
        assert [*result.test] == ["loss", *names]
        assert result.test["accuracy"] <= result.test["top_3_accuracy"]
        assert result.test["top_3_accuracy"] <= result.test["top_5_accuracy"]
        assert result.test["label_probability"] == pytest.approx(np.exp(-result.test["loss"]))
        assert outcome.results["test_macro_f1"].dtype == np.float64
    assert np.isfinite(outcome.metrics["validation_top_3_accuracy"][2:4]).all()
    (table,) = metric_tables(outcome.record)
    assert table.header == [name.replace("_", " ") for name in names[1:]]


def test_a_logger_from_a_file_hears_of_validation(files):
    experiment = Experiment(task=Images(dataset="digits"), total_steps=41, **SMALL, num_evals=2)
    outcome = lstm_jax.run(experiment, silent=True, loggers=["validation.py:Validation"])
    (member,) = outcome.members
    lines = (outcome.directory / "validation.txt").read_text().splitlines()
    losses = outcome.metrics["validation_loss"][1], member.validation["loss"]
    assert lines == [
        f"{member.member.digest} {step} {loss}" for step, loss in zip((20, 41), losses, strict=True)
    ]


def test_a_task_from_a_file_names_its_predictor_and_its_figures(files, capsys):
    experiment = runpy.run_path("average.py")["experiment"].replace(SMALL | {"total_examples": 64})
    outcome = lstm_jax.run(experiment, name="average", silent=True)
    predict(outcome.directory, PredictOptions(("0.1 " * 10,)), Console())
    assert np.isfinite(float(capsys.readouterr().out))
    (table,) = answer_figures(outcome.load(), experiment.task.load(print), "seed 0")
    assert (table.title, len(table.rows)) == ("Means", 3)


def test_figures_of_a_file_stand_beside_those_of_the_package(files, monkeypatch):
    monkeypatch.setattr("lstm_jax.report.figures.images.answer_figures", lambda *_: ["examples"])
    task = runpy.run_path("calibration.py")["Calibrated"](dataset="digits")
    model = zero_model(next(Experiment(task=task, **SMALL).members()), METADATA)
    examples, figure = answer_figures(model, task.load(print), "seed 0")
    assert (examples, figure.title) == ("examples", "Calibration")
    assert len(figure.drawing.csv.splitlines()) == 11
    source = Path("calibration.py").read_text()
    line = 1 + source[: source.index("    right_N")].count("\n")
    Path("calibration.py").write_text(source.replace("right_N = ", "right_N = missing or "))
    with pytest.raises(UserError, match=rf"^calibration.py, line {line}: NameError: .*missing"):
        list(answer_figures(model, task.load(print), "seed 0"))


def test_a_block_of_a_file_has_its_defaults_and_the_choices_of_residual(files):
    gated = runpy.run_path("gated.py")["Gated"]
    assert (gated().norm, gated().gate, gated().expand) == ("rms", "silu", 1.0)
    next(Experiment(block=gated(norm="layer"), **SMALL).members())
    with pytest.raises(UserError, match=r"block\.norm: 'batch' is not one of none, layer, rms"):
        next(Experiment(block=gated(norm="batch"), **SMALL).members())


ARRAYS = {"images": np.zeros((100, 6, 6), np.uint8), "labels": np.arange(100, dtype=np.int32) % 2}


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda task, count: ARRAYS | {"labels": ARRAYS["labels"] * 5}, "0 to 1"),
        (lambda task, count: ARRAYS | {"images": np.zeros((100, 6, 6))}, "uint8"),
        (lambda task, count: {"labels": ARRAYS["labels"]}, "needs arrays images and labels"),
        (lambda task, count: {"images": ARRAYS["pictures"]}, "its load: KeyError: .*pictures"),
    ],
)
def test_wrong_arrays_of_a_data_set_are_refused_in_one_line(files, monkeypatch, draw, message):
    experiment = runpy.run_path("bars.py")["experiment"]
    monkeypatch.setattr(type(experiment.task), "draw", draw)
    with pytest.raises(UserError, match=message):
        load_data("bars", Study(experiment), False, quiet())


def test_a_data_set_from_a_file_trains(files):
    experiment = runpy.run_path("bars.py")["experiment"]
    assert np.all(np.isfinite(losses(files, experiment)))


@pytest.mark.slow
@pytest.mark.usefixtures("rank_promotion")
def test_the_recurrence_works_in_other_frameworks(tmp_path):
    """Outputs are finite, and equal those of Flax's own layers with the same weights."""
    write_blocks("docs/recurrence.md", tmp_path)
    write_blocks("docs/cells.md", tmp_path)
    models = {path.stem: runpy.run_path(str(path)) for path in tmp_path.glob("*.py")}
    x_BTI, lengths_B = np.ones((2, 5, 3), np.float32), np.array([5, 2])
    key = jax.random.key(0)
    model = models["linen"]["Classifier"]()
    params = fast_jit(model.init)(key, x_BTI)
    by_flax = fast_jit(nn.RNN(nn.OptimizedLSTMCell(16)).apply)(
        {"params": params["params"]["LSTM_0"]}, x_BTI
    )
    dense = params["params"]["Dense_0"]
    want = by_flax[:, -1] @ dense["kernel"] + dense["bias"][None]
    np.testing.assert_allclose(fast_jit(model.apply)(params, x_BTI), want, atol=1e-5)
    both = models["both"]["Both"]()
    h_BTH, _ = fast_jit(both.init_with_output)(key, x_BTI, lengths_B)
    again_BTH, _ = fast_jit(both.init_with_output)(key, x_BTI[:, :2], np.array([2, 2]))
    np.testing.assert_allclose(h_BTH[1, :2], again_BTH[1], atol=1e-6)  # padding hides nothing
    graph, state = nnx.split(models["nnx_model"]["Classifier"](3, 4, 7, nnx.Rngs(0)))
    logits = fast_jit(lambda state, x: nnx.merge(graph, state)(x, lengths_B))(state, x_BTI)
    assert logits.shape == (2, 7)
    jvp, cell = models["forward_mode"]["jvp"], lstm_jax.RNN(2)
    weights, tangent = cell.init(key, x_BTI), jax.random.normal(key, x_BTI.shape)
    outputs, slope = fast_jit(lambda x, v: jvp(partial(cell.apply, weights), (x,), (v,)))(
        x_BTI, tangent
    )
    further, _ = fast_jit(lambda x: (cell.apply(weights, x), 0))(x_BTI + 1e-3 * tangent)
    np.testing.assert_allclose(slope, (further - outputs) / 1e-3, atol=5e-3)
    decay = models["decay"]
    np.testing.assert_array_equal(decay["second"], decay["h_TBH"][4:])
    layer = models["equinox_model"]["Layer"](3, 4, key)
    h_TBH = layer(x_BTI.swapaxes(0, 1))
    assert h_TBH.shape == (5, 2, 4)
    assert np.isfinite(h_TBH).all()


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def pytorch_lstm(z_x, z_h, h, c):
    i, f, g, o = np.split(z_x + z_h, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def pytorch_gru(z_x, z_h, h, c):
    (r, z, n), (r_h, z_h, n_h) = np.split(z_x, 3), np.split(z_h, 3)
    r, z = sigmoid(r + r_h), sigmoid(z + z_h)
    return (1 - z) * np.tanh(n + r * n_h) + z * h, c


def pytorch_rnn(z_x, z_h, h, c):
    return np.tanh(z_x + z_h), c


@pytest.mark.parametrize(
    ("cell", "formula", "columns", "blocks"),
    [("lstm", pytorch_lstm, 4, 4), ("gru", pytorch_gru, 3, 4), ("rnn", pytorch_rnn, 1, 1)],
)
def test_weights_go_to_pytorch_and_back(tmp_path, cell, formula, columns, blocks):
    """The formulas are those of the documents of `torch.nn.LSTM`, `GRU` and `RNN`."""
    write_blocks("docs/weights.md", tmp_path)
    page = runpy.run_path(str(tmp_path / "torch_weights.py"))
    rng, hidden = np.random.default_rng(0), 3
    shapes = (2, columns * hidden), (hidden, columns * hidden), (blocks * hidden,)
    kernels = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    state = page["to_torch"](cell, *kernels)
    assert state["weight_ih_l0"].shape == (columns * hidden, 2)
    state["bias_hh_l0"] += 0.25  # as of a layer that PyTorch made
    state["bias_ih_l0"] -= 0.5
    x_TI, h, c, expected = rng.normal(size=(5, 2)).astype(np.float32), np.zeros(3), np.zeros(3), []
    for x in x_TI:
        z_x = state["weight_ih_l0"] @ x + state["bias_ih_l0"]
        h, c = formula(z_x, state["weight_hh_l0"] @ h + state["bias_hh_l0"], h, c)
        expected.append(h)
    ours = page["from_torch"](cell, state)
    h_TBH, _ = getattr(lstm_jax, cell)(x_TI[:, None], *ours)
    np.testing.assert_allclose(h_TBH[:, 0], expected, atol=1e-6)
    again = page["from_torch"](cell, page["to_torch"](cell, *ours))
    for actual, wanted in zip(again, ours, strict=True):
        np.testing.assert_array_equal(actual, wanted)


def test_weights_of_a_run_have_its_forget_bias(tmp_path):
    write_blocks("docs/weights.md", tmp_path)
    of_run = runpy.run_path(str(tmp_path / "torch_weights.py"))["of_run"]
    member = Experiment(task=Images(dataset="digits"), hidden_size=4, forget_bias=3.0)
    model = zero_model(member, METADATA)
    kernel_x, kernel_h, bias = of_run(model)
    assert (kernel_x.shape, kernel_h.shape) == ((4, 16), (4, 16))
    np.testing.assert_array_equal(bias, [0] * 8 + [3] * 4 + [0] * 4)


def test_the_code_of_the_readme_runs(tmp_path, monkeypatch):
    """The asserts in stream.py hold: an LSTM that streams gives the same bits."""
    monkeypatch.chdir(tmp_path)
    write_blocks("README.md", tmp_path)
    mine = runpy.run_path("mine.py")["experiment"]
    assert mine.num_members == 18
    assert mine.replace({"cell": "ugrnn.py:ugrnn"}).num_members == 6
    cell = runpy.run_path("ugrnn.py")["ugrnn"]
    write_blocks("docs/extend.md", tmp_path)
    same_cell = runpy.run_path("ugrnn.py")["ugrnn"]
    z_BG, h_BH = jax.random.normal(jax.random.key(0), (2, 6)), jax.numpy.ones((2, 3))
    states = [each.pointwise(z_BG, (h_BH,), {})[0] for each in (cell, same_cell)]
    np.testing.assert_array_equal(*states)
    runpy.run_path("stream.py")


def test_a_checkpoint_of_flax_loads_as_the_page_on_speed_shows(tmp_path):
    write_blocks("docs/speed.md", tmp_path)
    values = runpy.run_path(str(tmp_path / "flax_checkpoint.py"))
    flax_layer = nn.RNN(nn.OptimizedLSTMCell(128))
    inputs, lengths = values["inputs"], values["lengths"]
    expected = flax_layer.apply({"params": values["params"]}, inputs, seq_lengths=lengths)
    np.testing.assert_allclose(values["outputs"], expected, atol=1e-5)


def test_the_experiment_of_the_page_on_sweeps_can_be_run(tmp_path):
    write_blocks("docs/sweeps.md", tmp_path)
    values = runpy.run_path(str(tmp_path / "experiments" / "mine.py"))
    assert Study(values["experiment"], values["search"]).num_members == 36


@pytest.mark.slow
def test_the_code_of_the_page_on_data_trains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_blocks("docs/data.md", tmp_path)
    outcome = runpy.run_path("arrays.py")["train"]()
    assert np.isfinite(outcome.metrics["loss"]).all()


def test_the_code_of_the_page_on_commands_trains_and_predicts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_blocks("docs/commands.md", tmp_path)
    classes = runpy.run_path("from_python.py")["train"](**SMALL, total_examples=64)
    assert set(classes) <= set(range(10))


def test_the_page_of_the_python_interface_is_that_of_the_code():
    page = runpy.run_path(str(ROOT / "docs" / "make_api.py"))["api_page"]()
    assert (ROOT / "docs" / "api.md").read_text() == page, "run `make docs` and commit docs/api.md"


MODULE = re.compile(r"python -m (benchmarks\.\w+)")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def shown_commands(path):
    """Yields the words of the commands of a page that train or plan an experiment."""
    for block in re.findall(r"```(?:sh|console)\n(.*?)```", path.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if not re.match(r"(\$ )?(make experiment|(\.venv/bin/)?lstm-jax (run|plan)) ", line):
                continue
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words[0] == "make":
                values = dict(word.split("=", 1) for word in words[2:])
                yield ["run", values["NAME"], *shlex.split(values.get("ARGS", ""))]
            elif not {"NAME", "...", "--help"} & set(words):
                yield words[1:]


def test_the_commands_of_all_pages_are_understood(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for document in ("README.md", "docs/sweeps.md", "docs/extend.md"):
        write_blocks(document, tmp_path)
    commands = [words for path in DOCUMENTS for words in shown_commands(path)]
    assert len(commands) > 20
    for words in commands:
        assert parse(words).study.experiment.num_members > 0


def test_the_modules_that_pages_and_experiments_run_exist():
    pages = [*DOCUMENTS, *(ROOT / "experiments").glob("*.py")]
    named = {name for path in pages for name in MODULE.findall(path.read_text())}
    assert {"benchmarks.equal_terms", "benchmarks.costs"} <= named
    for name in named:
        assert (ROOT / f"{name.replace('.', '/')}.py").exists(), name


def anchors(path):
    """Returns the names by which links reach the headings of a page."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(path):
    for name, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", path.read_text()):
        target = path.parent / name if name else path
        assert target.exists(), name
        assert not anchor or anchor in anchors(target), f"{name}#{anchor}"


def test_the_page_of_contents_lists_every_page():
    pages = {path.name for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".ipynb")}
    text = (ROOT / "docs" / "README.md").read_text()
    links = re.findall(r"\]\(([^)/#]+)(?:#[^)]*)?\)", text)
    assert set(links) == pages - {"README.md"}


def test_the_chinese_readme_has_the_experiment_of_the_english_one():
    block = r"```python\n# mine.py.*?```"
    english, chinese = ((ROOT / name).read_text() for name in ("README.md", "README.zh.md"))
    assert re.findall(block, english, re.DOTALL) == re.findall(block, chinese, re.DOTALL) != []
