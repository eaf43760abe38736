"""Whole runs as a user starts them: resumed, repeated, interrupted, refused.

A process of its own is started only for what needs one: signals, kills, locks, pipes, threads.
 A run that stops after each segment (`--max-minutes`) stands for a killed one elsewhere.
"""

import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fast_compile import quick_programs
from rich.console import Console
from tensorboardX.proto import event_pb2
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from lstm_jax.cli.main import main
from lstm_jax.config.experiment import Experiment
from lstm_jax.errors import EnvironmentProblem
from lstm_jax.export.stablehlo import export
from lstm_jax.report.page import report
from lstm_jax.runs import checkpoints, directory
from lstm_jax.runs.metrics_file import read_metrics
from lstm_jax.runs.tensorboard import Scalars

ROOT = Path(__file__).parent.parent
MODEL = ("--hidden-size", "8", "--microbatches", "1")
SHORT = (*MODEL, "--total-examples", "16000")  # 125 steps
SEGMENTS = ("--checkpoint-every", "20", "--no-report")
SMALL = (*SHORT, *SEGMENTS)
# The same programs, and no end that a test would see.
HOURS = (*MODEL, "--total-examples", "10000000000", *SEGMENTS)


def start(runs, *argv, name="digits", **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "lstm_jax", "run", name, "--runs-dir", str(runs), *argv],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def finish(process):
    """Exit code, output and the lines of stderr; at most two minutes."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err.splitlines()


@pytest.fixture
def run(capsys):
    """The same in this process, whose compiled programs the tests share."""

    def call(runs, *argv, name="digits"):
        try:
            main(["run", name, "--runs-dir", str(runs), *argv])
            code = 0
        except SystemExit as left:
            code = left.code
        out, err = capsys.readouterr()
        return code, out, err.splitlines()

    return call


def quietly(runs, *argv):
    """A run before any test: its directory."""
    with pytest.MonkeyPatch.context() as patch, open(os.devnull, "w") as nowhere:
        patch.setattr(sys, "stdout", nowhere)
        main(["run", "digits", "--runs-dir", str(runs), *argv])


def record_of(runs, name="digits"):
    (path,) = (runs / name).glob("*/record.json")
    return json.loads(path.read_text())


def digests(runs):
    return {key: m["parameters_sha256"] for key, m in record_of(runs)["members"].items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run never disturbed: its runs folder."""
    runs = tmp_path_factory.mktemp("whole")
    quietly(runs, *SMALL)
    return runs


def test_a_run_tells_its_steps_scores_and_where_it_lies(run, tmp_path):
    code, out, err = run(tmp_path, *SMALL)
    assert (code, err) == (0, [])
    record = record_of(tmp_path)
    (result,) = record["members"].values()
    assert "step 125/125" in out
    assert f"test accuracy {result['test']['accuracy']:.4f}" in out
    assert result["parameters_sha256"] in out
    (directory,) = (tmp_path / "digits").iterdir()
    assert str(directory) in out.splitlines()[-1]
    assert record["experiment"]["hidden_size"] == 8
    rows = read_metrics(directory)
    assert [row["step"] for row in rows] == list(range(0, 125, 20))
    assert {"loss", "accuracy", "gradient_norm", "update_norm"} <= rows[0].keys()
    identity = record["identities"][result["identity"]]
    assert {"versions", "device_kind", "instruction_set", "settings", "data"} <= identity.keys()
    assert {"commit", "dirty", "cores", "settings", "seconds"} <= record["sessions"][0].keys()
    # The table's first column joins it with the metrics.
    (line,) = (directory / "results.csv").read_text().splitlines()[1:]
    assert line.startswith(rows[0]["member"])


def test_the_same_command_again_reports_and_trains_nothing(run, whole):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*.json*")}
    code, out, _ = run(whole, *SMALL)
    assert (code, "already finished" in out, "step 20/" in out) == (0, True, False)
    assert before == {path: path.stat().st_mtime_ns for path in whole.rglob("*.json*")}


@pytest.mark.parametrize("cell", [("--cell", "gru", "--layers", "2"), ("--cell", "lstm_peephole")])
def test_any_cell_goes_on_as_it_would_have(run, tmp_path, cell):
    argv = (
        "--hidden-size",
        "4",
        "--total-examples",
        "640",
        "--checkpoint-every",
        "3",
        "--no-report",
    )
    argv += ("--microbatches", "1")
    with quick_programs():
        assert run(tmp_path / "whole", *argv, *cell)[0] == 0
        assert run(tmp_path / "cut", *argv, *cell, "--max-minutes", "1e-9")[0] == 75
        assert run(tmp_path / "cut", *argv, *cell)[0] == 0
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


def test_a_file_that_changed_since_is_noticed_by_whoever_reads_it_again(run, tmp_path, capsys):
    """Its classes would be taken for those that were learnt."""
    file, runs = tmp_path / "own.npz", tmp_path / "runs"
    images = np.random.RandomState(0).randint(0, 256, (80, 4, 4)).astype(np.uint8)
    np.savez(file, images=images, labels=np.arange(80) % 2)
    argv = ("--task.dataset", str(file), "--hidden-size", "4", "--batch-size", "8")
    argv += (
        "--total-examples",
        "80",
        "--microbatches",
        "1",
        "--no-report",
        "--checkpoint-every",
        "3",
    )
    with quick_programs():
        assert run(runs, *argv, "--max-minutes", "1e-9")[0] == 75
        np.savez(file, images=images, labels=np.arange(80) % 2 + 1)
        code, _, err = run(runs, *argv)
        (directory,) = (runs / "digits").iterdir()
        assert (code, len(err)) == (3, 1)
        assert "own.npz is not the data that this run was trained on" in err[0]
        with pytest.raises(EnvironmentProblem, match="not the data"):
            export(directory, Console(file=io.StringIO()))
        page = report(directory, Console(file=io.StringIO())).read_text()
        assert "some figures are missing: own.npz is not the data" in page
        np.savez(file, images=images, labels=np.arange(80) % 2)
        assert run(runs, *argv)[0] == 0


def test_a_grown_axis_trains_only_what_is_new(run, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "runs")
    _, out, _ = run(tmp_path / "runs", *SMALL, "--seed", "0", "1")
    assert "1 member was finished in" in out
    records = (tmp_path / "runs" / "digits").glob("*/record.json")
    path = max(records, key=lambda p: p.stat().st_mtime)
    members = json.loads(path.read_text())["members"]
    (taken,) = digests(whole).items()
    assert len(members) == 2
    assert members[taken[0]]["parameters_sha256"] == taken[1]
    rows = [(row["member"], row["step"]) for row in read_metrics(path.parent)]
    assert len(rows) == len(set(rows)) == 2 * 7
    assert len(list((path.parent / "checkpoints").iterdir())) == 1


def test_a_halving_drops_settings_for_good_and_its_survivors_are_their_solo_runs(
    run, whole, tmp_path
):
    """Stopped after every segment; two settings, one of which diverges."""
    argv = [*SMALL, "--learning-rate", "1e-3", "1e30", "--seed", "0", "1", "--halving", "2"]
    said = ""
    for _ in range(40):
        code, out, _ = run(tmp_path, *argv, "--max-minutes", "1e-9")
        said += out
        if code == 0:
            break
    assert said.count("2 members go on, 2 dropped") == 1
    assert "dropped at step 63: 2 members" in out
    assert digests(whole).items() <= digests(tmp_path).items()
    record = record_of(tmp_path)
    assert sorted(m["member"]["seed"] for m in record["members"].values()) == [0, 1]
    (rung,) = record["rungs"].values()
    kept = {digest for digest, row in rung.items() if not row["dropped"]}
    assert kept == record["members"].keys()
    (table,) = tmp_path.glob("digits/*/results.csv")
    lines = table.read_text().splitlines()
    assert len(lines) == 1 + 4
    assert sum(line.endswith(",63") for line in lines) == 2


def test_optunas_search_goes_on_after_a_stop_as_it_would_have(run, tmp_path):
    argv = [*SMALL, "--learning-rate", "1e-4", "1e-1", "--search", "tpe", "--trials", "3"]
    argv += ["--trials-at-once", "2"]
    assert run(tmp_path / "whole", *argv)[0] == 0
    stops = 0
    while run(tmp_path / "cut", *argv, "--max-minutes", "1e-9")[0] == 75:
        stops += 1
    assert stops > 3
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")
    assert len(digests(tmp_path / "whole")) == 3


def events(runs):
    """What TensorBoard would show of the only member: its folder's name; values by step and tag;
    hyper-parameters by name.
    """
    (folder,) = runs.glob("digits/*/tensorboard/*")
    seen, given = {}, {}
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:  # a record: its length (8 bytes), a checksum (4), itself, another checksum (4)
            length = int.from_bytes(data[:8], "little")
            event, data = event_pb2.Event.FromString(data[12 : 12 + length]), data[16 + length :]
            for value in event.summary.value:
                plugin = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                given |= plugin.session_start_info.hparams
                seen[event.step, value.tag] = value.simple_value
    return folder.name, seen, given


@pytest.mark.parametrize("when", ["while it trains", "half-trained", "finished"])
def test_tensorboard_has_the_rows_of_metrics(run, whole, tmp_path, when):
    """Also of what was trained before it was asked for."""
    if when == "half-trained":
        assert run(tmp_path, *SMALL, "--max-minutes", "1e-9")[0] == 75
    elif when == "finished":
        shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    for _ in range(2):  # the second time nothing is written
        assert run(tmp_path, *SMALL, "--tensorboard")[0] == 0
    name, seen, given = events(tmp_path)
    assert name.startswith("hidden size 8, learning rate 0.001, seed 0 (")
    (directory,) = (tmp_path / "digits").iterdir()
    for row in read_metrics(directory):
        assert seen[row["step"], "loss/training"] == pytest.approx(row["loss"])
        assert seen[row["step"], "norm/gradient"] == pytest.approx(row["gradient_norm"])
        if "validation_accuracy" in row:
            found = seen[row["step"], "accuracy/validation"]
            assert found == pytest.approx(row["validation_accuracy"])
    (result,) = record_of(tmp_path)["members"].values()
    found = seen[125, "result/test_accuracy"]
    assert found == pytest.approx(result["test"]["accuracy"])
    assert given["learning_rate"].number_value == 1e-3
    assert given["cell"].string_value == "lstm"


def test_tensorboard_holds_no_file_of_a_member_that_is_not_trained_now(tmp_path):
    """There may be many more members than files that can be open."""
    grid = Experiment(seed=tuple(range(5)))
    rows = [{"member": m.digest, "step": 0, "loss": 1.0} for m in grid.members()]
    scalars = Scalars(tmp_path, grid, rows)

    def num_open():
        return sum(str(tmp_path) in str(path.resolve()) for path in Path("/proc/self/fd").iterdir())

    assert scalars.begin(grid.members()) == {m.digest for m in grid.members()}
    scalars.write_whole({row["member"]: [row] for row in rows})
    assert num_open() == 0
    scalars.write(rows[:1])
    assert num_open() > 0
    scalars.close()


def test_the_time_allowed_stops_it_saved_and_the_time_before_counts(run, whole, tmp_path):
    code, _, err = run(tmp_path, *SMALL, "--max-minutes", "1e-9")
    assert (code, len(err)) == (75, 1)
    assert "minutes are over: stopped after step 20, saved" in err[0]
    assert "resuming 1 of 1 members from step 20" in run(tmp_path, *SMALL)[1]
    assert digests(tmp_path) == digests(whole)


def test_more_members_than_memory_allows_are_refused_with_the_figure(run, tmp_path):
    code, _, err = run(tmp_path, "--hidden-size", "2048", "--seed", *map(str, range(2000)))
    assert (code, len(err)) == (3, 1), err
    assert re.search(r"2000 members need about \d+\.\d GiB .* GiB are free", err[0])


def test_a_signal_saves_and_the_same_command_goes_on(run, whole, tmp_path):
    process = start(tmp_path, *SMALL)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert (code, len(err)) == (75, 1), err
    assert "the same command goes on" in err[0]
    run(tmp_path, *SMALL)
    assert digests(tmp_path) == digests(whole)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(run, whole, tmp_path):
    for _ in range(3):
        run(tmp_path, *SMALL, "--max-minutes", "1e-9")
    flip(max(tmp_path.glob("digits/*/checkpoints/*/*.safetensors")))
    _, out, _ = run(tmp_path, *SMALL)
    assert "is damaged" in out
    assert "members from step 40" in out
    assert digests(tmp_path) == digests(whole)


def test_a_finished_member_whose_checkpoint_is_lost_is_trained_again(run, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "runs")
    for path in (tmp_path / "runs").glob("digits/*/checkpoints/*/*.safetensors"):
        flip(path)
    code, out, _ = run(tmp_path / "runs", *SMALL)
    assert (code, "its checkpoint is lost" in out, "already finished" in out) == (0, True, False)
    assert digests(tmp_path / "runs") == digests(whole)
    rows = read_metrics(next((tmp_path / "runs" / "digits").iterdir()))
    assert [row["step"] for row in rows] == list(range(0, 125, 20))


def test_a_finished_member_with_other_parameters_than_on_record_is_trained_again(
    run, whole, tmp_path
):
    """Its checkpoint is sealed and whole, but of another model; stopped on the way, too."""
    shutil.copytree(whole, tmp_path / "runs")
    (directory,) = (tmp_path / "runs" / "digits").iterdir()
    (member,) = digests(whole)
    saved = checkpoints.load(directory, [member], print)[member]
    arrays = {name: array[None] for name, array in saved.arrays.items()}
    arrays["params/output/bias"] = arrays["params/output/bias"] + 1
    forged = saved._replace(arrays=arrays, seconds=[saved.seconds])
    checkpoints.save(directory, (member,), forged)
    code, out, _ = run(tmp_path / "runs", *SMALL, "--max-minutes", "1e-9")
    assert (code, "not its own" in out) == (75, True)
    while code == 75:
        code, out, _ = run(tmp_path / "runs", *SMALL, "--max-minutes", "1e-9")
        assert "not its own" in out
    assert code == 0
    assert digests(tmp_path / "runs") == digests(whole)
    assert "already finished" in run(tmp_path / "runs", *SMALL)[1]


def test_a_run_directory_has_one_writer_and_is_not_written_once_it_is_moved_away(run, tmp_path):
    first = start(tmp_path, *HOURS)
    first.stdout.readline()  # in its first segments now
    code, _, err = run(tmp_path, *HOURS)
    assert (code, len(err)) == (3, 1)
    assert f"in use by process {first.pid}" in err[0]
    (directory,) = (tmp_path / "digits").iterdir()
    directory.rename(tmp_path / "moved")
    code, _, err = finish(first)
    assert (code, len(err)) == (3, 1)
    assert "was moved or removed" in err[0]


def test_divergence_is_recorded_and_code_4(run, tmp_path):
    code, out, err = run(tmp_path, *SMALL, "--learning-rate", "1e30")
    (result,) = record_of(tmp_path)["members"].values()
    assert result["diverged_at"] == 1
    assert (code, len(err)) == (4, 1)
    assert "DIVERGED" in out


def test_a_batch_larger_than_the_data_is_the_users_mistake(run, tmp_path):
    code, _, err = run(tmp_path, "--batch-size", "2048")
    assert (code, len(err)) == (2, 1)
    assert "1,318 training examples of digits" in err[0]
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line_and_loses_nothing(run, whole, tmp_path):
    """A limit on the size of files stands for the disk: the first checkpoint does not fit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        code, _, err = run(tmp_path, *SMALL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (code, len(err)) == (3, 1), err
    assert "cannot write" in err[0]
    run(tmp_path, *SMALL)
    assert digests(tmp_path) == digests(whole)


def test_a_folder_that_is_none_is_one_line(run, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run(tmp_path / "file", *SMALL)
    assert (code, len(err)) == (3, 1)
    assert "cannot" in err[0]


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No data, and a proxy that leads nowhere."""
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "no data"))


def test_without_data_or_network_it_answers_with_the_ways_out(run, tmp_path, offline):
    code, _, err = run(tmp_path / "runs", name="baseline")
    assert (code, len(err)) == (3, 1)
    for way in ("connect", "downloads/manual", "TFDS_DATA_DIR", "--fallback"):
        assert way in err[0]
    assert not (tmp_path / "runs").exists()


def test_the_fallback_says_so_and_carries_its_name(run, tmp_path, offline):
    code, out, err = run(tmp_path / "runs", *SMALL, "--fallback", name="baseline")
    assert (code, err) == (0, [])
    assert "FALLING BACK to the data set digits" in out
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["baseline-digits"]
    record = record_of(tmp_path / "runs", "baseline-digits")
    assert record["name"] == "baseline-digits"
    assert record["experiment"]["task.dataset"] == "digits"


def test_plan_says_what_would_run_and_trains_nothing(run, tmp_path, capsys):
    argv = ["--hidden-size", "4", "6", "--cell", "lstm", "rnn", "--seed", "0", "1"]
    main(["plan", "digits", "--runs-dir", str(tmp_path), *argv])
    said = capsys.readouterr().out
    assert "8 members, 8 to train" in said
    assert len(re.findall(r"^ +2 +(lstm|rnn) +[46] ", said, re.MULTILINE)) == 4
    assert not list(tmp_path.iterdir())


def test_plan_measures_the_minutes_and_knows_what_is_done(whole, capsys):
    main(["plan", "digits", "--runs-dir", str(whole), *SHORT, "--measure"])
    assert re.search(r"about 0\.0 minutes", said := capsys.readouterr().out)
    assert "1 member, 0 to train, 125 steps" in said


def test_plan_counts_what_a_halving_drops(tmp_path, capsys):
    """Of four settings the first quarter is trained of all, the second of two, the rest of one."""
    argv = ["plan", "digits", "--runs-dir", str(tmp_path), *HOURS[: -len(SEGMENTS)], "--measure"]
    argv += ["--learning-rate", "1e-4", "1e-3", "1e-2", "1e-1", "--halving", "2"]
    with quick_programs():
        main(argv)
    said = capsys.readouterr().out
    (rate,) = re.findall(r"^ *4 .* ([\d,]+) *$", said, re.MULTILINE)
    (minutes,) = re.findall(r"about ([\d.]+) minutes", said)
    grid = 4 * 1e10 / float(rate.replace(",", "")) / 60
    assert float(minutes) == pytest.approx(grid / 2, rel=1e-2)
    (steps,) = re.findall(r"4 to train, (\d+) steps", said)
    rungs = re.findall(r"rung at step (\d+): the best (\d) settings go on", said)
    quarter = int(steps) // 4
    assert rungs == [(str(quarter), "2"), (str(2 * quarter), "1")]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"members": []}',
        '{"members": {"a": {}}, "sessions": []}',
        '{"members',
        '{"members": {}, "sessions": [], "sha256": "0"}',
    ],
)
def test_a_damaged_run_directory_is_one_line_and_stays_as_it_is(run, whole, tmp_path, text):
    shutil.copytree(whole, tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("digits/*/record.json")
    path.write_text(text)
    code, _, err = run(tmp_path / "runs", *SMALL)
    assert (code, len(err)) == (3, 1)
    assert "record.json is damaged" in err[0]
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("members", "steps"), "many"),
        (("members", "steps"), -1),
        (("members", "validation"), {"accuracy": "good"}),
        (("members", "reused_from"), "../../other"),
        (("members", "member"), {"seed": 7}),
        (("experiment", "hidden_size"), "wide"),
        (("experiment", "task"), "nothing"),
        (("search", "trials"), -1),
    ],
)
def test_a_record_of_odd_values_is_refused_though_its_seal_fits(run, whole, tmp_path, where, value):
    shutil.copytree(whole, tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("digits/*/record.json")
    record = json.loads(path.read_text())
    inner = record[where[0]]
    (next(iter(inner.values())) if where[0] == "members" else inner)[where[1]] = value
    path.write_text(json.dumps(directory.sealed(record)))
    code, _, err = run(tmp_path / "runs", *SMALL)
    assert (code, len(err)) == (3, 1)
    assert "record.json is damaged" in err[0]


def test_a_directory_begun_as_another_experiment_is_refused_field_by_field(run, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("digits/*/record.json")
    record = json.loads(path.read_text())
    record["experiment"]["forget_bias"] = 0.5
    record["members"] = {}
    path.write_text(json.dumps(directory.sealed(record)))
    code, _, err = run(tmp_path / "runs", *SMALL)
    assert (code, len(err)) == (2, 1)
    assert "forget_bias: 0.5, not 1.0" in err[0]


def test_a_reader_that_leaves_is_an_interruption(tmp_path):
    process = start(tmp_path, *HOURS)
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read().splitlines()
    process.stderr.close()
    assert (process.wait(timeout=60), len(err)) == (75, 1), err
