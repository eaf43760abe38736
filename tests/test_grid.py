"""Cells by task: columns are never ranked with each other, and each has its own direction."""

import re
from dataclasses import replace

import numpy as np
import pytest
from trained_runs import made_up_record, quiet

from lstm_jax import Adding, Experiment
from lstm_jax.report.compare import compare
from lstm_jax.report.grid import grid_elements, shares
from lstm_jax.tasks.images import Images

CELLS = ("gru", "lstm", "rnn")
DIGITS = Experiment(task=Images(dataset="digits"), cell=CELLS, seed=(0, 1, 2))
ADDING = Experiment(task=Adding(length=20), cell=CELLS, seed=(0, 1, 2))


def record_of(experiment, scores):
    """Returns a record with the mean test metric of each cell; validation has half of it."""
    record = made_up_record(experiment)
    for digest, result in record.results.items():
        value = scores[result.member.cell] + 0.1 * (result.member.seed - 1)
        test, validation = ({"loss": 1.0, result.member.task.metric: v} for v in (value, value / 2))
        scores_of = {"validation": validation, "test": test}
        record.results[digest] = replace(result, **scores_of, num_parameters=9)
    for values in record.metadata.values():
        values["trivial_score"] = 0.2
    return record


@pytest.fixture
def runs():
    accuracy = record_of(DIGITS, {"gru": 0.5, "lstm": 0.7, "rnn": 0.3})
    error = record_of(ADDING, {"gru": 0.2, "lstm": 0.15, "rnn": 0.3})
    return [("a", accuracy), ("b", error)]


def test_cells_of_two_tasks_stand_in_one_table_each_column_with_its_own_best(runs):
    table, leads, figure = grid_elements(runs)
    assert table.header[:3] == ["cell", "images: accuracy", "adding: squared error"]
    assert table.rows[0][:4] == ["gru", "0.5000 ± 0.2484", "0.2000 [0.0000, 0.4484]", "9"]
    assert table.bold == {(1, 1), (1, 2)}  # the highest accuracy and the lowest error
    assert table.rows[-1] == ["trivial", "0.2", "0.2", "", ""]
    assert "over 3 seeds" in table.caption
    assert "the lowest of squared error" in table.caption
    lead = [row[1] for row in leads.rows]
    assert lead == ["0.2000 ± 0.0000 (n 3)", "best", "0.4000 ± 0.0000 (n 3)"]
    assert leads.rows[2][2] == "0.1500 ± 0.0000 (n 3)"  # a lead is positive where lower is better
    assert "**0.7000 ± 0.2484**" in table.files["table_grid.md"]
    for text in ("0.7", "±0.25", "squared error", "parameters"):
        assert f">{text}<" in figure.drawing.svg


def test_the_colours_of_a_column_go_from_its_trivial_score_to_its_best_mean():
    nan = np.nan
    for means, higher, trivial, expected in (
        ([0.5, 0.9, 0.1, nan], True, 0.1, [0.5, 1, 0, nan]),
        ([0.2, 0.1, 0.4], False, 0.3, [0.5, 1, 0]),  # worse than trivial is as trivial
        ([2.0, 1.0, 3.0], False, None, [0.5, 1, 0]),  # from the worst
        ([0.1, 0.05], True, 0.2, [0, 0]),
        ([0.3, 0.3], True, None, [1, 1]),
        ([nan], True, 0.2, [nan]),
        ([0.01, 0.1, 2.0, nan], False, 1.0, [1, 0.5, 0, nan]),  # by the logarithm
        ([1e-4, 1e-2], False, None, [1, 0]),
        ([0.0, 1.0], False, 2.0, [1, 0.5]),  # which 0 does not have
    ):
        np.testing.assert_allclose(shares(means, higher, trivial), expected)


def test_one_condition_or_one_cell_makes_no_grid(runs):
    assert [*grid_elements(runs[:1])] == []
    one = DIGITS.replace({"cell": "gru", "task.reading": ("rows", "columns")})
    assert [*grid_elements([("a", record_of(one, {"gru": 0.5}))])] == []
    both = record_of(one.replace({"cell": CELLS}), dict.fromkeys(CELLS, 0.5))
    table = next(grid_elements([("a", both)]))
    assert table.header[1:3] == ["reading rows: accuracy", "reading columns: accuracy"]


def test_a_cell_of_several_runs_has_a_row_for_each_and_a_diverged_one_is_not_ranked(runs):
    again = record_of(DIGITS.replace({"cell": "lstm", "learning_rate": 0.1}), {"lstm": 0.9})
    digest, result = next(iter(again.results.items()))
    again.results[digest] = replace(result, diverged_at=3)
    table, leads, _ = grid_elements([*runs, ("c", again)])
    rows = {row[0]: row[1:3] for row in table.rows}
    assert rows["lstm, c"] == ["diverged", ""]
    assert rows["lstm, a"][1] == ""
    assert rows["lstm, b"][0] == ""
    assert {table.rows[row][0] for row, _ in table.bold} == {"lstm, a", "lstm, b"}
    assert ["lstm, c", "", ""] in leads.rows


@pytest.mark.usefixtures("figure_files")
def test_runs_of_several_tasks_are_compared_on_a_page_with_its_files(tmp_path, monkeypatch, runs):
    records = {tmp_path / "made up" / record.study.digest: record for _, record in runs}
    for record in records.values():
        record.identities = {"i": {"data": record.study.digest}}
    monkeypatch.setattr("lstm_jax.report.compare.read_run", lambda path: records[path])
    console = quiet()
    path = compare([*records], console, tmp_path)
    page, said = path.read_text(), console.file.getvalue()
    assert "are not ranked: they answer different questions (adding; images)" in said
    assert "data was" not in said  # other data is no note where the task is another
    for line in ("images: test accuracy", "adding: test squared error"):
        assert line in said
    assert "<b>0.7000 ± 0.2484</b>" in page
    links = re.findall(r" href=\"([^\"]*)\"", page)
    assert {"table_grid.tex", "table_scores.md", "table_fields.csv", "grid_map.pdf"} <= {
        link.rpartition("/")[2] for link in links
    }
    for link in links:
        assert (path.parent / link).stat().st_size > 0
