"""The report: whole without data, without a script, and the page one draws on answers as we do."""

import csv
import io
import itertools
import json
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from xml.etree import ElementTree

import jax
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from trained_runs import SWEEP, reading, train

from lstm_jax import Experiment
from lstm_jax.config.experiment import format_value
from lstm_jax.config.search import Search, Study
from lstm_jax.data.images import load_images
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.predict import inference
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.predict.trained import load as load_trained
from lstm_jax.report import drawing, plots
from lstm_jax.report.figures.gradient import EXPLODING, enlarge_recurrent, flow
from lstm_jax.report.figures.model import of_insides
from lstm_jax.report.figures.settings import of_parameters, of_settings
from lstm_jax.report.page import report
from lstm_jax.report.sketch import can_sketch, sketch_page
from lstm_jax.report.summary import summary
from lstm_jax.runs.record import Record
from lstm_jax.runs.results import Result
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.task import Task

pytestmark = pytest.mark.usefixtures("fast_compile")

FACTS = {"shapes": {"images": [8, 8]}, "num_classes": 10}


@pytest.fixture(scope="module")
def records():
    """Records by run directory, instead of those on disk; figures small enough to be quick."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lstm_jax.predict.trained.read_run", reading(found))
        patch.setattr("lstm_jax.report.page.read_run", reading(found))
        patch.setattr("lstm_jax.report.drawing.PNG_DPI", 50)
        yield found


def reported(directory):
    """The page, and its figures by name."""
    page = report(directory, Console(file=io.StringIO())).read_text()
    return page, {path.stem: path.read_text() for path in (directory / "report").glob("*.svg")}


@pytest.fixture(scope="module")
def finished(records, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "digits" / SWEEP.digest
    records[directory] = train(directory, SWEEP)
    return directory


@pytest.fixture(scope="module")
def page_and_figures(finished):
    return reported(finished)


def untrained(**values):
    """A member whose parameters are all zero, on no disk."""
    member = next(SWEEP.members()).replace({"hidden_size": 4} | values)
    shapes = inference.param_shapes(member, member.task.model_spec(FACTS))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return TrainedModel("digits", member, 0, None, FACTS, params)


def test_a_sweep_has_its_settings_its_curves_and_its_insides(page_and_figures):
    page, found = page_and_figures
    wanted = {"loss", "accuracy", "norms", "settings", "examples", "confusion", "gates"}
    wanted |= {"cell", "gradient_flow", "gradient_flow_training", "clipping", "accuracy_by_row"}
    assert wanted | {"belief_0", "saturation", "mistakes"} <= found.keys()
    for name, svg in found.items():
        ElementTree.fromstring(svg)
        assert f'<figure id="{name}"' in page
    assert "Chosen on validation: learning rate 0.01" in page
    assert "<th>learning rate</th><th>validation accuracy</th><th>test accuracy</th>" in page
    assert "learning rate 0.003" in found["loss"]


def test_the_curves_of_validation_end_where_training_does_with_what_is_on_record(
    finished, page_and_figures, records
):
    for name in ("loss", "accuracy"):
        text = (finished / "report" / f"validation_{name}.csv").read_text()
        ends = {row["curve"]: row for row in csv.DictReader(text.splitlines())}
        wanted = {}
        for result in records[finished].results.values():
            curve = f"learning rate {format_value(result.member.learning_rate)}"
            wanted.setdefault(curve, []).append(result.validation[name])
            assert float(ends[curve]["x"]) == result.steps
        assert ends.keys() == wanted.keys()
        for curve, values in wanted.items():
            np.testing.assert_allclose(float(ends[curve]["y"]), np.mean(values), rtol=1e-6)


def test_a_cell_and_a_gate_have_one_colour_whatever_stands_beside_them():
    cells = ["cell lstm_nig", "cell lstm", "cell irnn", "cell rnn", "cell gru", "cell lstm_fgr"]
    for names in (cells, cells[::-1], cells[:2]):
        found = plots.colours_of(names)
        assert found["cell lstm"] == plots.colours_of(["cell lstm"])["cell lstm"]
        assert len(set(found.values())) == len(names)
    gates = plots.colours_of(["forget gate, shut", "forget gate, open", "cell", "h"])
    assert len(set(gates.values())) == 3


def test_every_figure_lies_beside_the_page_as_png_too(finished, page_and_figures):
    for name in page_and_figures[1]:
        with Image.open(finished / "report" / f"{name}.png") as picture:
            assert min(picture.size) > 50  # an inch, at the dots of this test
            assert picture.convert("L").getpixel((0, 0)) == 255  # on white, not on nothing


def test_it_needs_no_network_and_no_script_and_says_what_each_figure_is_of(
    finished, page_and_figures
):
    page, found = page_and_figures
    assert "<script" not in page
    for target in re.findall(r"(?:src|href)=\"(?!#|data:)([^\"]*)\"", page):
        assert (finished / "report" / target).exists(), target
    assert len(page) < 5_000_000
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page, re.DOTALL)
    assert len(captions) == len(found)
    for caption in captions:
        assert "digits" in caption
    assert page.count("<code>lstm-jax") == 1


@dataclass(frozen=True)
class Error(Task):
    """A task whose lower metric is the better one."""

    name = "error"
    metric = "squared_error"
    higher_is_better = False

    def model_spec(self, metadata):
        return Images().model_spec(metadata)


def made_up(experiment, search=None, **values):
    """A record whose metrics are the members' number in the grid."""
    study = Study(experiment, search or Search())
    results = {}
    members = study.members() if search else experiment.members()
    for number, member in enumerate(members):
        score = {"loss": 1.0, member.task.metric: float(number)}
        row = Result(member, member.num_steps, score, score, None, 1.0 + number, "i", "0" * 64)
        results[member.digest] = replace(row, **values)
    return Record(
        name="made up", study=study, metadata={experiment.task.data_key: FACTS},
        identities={"i": {"jax": "0"}}, sessions=[], results=results, rungs={},
    )  # fmt: skip


@pytest.fixture
def drawn(monkeypatch):
    """What each figure was drawn from, instead of the figures; the painters' own arguments."""
    calls = []

    def draw(paint, *args, **_):
        calls.append((paint.__name__, args))
        return drawing.Drawing("<svg/>", b"", "")

    monkeypatch.setattr("lstm_jax.report.drawing.draw", draw)
    return calls


def test_two_axes_make_a_map_and_the_best_is_bright_whichever_way_is_better(records):
    for task in (Images(dataset="digits"), Error()):
        grid = Experiment(task=task, hidden_size=(4, 8), batch_size=(64, 128), seed=(0, 1))
        found, compared, time = of_settings(made_up(grid))
        assert (found.name, compared.name, time.name) == ("settings", "compared", "time")
        svg = found.drawing.svg
        assert svg.count("n=2") == 4
        assert "batch size" in svg
        assert "hidden size" in svg
        name = task.metric.replace("_", " ").capitalize()
        assert found.title == f"{name} by hidden size and batch size"
        assert name in time.title


def test_one_axis_makes_points_with_intervals_and_more_than_two_a_scatter_each(drawn):
    one = Experiment(cell=("lstm", "gru"), seed=(0, 1, 2))
    names = [figure.name for figure in of_settings(made_up(one))]
    assert names == ["settings", "compared", "time"]
    paint, (x, y, halves, labels, log, names) = drawn[0]
    assert (paint, labels, log, names) == ("points", ("cell", "accuracy"), False, ["gru", "lstm"])
    assert sorted(zip(x, y, strict=True)) == [(0, 4.0), (1, 1.0)]
    assert np.isfinite(halves).all()
    drawn.clear()
    three = Experiment(
        hidden_size=(4, 8), learning_rate=(1e-3, 1e-2), clip_norm=(None, 1.0), seed=(0, 1)
    )
    names = [figure.name for figure in of_settings(made_up(three))]
    paths = ["hidden_size", "learning_rate", "clip_norm"]
    pairs = [f"{one}_{other}" for one, other in itertools.combinations(paths, 2)]
    assert names == [*(f"settings_{each}" for each in pairs + paths), "compared", "time"]
    logarithmic = [args[4] for paint, args in drawn if paint == "points"]
    assert logarithmic == [False, True, False]
    assert [args[5] for paint, args in drawn if paint == "points"] == [None, None, ["none", "1"]]


@pytest.mark.parametrize("trials", [6, 20])
def test_a_search_has_a_scatter_for_each_axis(drawn, trials):
    """A map of as many rows and columns as there are points would be empty."""
    space = Experiment(learning_rate=(1e-4, 1e-1), forget_bias=(0.0, 3.0))
    record = made_up(space, Search(method="random", trials=trials))
    names = [figure.name for figure in of_settings(record)]
    scatters = ["settings_learning_rate", "settings_forget_bias"]
    assert [name for name in names if name != "compared"] == [*scatters, "time"]
    assert len(drawn[0][1][0]) == trials


def test_cells_of_a_search_are_compared_each_at_the_best_of_its_draws(drawn):
    space = Experiment(cell=("lstm", "gru", "rnn"), learning_rate=(1e-4, 1e-1), seed=(0, 1))
    record = made_up(space, Search(method="random", trials=9))
    best = {}  # by cell; the metric grows with the member's number
    for result in record.results.values():
        best[result.member.cell] = result.validation_metric - result.member.seed + 0.5
    (table,) = (each for each in of_settings(record) if each.name == "compared")
    assert "each at the best learning rate drawn" in table.title
    assert table.header == ["best", "beside", "ahead by"]
    first, *others = sorted(best, key=best.get, reverse=True)
    assert [row[:2] for row in table.rows] == [[first, other] for other in others]
    leads = [f"{best[first] - best[other]:.4g}" for other in others]
    assert [row[2].split(",")[0] for row in table.rows] == leads


def test_parameters_are_counted_whatever_the_model(drawn):
    grid = Experiment(cell=("lstm", "gru"), hidden_size=(4, 8), layers=2)
    record = made_up(grid)
    list(of_parameters(record))
    ((_, (points, *_)),) = drawn
    counted = {count for counts, _ in points.values() for count in counts}
    assert counted == {
        8 * size + size + 2 * (columns * 2 * size**2 + 4 * size) + size * 10 + 10
        for columns in (4, 3)  # of a kernel; both have four biases a unit
        for size in (4, 8)
    }


def test_one_setting_and_metrics_that_are_none_are_no_figure_and_no_fault():
    assert list(of_settings(made_up(Experiment(seed=(0, 1))))) == []
    nothing = {"loss": None, "accuracy": None}
    record = made_up(Experiment(hidden_size=(4, 8)), validation=nothing, diverged_at=3)
    for figure in of_settings(record):
        ElementTree.fromstring(figure.drawing.svg)


@pytest.mark.parametrize(
    ("cell", "layers", "wanted"),
    [("gru", 2, {"gates", "saturation", "output"}), ("rnn", 1, {"output"})],
)
def test_a_cell_shows_what_it_has(drawn, cell, layers, wanted):
    found = list(of_insides(untrained(cell=cell, layers=layers), load_images("digits"), "who"))
    names = {figure.name for figure in found}
    assert names == wanted
    assert ("layer 2 of 2" in found[-1].caption) == (layers == 2)


def test_larger_recurrent_weights_explode_where_the_runs_own_vanish():
    member = Experiment(hidden_size=64)
    spec = member.task.model_spec({"shapes": {"images": [28, 28]}, "num_classes": 10})
    params = inference.initial_params(member, spec)
    rng = np.random.default_rng(0)
    strokes = rng.random((9, 28, 28)) < 0.1
    images = (strokes * rng.integers(0, 256, strokes.shape)).astype(np.uint8)
    batch = {"images": images, "labels": np.zeros(9, np.int32)}
    own = flow(spec, member, params, batch)[1]
    larger = flow(spec, member, enlarge_recurrent(member, params, EXPLODING), batch)[1]
    assert own[0] < own[-1] / 10
    assert larger[0] > larger[-1] * 10


def test_a_norm_beyond_all_numbers_is_high_and_one_that_is_none_is_left_out():
    norms = np.array([0.0, 1.0, np.inf, np.nan])
    drawn = drawing.draw(plots.curves, {"norm": (np.arange(4), norms)}, ("x", "y"), log=True)
    rows = [line.split(",") for line in drawn.csv.splitlines()[1:]]
    np.testing.assert_allclose([float(row[3]) for row in rows], [1e-12, 1, 1e38, np.nan])


@pytest.fixture
def no_data(monkeypatch):
    def gone(*_):
        raise EnvironmentProblem("the data set is gone")

    monkeypatch.setattr(Images, "load", gone)


def test_without_the_data_everything_else_is_still_there(finished, no_data):
    page, _ = reported(finished)
    assert "some figures are missing: the data set is gone" in page
    assert '<figure id="loss">' in page
    assert '<figure id="gates">' not in page


def test_an_unfinished_run_is_reported_as_such(records, finished, no_data):
    whole = records[finished]
    first = dict(list(whole.results.items())[:1])
    rungs = {50: {d: replace(r, steps=50, dropped=d not in first) for d, r in
                  list(whole.results.items())[:2]}}  # fmt: skip
    records[finished] = replace(whole, results=first, rungs=rungs)
    try:
        page, found = reported(finished)
    finally:
        records[finished] = whole
    assert "This run is unfinished: 1 of 4 members are done" in page
    assert "at step 50,\n1 of 2 members went on" in page
    assert "loss" in found


@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_a_search_that_drew_a_setting_twice_is_finished_with_fewer_members(kind):
    space = Experiment(cell=("lstm", "gru"), seed=(0, 1))
    record = made_up(space, Search(method=kind, trials=5, trials_at_once=5))
    count, notes = len(record.results), list[str]()
    said = summary(record, None, notes)
    assert count <= 4
    assert record.is_finished
    assert notes == []
    assert (f"{count} of {count}", "members trained") in said["tiles"]


def test_names_are_escaped_and_a_single_member_has_its_values_listed(records, tmp_path, no_data):
    evil = "<script>alert(1)</script>"
    member = SWEEP.replace({"learning_rate": 0.01, "seed": 5, "layers": 2})
    record = made_up(member)
    records[tmp_path] = replace(record, name=evil, sessions=[{"command": ["run", evil]}])
    page, _ = reported(tmp_path)
    assert "<script" not in page
    assert "Result</h2>" in page
    for key, value in (("layers", "2"), ("seed", "5"), ("learning rate", "0.01")):
        assert f'<tr><th>{key}</th><td class="wide">{value}</td></tr>' in page
    assert "test accuracy" in page


def test_a_member_that_is_none_is_the_users_mistake(finished):
    with pytest.raises(UserError, match="0 members begin with 'zz'"):
        report(finished, Console(file=io.StringIO()), member="zz")


def test_one_draws_only_for_what_the_page_computes():
    assert can_sketch(untrained())
    for other in (untrained(cell="gru"), untrained(layers=2)):
        assert not can_sketch(other)
        with pytest.raises(UserError, match="one layer of the cell lstm"):
            sketch_page(other, "who")
    assert not can_sketch(replace(untrained(), metadata=FACTS | {"channels": 1}))  # of own files


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_the_page_one_draws_on_answers_as_we_do(finished, tmp_path):
    """The page's own reading, up to where it touches the page, on 100 test images."""
    images, trained = load_images("digits").test["images"][:100], load_trained(finished)
    script = sketch_page(trained, "this run").split("<script>")[1].split("// As lstm_jax")[0]
    ask = f"""
    for (const image of {(images / 255).reshape(100, -1).tolist()})
      console.log(JSON.stringify(read(model.order.map(i => image[i])).beliefs.at(-1)));"""
    path = tmp_path / "page.js"
    path.write_text(script + ask)
    done = subprocess.run(["node", path], capture_output=True, text=True, timeout=60, check=True)
    answers = np.array([json.loads(line) for line in done.stdout.splitlines()])
    wanted = trained.probabilities(images)
    np.testing.assert_array_equal(answers.argmax(axis=1), wanted.argmax(axis=1))
    np.testing.assert_allclose(answers, wanted, atol=1e-3)
