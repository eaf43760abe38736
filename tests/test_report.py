"""The report of a run: complete without data or scripts; its sketch page answers as the model."""

import csv
import json
import re
import shutil
import subprocess
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from trained_runs import METADATA, SWEEP, made_up_record, quiet, zero_model

from lstm_jax import Experiment
from lstm_jax.config.labels import format_value
from lstm_jax.config.search import Search
from lstm_jax.data.images import load_images
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.predict.trained import load as load_trained
from lstm_jax.report import page as report_page
from lstm_jax.report.draw_digit import can_draw_digit, draw_digit_page
from lstm_jax.report.figures.search_history import search_figures
from lstm_jax.report.page import report
from lstm_jax.report.summary import summary
from lstm_jax.report.tables import all_forms
from lstm_jax.runs.record import is_reported
from lstm_jax.tasks.images import Images

pytestmark = pytest.mark.usefixtures("fast_compile", "figure_files")


def write_report(directory):
    """Returns the page, and its figures by name."""
    page = report(directory, quiet()).read_text()
    return page, {path.stem: path.read_text() for path in (directory / "report").glob("*.svg")}


@pytest.fixture(scope="module")
def page_and_figures(trained_sweep, figure_files):
    return write_report(trained_sweep)


@pytest.fixture
def no_data(monkeypatch):
    def load(*_):
        raise EnvironmentProblem("the data set is gone")

    monkeypatch.setattr(Images, "load", load)


def test_a_sweep_has_settings_curves_answers_activations_and_gradients(page_and_figures):
    page, figures = page_and_figures
    names = {"loss", "accuracy", "norms", "settings", "examples", "confusion", "gates", "cell"}
    names |= {"gradient_flow", "gradient_flow_training", "clipping", "accuracy_by_time_step"}
    names |= {"time_scales", "lyapunov"}
    assert names | {"belief_0", "saturation", "mistakes"} <= figures.keys()
    for name, svg in figures.items():
        ElementTree.fromstring(svg)
        assert f'<figure id="{name}"' in page
    assert "Chosen on validation: learning rate 0.01" in page
    head = ("learning rate", "num parameters", "validation accuracy", "test accuracy")
    assert "".join(f"<th>{name}</th>" for name in head) in page
    assert "learning rate 0.003" in figures["loss"]


def test_validation_curves_end_at_the_last_step_with_the_scores_on_record(
    trained_sweep, page_and_figures, records
):
    for name in ("loss", "accuracy"):
        text = (trained_sweep / "report" / f"validation_{name}.csv").read_text()
        last = {row["curve"]: row for row in csv.DictReader(text.splitlines())}
        scores = {}
        for result in records[trained_sweep].results.values():
            curve = f"learning rate {format_value(result.member.learning_rate)}"
            scores.setdefault(curve, []).append(result.validation[name])
            assert float(last[curve]["x"]) == result.steps
        assert last.keys() == scores.keys()
        for curve, values in scores.items():
            np.testing.assert_allclose(float(last[curve]["y"]), np.mean(values), rtol=1e-6)


def test_every_figure_has_a_pdf_and_a_png_on_white(trained_sweep, page_and_figures):
    for name in page_and_figures[1]:
        with Image.open(trained_sweep / "report" / f"{name}.png") as picture:
            assert min(picture.size) > 50  # an inch, at the dots of this test
            assert picture.convert("L").getpixel((0, 0)) == 255  # not transparent
        assert (trained_sweep / "report" / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_the_page_is_there_before_the_figures_that_need_the_model(trained_sweep, monkeypatch):
    directory, pages = trained_sweep, []

    def load_member(*_, **__):
        pages.append((directory / "report" / "index.html").read_text())
        assert not is_reported(directory)
        raise EnvironmentProblem("no model in this test")

    monkeypatch.setattr(report_page, "load_member", load_member)
    last = write_report(directory)[0]
    assert is_reported(directory)
    assert '<figure id="loss"' in pages[0]
    assert report_page.UNFINISHED in pages[0]
    assert report_page.UNFINISHED not in last
    assert "no model in this test" in last


def test_the_page_needs_no_network_and_no_script_and_captions_name_the_data(
    trained_sweep, page_and_figures
):
    page, figures = page_and_figures
    assert "<script" not in page
    for target in re.findall(r"(?:src|href)=\"(?!#|data:)([^\"]*)\"", page):
        assert (trained_sweep / "report" / target).exists(), target
    assert 'href="draw_digit.html"' in page
    assert len(page) < 5_000_000
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page, re.DOTALL)
    assert len(captions) == len(figures)
    for caption in captions:
        assert "digits" in caption
    assert page.count("<code>lstm-jax") == 1


def test_each_table_of_the_page_is_a_markdown_latex_and_csv_file(trained_sweep, page_and_figures):
    page, folder = page_and_figures[0], trained_sweep / "report"
    for name in ("fields", "settings", "compared"):
        for ending in ("md", "tex", "csv"):
            assert page.count(f'href="table_{name}.{ending}"') == 1
    with open(folder / "table_settings.csv") as file:
        rows = list(csv.reader(file))
    shown = re.findall(r'<td class="wide">(0\.01|0\.003)</td>', page)
    assert [row[0] for row in rows[1:]] == shown[:2] == ["0.01", "0.003"]
    assert rows[0] == ["learning rate", "num parameters", "validation accuracy", "test accuracy"]
    markdown = (folder / "table_settings.md").read_text().splitlines()
    assert markdown[2:] == [f"| {' | '.join(row)} |" for row in rows[1:]]
    latex = (folder / "table_settings.tex").read_text()
    assert rows[1][2] in latex  # `0.9 (sd 0.1, n 2: too few for an interval)` is one cell
    assert latex.count(r"\\") == len(rows)


def test_a_table_means_the_same_in_every_form():
    header, rows = ["", "a_b|c"], [["[x] *", "0.5 ± 0.1"], [r"<unk> \a & { ~", 1 / 3], ["__x__", 2]]
    markdown, latex, text = all_forms("t", header, rows, bold={(0, 1)}).values()
    assert markdown.splitlines() == [
        r"|  | a_b\|c |",
        "| --- | --- |",
        r"| [x] \* | **0.5 ± 0.1** |",
        r"| \<unk> \\a & { \~ | 0.3333 |",
        r"| \_\_x\_\_ | 2 |",
    ]
    assert latex.splitlines() == [
        r"\begin{tabular}{ll}",
        r"\hline",
        r" & a\_b$|$c \\",
        r"\hline",
        r"{[}x{]} {*} & \textbf{0.5 $\pm$ 0.1} \\",
        r"$<$unk$>$ \textbackslash{}a \& \{ \textasciitilde{} & 0.3333 \\",
        r"\_\_x\_\_ & 2 \\",
        r"\hline",
        r"\end{tabular}",
    ]
    assert [*csv.reader(text.splitlines())] == [
        header, ["[x] *", "0.5 ± 0.1"], [rows[1][0], str(1 / 3)], ["__x__", "2"],
    ]  # fmt: skip
    markdown, latex, text = all_forms("t", (), rows).values()
    assert markdown.startswith("|  |  |\n| --- |")  # Markdown has no table without a header
    assert latex.count(r"\hline") == 2
    assert text.count("\n") == len(rows)


def test_without_the_data_all_other_figures_are_there(trained_sweep, no_data):
    console = quiet()
    page = report(trained_sweep, console).read_text()
    assert "some figures are missing: the data set is gone" in page
    assert console.file.getvalue().strip().endswith("the report is written without them")
    assert '<figure id="loss">' in page
    assert '<figure id="gates">' not in page


def test_the_report_of_an_unfinished_run_says_so(records, trained_sweep, no_data):
    whole = records[trained_sweep]
    first = dict(list(whole.results.items())[:1])
    rungs = {50: {d: replace(r, steps=50, dropped=d not in first) for d, r in
                  list(whole.results.items())[:2]}}  # fmt: skip
    records[trained_sweep] = replace(whole, results=first, rungs=rungs)
    try:
        page, figures = write_report(trained_sweep)
    finally:
        records[trained_sweep] = whole
    assert "This run is unfinished: 1 of 4 members are done" in page
    assert "at step 50,\n1 of 2 members were trained further" in page
    assert "loss" in figures
    assert "halving" in figures


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_search_that_drew_a_setting_twice_is_finished_with_fewer_members(method):
    space = Experiment(cell=("lstm", "gru"), seed=(0, 1))
    record = made_up_record(space, Search(method=method, trials=5, trials_at_once=5))
    count, notes = len(record.results), list[str]()
    values = summary(record, notes)
    assert count <= 4
    assert record.is_finished
    assert notes == []
    assert (f"{count} of {count}", "members trained") in values["tiles"]


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_the_history_of_a_search_has_the_best_trial_so_far(monkeypatch, higher_is_better):
    space = Experiment(learning_rate=(1e-4, 1e-1), seed=(0, 1))
    record = made_up_record(space, Search(method="random", trials=3))
    for result, score in zip(record.results.values(), (1, 3, 7, 9, 0, 2), strict=True):
        result.validation["accuracy"] = float(score)
    monkeypatch.setattr(type(space.task), "higher_is_better", higher_is_better)
    drawn = []
    monkeypatch.setattr(
        "lstm_jax.report.drawing.draw", lambda _, curves, *__, **___: drawn.append(curves)
    )
    (figure,) = search_figures(record)
    best = [2, 8, 8] if higher_is_better else [2, 2, 1]
    assert drawn == [{"best so far": ([1, 2, 3], best), "trial": ([1, 2, 3], [2, 8, 1])}]
    assert "random search drew" in figure.caption
    assert not list(search_figures(made_up_record(space)))


def test_the_history_of_a_search_shows_the_trials_that_halving_dropped(monkeypatch):
    """In the order in which they were drawn; the best one so far is of those that were not."""
    space = Experiment(learning_rate=(1e-4, 1e-1))
    record = made_up_record(space, Search(method="random", trials=3, halving=2))
    assert record.study.rungs() == ((391, 2),)
    rows = {
        digest: replace(result, steps=391, dropped=score == 4.0, validation={"accuracy": score})
        for (digest, result), score in zip(record.results.items(), (5.0, 4.0, 6.0), strict=True)
    }
    record.rungs = {391: rows}
    (lost,) = (result.member.digest for result in record.dropped)
    del record.results[lost]
    assert record.is_finished
    drawn = []
    monkeypatch.setattr(
        "lstm_jax.report.drawing.draw", lambda _, curves, *__, **___: drawn.append(curves)
    )
    (figure,) = search_figures(record)
    assert drawn == [
        {
            "best so far": ([1, 3], [0, 2]),
            "trial": ([1, 3], [0, 2]),
            "dropped": ([2], [4]),
        }
    ]
    assert "a dropped trial has the metric of the last rung" in figure.caption


def test_names_are_escaped_and_a_single_member_has_its_values_listed(records, tmp_path, no_data):
    evil = "<script>alert(1)</script>"
    member = SWEEP.replace({"learning_rate": 0.01, "seed": 5, "layers": 2})
    record = made_up_record(member)
    records[tmp_path] = replace(record, name=evil, sessions=[{"command": ["run", evil]}])
    page, _ = write_report(tmp_path)
    assert "<script" not in page
    assert "Result</h2>" in page
    for key, value in (("layers", "2"), ("seed", "5"), ("learning rate", "0.01")):
        assert f'<tr><th>{key}</th><td class="value">{value}</td></tr>' in page
    assert "test accuracy" in page


def test_the_first_sentence_says_how_well_beside_an_answer_without_a_model():
    record = made_up_record(SWEEP)
    (key,) = record.metadata
    card = {"name": "digits", "examples": [1000, 100, 100], "trivial": {"always `3`": 0.1}}
    record.metadata[key] = METADATA | {"card": card, "trivial_score": 0.1}
    record.note = "a try"
    values = summary(record, [])
    assert values["verdicts"] == [
        "lstm with learning rate 0.01 reaches a test accuracy of 2.5000 (two seeds, too few for an "
        "interval); always `3` reaches 0.1."
    ]
    assert values["model_line"] == "lstm, 1 layer of 8 units"
    assert values["data_line"] == "digits: 1,000 training, 100 validation, 100 test examples"
    record.metadata[key]["trivial_score"] = 9.0
    (sentence,) = summary(record, [])["verdicts"]
    assert sentence.endswith("than without a model: the best answer without a model reaches 9.")


def test_an_unknown_member_is_the_users_mistake(trained_sweep):
    with pytest.raises(UserError, match="0 members begin with 'zz'"):
        report(trained_sweep, quiet(), member="zz")


def test_only_a_model_that_the_sketch_page_computes_has_one():
    member = next(SWEEP.members()).replace({"hidden_size": 4})
    assert can_draw_digit(zero_model(member, METADATA))
    for values in ({"cell": "gru"}, {"layers": 2}):
        other = zero_model(member.replace(values), METADATA)
        assert not can_draw_digit(other)
        with pytest.raises(UserError, match="one layer of the cell lstm"):
            draw_digit_page(other, "seed 0")
    for own in ("./own.npz", "shapes@0123456789ab"):  # a user's own images
        assert not can_draw_digit(zero_model(member.replace({"task.dataset": own}), METADATA))


def on_the_page(trained, images, wanted, path):
    """Returns what the sketch page's script makes of images, up to where it touches the page."""
    script = draw_digit_page(trained, "this run").split("<script>")[1].split("// As in lstm_jax")[0]
    ask = f"""
    for (const image of {(images / 255).reshape(len(images), -1).tolist()})
      console.log(JSON.stringify({wanted}));"""
    path.write_text(script + ask)
    done = subprocess.run(["node", path], capture_output=True, text=True, timeout=60, check=True)
    return np.array([json.loads(line) for line in done.stdout.splitlines()])


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_the_sketch_page_reads_the_pixels_that_the_model_reads(tmp_path):
    images, values = load_images("digits").test["images"][:3], {"hidden_size": 4, "task.pool": 2}
    for reading in ("columns", "permuted"):
        member = next(SWEEP.members()).replace({"task.reading": reading, **values})
        trained = zero_model(member, METADATA)
        read = on_the_page(trained, images, "arranged(image)", tmp_path / "page.js")
        wanted = trained.images_task.sequences(images).reshape(3, -1) / 255
        np.testing.assert_allclose(read, wanted, atol=1e-6)


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_the_sketch_page_answers_as_the_model(trained_sweep, tmp_path):
    """Runs the page's own network on 100 test images."""
    images, trained = load_images("digits").test["images"][:100], load_trained(trained_sweep)
    wanted = "read(arranged(image)).beliefs.at(-1)"
    answers = on_the_page(trained, images, wanted, tmp_path / "page.js")
    expected = trained.probabilities(images)
    np.testing.assert_array_equal(answers.argmax(axis=1), expected.argmax(axis=1))
    np.testing.assert_allclose(answers, expected, atol=1e-3)
