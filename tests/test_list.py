"""Runs are found by name, listed, compared and cleaned. Nothing is trained for it."""

import fcntl
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from trained_runs import quiet

import lstm_jax
from lstm_jax import Adding
from lstm_jax.cli.main import main
from lstm_jax.cli.parse import parse
from lstm_jax.config.experiment import Experiment
from lstm_jax.config.experiment_files import experiment_or_default
from lstm_jax.config.search import Search, Study
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.report import runs_page
from lstm_jax.report.compare import compare
from lstm_jax.report.runs_page import write_runs_page
from lstm_jax.runs import checkpoints
from lstm_jax.runs.clean import clean, find_removable
from lstm_jax.runs.directory import find_run, run_directory
from lstm_jax.runs.json_files import with_checksum
from lstm_jax.runs.list import list_runs
from lstm_jax.runs.metrics_file import append_metrics
from lstm_jax.runs.record import Record, read_record
from lstm_jax.runs.results import Result
from lstm_jax.runs.rows import read_row


def write(runs, name, experiment, started, values, metric="accuracy"):
    """Writes a run whose first members have these metrics on validation, 0.1 less on the test."""
    study = Study(experiment)
    directory = run_directory(runs, name, study)
    directory.mkdir(parents=True)
    session = {"started": started, "ended": started}
    record = Record(name, study, identities={"0" * 12: {"data": "d" * 64}}, sessions=[session])
    for member, value in zip(experiment.members(), values, strict=False):
        record.results[member.digest] = Result(
            member, member.num_steps, {"loss": 1.0, metric: value},
            {"loss": 1.0, metric: value - 0.1}, None, 1.0, "0" * 12,
        )  # fmt: skip
        rows = [{"member": member.digest, "step": s, "loss": 2.0 - s / 100, metric: value}
                for s in (0, 20)]  # fmt: skip
        append_metrics(directory, rows)
    record.write(directory)
    return directory


DIGITS = experiment_or_default("digits")
WIDE = DIGITS.replace({"hidden_size": (32, 64), "seed": (0, 1, 2)})
HALF = Experiment(hidden_size=(8, 16))


@pytest.fixture
def runs(tmp_path):
    """Three runs; the second of `digits` is the latest of its name, `mine` the latest of all."""
    write(tmp_path, "digits", DIGITS, "2026-01-02T10:00:00+00:00", [0.8])
    write(tmp_path, "digits", WIDE, "2026-01-03T10:00:00+00:00", [0.5, 0.6, 0.7, 0.81, 0.82, 0.86])
    write(tmp_path, "mine", HALF, "2026-01-04T10:00:00+00:00", [0.7])
    return tmp_path


@pytest.fixture
def directories(runs):
    """The directories of the three runs."""
    named = (("digits", DIGITS), ("digits", WIDE), ("mine", HALF))
    return [run_directory(runs, name, Study(experiment)) for name, experiment in named]


@pytest.fixture
def console():
    return quiet()


def test_a_run_is_found_by_path_name_beginning_of_digest_or_latest(runs, directories):
    first, second, mine = directories
    assert find_run("latest", runs) == mine
    assert find_run("digits", runs) == second
    assert find_run(f"digits/{first.name[:5]}", runs) == first
    assert find_run(str(first), runs) == first
    for word, message in [("digts", "Did you mean digits"), ("mine/0123", "names no run"),
                       ("../x", "names no run"), ("", "names no run")]:  # fmt: skip
        with pytest.raises(UserError, match=message):
            find_run(word, runs)


def test_the_list_shows_status_scores_and_differences_of_each_run(runs, console):
    list_runs(console, runs, None, experiment_or_default)
    head, first, second, mine, *_ = console.file.getvalue().splitlines()
    assert head.split()[:2] == ["run", "started"]
    assert first.split()[1:] == ["2026-01-02", "10:00", "1/1", "finished", "0.8000", "0.7000",
                                 *first.split()[-2:]]  # fmt: skip
    # The setting that is best on validation, and what differs from the file of this name.
    assert {"6/6", "0.8300", "0.7300"} <= set(second.split())
    assert second.endswith("hidden size 32 64, seed 0 1 2")
    assert {"1/2", "stopped", "0.7000"} <= set(mine.split())
    assert mine.endswith("hidden size 8 16")


def test_the_list_shows_which_runs_are_running_unreadable_or_never_trained(
    runs, directories, console
):
    mine = directories[2]
    (mine / "record.json").write_text("{}")
    empty = runs / "mine" / ("a" * 12)
    empty.mkdir()
    list_runs(console, runs, "mine", experiment_or_default)
    with (empty / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        list_runs(console, runs, "mine", experiment_or_default)
    output = console.file.getvalue()
    assert [word in output for word in ("unreadable", "never trained", "training")] == [True] * 3
    assert output.index("never trained") < output.index("training")
    assert "record.json is damaged (it has no name)" in output  # why it is unreadable
    with pytest.raises(UserError, match="no runs of absent"):
        list_runs(console, runs, "absent", experiment_or_default)
    list_runs(console, runs / "absent", None, experiment_or_default)
    assert "no runs lie in" in console.file.getvalue()


def test_the_list_is_sorted_as_one_asks(runs, console):
    for sort, last in (("metric", "mine"), ("name", "mine"), ("started", "mine")):
        list_runs(console, runs, None, experiment_or_default, sort)
        *_, row, _, _ = console.file.getvalue().splitlines()
        assert row.split("/")[0] == last, sort
    with pytest.raises(SystemExit, match="2"):
        main(["list", "--sort", "colour"])


def test_a_list_by_metric_keeps_tasks_and_data_apart_and_has_the_best_of_each_first(runs, console):
    write(runs, "small", DIGITS.replace({"seed": 9}), "2026-01-05T10:00:00+00:00", [0.82])
    adding = Experiment(task=Adding())
    for seed, value in enumerate((0.1, 0.01)):
        experiment = adding.replace({"seed": seed})
        write(runs, "adding", experiment, "2026-01-06T10:00:00+00:00", [value], "squared_error")
    write(runs, "adding", adding.replace({"seed": 5}), "2026-01-06T10:00:00+00:00", [])
    list_runs(console, runs, None, experiment_or_default, "metric")
    rows = [line.split() for line in console.file.getvalue().splitlines()[1:8]]
    shown = [(row[0].split("/")[0], *[w for w in row if re.fullmatch(r"0\.\d{4}|-0.*", w)][:1])
             for row in rows]  # fmt: skip
    assert shown == [
        ("adding", "0.0100"), ("adding", "0.1000"), ("adding",), ("digits", "0.8300"),
        ("small", "0.8200"), ("digits", "0.8000"), ("mine", "0.7000"),
    ]  # fmt: skip


def test_the_list_tells_searches_apart_and_compares_a_named_run_with_its_experiment(runs, console):
    rates = Experiment(task=DIGITS.task, hidden_size=64, total_steps=9, learning_rate=(1e-4, 1e-1))
    commands = ["run", "digits", "--name", "x"], ["run", "--name=x"], ["run", "digits"]
    searches = Search("random", trials=4, halving=2), Search("tpe", trials=8), Search(halving=2)
    for number, (command, search) in enumerate(zip(commands, searches, strict=True)):
        experiment = rates.replace({"seed": number})
        directory = run_directory(runs, "x", study := Study(experiment, search))
        directory.mkdir(parents=True)
        session = {"started": f"2026-01-0{number + 1}T10:00:00+00:00", "command": command}
        Record("x", study, identities={}, sessions=[session]).write(directory)
    list_runs(console, runs, "x", experiment_or_default)
    lines = console.file.getvalue().splitlines()[1:4]
    differs = "B  learning rate 0.0001 0.1, total steps 9, search random, 4 trials, halving 2"
    assert lines[0].endswith(differs)  # and not the `total_examples` that the file has
    assert lines[1].endswith("dataset digits, search tpe, 8 trials")
    assert lines[2].endswith("dataset digits, halving 2")


def test_the_page_of_all_runs_knows_their_states_and_reads_each_record_once(
    runs, directories, monkeypatch
):
    (report := directories[0] / "report").mkdir()
    (report / "index.html").write_text("")
    record = read_record(directories[1])
    record.note = "wide <b>"
    del record.sessions[-1]["ended"]
    record.write(directories[1])
    (directories[2] / "record.json").write_text("{}")
    with (directories[1] / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        page = write_runs_page(runs).read_text()
    assert f'<a href="digits/{directories[0].name}/report/index.html">' in page
    assert [word in page for word in ("unreadable", "wide &lt;b&gt;", "is damaged")] == [True] * 3
    assert '<td class="training">' in page
    assert '<meta http-equiv="refresh"' in page
    assert page.count("<polyline") == 2
    reads = []
    monkeypatch.setattr(runs_page, "read_row", lambda path: reads.append(path) or read_row(path))
    page = write_runs_page(runs).read_text()  # the process that trained is gone
    assert reads == [directories[1]]
    assert '<td class="finished">finished</td>' in page
    assert "refresh" not in page
    record = read_record(directories[0])
    record.note = "another note"
    record.write(directories[0])
    assert "another note" in write_runs_page(runs).read_text()
    assert reads == [directories[1], directories[0]]
    (runs / "index.json").write_text("{")
    assert write_runs_page(runs).read_text().count("<polyline") == 2
    assert len(reads) == 5


LATER = [("0.10.0", True), ("1.0.0rc1", True), (lstm_jax.__version__, False), ("0.1.9", False)]


@pytest.mark.parametrize(("version", "is_later"), LATER)
def test_a_record_of_a_later_version_is_not_called_damaged(directories, version, is_later):
    path = directories[2] / "record.json"
    value = json.loads(path.read_text())
    assert value["version"] == lstm_jax.__version__
    if is_later:  # with another schema
        del value["members"]
    path.write_text(json.dumps(with_checksum(value | {"version": version})))
    if is_later:
        message = f"was written by a later version: lstm_jax {version}, and this is"
        with pytest.raises(EnvironmentProblem, match=message):
            read_record(directories[2])
    else:
        assert read_record(directories[2]).name == "mine"


def test_compare_shows_fields_scores_and_the_lead_over_common_seeds(runs, directories, console):
    first, second, _ = directories
    page = compare([second, first], console, runs).read_text()
    output = console.file.getvalue()
    assert "hidden size" in output
    assert "learning rate" not in output  # it is the same in both
    one, other = (f"digits/{path.name[:6]}" for path in (second, first))
    lead = (
        f"{one} is ahead of {other} by 0.0100: validation accuracy, paired over 1"
        " common seed; too few seeds to tell the two apart"
    )
    assert lead in output  # 64 units on seed 0: 0.81 against 0.80
    assert lead in page
    assert page.count("<svg") == 2
    assert not {"<script", "src=", "<link"} & set(re.findall(r"<script|src=|<link", page))


def test_compare_names_the_run_that_is_ahead_first(runs, directories, console):
    first, second, _ = directories
    compare([first, second], console, runs)
    assert (
        f"digits/{second.name[:6]} is ahead of digits/{first.name[:6]}" in console.file.getvalue()
    )


def test_compare_calls_runs_with_the_same_score_equal(runs, directories, console):
    two = Experiment(task=DIGITS.task, hidden_size=(64, 65), total_steps=9)
    same = write(runs, "mine", two, "2026-01-05T10:00:00+00:00", [0.8, 0.8])
    compare([directories[0], same], console, runs)
    output = console.file.getvalue()
    name = directories[0].name[:6]
    assert f"digits/{name} are equal: validation accuracy, paired over 1" in output
    assert "hidden size 64 (tied with 1 other)" in output
    assert re.search(r"total examples +30000 +- +\n", output)  # not 100000, which it does not use
    assert re.search(r"total steps +- +9 +\n", output)
    assert "is ahead" not in output


def test_compare_refuses_one_run_and_a_run_named_twice(runs, directories, console):
    mine = directories[2]
    for paths, message in (
        ([mine], r"give two to 8 runs; of one run, .*: lstm-jax report mine/\w{6}$"),
        ([*map(Path, "abcdefghi")], "give two to 8 runs$"),
        ([mine, mine], "mine/.* is given twice"),
    ):
        with pytest.raises(UserError, match=message):
            compare(paths, console, runs)


def save(directory, members, step):
    arrays = {"x": np.zeros((len(members), 2), np.float32)}
    saved = checkpoints.Saved(step, arrays, "0" * 12, [1.0] * len(members))
    return checkpoints.save(directory, members, saved)


def test_only_superseded_checkpoints_can_be_removed(directories):
    mine = directories[2]
    old = save(mine, ("a" * 12, "b" * 12, "c" * 12), 100).parent
    assert list(find_removable(mine)) == []
    save(mine, ("a" * 12, "b" * 12), 200)
    assert list(find_removable(mine)) == []  # c is still in the old one alone
    late = save(mine, ("c" * 12,), 100)
    assert [removable.path for removable in find_removable(mine)] == [old]
    late.with_suffix(".safetensors").write_bytes(b"damaged")
    assert list(find_removable(mine)) == []


def test_clean_removes_what_killed_writers_left(runs, directories, console):
    mine = directories[2]
    (mine / f".{'0' * 16}.tmp").write_text("half")
    save(mine, ("a" * 12,), 100).unlink()  # its arrays stay
    (runs / "mine" / ("b" * 12)).mkdir()
    kept = {path for path in runs.rglob("*") if path.name in ("record.json", "metrics.jsonl")}
    clean(console, runs, None, yes=True)
    output = console.file.getvalue()
    for why in ("temporary file", "never finished", "before it began"):
        assert why in output
    assert all(path.exists() for path in kept)
    assert not (runs / "mine" / ("b" * 12)).exists()
    clean(console, runs, None, yes=True)
    assert "nothing in" in console.file.getvalue()


def test_clean_removes_nothing_without_an_answer(runs, console, monkeypatch):
    empty = runs / "mine" / ("b" * 12)
    empty.mkdir()
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(UserError, match="give --yes"):
        clean(console, runs, None, yes=False)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    clean(console, runs, None, yes=False)
    assert empty.exists()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    clean(console, runs, "mine", yes=False)
    assert not empty.exists()


def test_clean_leaves_a_run_in_use_as_it_is(runs, console):
    empty = runs / "mine" / ("b" * 12)
    empty.mkdir()
    with (empty / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        clean(console, runs, None, yes=True)
    assert "is in use" in console.file.getvalue()
    assert empty.exists()


def test_a_new_experiment_can_be_run_and_is_never_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["new", "mine"])
    main(["experiments"])
    output = capsys.readouterr().out
    assert "lstm-jax run mine" in output
    assert "mine: mine: what it shows" in output
    assert experiment_or_default("mine").num_members == 6
    (tmp_path / "experiments" / "mine.py").write_text("changed")
    for name in ("mine", "digits", "a/b", ""):
        with pytest.raises(SystemExit) as left:
            main(["new", name])
        assert left.value.code == 2
    assert (tmp_path / "experiments" / "mine.py").read_text() == "changed"


def test_a_run_has_the_folder_that_its_name_says():
    command = parse(["run", "--name", "wide", "digits", "--seed", "0", "1"])
    assert (command.stem, command.study.experiment.seed) == ("wide", (0, 1))
    assert parse(["plan", "digits"]).stem == "digits"
    with pytest.raises(UserError, match=r"^name: expected a name, got ''"):
        parse(["run", "digits", "--name", ""])
    for name in ("latest", "-x", ".."):
        with pytest.raises(UserError, match=r"^name: "):
            lstm_jax.run(Experiment(), name=name)


def test_a_run_is_named_by_any_name_of_a_folder(tmp_path):
    directory = tmp_path / "a b" / ("0" * 12)
    directory.mkdir(parents=True)
    assert Experiment(begin_with="a b/00").begin_with == "a b/00"
    assert find_run("a b", tmp_path) == find_run("a b/00", tmp_path) == directory
    with pytest.raises(UserError, match="names no run"):
        find_run("../a b/00", tmp_path)
