"""Figures of a sweep's results, from made-up records, and how curves and colours are drawn."""

import itertools
from dataclasses import dataclass, replace
from xml.etree import ElementTree

import numpy as np
import pytest
from trained_runs import METADATA, SWEEP, made_up_record, zero_model

from lstm_jax import Experiment
from lstm_jax.config.search import Search
from lstm_jax.data.images import load_images
from lstm_jax.report import drawing, plots
from lstm_jax.report.figures.activations import activation_figures
from lstm_jax.report.figures.settings import halving_figures, parameter_figures, settings_figures
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.task import Task

pytestmark = pytest.mark.usefixtures("fast_compile")


@dataclass(frozen=True)
class Error(Task):
    """A task whose lower metric is the better one."""

    name = "error"
    metric = "squared_error"
    higher_is_better = False

    def model_spec(self, metadata):
        return Images().model_spec(metadata)


@pytest.fixture
def plotted(monkeypatch):
    """The names of the plots that figures use and their arguments; nothing is drawn."""
    calls = []

    def draw(paint, *args, **_):
        calls.append((paint.__name__, args))
        return drawing.Drawing("<svg/>", "")

    monkeypatch.setattr("lstm_jax.report.drawing.draw", draw)
    return calls


def test_two_fields_make_a_map_whether_higher_or_lower_is_better():
    for task in (Images(dataset="digits"), Error()):
        grid = Experiment(task=task, hidden_size=(4, 8), batch_size=(64, 128), seed=(0, 1))
        heat_map, compared, time = settings_figures(made_up_record(grid))
        assert (heat_map.name, compared.name, time.name) == ("settings", "compared", "time")
        svg = heat_map.drawing.svg
        assert svg.count("n=2") == 4
        assert "batch size" in svg
        assert "hidden size" in svg
        name = task.metric.replace("_", " ").capitalize()
        assert heat_map.title == f"{name} by hidden size and batch size"
        assert name in time.title


def test_one_field_makes_points_with_intervals_and_three_make_points_each(plotted):
    one = Experiment(cell=("lstm", "gru"), seed=(0, 1, 2))
    names = [figure.name for figure in settings_figures(made_up_record(one))]
    assert names == ["settings", "compared", "time"]
    plot, (x, y, arms, labels, log, names) = plotted[0]
    assert (plot, labels, log, names) == ("points", ("cell", "accuracy"), False, ["gru", "lstm"])
    assert sorted(zip(x, y, strict=True)) == [(0, 4.0), (1, 1.0)]
    assert np.isfinite(arms).all()
    plotted.clear()
    three = Experiment(
        hidden_size=(4, 8), learning_rate=(1e-3, 1e-2), clip_norm=(None, 1.0), seed=(0, 1)
    )
    names = [figure.name for figure in settings_figures(made_up_record(three))]
    paths = ["hidden_size", "learning_rate", "clip_norm"]
    pairs = [f"{one}_{other}" for one, other in itertools.combinations(paths, 2)]
    assert names == [*(f"settings_{each}" for each in pairs + paths), "compared", "time"]
    logarithmic = [args[4] for plot, args in plotted if plot == "points"]
    assert logarithmic == [False, True, False]
    assert [args[5] for plot, args in plotted if plot == "points"] == [None, None, ["none", "1"]]


@pytest.mark.parametrize("trials", [6, 20])
def test_each_field_that_a_search_draws_makes_points(plotted, trials):
    """A map with as many rows and columns as there are settings would be almost empty."""
    space = Experiment(learning_rate=(1e-4, 1e-1), forget_bias=(0.0, 3.0))
    record = made_up_record(space, Search(method="random", trials=trials))
    names = [figure.name for figure in settings_figures(record)]
    points = ["settings_learning_rate", "settings_forget_bias"]
    assert [name for name in names if name != "compared"] == [*points, "time"]
    assert len(plotted[0][1][0]) == trials


def test_cells_of_a_search_are_compared_each_at_the_best_of_its_draws(plotted):
    space = Experiment(cell=("lstm", "gru", "rnn"), learning_rate=(1e-4, 1e-1), seed=(0, 1))
    record = made_up_record(space, Search(method="random", trials=9))
    best = {}  # by cell; the metric grows with the member's number
    for result in record.results.values():
        best[result.member.cell] = result.validation_metric - result.member.seed + 0.5
    (table,) = (each for each in settings_figures(record) if each.name == "compared")
    assert "each with its best learning rate drawn" in table.title
    assert table.header == ["best", "other", "ahead by"]
    first, *others = sorted(best, key=best.get, reverse=True)
    assert [row[:2] for row in table.rows] == [[first, other] for other in others]
    leads = [f"{best[first] - best[other]:.4g}" for other in others]
    assert [row[2].split(",")[0] for row in table.rows] == leads


def test_parameters_are_counted_for_each_model(plotted):
    grid = Experiment(cell=("lstm", "gru"), hidden_size=(4, 8), layers=2)
    list(parameter_figures(made_up_record(grid)))
    ((_, (groups, *_)),) = plotted
    counts = {count for group, _ in groups.values() for count in group}
    assert counts == {
        8 * size + size + 2 * (columns * 2 * size**2 + 4 * size) + size * 10 + 10
        for columns in (4, 3)  # of a kernel; both have four biases a unit
        for size in (4, 8)
    }


def test_one_setting_has_no_figure_and_metrics_that_are_not_finite_have_valid_ones():
    assert list(settings_figures(made_up_record(Experiment(seed=(0, 1))))) == []
    nothing = {"loss": None, "accuracy": None}
    record = made_up_record(Experiment(hidden_size=(4, 8)), validation=nothing, diverged_at=3)
    for figure in settings_figures(record):
        ElementTree.fromstring(figure.drawing.svg)


def test_the_curve_of_a_member_ends_at_the_rung_where_it_was_dropped(plotted):
    record = made_up_record(Experiment(learning_rate=(1e-3, 1e-2)))
    (dropped, worse), (digest, better) = record.results.items()
    rung = {dropped: replace(worse, steps=50, dropped=True), digest: replace(better, steps=50)}
    record = replace(record, rungs={50: rung}, results={digest: better})
    (figure,) = halving_figures(record)
    ((_, (curves, *_)),) = plotted
    assert figure.name == "halving"
    # The member that trained longest comes first.
    assert list(curves.items()) == [
        ("learning rate 0.01", ([50, better.steps], [1.0, 1.0])),
        ("learning rate 0.001", ([50], [0.0])),
    ]


@pytest.mark.parametrize(
    ("cell", "layers", "names"),
    [("gru", 2, {"gates", "saturation", "output"}), ("rnn", 1, {"output"})],
)
def test_activations_are_those_of_the_cells_last_layer(plotted, cell, layers, names):
    member = next(SWEEP.members()).replace({"hidden_size": 4, "cell": cell, "layers": layers})
    model = zero_model(member, METADATA)
    figures = list(activation_figures(model, load_images("digits"), "seed 0"))
    assert {figure.name for figure in figures} == names
    assert ("layer 2 of 2" in figures[-1].caption) == (layers == 2)


def test_a_cell_and_a_gate_have_one_colour_whatever_stands_beside_them():
    cells = ["cell lstm_nig", "cell lstm", "cell irnn", "cell rnn", "cell gru", "cell lstm_fgr"]
    for names in (cells, cells[::-1], cells[:2]):
        colours = plots.colours_of(names)
        assert colours["cell lstm"] == plots.colours_of(["cell lstm"])["cell lstm"]
        assert len(set(colours.values())) == len(names)
    gates = plots.colours_of(["forget gate, closed", "forget gate, open", "cell", "h"])
    assert len(set(gates.values())) == 3


@pytest.mark.parametrize(("state", "dashed"), [("closed", True), ("open", False)])
def test_of_a_gates_two_curves_the_closed_one_is_dashed(state, dashed):
    curves = {f"forget gate, {state}": ([1, 2], [0.1, 0.2])}
    svg = drawing.draw(plots.curves, curves, ("row", "fraction")).svg
    assert ("stroke-dasharray" in svg) == dashed


def test_a_logarithmic_scale_has_plain_numbers_that_are_the_same_in_all_panels():
    steps, loss = np.arange(4), np.array([9.0, 0.3, 0.02, 0.004])
    panels = {"a": {"lr 1": (steps, loss)}, "b": {"lr 1": (steps, loss / 100)}}
    canvas = plots.draw_panels(panels, ("step", "loss")).canvas
    marks = [[each.get_text() for each in axes.get_yticklabels()] for axes in canvas.axes]
    assert marks[0] == marks[1]
    assert {"0.001", "0.1", "10"} <= {*marks[0]}


def test_an_infinite_norm_is_drawn_high_and_one_that_is_nan_is_left_out():
    norms = np.array([0.0, 1.0, np.inf, np.nan])
    figure = drawing.draw(plots.curves, {"norm": (np.arange(4), norms)}, ("x", "y"), log=True)
    rows = [line.split(",") for line in figure.csv.splitlines()[1:]]
    np.testing.assert_allclose([float(row[3]) for row in rows], [1e-12, 1, 1e38, np.nan])
