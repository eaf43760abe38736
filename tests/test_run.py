"""Whole runs as a user starts them: resumed, repeated, interrupted, refused. Real processes."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from tensorboardX.proto import event_pb2

from lstm_jax import Experiment
from lstm_jax.errors import SurroundingsError, UserError
from lstm_jax.lookup import load_experiment
from lstm_jax.runs import checkpoints, store
from lstm_jax.runs.plan import plan
from lstm_jax.runs.runner import run as run_here

ROOT = Path(__file__).parent.parent
SMALL = (
    *("--hidden-size", "8", "--num-examples", "16000", "--segment-steps", "20"),  # 125 steps
    "--no-report",
)


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


def run(runs, *argv, **options):
    return finish(start(runs, *argv, **options))


def here(runs, **changes):
    """The same in this process, whose compiled programs the tests share: what it said."""
    console = Console(file=io.StringIO(), width=300)
    values = {"hidden_size": 8, "num_examples": 16_000, **changes}
    experiment = replace(load_experiment("digits"), **values)
    run_here("digits", experiment, console, runs_dir=runs, segment_steps=20)
    return console.file.getvalue()


def record_of(runs, name="digits"):
    (path,) = (runs / name).glob("*/record.json")
    return json.loads(path.read_text())


def digests(runs):
    return {key: m["parameters_sha256"] for key, m in record_of(runs)["members"].items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run never disturbed: its runs folder and what it printed."""
    runs = tmp_path_factory.mktemp("whole")
    code, out, err = run(runs, *SMALL)
    assert (code, err) == (0, [])
    return runs, out


def test_a_run_tells_its_steps_accuracies_and_where_it_lies(whole):
    runs, out = whole
    record = record_of(runs)
    (result,) = record["members"].values()
    assert "step 125/125" in out
    assert f"test accuracy {result['test_accuracy']:.4f}" in out
    assert result["parameters_sha256"] in out
    (directory,) = (runs / "digits").iterdir()
    assert str(directory) in out.splitlines()[-1]
    assert record["experiment"]["hidden_size"] == 8
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(0, 125, 20))
    assert {"versions", "device_kind", "instruction_set", "settings", "data"} <= record[
        "identity"
    ].keys()
    assert {"commit", "dirty", "cores", "settings", "seconds"} <= record["sessions"][0].keys()


def test_the_same_command_again_reports_and_trains_nothing(whole):
    runs, _ = whole
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*.json*")}
    code, out, _ = run(runs, *SMALL)
    assert (code, "already finished" in out, "step 20/" in out) == (0, True, False)
    assert before == {path: path.stat().st_mtime_ns for path in runs.rglob("*.json*")}


@pytest.mark.parametrize("cores", ["1", "2"])
def test_killed_and_resumed_equals_never_killed(whole, tmp_path, cores):
    """SIGKILL after the second segment; on whatever number of devices."""
    process = start(tmp_path, *SMALL, JAX_NUM_CPU_DEVICES=cores)
    while "step 40/125" not in process.stdout.readline():
        assert process.poll() is None
    process.kill()
    process.communicate()
    (before,) = checkpoints.load(
        next((tmp_path / "digits").iterdir()), digests(whole[0]), print
    ).values()
    code, out, err = run(tmp_path, *SMALL)
    assert (code, err) == (0, [])
    assert "resuming 1 of 1 members" in out
    (result,) = record_of(tmp_path)["members"].values()
    assert 0 < before.seconds < result["seconds"]  # the time before the kill counts
    assert digests(tmp_path) == digests(whole[0])
    (one,), (other,) = (list((r / "digits").iterdir()) for r in (tmp_path, whole[0]))
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()


def test_a_sweeps_member_is_its_solo_run_with_other_devices_threads_and_segments(whole, tmp_path):
    argv = [*SMALL[:5], "33", "--no-report", "--seed", "0", "1", "2"]
    assert run(tmp_path, *argv, JAX_NUM_CPU_DEVICES="2", PJRT_NPROC="8")[0] == 0
    assert digests(whole[0]).items() <= digests(tmp_path).items()
    assert len(digests(tmp_path)) == 3


def test_one_thread_or_several_change_no_bit(tmp_path):
    """With clipping: the norm is the one sum over all parameters that a step depends on."""
    argv = ("--num-examples", "1280", "--clip-norm", "0.5", "--hidden-size", "128", "--no-report")
    one = {"JAX_NUM_CPU_DEVICES": "1", "PJRT_NPROC": "1"}
    assert run(tmp_path / "one", *argv, **one)[0] == 0
    here(tmp_path / "several", hidden_size=128, num_examples=1280, clip_norm=0.5)
    assert digests(tmp_path / "one") == digests(tmp_path / "several")


def test_a_grown_axis_trains_only_what_is_new(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "runs")
    assert "1 member was finished in" in here(tmp_path / "runs", seed=(0, 1))
    path = max(
        (tmp_path / "runs" / "digits").glob("*/record.json"), key=lambda p: p.stat().st_mtime
    )
    members = json.loads(path.read_text())["members"]
    (taken,) = digests(whole[0]).items()
    assert len(members) == 2
    assert members[taken[0]]["parameters_sha256"] == taken[1]
    rows = [(row["member"], row["step"]) for row in store.read_metrics(path.parent)]
    assert len(rows) == len(set(rows)) == 2 * 7
    assert len(list((path.parent / "checkpoints").iterdir())) == 1


def test_a_halving_drops_settings_for_good_and_its_survivors_are_their_solo_runs(whole, tmp_path):
    """Killed after the rung; three settings, one of which diverges."""
    argv = [*SMALL, "--learning-rate", "1e-5", "1e-3", "1e30", "--seed", "0", "1", "--halving", "3"]
    process = start(tmp_path, *argv)
    while "2 members go on, 4 dropped" not in process.stdout.readline():
        assert process.poll() is None
    process.kill()
    process.communicate()
    rates = (1e-5, 1e-3, 1e30)
    assert "dropped at step 42: 4 members" in here(
        tmp_path, learning_rate=rates, seed=(0, 1), halving=3
    )
    record = record_of(tmp_path)
    assert digests(whole[0]).items() <= digests(tmp_path).items()
    assert sorted(m["seed"] for m in record["members"].values()) == [0, 1]
    (rung,) = record["rungs"].values()
    kept = {digest for digest, row in rung.items() if not row["dropped"]}
    assert kept == record["members"].keys()
    (table,) = tmp_path.glob("digits/*/results.csv")
    lines = table.read_text().splitlines()
    assert len(lines) == 1 + 6
    assert sum(line.endswith(",42") for line in lines) == 4


def test_optunas_search_goes_on_after_a_kill_as_it_would_have(tmp_path):
    argv = [*SMALL, "--learning-rate", "1e-4", "1e-1", "--search", "tpe", "--trials", "3"]
    argv += ["--trials-at-once", "2"]
    search = {"learning_rate": (1e-4, 1e-1), "search": "tpe", "trials": 3, "trials_at_once": 2}
    here(tmp_path / "whole", **search)
    process = start(tmp_path / "killed", *argv)
    while "2 of 3 members done" not in process.stdout.readline():
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert "resuming 1 of 1 members" in here(tmp_path / "killed", **search)
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
    assert len(digests(tmp_path / "whole")) == 3


def test_tensorboard_has_the_rows_of_metrics(tmp_path):
    console = Console(file=io.StringIO())
    experiment = replace(load_experiment("digits"), hidden_size=8, num_examples=6_400)
    directory = run_here(
        "digits", experiment, console, runs_dir=tmp_path, segment_steps=20, tensorboard=True
    )
    (path,) = (directory / "tensorboard" / experiment.digest).iterdir()
    data, found = path.read_bytes(), {}
    while data:  # a record: its length (8 bytes), a checksum (4), itself, another checksum (4)
        length = int.from_bytes(data[:8], "little")
        event, data = event_pb2.Event.FromString(data[12 : 12 + length]), data[16 + length :]
        for value in event.summary.value:
            found.setdefault(event.step, {})[value.tag] = value
    rows = store.read_metrics(directory)
    assert found.keys() == {row["step"] for row in rows}
    for row in rows:
        assert found[row["step"]]["loss"].simple_value == pytest.approx(row["loss"])


def test_the_time_allowed_stops_it_saved(whole, tmp_path):
    code, _, err = run(tmp_path, *SMALL, "--max-minutes", "1e-9")
    assert (code, len(err)) == (75, 1)
    assert "minutes are over: stopped after step 20, saved" in err[0]
    assert "resuming 1 of 1 members from step 20" in here(tmp_path)
    assert digests(tmp_path) == digests(whole[0])


def test_more_members_than_memory_allows_are_refused_with_the_figure(tmp_path):
    seeds = map(str, range(2000))
    code, _, err = run(tmp_path, "--hidden-size", "2048", "--seed", *seeds)
    assert (code, len(err)) == (3, 1), err
    assert re.search(r"2000 members need about \d+\.\d GiB .* GiB are free", err[0])


def test_a_signal_saves_and_the_same_command_goes_on(whole, tmp_path):
    process = start(tmp_path, *SMALL)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert (code, len(err)) == (75, 1), err
    assert "the same command goes on" in err[0]
    here(tmp_path)
    assert digests(tmp_path) == digests(whole[0])


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(whole, tmp_path):
    process = start(tmp_path, *SMALL)
    while "step 60/125" not in process.stdout.readline():
        assert process.poll() is None
    process.kill()
    process.communicate()
    last = max(tmp_path.glob("digits/*/checkpoints/*/*/manifest.json"))
    victim = max(last.parent.rglob("arrays/**/d/*"), key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    assert "is damaged" in here(tmp_path)
    assert digests(tmp_path) == digests(whole[0])


def test_two_processes_do_not_share_a_run_directory(tmp_path):
    hours = ("--hidden-size", "8", "--num-examples", "10000000000")
    first = start(tmp_path, *hours)
    first.stdout.readline()  # in its first segments now
    code, _, err = run(tmp_path, *hours)
    first.kill()
    first.communicate()
    assert (code, len(err)) == (3, 1)
    assert f"in use by process {first.pid}" in err[0]


def test_divergence_is_recorded_and_code_4(tmp_path):
    code, out, err = run(tmp_path, *SMALL, "--learning-rate", "1e30")
    (result,) = record_of(tmp_path)["members"].values()
    assert result["diverged_at"] == 1
    assert (code, len(err)) == (4, 1)
    assert "DIVERGED" in out


def test_a_batch_larger_than_the_data_is_the_users_mistake(tmp_path):
    code, _, err = run(tmp_path, "--batch-size", "2048")
    assert (code, len(err)) == (2, 1)
    assert "1,318 training examples of digits" in err[0]
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line_and_loses_nothing(whole, tmp_path):
    """A limit on the size of files stands for the disk: the first checkpoint does not fit."""
    limited = f"ulimit -f 4; exec {sys.executable} -m lstm_jax run digits --runs-dir {tmp_path}"
    done = subprocess.run(
        ["bash", "-c", " ".join([limited, *SMALL])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1), done.stderr
    assert "cannot write" in done.stderr
    here(tmp_path)
    assert digests(tmp_path) == digests(whole[0])


def test_a_folder_that_is_none_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run(tmp_path / "file", *SMALL)
    assert (code, len(err)) == (3, 1)
    assert "cannot write" in err[0]


@pytest.fixture
def offline(tmp_path):
    """No data, and a proxy that leads nowhere."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    return proxies | {"TFDS_DATA_DIR": str(tmp_path / "no data")}


def test_without_data_or_network_it_answers_quickly_with_the_ways_out(tmp_path, offline):
    began = time.monotonic()
    code, _, err = run(tmp_path / "runs", name="baseline", **offline)
    assert time.monotonic() - began < 30  # 10 s on a quiet machine
    assert (code, len(err)) == (3, 1)
    for way in ("connect", "downloads/manual", "TFDS_DATA_DIR", "--fallback digits"):
        assert way in err[0]
    assert not (tmp_path / "runs").exists()


def test_the_fallback_says_so_and_carries_its_name(tmp_path, offline):
    argv = [*SMALL, "--fallback", "digits"]
    code, out, err = run(tmp_path / "runs", *argv, name="baseline", **offline)
    assert (code, err) == (0, [])
    assert "FALLING BACK to the data set digits" in out
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["baseline-digits"]
    record = record_of(tmp_path / "runs", "baseline-digits")
    assert record["name"] == "baseline-digits"


def test_plan_says_what_would_run_and_trains_nothing(tmp_path):
    console = Console(file=io.StringIO(), width=300)
    experiment = Experiment(dataset="digits", hidden_size=(8, 16), seed=(0, 1, 2, 3))
    plan("digits", experiment, console, runs_dir=tmp_path, measure=True)
    said = console.file.getvalue()
    assert "8 members, 8 to train" in said
    assert re.search(r"about \d+\.\d minutes", said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"members": []}',
        '{"members": {"a": {}}, "sessions": []}',
        '{"members',
        '{"members": {}, "sessions": []}',
        '{"members": {}, "sessions": [], "sha256": "0"}',
    ],
)
def test_a_damaged_run_directory_is_one_line_and_stays_as_it_is(whole, tmp_path, text):
    shutil.copytree(whole[0], tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("digits/*/record.json")
    path.write_text(text)
    with pytest.raises(SurroundingsError, match=r"record.json is damaged"):
        here(tmp_path / "runs")
    assert path.read_text() == text


def test_a_directory_begun_as_another_experiment_is_refused_field_by_field(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("digits/*/record.json")
    record = json.loads(path.read_text())
    record["experiment"]["forget_bias"] = 0.5
    store.write_json(path, store.sealed(record))
    with pytest.raises(UserError, match=r"forget_bias: 0.5, not 1.0"):
        here(tmp_path / "runs")


def test_a_reader_that_leaves_is_an_interruption(tmp_path):
    process = start(tmp_path, "--hidden-size", "8", "--num-examples", "10000000000")
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read().splitlines()
    process.stderr.close()
    assert (process.wait(timeout=60), len(err)) == (75, 1), err
