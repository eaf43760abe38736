"""What `use.py` of an exported model refuses and turns round, in parts that need no model."""

import json
import sys

import numpy as np
import pytest

from lstm_jax.export.use_file import FORMS, SERIES, STOP


def run_form(program, words, known, monkeypatch, model=None):
    """Runs a part of `use.py`, and returns the exit code, 0 where it goes to its end."""
    imports = "import csv, datetime, io, json, os, re, sys, unicodedata, zipfile\n"
    imports += "import numpy as np\nfrom pathlib import Path\n"
    monkeypatch.setattr(sys, "argv", ["use.py", *map(str, words)])
    try:
        exec(f"{imports}{STOP}{program}", {"known": known, "model": model})
    except SystemExit as stopped:
        return stopped.code
    return 0


TABLE = {"columns": ["y"], "series": ["a"], "target": "y", "time": {"column": "d"}}
FIELDS = {
    "encoding": None, "series": "s", "window": 2, "time": "d", "decimal": ",", "thousands": ".",
}  # fmt: skip


def of_table(table, fields, tmp_path, monkeypatch):
    """Runs `use.py` for a table; the model answers with the last row of the window."""
    if table is not None:
        (tmp_path / "rows.csv").write_text(table, encoding="latin-1")
    known = TABLE | {"task_fields": FIELDS | fields}
    words = [tmp_path / "rows.csv"]
    return run_form(SERIES, words, known, monkeypatch, lambda x, series: x[:, -1])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("y;s;d\n1;a;1\nnan;a;2\n2;a;3\n", "line 3: a value of y is no finite number"),
        ("y;s;d\n;a;1\n1;a;2\n2;a;3\n", "line 2: a value of y is no finite number"),
        ("y;s;d\n1.5;a;1\n", "line 2: a value of y is no finite number"),
        ("y;s;d\n1_000;a;1\n", "line 2: a value of y is no finite number"),
        ("y,s,d\n1,5,a,1\n", "line 2 has not as many cells as the first line, cut at ','"),
        ("y,s,d\n1,a\n", "line 2 has not as many cells as the first line, cut at ','"),
        ("z|s|d\n1|a|1\n", "no column 'y'; the first line has ['z', 's', 'd'], cut at '|'"),
        ("y;s\n1;a\n", "no column 'd'; the first line has ['y', 's'], cut at ';'"),
        ("y;s;d\n1;b;1\n", "line 2: the model was not trained on the series 'b'"),
        ("y;s;d\n1;;1\n", "line 2: the model was not trained on the series ''"),
        ("y;s;d\n", "has no rows"),
        ("y;s;d\n1;a;1\n", "1 rows of a are fewer than the 2 read"),
        ("y;s;d\n1;a;1\n2;a;9\n3;a;8\n", "column d: the times of a do not rise; sort"),
        ("y;s;d\n\xff", "can't decode byte"),
        (None, "No such file"),
    ],
)
def test_use_py_refuses_a_table_that_it_would_misread(
    table, message, tmp_path, monkeypatch, capsys
):
    assert of_table(table, {}, tmp_path, monkeypatch) == 2
    said, why = capsys.readouterr()
    assert (said, why.count("\n")) == ("", 1)
    assert message in why


@pytest.mark.parametrize(
    ("times", "fields", "last", "note"),
    [
        (("1", "2", "10"), {}, 1234.5, ""),
        (("2024-01-03", "2024-01-02", "2024-01-01"), {}, 7, "column d has the newest row first"),
        (("10", "9", "8"), {}, 7, "column d has the newest row first"),
        (("01.12.2023", "02.12.2023", "01.01.2024"), {}, 1234.5, "cannot tell whether the oldest"),
        (("1", "3", "2"), {"time": None}, 1234.5, "column d does not rise"),
    ],
)
def test_use_py_reads_a_table_from_the_oldest_row_on(
    times, fields, last, note, tmp_path, monkeypatch, capsys
):
    """The forecast is the last row that was read."""
    rows = [f"{y}\ta\t{d}" for y, d in zip(("7", "8,5", "1.234,5"), times, strict=True)]
    assert of_table("\n".join(["y\ts\td", *rows]), fields, tmp_path, monkeypatch) == 0
    said, why = capsys.readouterr()
    assert json.loads(said) == {"series": "a", "target": "y", "forecast": [last]}
    assert (note in why) if note else why == ""


@pytest.mark.parametrize("form", ["images", "scenes", "arrays"])
@pytest.mark.parametrize("content", [b"PK\x03\x04 not whole", b"no array", b"", None])
def test_use_py_refuses_a_file_that_holds_no_array_in_one_line(
    form, content, tmp_path, monkeypatch, capsys
):
    path = tmp_path / "images.npy"
    if content is not None:
        path.write_bytes(content)
    known = {"inputs": {form: {"shape": ["n", 8, 8]}}}
    assert run_form(FORMS[form][-1], [path], known, monkeypatch) == 2
    why = capsys.readouterr().err
    assert str(path) in why
    assert why.count("\n") == 1


@pytest.mark.parametrize(
    ("form", "words", "message"),
    [
        ("texts", ["-"], "- is no text"),
        ("sentences", ["a", __file__], "is no text"),
        ("beginnings", [""], "give one character or more"),
        ("beginnings", ["a", "-3"], "give one character or more"),
    ],
)
def test_use_py_refuses_words_that_are_no_inputs(form, words, message, monkeypatch, capsys):
    """The first part of a form reads its words."""
    assert run_form(FORMS[form][0], words, {}, monkeypatch) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "array", [np.zeros((2, 9)), np.zeros((2, 8), complex), np.zeros(2), np.zeros((2, 8), "U1")]
)
def test_use_py_refuses_arrays_of_another_shape_or_type(array, tmp_path, monkeypatch, capsys):
    known = {"inputs": {"x": {"shape": ["n", "t + 1"], "dtype": "int32"}}}
    known["inputs"]["y"] = {"shape": ["n", 8], "dtype": "float32"}
    path, good = tmp_path / "arrays.npz", np.zeros((2, 8))
    np.savez(path, x=good.astype(int), y=good)

    def has_dtypes(*arrays):
        return np.array(
            [array.dtype == wanted for array, wanted in zip(arrays, ("i4", "f4"), strict=True)]
        )

    assert run_form(FORMS["arrays"][0], [path], known, monkeypatch, has_dtypes) == 0
    assert json.loads(capsys.readouterr().out) == [True, True]
    np.savez(path, x=good.astype(int), y=array)
    assert run_form(FORMS["arrays"][0], [path], known, monkeypatch, has_dtypes) == 2
    assert "y is " in capsys.readouterr().err
    known["inputs"]["x"]["symbols"] = 2
    np.savez(path, x=good.astype(int) + 2, y=good)
    assert run_form(FORMS["arrays"][0], [path], known, monkeypatch, has_dtypes) == 2
    assert "x has numbers from 0 to 2" in capsys.readouterr().err
