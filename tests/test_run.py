"""Whole runs as a user starts them: trained, resumed, repeated, refused.

A run that stops after each segment (`--max-minutes`) stands for a killed one. Damage on the disk is
in `test_run_damage.py`; what needs a process of its own is in `test_run_processes.py`.
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from event_files import read_events
from fast_compile import fast_jit, fused_jit, programs_by
from run_commands import MODEL, SMALL, digests, record_of
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
from trained_runs import made_up_record, quiet

from lstm_jax.config.experiment import Experiment
from lstm_jax.errors import EnvironmentProblem
from lstm_jax.export.stablehlo import export
from lstm_jax.report.page import report
from lstm_jax.runs.loggers.tensorboard import TensorBoard
from lstm_jax.runs.metrics_file import append_metrics, read_metrics
from lstm_jax.runs.results import Segment


def test_a_run_prints_its_steps_scores_and_directory(run_command, tmp_path):
    code, out, err = run_command(tmp_path, *SMALL)
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
    assert {"versions", "processor", "instruction_set", "settings", "data"} <= identity.keys()
    assert {"commit", "dirty", "cores", "settings", "seconds"} <= record["sessions"][0].keys()
    # The table's first column joins it with the metrics.
    (line,) = (directory / "results.csv").read_text().splitlines()[1:]
    assert line.startswith(rows[0]["member"])


def test_a_finished_run_is_shown_and_not_trained_again(run_command, finished_runs):
    before = {path: path.stat().st_mtime_ns for path in finished_runs.rglob("*.json*")}
    code, out, _ = run_command(finished_runs, *SMALL)
    assert (code, "already finished" in out, "step 20/" in out) == (0, True, False)
    assert before == {path: path.stat().st_mtime_ns for path in finished_runs.rglob("*.json*")}


@pytest.mark.parametrize("cell", [("--cell", "gru", "--layers", "2"), ("--cell", "lstm_peephole")])
def test_every_cell_resumes_to_the_same_bits(run_command, tmp_path, cell):
    argv = ("--hidden-size", "4", "--total-examples", "640", "--microbatches", "1")
    argv += ("--checkpoint-every", "3", "--no-report")
    with programs_by(fast_jit):
        assert run_command(tmp_path / "whole", *argv, *cell)[0] == 0
        assert run_command(tmp_path / "cut", *argv, *cell, "--max-minutes", "1e-9")[0] == 75
        assert run_command(tmp_path / "cut", *argv, *cell)[0] == 0
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


def test_a_data_file_that_changed_is_noticed_by_run_export_and_report(
    run_command, tmp_path, capsys
):
    """Its classes would be taken for those that were learnt."""
    file, runs = tmp_path / "own.npz", tmp_path / "runs"
    images = np.random.RandomState(0).randint(0, 256, (80, 4, 4)).astype(np.uint8)
    np.savez(file, images=images, labels=np.arange(80) % 2)
    argv = ("--task.dataset", str(file), "--hidden-size", "4", "--batch-size", "8")
    argv += ("--total-examples", "80", "--microbatches", "1")
    argv += ("--checkpoint-every", "3", "--no-report")
    with programs_by(fast_jit):
        assert run_command(runs, *argv, "--max-minutes", "1e-9")[0] == 75
        np.savez(file, images=images, labels=np.arange(80) % 2 + 1)
        code, _, err = run_command(runs, *argv)
        (directory,) = (runs / "digits").iterdir()
        assert (code, len(err)) == (3, 1)
        assert "own.npz is not the data that this run was trained on" in err[0]
        with pytest.raises(EnvironmentProblem, match="not the data"):
            export(directory, quiet())
        page = report(directory, quiet()).read_text()
        assert "some figures are missing: own.npz is not the data" in page
        np.savez(file, images=images, labels=np.arange(80) % 2)
        assert run_command(runs, *argv)[0] == 0


def test_a_longer_axis_trains_only_the_new_members(run_command, finished_runs, tmp_path):
    shutil.copytree(finished_runs, tmp_path / "runs")
    _, out, _ = run_command(tmp_path / "runs", *SMALL, "--seed", "0", "1")
    assert "1 member was finished in" in out
    records = (tmp_path / "runs" / "digits").glob("*/record.json")
    path = max(records, key=lambda p: p.stat().st_mtime)
    members = json.loads(path.read_text())["members"]
    (taken,) = digests(finished_runs).items()
    assert len(members) == 2
    assert members[taken[0]]["parameters_sha256"] == taken[1]
    rows = [(row["member"], row["step"]) for row in read_metrics(path.parent)]
    assert len(rows) == len(set(rows)) == 2 * 7
    assert len(list((path.parent / "checkpoints").iterdir())) == 1


@pytest.mark.slow
def test_halving_drops_settings_for_good_and_survivors_equal_solo_runs(run_command, tmp_path):
    """Stopped after every segment; two settings, one of which diverges."""
    argv = (*MODEL, "--total-examples", "5120", "--checkpoint-every", "15", "--no-report")
    halving = ("--learning-rate", "1e-3", "1e30", "--seed", "0", "1", "--halving", "2")
    alone, output = tmp_path / "alone", ""
    with programs_by(fused_jit):
        assert run_command(alone, *argv)[0] == 0
        for _ in range(40):
            code, out, _ = run_command(tmp_path, *argv, *halving, "--max-minutes", "1e-9")
            output += out
            if code == 0:
                break
    assert output.count("2 members go on, 2 dropped") == 1
    assert "dropped at step 20: 2 members" in out
    assert digests(alone).items() <= digests(tmp_path).items()
    record = record_of(tmp_path)
    assert sorted(m["member"]["seed"] for m in record["members"].values()) == [0, 1]
    (rung,) = record["rungs"].values()
    kept = {digest for digest, row in rung.items() if not row["dropped"]}
    assert kept == record["members"].keys()
    (table,) = tmp_path.glob("digits/*/results.csv")
    lines = table.read_text().splitlines()
    assert len(lines) == 1 + 4
    assert sum(line.endswith(",20") for line in lines) == 2


@pytest.mark.slow
def test_a_tpe_search_resumes_to_the_same_bits(run_command, tmp_path):
    argv = [*SMALL, "--learning-rate", "1e-4", "1e-1", "--search", "tpe", "--trials", "3"]
    argv += ["--trials-at-once", "2", "--halving", "2"]
    assert run_command(tmp_path / "whole", *argv)[0] == 0
    stops = 0
    while run_command(tmp_path / "cut", *argv, "--max-minutes", "1e-9")[0] == 75:
        stops += 1
    assert stops > 3
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")
    assert len(digests(tmp_path / "whole")) == 2  # of two and of one setting
    (rung,) = record_of(tmp_path / "cut")["rungs"].values()
    assert sorted(row["dropped"] for row in rung.values()) == [False, True]


def events(runs):
    """Returns what TensorBoard shows of the only member: its folder's name, its values by step and
    tag, and its hyper-parameters by name.
    """
    (folder,) = runs.glob("digits/*/tensorboard/*")
    values, hyper_parameters = {}, {}
    for event in read_events(folder):
        for value in event.summary.value:
            plugin = HParamsPluginData.FromString(value.metadata.plugin_data.content)
            hyper_parameters |= plugin.session_start_info.hparams
            values[event.step, value.tag] = value.simple_value
    return folder.name, values, hyper_parameters


@pytest.mark.parametrize("when", ["while it trains", "half-trained", "finished"])
def test_tensorboard_has_the_rows_of_metrics(run_command, finished_runs, tmp_path, when):
    """Also of what was trained before it was asked for."""
    if when == "half-trained":
        assert run_command(tmp_path, *SMALL, "--max-minutes", "1e-9")[0] == 75
    elif when == "finished":
        shutil.copytree(finished_runs, tmp_path, dirs_exist_ok=True)
    for _ in range(2):  # the second time nothing is written
        assert run_command(tmp_path, *SMALL, "--tensorboard")[0] == 0
    name, seen, parameters = events(tmp_path)
    assert name.startswith("hidden size 8, learning rate 0.001, seed 0 (")
    (directory,) = (tmp_path / "digits").iterdir()
    for row in read_metrics(directory):
        assert seen[row["step"], "loss/training"] == pytest.approx(row["loss"])
        assert seen[row["step"], "norm/gradient"] == pytest.approx(row["gradient_norm"])
        if "validation_accuracy" in row:
            shown = seen[row["step"], "accuracy/validation"]
            assert shown == pytest.approx(row["validation_accuracy"])
    (result,) = record_of(tmp_path)["members"].values()
    shown = seen[125, "result/test_accuracy"]
    assert shown == pytest.approx(result["test"]["accuracy"])
    assert parameters["learning_rate"].number_value == 1e-3
    assert parameters["cell"].string_value == "lstm"


def test_tensorboard_opens_files_only_for_members_in_training(tmp_path):
    """There may be many more members than files that can be open."""
    record = made_up_record(Experiment(seed=tuple(range(5))))
    first, *_ = members = tuple(record.study.members())
    rows = [{"member": member.digest, "step": 0, "loss": 1.0} for member in members]
    append_metrics(tmp_path, rows)
    logger = TensorBoard()

    def num_open():
        return sum(str(tmp_path) in str(path.resolve()) for path in Path("/proc/self/fd").iterdir())

    logger.begin(record, tmp_path)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 5
    assert num_open() == 0
    logger.metrics(Segment((first,), 20, 21, {"loss": np.ones((1, 1))}))
    assert num_open() > 0
    logger.close()
    assert num_open() == 0


def test_max_minutes_stops_a_run_saved_and_the_same_command_resumes(
    run_command, finished_runs, tmp_path
):
    code, _, err = run_command(tmp_path, *SMALL, "--max-minutes", "1e-9")
    assert (code, len(err)) == (75, 1)
    assert "minutes are over: stopped after step 20, saved" in err[0]
    assert "resuming 1 of 1 members from step 20" in run_command(tmp_path, *SMALL)[1]
    assert digests(tmp_path) == digests(finished_runs)


def test_more_members_than_fit_into_memory_are_refused(run_command, tmp_path):
    code, _, err = run_command(tmp_path, "--hidden-size", "2048", "--seed", *map(str, range(2000)))
    assert (code, len(err)) == (3, 1), err
    assert re.search(r"2000 members need about \d+\.\d GiB .* GiB are free", err[0])


def test_divergence_is_recorded_and_exits_with_code_4(run_command, tmp_path):
    code, out, err = run_command(tmp_path, *SMALL, "--learning-rate", "1e30")
    (result,) = record_of(tmp_path)["members"].values()
    assert result["diverged_at"] == 1
    assert (code, len(err)) == (4, 1)
    assert "DIVERGED" in out


def test_a_batch_larger_than_the_data_is_a_user_error(run_command, tmp_path):
    code, _, err = run_command(tmp_path, "--batch-size", "2048")
    assert (code, len(err)) == (2, 1)
    assert "1,318 training examples of digits" in err[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["file", "x" * 300, "/proc/self/runs"])
def test_a_runs_directory_that_cannot_be_is_refused_in_one_line(run_command, tmp_path, name):
    (tmp_path / "file").write_text("")
    code, _, err = run_command(tmp_path / name, *SMALL)
    assert (code, len(err)) == (3, 1)
    assert name[:9] in err[0]


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No data, and a proxy that leads nowhere."""
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "no data"))


def test_without_data_or_network_the_error_names_every_way_out(run_command, tmp_path, offline):
    code, _, err = run_command(tmp_path / "runs", name="baseline")
    assert (code, len(err)) == (3, 1)
    for way in ("connect", "downloads/manual", "TFDS_DATA_DIR", "--fallback"):
        assert way in err[0]
    assert not (tmp_path / "runs").exists()


def test_the_fallback_is_announced_and_named_in_the_run(run_command, tmp_path, offline):
    code, out, err = run_command(tmp_path / "runs", *SMALL, "--fallback", name="baseline")
    assert (code, err) == (0, [])
    assert "FALLING BACK to the data set digits" in out
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()] == [
        "baseline-digits"
    ]
    record = record_of(tmp_path / "runs", "baseline-digits")
    assert record["name"] == "baseline-digits"
    assert record["experiment"]["task.dataset"] == "digits"
