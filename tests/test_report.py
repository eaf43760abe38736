"""The report: whole without data, without a script, and the page one draws on answers as we do."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from functools import partial
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from lstm_jax import Experiment
from lstm_jax.cli import write_report
from lstm_jax.commands import Run
from lstm_jax.data.load import load
from lstm_jax.errors import Interrupted, SurroundingsError, UserError
from lstm_jax.report.diagnose import gradient_flow
from lstm_jax.report.figures import log10
from lstm_jax.report.gradient_figures import EXPLODING, enlarge_recurrent, train_first
from lstm_jax.report.page import draw_page, report
from lstm_jax.runs import store
from lstm_jax.runs.runner import run
from lstm_jax.train.model import RowLSTM
from lstm_jax.train.step import fold, init_state
from lstm_jax.use.trained import load as load_trained

SWEEP = Experiment(
    dataset="digits",
    hidden_size=8,
    learning_rate=(1e-3, 1e-2),
    seed=(0, 1),
    num_examples=16_000,
)


def train(runs, experiment, **options):
    console = Console(file=io.StringIO())
    return run("digits", experiment, console, runs_dir=runs, segment_steps=100, **options)


def reported(directory):
    """The page, and its figures by name."""
    page = report(directory, Console(file=io.StringIO())).read_text()
    return page, {path.stem: path.read_text() for path in (directory / "report").glob("*.svg")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs"), SWEEP)


@pytest.fixture(scope="module")
def page_and_figures(finished):
    return reported(finished)


def test_a_sweep_has_its_map_its_curves_and_its_insides(page_and_figures):
    page, figures = page_and_figures
    wanted = {"loss", "accuracy", "norms", "settings", "parameters", "time", "confusion", "gates"}
    wanted |= {"cell", "gradient_flow", "gradient_flow_training", "clipping", "accuracy_by_row"}
    assert wanted | {"belief_0", "saturation"} <= figures.keys()
    for name, svg in figures.items():
        ElementTree.fromstring(svg)
        assert f'<figure id="{name}">' in page
    assert "Chosen on validation" in page
    assert figures["settings"].count("n=2") == 2


def test_every_figure_lies_beside_the_page_as_png_too(finished, page_and_figures):
    for name in page_and_figures[1]:
        with Image.open(finished / "report" / f"{name}.png") as picture:
            assert min(picture.size) > 150
            assert picture.convert("L").getpixel((0, 0)) == 255  # on white, not on nothing


def test_it_needs_no_network_and_no_script_and_says_what_each_figure_is_of(page_and_figures):
    page, figures = page_and_figures
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!#|data:|draw\.html)[^\"]*\"", page)
    assert len(page) < 5_000_000
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page, re.DOTALL)
    assert len(captions) == len(figures)
    for caption in captions:
        assert "digits" in caption
        assert "<code>lstm-jax" in caption


def test_the_early_steps_shown_are_the_runs_own(finished):
    """Taken to the end, they end in its parameters, bit for bit."""
    trained = load_trained(finished)
    steps = trained.experiment.num_steps
    early = train_first(trained.experiment, trained.member, load("digits"), steps, clip_norm=0.0)
    for one, other in zip(*map(jax.tree.leaves, (early.params, trained.params)), strict=True):
        np.testing.assert_array_equal(one, other)
    digest = trained.experiment.solo(trained.member).digest
    rows = {r["step"]: r for r in store.read_metrics(finished) if r["member"] == digest}
    assert len(early.norms) == steps
    assert {step: rows[step]["gradient_norm"] for step in rows} == {
        step: float(early.norms[step]) for step in rows
    }


def test_larger_recurrent_weights_explode_where_the_runs_own_vanish():
    model = RowLSTM(hidden_size=64, num_features=28)
    params = jax.jit(partial(init_state, model))(jnp.uint32(0)).params
    rng = np.random.default_rng(0)
    strokes = rng.random((9, 28, 28)) < 0.1
    images = jnp.asarray(strokes * rng.integers(0, 256, strokes.shape), jnp.uint8)
    labels = jnp.zeros(9, jnp.int32)
    flow = jax.jit(lambda params: gradient_flow(fold(model, params), images, labels))
    own, larger = flow(params), flow(enlarge_recurrent(params, EXPLODING))
    assert own[0] < 0.1 * own[-1]
    assert larger[0] > 10 * larger[-1]


def test_a_norm_beyond_all_numbers_is_high_and_one_that_is_none_is_left_out():
    shown = log10([0.0, 1.0, np.inf, np.nan])
    np.testing.assert_array_equal(shown, [-12, 0, 38, np.nan])


@pytest.fixture
def no_data(monkeypatch):
    def gone(*_):
        raise SurroundingsError("the data set is gone")

    monkeypatch.setattr("lstm_jax.report.load", gone)


def test_without_the_data_everything_else_is_still_there(finished, no_data):
    page, _ = reported(finished)
    assert "some figures are missing: the data set is gone" in page
    assert '<figure id="loss">' in page
    assert '<figure id="gates">' not in page


def test_an_unfinished_run_is_reported_as_such(tmp_path, no_data):
    with pytest.raises(Interrupted):
        train(tmp_path, SWEEP, max_minutes=1e-9)
    (directory,) = (tmp_path / "digits").iterdir()
    page, figures = reported(directory)
    assert "This run is unfinished: 0 of 4 members are done" in page
    assert "loss" in figures


def test_a_report_later_than_its_record_is_not_written_again(finished, page_and_figures):
    """Nor one that nobody asked for; one older than the record is."""
    page, record = finished / "report" / "index.html", finished / "record.json"
    command = Run("digits", SWEEP)
    before = page.stat().st_mtime_ns
    write_report(command, finished, Console(file=io.StringIO()))
    assert page.stat().st_mtime_ns == before
    os.utime(record, ns=(before + 1, before + 1))
    write_report(replace(command, report=False), finished, Console(file=io.StringIO()))
    assert page.stat().st_mtime_ns == before
    write_report(command, finished, Console(file=io.StringIO()))
    assert page.stat().st_mtime_ns > before


def test_names_are_escaped(tmp_path, no_data):
    directory = train(tmp_path, SWEEP.solo(SWEEP.members()[0]))
    record = json.loads((directory / "record.json").read_text())
    record["name"] = "<script>alert(1)</script>"
    store.write_json(directory / "record.json", store.sealed(record))
    page, _ = reported(directory)
    assert "<script" not in page
    assert "Result</h2>" in page


def test_what_is_no_run_is_one_line(tmp_path):
    with pytest.raises(UserError, match="is no run"):
        report(tmp_path, Console(file=io.StringIO()))


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs the chromium browser")
def test_the_page_one_draws_on_answers_as_we_do(finished, tmp_path):
    """On 100 test images, in a real browser."""
    images = load("digits").test.images[:100]
    trained = load_trained(finished)
    data = base64.b64encode(images.tobytes()).decode()
    size = images[0].size
    ask = f"""<pre id="answers"></pre><script>
    const bytes = Uint8Array.from(atob("{data}"), c => c.charCodeAt(0)), answers = [];
    for (let n = 0; n < 100; n++) {{
      const image = Array.from(bytes.slice(n * {size}, (n + 1) * {size}), v => v / 255);
      answers.push(read(arranged(image)).beliefs.at(-1));
    }}
    document.getElementById("answers").textContent = JSON.stringify(answers);
    </script></body>"""
    page = tmp_path / "draw.html"
    page.write_text(draw_page(trained).replace("</body>", ask))
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    done = subprocess.run(
        [*browser, f"--user-data-dir={tmp_path / 'profile'}", f"file://{page}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    answers = np.array(json.loads(re.search(r'"answers">(\[.*?\])</pre>', done.stdout)[1]))
    wanted = trained.probabilities(images)
    np.testing.assert_array_equal(answers.argmax(axis=1), wanted.argmax(axis=1))
    np.testing.assert_allclose(answers, wanted, atol=1e-3)
