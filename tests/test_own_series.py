"""Series as users have them: gaps, missing values, several series in one file, dates of all kinds.

A window never crosses a gap, reads no value that was made of later ones, and knows its times.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import jax
import numpy as np
import pyarrow.compute as pc
import pytest
from pyarrow.csv import read_csv
from trained_runs import zero_model

from lstm_jax import Experiment, Forecast, run
from lstm_jax.data.dataset import num_examples, say_nothing
from lstm_jax.data.labelled_splits import SPLITS
from lstm_jax.data.time_series import Scales, series_of
from lstm_jax.data.times import parse_times, usual_step
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.predict.forecast import predict
from lstm_jax.predict.predict import PredictOptions
from lstm_jax.report.figures.forecast import answer_figures

WINDOW, HORIZON, ROWS = 4, 2, 120
HOURS = [datetime(2023, 1, 1) + timedelta(hours=hour) for hour in range(ROWS)]


def written(path, header, rows):
    path.write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]) + "\n")
    return str(path)


def hourly(path, *, without=(), missing=(), value=lambda hour: hour):
    """A file of hours, whose value says which hour it is."""
    hours = [hour for hour in range(ROWS) if hour not in without]
    rows = [(HOURS[h], "" if h in missing else value(h)) for h in hours]
    return written(path, ("time", "y"), rows)


def task_of(file, **fields):
    return Forecast(**{"file": file, "target": "y", "window": WINDOW, "horizon": HORIZON, **fields})


def windows_of(dataset, window=WINDOW):
    """The values of all windows and of what follows them, in the unit of the file."""
    scales, rows = Scales.of(dataset.metadata), []
    for name in SPLITS:
        split = getattr(dataset, name)
        number = series_of(split, np.arange(num_examples(split)))
        index = split["first"][:, None] + np.arange(window + HORIZON)
        rows.append(scales.unscale_target(split["target"][index], number).round(3))
    return np.concatenate(rows)


@pytest.mark.parametrize("time", ["time", None])
def test_no_window_crosses_a_gap_and_no_other_is_left_out(tmp_path, time):
    holes = {30, *range(50, 60), 61}
    said = []
    file = hourly(tmp_path / "t.csv", without=holes)
    dataset = task_of(file, time=time).load(said.append)
    found = windows_of(dataset)
    assert (np.diff(found, axis=1) == 1).all()
    assert dataset.metadata["rows"] == {"train": 88, "validation": 10, "test": 10}
    ends = {87, 97}  # rows: both values that a window asks for lie in one split
    hours = [hour for hour in range(ROWS) if hour not in holes]
    first = {
        hour
        for hour in hours[: -WINDOW - HORIZON + 1]
        if not holes & {*range(hour, hour + WINDOW + HORIZON)}
        and hours.index(hour + WINDOW) not in ends
    }
    assert {int(window[0]) for window in found} == first
    assert said[0].startswith(
        f"{file}, line 32: the step of column time before it is 2:00:00, not 1:00:00, nor are 2 "
    )
    num_windows = len(hours) - WINDOW - HORIZON + 1 - len(ends)
    left_out = num_windows - len(first)
    assert said[1].startswith(f"t: {left_out} of {num_windows} windows are left out")
    crossing = task_of(file, time=time, gaps="cross").load(say_nothing)
    assert len(windows_of(crossing)) == num_windows
    with pytest.raises(UserError, match=r"windows of test cross a gap .*--task.gaps cross"):
        task_of(hourly(tmp_path / "u.csv", without=range(100, ROWS, 3))).load(say_nothing)


def test_the_seasonal_forecast_reads_across_no_gap(tmp_path):
    file = hourly(tmp_path / "t.csv", without={50})
    dataset = task_of(file, period=9).load(say_nothing)
    for name in SPLITS:
        split = getattr(dataset, name)
        index = split["first"][:, None] + np.arange(WINDOW - 9, WINDOW + HORIZON)
        hours = Scales.of(dataset.metadata).unscale_target(split["target"][index], index[:, 0] * 0)
        np.testing.assert_allclose(np.diff(hours, axis=1), 1, atol=1e-4)


def test_a_missing_value_is_refused_with_its_line_left_out_or_filled_in(tmp_path):
    holes = {10, 30, 31, 95, 96, 119}  # 95 ends training, 96 begins validation
    file = hourly(tmp_path / "t.csv", missing=holes)
    with pytest.raises(UserError, match=r"t.csv, line 12: '' in column y .*--task.missing drop or"):
        task_of(file).load(say_nothing)
    said = []
    dropped = windows_of(task_of(file, missing="drop").load(said.append))
    assert (np.diff(dropped, axis=1) == 1).all()
    assert not holes & {*dropped.ravel().astype(int).tolist()}
    assert any("line 12: 6 rows lack a value; such rows are left out" in line for line in said)
    filled = windows_of(task_of(file, missing="interpolate").load(say_nothing))
    np.testing.assert_allclose(np.diff(filled, axis=1), 1, atol=1e-3)
    hours = filled.round().astype(int)
    assert {10, 30, 31} <= {*hours[:, : WINDOW - 1].ravel().tolist()}  # read
    assert not holes & {*hours[:, WINDOW:].ravel().tolist()}  # asked for
    assert not holes & {*hours[:, WINDOW - 1].tolist()}  # read last, made of what comes after
    assert not {95, 96, 119} & {*hours.ravel().tolist()}  # no neighbour in its split
    with pytest.raises(UserError, match=r"line 2: 'x' in column y is not a finite number"):
        task_of(hourly(tmp_path / "x.csv", value=lambda _: "x"), missing="drop").load(say_nothing)


def test_a_value_that_is_filled_in_moves_with_no_later_row_that_a_window_does_not_know(tmp_path):
    def known(changed):
        file = hourly(
            tmp_path / "t.csv", missing={40, 41}, value=lambda h: h + 7.0 * (h >= changed)
        )
        dataset = task_of(file, missing="interpolate").load(say_nothing)
        return windows_of(dataset)[:, :WINDOW].round(2)

    now = 42
    for before, after in zip(known(ROWS), known(now), strict=True):
        if before[-1] < now:
            np.testing.assert_array_equal(before, after)


def test_training_does_not_see_validation_through_a_value_that_is_filled_in(tmp_path):
    def train(level):
        file = hourly(
            tmp_path / "t.csv", missing={94, 95}, value=lambda h: h if h < 96 else level + h
        )
        return task_of(file, missing="interpolate").load(say_nothing)

    (one, other) = train(0), train(500)
    for name, array in one.train.items():
        np.testing.assert_array_equal(array, other.train[name])
    assert one.metadata["means"] == other.metadata["means"]


def long_format(path, *, interleaved):
    rows = [
        (HOURS[h], name, (10.0**power) * np.sin(h * (power + 1)))
        for h in range(ROWS)
        for power, name in enumerate(("north", "south"))
    ]
    rows += [(HOURS[h], "new", h) for h in range(15)]  # one of validation, and one of the test
    if not interleaved:
        rows.sort(key=lambda row: row[1])
    return written(path, ("time", "place", "y"), rows)


@pytest.mark.parametrize("interleaved", [True, False])
def test_each_series_of_a_file_is_as_if_it_stood_alone(tmp_path, interleaved):
    said = []
    file = long_format(tmp_path / "long.csv", interleaved=interleaved)
    dataset = task_of(file, time="time", series="place").load(said.append)
    assert [line for line in said if "left out the series new: " in line] == said
    assert dataset.metadata["series"] == ["north", "south"]
    assert dataset.metadata["rows"] == {"train": 192, "validation": 24, "test": 24}
    for number in (0, 1):
        rows = [(HOURS[h], (10.0**number) * np.sin(h * (number + 1))) for h in range(ROWS)]
        alone = task_of(written(tmp_path / "one.csv", ("time", "y"), rows)).load(say_nothing)
        assert dataset.metadata["means"][number] == alone.metadata["means"]
        for split_name in SPLITS:
            split, single = getattr(dataset, split_name), getattr(alone, split_name)
            index = np.flatnonzero(split["series_number"] == number)
            batch = task_of(file).gather(split, index)
            wanted = task_of(file).gather(single, np.arange(num_examples(single)))
            np.testing.assert_array_equal(batch["x"], wanted["x"])
            np.testing.assert_array_equal(batch["y"], wanted["y"])
    task = task_of(file, time="time", series="place")
    units = [(10.0**n) * np.sin(np.arange(96) * (n + 1)).std() for n in (0, 1)]  # 96 train
    assert task.describe_data(dataset) == [
        "2 series: north, south",
        "time step: 1:00:00, by column time",
        "unit of errors: the standard deviation of y in training, "
        f"north {units[0]:.4g}, south {units[1]:.4g}",
    ]
    example = {k: v[-1] for k, v in task.gather(dataset.train, np.arange(170)).items()}
    assert task.describe_example(example, dataset.metadata).startswith("series south: 4 rows")
    with pytest.raises(UserError, match=r"line \d+: .* or name the column that tells several"):
        task_of(file, time="time").load(say_nothing)


def test_a_file_with_its_newest_row_first_is_the_same_data(tmp_path):
    rows = [(hour, np.sin(i)) for i, hour in enumerate(HOURS)]
    fingerprints = set()
    for order, remarks in ((rows, 0), (rows[::-1], 1)):
        for time in ("time", None):
            said = []
            file = written(tmp_path / "t.csv", ("time", "y"), order)
            fingerprints.add(task_of(file, time=time).load(said.append).fingerprint)
            assert len(said) == remarks
    assert len(fingerprints) == 1


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["12/30/2023", "12/31/2023", "1/1/2024"], "2023-12-30"),
        (["30/12/2023", "31/12/2023", "1/1/2024"], "2023-12-30"),
        (["30.12.2023 05:00", "31.12.2023 05:00"], "2023-12-30T05:00"),
        (["2023/12/30 5:00 PM", "2023/12/31 5:00 PM"], "2023-12-30T17:00"),
        (["01/02/2023", "01/03/2023", "01/01/2024"], "2023-01-02"),  # or days of three months
        (["01/02/2023", "02/02/2023", "03/01/2023"], "2023-01-02"),
        (["09/01/2023", "10/01/2023", "01/02/2023"], "2023-01-09"),  # months first would fall
        (["20231230", "20231231"], "2023-12-30"),
        (["2023-12-30T00:00:00+02:00", "2023-12-29T22:00:01Z"], "2023-12-29T22:00"),
    ],
)
def test_dates_of_other_forms_are_those_of_iso_8601(words, wanted):
    times = parse_times(words)
    assert times.values[0] == parse_times([wanted]).values[0]
    assert (np.diff(times.values) > 0).all()
    assert bool(times.doubt) == (words[1] == "01/03/2023")


def business(first, count):
    days = [first + timedelta(day) for day in range(count)]
    return [day for day in days if day.weekday() < 5]


@pytest.mark.parametrize(
    ("words", "step", "shown"),
    [
        ([f"2023-{m:02}-01" for m in range(1, 13)], "1 month", ["2024-01-01", "2024-02-01"]),
        (["2023-01-31", "2023-02-28", "2023-03-31"], "1 month", ["2023-04-30", "2023-05-31"]),
        (["2020-03-31", "2020-06-30", "2020-09-30"], "3 months", ["2020-12-31", "2021-03-31"]),
        (business(date(2024, 5, 6), 12), "1 working day", ["2024-05-20", "2024-05-21"]),
        ([date(2024, 2, 27), date(2024, 2, 28)], "1 day", ["2024-02-29", "2024-03-01"]),
        (["2024-05-01 11:00", "2024-05-01 12:00"], "1:00:00", ["2024-05-01 13:00"]),
        (
            ["2024-05-01T22:30:00+02:00", "2024-05-01T23:00:00+02:00"],
            "0:30:00",
            ["2024-05-01 23:30+02:00", "2024-05-02 00:00+02:00"],
        ),
        (["1990", "1991"], "1", ["1992", "1993"]),
        (["0.1", "0.2", "0.30000000000000004"], "0.1", ["0.4"]),
    ],
)
def test_the_times_that_follow_are_those_of_the_calendar(words, step, shown):
    times = parse_times([str(word) for word in words])
    found = usual_step([times.values], are_dates=times.are_dates)
    assert str(found) == step
    assert not found.is_gap(times.values).any()
    after = found.after(float(times.values[-1]), len(shown))
    assert [times.show(time) for time in after] == shown


def test_holidays_of_a_working_week_are_no_gap_and_a_missing_month_is_one():
    days = business(date(2024, 1, 1), 60)
    values = parse_times([str(day) for day in (*days[:10], *days[13:])]).values
    step = usual_step([values], are_dates=True)
    assert not step.is_gap(values).any()
    values = parse_times([str(day) for day in (*days[:10], *days[31:])]).values
    assert step.is_gap(values).sum() == 1


def predicted(task, dataset, file, capsys, **options):
    """What `predict --last` prints, and what it warns of, by a model that always says zero."""
    model = zero_model(Experiment(task=task, hidden_size=2), dataset.metadata)
    lines = []
    predict(model, PredictOptions(last=file, **options), lines.append)
    return lines, capsys.readouterr().err


def test_predict_names_the_times_and_refuses_rows_of_another_step(tmp_path, capsys):
    task = task_of(hourly(tmp_path / "t.csv"))
    dataset = task.load(say_nothing)
    assert dataset.metadata["time"] == {"column": "time", "amount": 3600.0, "unit": "seconds"}
    head, *lines = predicted(task, dataset, task.file, capsys)[0]
    assert head == f"y after {task.file}, line 121 (2023-01-05 23:00)"
    assert lines == ["+1  2023-01-06 00:00: 47.5", "+2  2023-01-06 01:00: 47.5"]
    (answer,) = predicted(task, dataset, task.file, capsys, json=True)[0]
    assert json.loads(answer)["times"] == ["2023-01-06 00:00", "2023-01-06 01:00"]
    rows = [(date(2023, 1, 1) + timedelta(day), day) for day in range(30)]
    daily = written(tmp_path / "daily.csv", ("time", "y"), rows)
    with pytest.raises(UserError, match=r"its rows are 1 day apart by column time, .* 1:00:00 ap"):
        predicted(task, dataset, daily, capsys)
    mangled = written(tmp_path / "m.csv", ("time", "Grö\u00dfe"), rows)
    with pytest.raises(UserError, match=r"has no column 'y'.*Größe; the file is read as UTF-8, as"):
        predicted(task, dataset, mangled, capsys)
    # A value that is missing at the end is not made up: the forecast begins before it.
    task = replace(task, missing="interpolate")
    lines, warning = predicted(
        task, dataset, hourly(tmp_path / "m.csv", missing={60, ROWS - 1}), capsys
    )
    assert lines[0].endswith("line 120 (2023-01-05 22:00)")
    assert "line 62: 2 rows lack a value" in warning
    for hole in ({"without": {117}}, {"missing": {117}}):
        with pytest.raises(UserError, match=r"line 1(19|20): a step of column time is not 1:00:00"):
            predicted(
                replace(task, missing="drop"), dataset, hourly(tmp_path / "g.csv", **hole), capsys
            )


def test_predict_goes_on_with_each_series_in_its_own_unit(tmp_path, capsys):
    task = task_of(long_format(tmp_path / "l.csv", interleaved=True), time="time", series="place")
    dataset = task.load(say_nothing)
    model, lines = zero_model(Experiment(task=task, hidden_size=2), dataset.metadata), []
    with pytest.raises(UserError, match=r"no forecast of 1 of 3 series: new$"):
        predict(model, PredictOptions(last=task.file), lines.append)
    assert [line.split(" after ")[0] for line in lines[::3]] == ["y of north", "y of south"]
    means = dataset.metadata["target_mean"]
    assert [float(line.split(": ")[1]) for line in lines[1::3]] == pytest.approx(means, rel=1e-5)
    warning = capsys.readouterr().err
    assert re.search("^no forecast of new: .* not trained on the series new$", warning, re.M)
    with pytest.raises(UserError, match=r"no forecast of new: .* not trained on the series new"):
        model.predict(read_csv(task.file))
    with pytest.raises(UserError, match="series 'new' is none of north, south"):
        model.stream("new")
    with pytest.raises(UserError, match="a data frame names its series in a column"):
        model.predict(read_csv(task.file), series="north")
    table = read_csv(task.file)
    frame = model.predict(table.filter(pc.field("place") != "new"))
    assert [*frame] == ["place", "time", "y"]
    assert frame["place"].tolist() == ["north", "north", "south", "south"]
    assert frame["y"][::2].tolist() == pytest.approx(means, rel=1e-5)
    shown = [line.split()[1:3] for line in lines[1:3]]
    assert [str(time)[:16].split() for time in frame["time"][:2]] == [[d, t[:5]] for d, t in shown]


def test_the_report_shows_each_window_in_the_unit_of_its_series(tmp_path, monkeypatch):
    task = task_of(long_format(tmp_path / "l.csv", interleaved=True), series="place")
    dataset = task.load(say_nothing)
    drawn = []
    monkeypatch.setattr(
        "lstm_jax.report.drawing.draw", lambda _, curves, *__, **___: drawn.append(curves)
    )
    model = zero_model(Experiment(task=task, hidden_size=2), dataset.metadata)
    figures = {figure.name: figure for figure in answer_figures(model, dataset, "")}
    levels = {  # of the first hour that each window of validation asks for
        10.0**power * np.sin(hour * (power + 1)) for power in (0, 1) for hour in range(96, 108)
    }
    shown = [float(row[2]) for row in figures["windows"].rows]
    assert max(map(abs, shown)) > 1
    for value in shown:
        assert min(abs(value - level) for level in levels) < 1e-3 * max(1, abs(value))
    times, values = drawn[0]["true values"]
    np.testing.assert_array_equal(times, np.arange(1, 13))
    np.testing.assert_allclose(values, np.sin(np.arange(96, 108)), atol=1e-5)
    assert "11 windows of the series north" in figures["forecasts"].caption


def test_predict_at_the_end_of_all_times_has_no_times_but_values(tmp_path, capsys):
    days = [date(9999, 12, 31) - timedelta(ROWS - 1 - row) for row in range(ROWS)]
    task = task_of(written(tmp_path / "t.csv", ("time", "y"), [(day, 1) for day in days]))
    lines = predicted(task, task.load(say_nothing), task.file, capsys)[0]
    assert [line.split() for line in lines[1:]] == [["+1", "1"], ["+2", "1"]]


def test_a_model_of_several_series_lowers_and_its_scores_are_finite(tmp_path):
    task = task_of(long_format(tmp_path / "l.csv", interleaved=False), series="place")
    batch = jax.jit(task.gather)(task.load(say_nothing).train, np.arange(5))
    assert batch["x"].shape == (5, WINDOW, 1)
    assert batch["series_number"].tolist() == [0, 1, 0, 1, 0]  # they take turns


@pytest.mark.parametrize("placeholder", [-999, 9999])
def test_numbers_that_stand_for_missing_values_are_doubted(tmp_path, placeholder):
    def value(hour):
        return placeholder if hour % 40 == 7 else 20 + hour % 5

    said = []
    task_of(hourly(tmp_path / "t.csv", value=value)).load(said.append)
    (line,) = said
    assert line.startswith(f"{tmp_path / 't.csv'}, line 9: {placeholder} in column y, 3 times")
    assert "--task.missing" in line
    wide = hourly(tmp_path / "wide.csv", value=lambda hour: value(hour) if hour % 2 else 900 * hour)
    task_of(wide).load(said.append)
    assert said == [line]  # beside such values it may be one of them


@pytest.mark.parametrize("value", [-999, 99999, 1e30, -1e308, 130])
def test_one_number_far_from_all_others_is_doubted(tmp_path, value):
    def said_of(wide, usual):
        said = []
        values = {7: value, 8: -1 if wide else usual(8)}
        path = hourly(tmp_path / "t.csv", value=lambda hour: values.get(hour, usual(hour)))
        task_of(path).load(said.append)
        return said

    (line,) = said_of(False, lambda hour: 20 + hour % 5)
    assert f"line 9: {value:g} in column y, once, is far from all other values, 20 to 24" in line
    if value == 130:  # is no number that programs write, and other values are wide too
        assert not said_of(True, lambda hour: 20 + hour % 5)
        assert not said_of(False, lambda hour: 20)  # one event among equal values


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (lambda row: "ab"[row // 60], True),
        (lambda row: "ab"[row % 2], False),  # no blocks
        (lambda row: ["a", "b", "a"][row // 40], False),  # a comes back
        (lambda row: "a" if row < 117 else "b", False),  # b is no longer than a window
        (lambda row: "a", False),
        (lambda row: 2023 + row // 60, False),  # numbers are no names
        (lambda row: ["train", "test"][row // 60], False),
    ],
)
def test_blocks_of_equal_names_without_times_may_be_series(tmp_path, name, expected):
    said = []
    path = written(tmp_path / "t.csv", ("name", "y"), [(name(row), row) for row in range(ROWS)])
    task_of(path).load(said.append)
    offers = [line for line in said if "--task.series name" in line]
    assert len(offers) == expected
    said.clear()
    if expected:
        assert "(a, b), and windows cross from one to the next" in offers[0]
        task_of(path, series="name").load(said.append)
        assert not [line for line in said if "--task.series" in line]


def test_a_column_of_numbers_that_is_named_as_times_are_has_gaps_too(tmp_path):
    rows = [(1_528_617_600_000 + 3_600_000 * hour, hour) for hour in range(ROWS) if hour != 50]
    said = []
    dataset = task_of(written(tmp_path / "t.csv", ("Timestamp", "y"), rows)).load(said.append)
    assert (np.diff(windows_of(dataset), axis=1) == 1).all()
    assert any("line 52: the step of column Timestamp before it is 7.2e+06" in one for one in said)
    (*_, line) = (line for line in said if "such a step" in line)
    assert "after it" not in line


@pytest.mark.usefixtures("fast_compile")
def test_a_finished_run_notices_that_its_file_was_edited(tmp_path, capsys):
    file = Path(hourly(tmp_path / "t.csv", value=lambda hour: hour % 7))
    experiment = Experiment(
        task=task_of(str(file)), hidden_size=4, total_steps=1, batch_size=8, microbatches=1
    )
    run(experiment, runs_dir=tmp_path / "runs")
    run(experiment, runs_dir=tmp_path / "runs")
    assert "already finished" in capsys.readouterr().out
    text = file.read_text()
    file.write_text(text.replace("\n", " \n"))  # the same data
    run(experiment, runs_dir=tmp_path / "runs")
    file.write_text(text.replace(",3\n", ",4\n"))
    with pytest.raises(EnvironmentProblem, match=r"t is not the data that this run was trained on"):
        run(experiment, runs_dir=tmp_path / "runs")
