"""Names of a user's data are shown as they are, and nothing obeys them; a result is a number."""

import csv
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from trained_runs import SWEEP, made_up_record, quiet

from lstm_jax.report import drawing, plots
from lstm_jax.report.drawing import TextTable
from lstm_jax.report.summary import summary
from lstm_jax.report.template import render
from lstm_jax.runs.files import csv_cell, write_csv
from lstm_jax.runs.progress import text_table
from lstm_jax.runs.run_study import describe_failure

# Colours of a terminal, a text that runs backwards, a bell, an end of line.
EVIL = "a\x1b[31mb\u202ec\x07d\u2066\r"
SHOWN = "a\\x1b[31mb\\u202ec\\x07d\\u2066\\r"


def hidden(text):
    return [c for c in text if not c.isprintable() and c not in "\n\t"]


def test_a_table_of_the_terminal_shows_what_a_name_hides():
    console = quiet()
    console.print(text_table(["", f"[bold]{EVIL}"], [[EVIL, "[red]x"]]))
    output = console.file.getvalue()
    assert hidden(output) == []
    assert f"[bold]{SHOWN}" in output
    assert "[red]x" in output
    files = [f"{'folder/' * 50}{name}.csv" for name in ("first", "second")]
    console.print(text_table(["file", "score"], [[file, "0.5"] for file in files]))
    folded = "".join(console.file.getvalue().replace("0.5", "").split())
    assert all(file in folded for file in files)


def test_the_page_and_its_figures_show_what_a_name_hides():
    record = made_up_record(SWEEP)
    record.name = EVIL
    table = TextTable("t", EVIL, EVIL, [EVIL], [[f"{EVIL}\nsecond row"]])
    section = {"tables": [table], "figures": [], "name": "s", "title": EVIL}
    page = render("report.html", **summary(record, [EVIL]), result=section, sections=[section])
    assert hidden(page) == []
    assert f"{SHOWN}\nsecond row" in page
    assert hidden("".join(table.files.values())) == []
    figure = drawing.draw(plots.curves, {EVIL: ([0, 1], [1, 2])}, (EVIL, "y"))
    assert hidden(figure.svg) == []
    assert SHOWN in figure.svg
    ElementTree.fromstring(figure.svg)


@pytest.mark.parametrize("begin", "=+-@")
def test_no_text_of_a_csv_file_is_a_formula(tmp_path, begin):
    formula, path = f"{begin}1+1", tmp_path / "results.csv"
    write_csv(path, [{formula: formula, "loss": -1.5, "evil": EVIL, "none": None}])
    (row,) = csv.DictReader(path.read_text().splitlines())
    assert row == {f"'{formula}": f"'{formula}", "loss": "-1.5", "evil": SHOWN, "none": ""}
    points = drawing.draw(plots.curves, {formula: ([0], [-1.0])}, ("x", "y")).csv
    assert next(csv.DictReader(points.splitlines()))["curve"] == f"'{formula}"
    assert csv_cell(-1.5) == -1.5


def test_a_run_without_a_finite_test_score_fails_and_one_of_several_does_not():
    results = [*made_up_record(SWEEP).results.values()]
    assert describe_failure(results) == describe_failure([]) == ""
    lost = [replace(r, test={"loss": 1.0, "accuracy": None}) for r in results]
    assert describe_failure([*lost[1:], results[0]]) == ""
    further = [replace(r, test={**r.test, "macro_f1": None}) for r in results]
    assert describe_failure(further) == ""
    assert describe_failure(lost).startswith("the test scores of every member are not finite")
    diverged = [replace(r, diverged_at=3) for r in lost]
    assert describe_failure(diverged) == "the loss of every member stopped being finite"
    assert "not finite" in describe_failure([diverged[0], *lost[1:]])
