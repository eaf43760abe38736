"""Files of a run that are damaged, forged or cannot be written: nothing is lost."""

import json
import resource
import shutil

import pytest
from run_commands import SMALL, digests

from lstm_jax.runs import checkpoints, json_files
from lstm_jax.runs.metrics_file import read_metrics


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_checkpoint_is_named_and_the_previous_one_is_used(
    run_command, finished_runs, tmp_path
):
    for _ in range(3):
        run_command(tmp_path, *SMALL, "--max-minutes", "1e-9")
    flip(max(tmp_path.glob("digits/*/checkpoints/*/*.safetensors")))
    _, out, _ = run_command(tmp_path, *SMALL)
    assert "is damaged" in out
    assert "members from step 40" in out
    assert digests(tmp_path) == digests(finished_runs)


def test_a_finished_member_whose_checkpoint_is_lost_is_trained_again(
    run_command, finished_runs, tmp_path
):
    shutil.copytree(finished_runs, tmp_path / "runs")
    for path in (tmp_path / "runs").glob("digits/*/checkpoints/*/*.safetensors"):
        flip(path)
    code, out, _ = run_command(tmp_path / "runs", *SMALL)
    assert (code, "its checkpoint is lost" in out, "already finished" in out) == (0, True, False)
    assert digests(tmp_path / "runs") == digests(finished_runs)
    rows = read_metrics(next((tmp_path / "runs" / "digits").iterdir()))
    assert [row["step"] for row in rows] == list(range(0, 125, 20))


def test_a_finished_member_whose_parameters_differ_from_the_record_is_trained_again(
    run_command, finished_runs, tmp_path
):
    """Its checkpoint is whole, but of another model; stopped on the way, too."""
    shutil.copytree(finished_runs, tmp_path / "runs")
    (directory,) = (tmp_path / "runs" / "digits").iterdir()
    (member,) = digests(finished_runs)
    saved = checkpoints.load(directory, [member], print)[member]
    arrays = {name: array[None] for name, array in saved.arrays.items()}
    arrays["params/output/bias"] = arrays["params/output/bias"] + 1
    forged = saved._replace(arrays=arrays, seconds=[saved.seconds])
    checkpoints.save(directory, (member,), forged)
    code, out, _ = run_command(tmp_path / "runs", *SMALL, "--max-minutes", "1e-9")
    assert (code, "not its own" in out) == (75, True)
    while code == 75:
        code, out, _ = run_command(tmp_path / "runs", *SMALL, "--max-minutes", "1e-9")
        assert "not its own" in out
    assert code == 0
    assert digests(tmp_path / "runs") == digests(finished_runs)
    assert "already finished" in run_command(tmp_path / "runs", *SMALL)[1]


@pytest.mark.parametrize("limit", [512, 1024, 2048, 4096])
def test_a_full_disk_is_reported_in_one_line_and_loses_nothing(
    run_command, finished_runs, tmp_path, limit
):
    """A limit on the size of files stands for the disk: metrics or a checkpoint do not fit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        code, _, err = run_command(tmp_path, *SMALL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (code, len(err)) == (3, 1), err
    assert "cannot write" in err[0]
    run_command(tmp_path, *SMALL)
    assert digests(tmp_path) == digests(finished_runs)


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
def test_a_damaged_record_is_reported_in_one_line_and_left_alone(
    run_command, finished_runs, tmp_path, text
):
    shutil.copytree(finished_runs, tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("digits/*/record.json")
    path.write_text(text)
    code, _, err = run_command(tmp_path / "runs", *SMALL)
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
def test_a_record_with_invalid_values_and_a_fitting_checksum_is_refused(
    run_command, finished_runs, tmp_path, where, value
):
    shutil.copytree(finished_runs, tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("digits/*/record.json")
    record = json.loads(path.read_text())
    inner = record[where[0]]
    (next(iter(inner.values())) if where[0] == "members" else inner)[where[1]] = value
    path.write_text(json.dumps(json_files.with_checksum(record)))
    code, _, err = run_command(tmp_path / "runs", *SMALL)
    assert (code, len(err)) == (3, 1)
    assert "record.json is damaged" in err[0]


def test_a_directory_of_another_experiment_is_refused_with_the_differing_field(
    run_command, finished_runs, tmp_path
):
    shutil.copytree(finished_runs, tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("digits/*/record.json")
    record = json.loads(path.read_text())
    record["experiment"]["forget_bias"] = 0.5
    record["members"] = {}
    path.write_text(json.dumps(json_files.with_checksum(record)))
    code, _, err = run_command(tmp_path / "runs", *SMALL)
    assert (code, len(err)) == (2, 1)
    assert "forget_bias: 0.5, not 1.0" in err[0]
