"""Forecasts: nothing of the future is seen, what can be solved is solved, bad files are one line.

One size for all: windows of T = 6 rows, S = 3 values asked for.
"""

from __future__ import annotations

import dataclasses
import gzip
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pyarrow
import pytest
from trained_runs import quiet, train_in_memory

from lstm_jax import Experiment, Forecast
from lstm_jax.data.columns import read_series
from lstm_jax.data.dataset import say_nothing
from lstm_jax.data.files import MAX_LINE
from lstm_jax.data.mackey_glass import mackey_glass
from lstm_jax.data.readers import read_table
from lstm_jax.data.time_series import simple_forecasts, squared_errors, target_variances
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.predict.forecast import forecaster
from lstm_jax.predict.predict import PredictOptions, predict
from lstm_jax.report.figures.forecast import answer_figures

pytestmark = pytest.mark.usefixtures("fast_compile")

WINDOW, HORIZON, ROWS = 6, 3, 400


def waves(rows=ROWS):
    """A noiseless sine and a column beside it that knows nothing."""
    steps = np.arange(rows)
    return {"wave": 5 + 2 * np.sin(0.7 * steps), "noise": np.random.RandomState(0).randn(rows)}


def read(path, numbers, words=(), say=say_nothing):
    return read_series(read_table(path, say=say).with_header(), numbers, words, say)


def written(path, columns):
    rows = [columns, *zip(*columns.values(), strict=True)]
    path.write_text("\n".join(",".join(map(str, row)) for row in rows))
    return str(path)


def task_of(file, **fields):
    return Forecast(**{
        "file": str(file), "target": "wave", "columns": "noise,wave", "window": WINDOW,
        "horizon": HORIZON, **fields,
    })  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A forecaster of the sine, and its data."""
    file = written(tmp_path_factory.mktemp("waves") / "waves.csv", waves())
    member = Experiment(
        task=task_of(file, period=9), hidden_size=8, batch_size=32, microbatches=2,
        kernel_init="orthogonal", learning_rate=0.02, schedule="cosine", total_examples=32 * 300,
    )  # fmt: skip
    dataset = member.task.load(say_nothing)
    model, state, programs = train_in_memory(member, dataset)
    return model, dataset, programs.score(state.params, dataset.test)


def test_a_noiseless_wave_is_solved_and_scored_as_it_is_shown(trained):
    model, dataset, sums = trained
    error = squared_errors(forecaster(model), dataset.test, WINDOW, HORIZON)
    assert error.mean() < 0.02 * model.member.task.trivial_score(dataset)
    np.testing.assert_allclose(sums.metric[0] / sums.weight[0], error.mean(), rtol=1e-4)
    assert int(sums.weight[0]) == len(dataset.test["first"]) == ROWS // 10 - HORIZON + 1


def test_no_forecast_moves_when_every_future_value_changes(trained, tmp_path):
    """Of the model and of the simple ones; a change of the last known row moves them."""
    model, dataset, _ = trained
    now, columns = 30, waves()  # the first row of validation that is not known
    row = ROWS - 2 * (ROWS // 10) + now
    simple = simple_forecasts(dataset, WINDOW, HORIZON, 9)

    def said(changed_from):
        other = {name: column.copy() for name, column in columns.items()}
        for column in other.values():
            column[changed_from:] += 7.0
        split = task_of(written(tmp_path / "w.csv", other), period=9).load(say_nothing).validation
        index = np.array([now])
        return [f(split, index) for f in (forecaster(model), *simple.values())]

    for before, after in zip(said(ROWS), said(row), strict=True):
        np.testing.assert_array_equal(before, after)
    assert not np.array_equal(said(ROWS)[0], said(row - 1)[0])


def test_scales_are_those_of_training_and_the_targets_of_a_window_lie_in_its_split(tmp_path):
    columns = waves()
    plain = task_of(written(tmp_path / "a.csv", columns)).load(say_nothing)
    first = ROWS - 2 * (ROWS // 10)
    for column in columns.values():
        column[first:] = 1e3 * column[first:] + 50
    moved = task_of(written(tmp_path / "b.csv", columns)).load(say_nothing)
    for name in ("means", "scales", "target_mean", "target_scale", "rule"):
        assert plain.metadata[name] == moved.metadata[name]
    for name, array in plain.train.items():
        np.testing.assert_array_equal(array, moved.train[name])
    assert abs(plain.train["target"].mean()) < 1e-5
    # Every row of a split but the first ones of training is asked for, and none of another.
    for name, split in plain._asdict().items():
        if name in ("train", "validation", "test"):
            options = split["first"][:, None] + WINDOW + np.arange(HORIZON)
            before = WINDOW  # rows of the split before it, or the first of training
            assert options.min() == before
            assert options.max() == len(split["target"]) - 1
            assert len(split["target"]) == plain.metadata["rows"][name] + (name != "train") * before


def test_a_linear_recursion_is_solved_by_the_linear_forecast_and_a_season_by_the_seasonal(tmp_path):
    steps = np.arange(ROWS)
    columns = {"wave": np.sin(2 * np.pi * steps / 9), "noise": waves()["noise"]}
    task = task_of(written(tmp_path / "s.csv", columns), period=9)
    dataset = task.load(say_nothing)
    results = {
        name: squared_errors(forecast, dataset.test, WINDOW, HORIZON)
        for name, forecast in simple_forecasts(dataset, WINDOW, HORIZON, 9).items()
    }
    assert results["linear"].max() < 1e-9
    assert results["seasonal (9)"].max() < 1e-9
    assert results["persistence"].min() > 0.1
    assert results["mean"].mean() == task.trivial_score(dataset)
    spread = target_variances(dataset.test, WINDOW, HORIZON)
    np.testing.assert_allclose(results["mean"], spread, rtol=0.1)


def test_splits_are_by_column_or_by_time(tmp_path):
    columns = waves(60)
    columns["day"] = [f"2001-{1 + row // 28:02}-{1 + row % 28:02}" for row in range(60)]
    columns["part"] = ["TRUE"] * 40 + ["false"] * 20
    file = written(tmp_path / "d.csv", columns)
    by_column = task_of(file, split="part", time="day").load(say_nothing).metadata
    assert by_column["rows"] == {"train": 36, "validation": 4, "test": 20}
    cuts = {"validation_from": "2001-02-03", "test_from": "2001-02-15"}
    by_time = task_of(file, time="day", **cuts).load(say_nothing).metadata
    assert by_time["rows"] == {"train": 30, "validation": 12, "test": 18}
    assert by_time["rule"] == "by column day: validation from 2001-02-03, test from 2001-02-15"
    with pytest.raises(UserError, match=r"^task.validation_from and task.test_from: give both"):
        Experiment(task=task_of(file, time="day", test_from="2001-02-15"))
    columns["part"][39:41] = ["false", "true"]
    columns["day"][1] = columns["day"][0]
    file = written(tmp_path / "d.csv", columns)
    with pytest.raises(UserError, match=r"line 42: column part goes back to train"):
        task_of(file, split="part").load(say_nothing)
    with pytest.raises(UserError, match=r"line 3: 2001-01-01 in column day is also the time"):
        task_of(file, time="day").load(say_nothing)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"no column 'a'. It has none"),
        (b"a,b\n", r"no rows below"),
        (b"a,c\n1,2\n", r"has no column 'b'. It has a, c"),
        (b"a,b,a\n1,2,3\n", r"line 1: the column a is there twice"),
        (b"a,b\n1,2\n\n3\n", r"line 4: 1 cells, and line 1 has 2; a comma"),
        (b"a,b\n1,2\n3,x\n", r"line 3: 'x' in column b is not a finite number"),
        (b"a,b\n1,inf\n", r"line 2: 'inf' in column b"),
        (b"a,b\n1,\n", r"line 2: '' in column b"),
        (b"a,b\n1,\xe9\n", r"line 2 is not UTF-8 \(byte 0xe9\); save"),
        ("a,b\n1,2\n".encode("utf-16-le"), r"line 1 has a byte 0x00; UTF-16 without a byte"),
        (b'a,b\n1,"2\n3,4\n', r"line 2: not a CSV"),
        (b'a,b\n1,2\n3,"4" or 5\n6,7\n', r"line 3: not a CSV"),
        (b"a,b\n1,2\n,\n", r"line 3: '' in column a is not a finite number; fill in"),
        (b"a,b\n1,1_000\n", r"'1_000' in column b is not a finite number; write decimals with"),
        (b"a;b\n1;1,5\n", r"'1,5' in column b is not a finite number; write decimals with"),
        (b"a;b\n1;908\n1;1.150\n", r"b has 1.150 beside 908: .*; write 1150, .* \(or 1.15, if"),
        (b"\xd0\xcf\x11\xe0a,b\n", r"is a workbook or a document; save it as CSV"),
        (gzip.compress(b"a,b\n1,x\n", mtime=0), r"line 2: 'x' in column b"),
        (b"a,b\n1," + b"2" * MAX_LINE, r"line 2 has 1,000,002 characters"),
    ],
)
def test_a_bad_table_is_one_line_that_says_where(content, says, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as raised:
        read(path, ["a", "b"])
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_unusual_but_correct_tables_are_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeffa;"b"; c\r\n1;"2";x\r\n\r\n \r\n3;4e0;y\r\n\r\n'.encode())
    messages = []
    table = read(path, ["a", "b"], ["c"], messages.append)
    assert messages == [f"{path}: left out an empty line 2 times (line 3 and others)"]
    assert {name: column.tolist() for name, column in table.numbers.items()} == {
        "a": [1, 3], "b": [2, 4],
    }  # fmt: skip
    assert (table.words, table.locate(1)) == ({"c": ["x", "y"]}, f"{path}, line 5")
    np.savez(tmp_path / "t.npz", a=[1, 2], b=[3.5, 4], c=["x", "y"], long=[1, 2, 3], text="x")
    arrays = read(tmp_path / "t.npz", ["a", "b"], ["c"])
    assert arrays.numbers["b"].tolist() == [3.5, 4.0]
    for names, says in (
        (["a", "long"], "one length"),
        (["c"], "entry 1: 'x' in col"),
        (["d"], "no col"),
    ):
        with pytest.raises(UserError, match=says):
            read(tmp_path / "t.npz", names)
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04no")
    with pytest.raises(UserError, match=r"not a whole \.npz"):
        read(tmp_path / "bad.npz", ["a"])
    with pytest.raises(EnvironmentProblem, match=r"absent.csv cannot be read: No such file"):
        read(tmp_path / "absent.csv", ["a"])


@pytest.mark.parametrize(
    "content", [b'a\n1\n""\n3\n', b"a\n1\n\n3\n", b'a\n1\n3\n""\n', b"\na\n\n1\n"]
)
def test_a_value_missing_in_the_only_column_is_refused(content, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"line \d: '' in column a is not a finite number; fill in"):
        read(path, ["a"])
    path.write_bytes(b"a\n1\n3\n\n")
    messages = []
    assert read(path, ["a"], (), messages.append).numbers["a"].tolist() == [1, 3]
    assert messages == [f"{path}: left out an empty line 1 time (line 4)"]


@pytest.mark.parametrize(
    ("cells", "messages"),
    [
        (["908", "1.149"], 1),  # one thousand, or a little more than one
        (["908", "1.149", "1.2"], 0),
        (["1200", "1.150"], 0),
        (["0.150", "3"], 0),
        (["1.150", "2.000"], 0),
    ],
)
def test_points_that_may_stand_between_thousands_are_named(cells, messages, tmp_path):
    path, lines = tmp_path / "t.csv", []
    path.write_text("\n".join(["a", *cells]))
    assert read(path, ["a"], (), lines.append).numbers["a"].tolist() == [*map(float, cells)]
    assert len(lines) == messages
    assert all("write 1149 if it is a thousand" in line for line in lines)


def test_tables_of_gzip_and_of_an_old_mac_are_read_as_the_plain_one(tmp_path):
    content = "a;n, m/s;c\n1;2;é\n3;4;y\n".encode()
    for name, packed in (
        ("plain.csv", content),
        ("t.csv.gz", gzip.compress(content)),
        ("mac.csv", content.replace(b"\n", b"\r")),
        ("excel.csv", content.replace(b"\n", b"\r\n")),
    ):
        (tmp_path / name).write_bytes(packed)
        table = read(tmp_path / name, ["a", "n, m/s"], ["c"])
        assert [column.tolist() for column in table.numbers.values()] == [[1, 3], [2, 4]]
        assert table.words == {"c": ["é", "y"]}
        assert table.locate(1).endswith(f"{name}, line 3")
        assert list(table.table.columns) == ["a", "n, m/s", "c"]
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(content)[:-9])
    with pytest.raises(EnvironmentProblem, match=r"cut.csv.gz: is damaged .*; fetch it again"):
        read(tmp_path / "cut.csv.gz", ["a"])


def test_a_name_with_commas_is_quoted_or_one_of_the_file():
    file_columns = ["Time", "T, °C", "a,b", "a", "b", "x", "x,y"]
    for columns, expected in (
        ("T, °C", ["T, °C"]),
        ("T,°C , Time", ["T, °C", "Time"]),
        ('"T, °C", "Time"', ["T, °C", "Time"]),
        ("a,b", ["a", "b"]),
        ('"a,b",b', ["a,b", "b"]),
        ("x,y", ["x,y"]),
        ("Time,absent", ["Time", "absent"]),
    ):
        assert Forecast(target="x", columns=columns).column_names(file_columns) == expected
    assert Forecast(target="a,b").column_names() == ["a,b"]
    with pytest.raises(UserError, match="names a column twice"):
        Forecast(columns="x,x").column_names(file_columns)


def test_a_list_of_columns_is_of_one_model_and_several_targets_are_refused():
    for columns, text in (
        (["wave", "noise"], "wave,noise"),
        (("T, °C", 'the "best"'), '"T, °C","the ""best"""'),
        (["wave"], "wave"),
        (["T, °C"], "T, °C"),
    ):
        experiment = Experiment(task=Forecast(target="wave", columns=columns))
        assert experiment.num_members == 1
        assert experiment.task.columns == text
        assert experiment.task.column_names(columns) == list(columns)
        assert experiment.digest == Experiment(task=Forecast(target="wave", columns=text)).digest
        assert experiment.replace({"task.columns": columns}) == experiment
    one_word = Experiment(task=Forecast()).replace({"task.columns": ["wave,noise"]})  # as typed
    assert one_word.task.column_names(["wave", "noise"]) == ["wave", "noise"]
    with pytest.raises(UserError, match=r"^task.columns: \['a', None\] is not a list of names"):
        Forecast(columns=["a", None])
    with pytest.raises(UserError, match=r"^task.target: wave, noise are several targets"):
        Experiment(task=Forecast(target=["wave", "noise"]))


@pytest.mark.parametrize("level", [14.62, 0.1, -4.2e-200, 4.2e200])
def test_a_column_that_is_constant_in_training_has_the_scale_1(level, tmp_path):
    columns = waves() | {"noise": np.full(ROWS, level)}
    columns["noise"][-1] += abs(level) < 100  # in the test it may be another value
    messages = []
    metadata = task_of(written(tmp_path / "c.csv", columns)).load(messages.append).metadata
    assert (metadata["means"][0], metadata["scales"][0]) == (level, 1.0)
    assert messages == [
        f"c: column noise is {level:g} in all rows of training, so the model learns nothing from "
        "it; its scale is 1"
    ]


@pytest.mark.parametrize("unit", [2.0**-600, 2.0**600])
def test_a_unit_of_the_values_moves_nothing(unit, tmp_path):
    columns = waves()
    plain = task_of(written(tmp_path / "a.csv", columns)).load(say_nothing)
    columns = {name: column * unit for name, column in columns.items()}
    other = task_of(written(tmp_path / "b.csv", columns)).load(say_nothing)
    np.testing.assert_array_equal(plain.train["series"], other.train["series"])
    assert other.metadata["target_scale"] == plain.metadata["target_scale"] * unit


def dated(times, **columns):
    return {"time": [str(time) for time in times], **columns}


@pytest.mark.parametrize(
    "times",
    [
        [f"{1990 + month // 12}-{1 + month % 12:02}-01" for month in range(ROWS)],
        [f"{1990 + month // 12}{1 + month % 12:02}" for month in range(ROWS)],
        [f"{date(2000, 1, 1) + timedelta(day):%Y%m%d}" for day in range(ROWS)],
        [0.1 * row for row in range(ROWS)],
        [f"{1600 + row}-01-01" for row in range(ROWS)],
    ],
    ids=["months", "202012", "20201231", "tenths", "years"],
)
def test_a_calendar_has_no_gaps(times, tmp_path):
    messages = []
    file = written(tmp_path / "t.csv", dated(times, **waves()))
    task_of(file, time="time").load(messages.append)
    assert messages == []


def test_the_same_time_twice_and_falling_times_are_told_apart(tmp_path):
    hours = [datetime(2023, 10, 29) + timedelta(hours=hour) for hour in range(ROWS)]

    def message_of(times, **fields):
        messages = []
        file = written(tmp_path / "t.csv", dated(times, **waves()))
        try:
            task_of(file, **fields).load(messages.append)
        except UserError as error:
            return str(error)
        return "".join(messages)

    back = [*hours[:3], hours[2], *hours[3:-1]]
    assert "line 5: 2023-10-29 02:00:00 in column time is also the time of" in (
        message := message_of(back, time="time")
    )
    assert message.endswith(
        "where clocks are turned back, write the offset (2023-10-29T02:00:00+02:00)"
    )
    zones = [timezone(timedelta(hours=2))] * 3 + [timezone(timedelta(hours=1))] * (ROWS - 3)
    offsets = [time.replace(tzinfo=zone) for time, zone in zip(back, zones, strict=True)]
    assert message_of(offsets, time="time") == ""
    message = message_of([*hours[:3], hours[0], *hours[3:-1]], time="time")
    assert "is not after the row before it; sort the rows by time" in message
    message = message_of([time.date() for time in hours[:2]] + hours[2:], time="time")
    assert "keep one row per time, or name the column that tells several series" in message
    for date_format in ("%Y-%m-%dT%H:%M", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d %H:%M"):  # not named
        times = [f"{hour:{date_format}}" for hour in hours]
        assert "has the newest row first; it is read from" in message_of(times[::-1])
        repeats = "is also the time of the row before it; keep one row per time, or name the column"
        assert (repeats in message_of(times)) == (len(set(times)) < ROWS)
        message = message_of([*times[::2], *times[1::2]])
        assert "Each row is taken to follow the row above it, as no column of times" in message
    assert "'2020_01' in column time is neither a number" in message_of(
        [f"{2000 + row}_01" for row in range(20, 20 + ROWS)], time="time"
    )


def test_a_series_too_short_is_refused_and_the_built_in_one_stands_in(tmp_path):
    task = task_of(written(tmp_path / "w.csv", waves(30)))
    task.load(say_nothing)
    with pytest.raises(UserError, match=r"^w: 3 rows of validation are too few for windows of 6"):
        task_of(task.file, horizon=4).load(say_nothing)
    assert task.built_in() == Forecast(window=WINDOW, horizon=HORIZON)
    assert task.built_in().built_in() is None


def test_mackey_glass_is_chaotic_bounded_and_always_the_same():
    series = mackey_glass(300)
    np.testing.assert_array_equal(series[:200], mackey_glass(200))
    assert 0.2 < series.min() < 0.6 < 1.2 < series.max() < 1.5
    # Change it only when the integrator changes on purpose: recorded runs name its fingerprint.
    assert series[[0, 299]].tolist() == [0.9464266566009946, 0.9393281802885423]


def test_predict_goes_on_from_the_end_of_a_file(trained, tmp_path, monkeypatch):
    model, _, _ = trained
    monkeypatch.setattr("lstm_jax.predict.trained.load", lambda *_, **__: model)
    columns = waves(50)
    file = tmp_path / "last.csv"
    written(file, {name: column[:47] for name, column in columns.items()})

    def told(options):
        predict(tmp_path, options, console := quiet())
        return console.file.getvalue().splitlines()

    first, *lines = told(PredictOptions(last=file))
    assert first == f"wave after {file}, line 48"
    values = [float(line.split()[1]) for line in lines]
    np.testing.assert_allclose(values, columns["wave"][47:], atol=0.8)
    assert [line.split()[0] for line in lines] == ["+1", "+2", "+3"]
    assert told(PredictOptions(last=file, json=True))[0].startswith('{"file": ')
    window_TI = np.array([columns[name][41:47] for name in model.metadata["columns"]]).T
    (answer,) = model.predict(window_TI)
    assert [f"{value:.6g}" for value in answer] == [f"{value:.6g}" for value in values]
    frame = model.predict(pyarrow.table({name: column[:47] for name, column in columns.items()}))
    np.testing.assert_array_equal(frame["wave"], answer)
    stream = model.stream()
    np.testing.assert_allclose([stream.step(row) for row in window_TI][-1], answer, rtol=1e-6)
    for call in (lambda: model.predict(window_TI[1:]), lambda: stream.step(window_TI[0, :0])):
        with pytest.raises(UserError, match=r"model reads numbers \[N, 6, |has the numbers of"):
            call()
    written(file, waves(5))
    for options, says in (
        (PredictOptions(last=file), "5 rows are fewer than the 6"),
        (PredictOptions(inputs=("x.csv",)), "--last FILE.csv"),
    ):
        with pytest.raises(UserError, match=says):
            told(options)

    def doubt(*arguments):
        arguments[-1]("doubtful")
        raise UserError("refused")

    monkeypatch.setattr("lstm_jax.predict.forecast.continue_table", doubt)
    with pytest.warns(UserWarning, match="doubtful") as heard, pytest.raises(UserError):
        model.predict(pyarrow.table(columns))
    assert heard[0].filename == __file__  # the line of the caller, not one of this package


def test_predict_reads_the_order_of_time(trained, tmp_path, monkeypatch, capsys):
    model, _, _ = trained
    days = [f"{date(2023, 1, 1) + timedelta(day)}" for day in range(50)]
    file = tmp_path / "last.csv"

    def predict_on(times, time, gaps="leave_out"):
        member = dataclasses.replace(
            model.member, task=dataclasses.replace(model.member.task, time=time, gaps=gaps)
        )
        monkeypatch.setattr(
            "lstm_jax.predict.trained.load",
            lambda *_, **__: dataclasses.replace(model, member=member),
        )
        written(file, dated(times, **waves(50)))
        predict(tmp_path, PredictOptions(last=file), console := quiet())
        return console.file.getvalue(), capsys.readouterr().err

    forecast, message = predict_on(days, "time")
    assert message == ""
    with pytest.raises(UserError, match=r"is not after the row before it; sort the rows"):
        predict_on([*days[:7], days[20], *days[8:]], "time")
    later = [*days[:-1], "2023-03-01"]  # a hole in the window, and one before it
    gap = "line 51: a step of column time is not 1 day; the last window crosses it"
    with pytest.raises(UserError, match=f"{gap}, and the model was trained on windows without"):
        predict_on(later, "time")
    crossing, message = predict_on(later, "time", "cross")
    values = [line.split()[-1] for line in forecast.splitlines()[1:]]
    assert [line.split()[-1] for line in crossing.splitlines()[1:]] == values
    assert gap in message
    assert predict_on(["2001-01-01", *days[1:]], "time")[1] == ""
    for time in ("time", None):
        assert "has the newest row first" in predict_on(days[::-1], time)[1]


def test_the_report_shows_five_windows_and_every_simple_forecast(trained):
    model, dataset, sums = trained
    results = {each.name: each for each in answer_figures(model, dataset, "seed 0")}
    assert list(results) == ["windows", "simple_forecasts", "forecasts", "error_by_horizon"]
    assert len(results["windows"].rows) == 5
    for table in (results["windows"], results["simple_forecasts"]):
        assert {len(row) for row in table.rows} == {len(table.header)}
    named = {row[0]: row[1:] for row in results["simple_forecasts"].rows}
    assert list(named) == ["this model", "mean", "persistence", "seasonal (9)", "linear"]
    error = float(sums.metric[0] / sums.weight[0])
    assert float(named["this model"][2]) == pytest.approx(error, rel=1e-3)
    # The first example's truths are those of the file, in its own unit.
    first = ROWS - 2 * (ROWS // 10)
    truth = waves()["wave"][[first, first + HORIZON - 1]]
    assert [float(results["windows"].rows[0][i]) for i in (2, 4)] == pytest.approx(truth, rel=1e-3)
