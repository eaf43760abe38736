"""Metrics on disk: each row is read once, and a changed line is noticed. TensorBoard shows them."""

import json
import os
import random

import numpy as np
import pytest
from event_files import shown_scalars
from fuzzing import json_values, many
from hypothesis import given
from hypothesis import strategies as st

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.search import Study
from lstm_jax.errors import EnvironmentProblem
from lstm_jax.runs.loggers.tensorboard import TensorBoard
from lstm_jax.runs.metrics_file import append_metrics, read_metrics, trim_metrics
from lstm_jax.runs.record import Record
from lstm_jax.runs.results import Segment


def rows(steps, members="ab"):
    return [{"member": m, "step": s, "bits": s / 3, "f1": None} for s in steps for m in members]


def test_rows_are_read_as_written_and_the_file_does_not_depend_on_segments(tmp_path):
    for name, segments in {"one": [range(9)], "many": [range(2), [], range(2, 9)]}.items():
        (tmp_path / name).mkdir()
        for steps in segments:
            append_metrics(tmp_path / name, rows(steps))
        assert read_metrics(tmp_path / name) == rows(range(9))
    texts = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("one", "many")]
    assert texts[0] == texts[1]
    assert all(json.loads(line)["step"] in range(9) for line in texts[0].splitlines())


def test_a_run_without_metrics_has_no_rows(tmp_path):
    trim_metrics(tmp_path, {"a": 0})
    assert (read_metrics(tmp_path), os.listdir(tmp_path)) == ([], [])


def test_each_step_is_in_the_file_once_after_a_kill(tmp_path):
    append_metrics(tmp_path, rows([0, 20, 40]))
    with open(tmp_path / "metrics.jsonl", "a") as handle:
        handle.write('{"member": "a", "st')  # torn by a kill
    trim_metrics(tmp_path, {"a": 20})
    left = [(row["member"], row["step"]) for row in read_metrics(tmp_path)]
    assert left == [("a", 0), ("b", 0), ("b", 20), ("b", 40)]
    append_metrics(tmp_path, rows([60]))
    assert len(read_metrics(tmp_path)) == 6


@pytest.mark.parametrize("torn", [1, 9, 60, 100_000])
def test_no_row_is_appended_to_the_half_line_of_a_killed_writer(tmp_path, torn):
    """The half line may consist of the zeros that a power cut leaves in place of rows."""
    append_metrics(tmp_path, rows([0]))
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + (whole + b"\0" * torn)[:torn].rstrip(b"\n"))
    if torn < 100_000:
        append_metrics(tmp_path, rows([20]))
    else:
        trim_metrics(tmp_path, {}, lambda _: None)
        append_metrics(tmp_path, rows([20]))
    kept = read_metrics(tmp_path)
    assert (kept[:2], kept[-2:]) == (rows([0]), rows([20]))


def test_a_changed_byte_and_a_removed_moved_or_doubled_row_is_noticed(tmp_path):
    append_metrics(tmp_path, rows(range(4)))
    path, draw = tmp_path / "metrics.jsonl", random.Random(0)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    changed = [
        *(whole[:i] + bytes([whole[i] ^ 1 << draw.randrange(8)]) + whole[i + 1 :]
          for i in range(0, len(whole) - 1, 3)),
        *(b"".join(lines[:i] + lines[i + 1 :]) for i in range(len(lines) - 1)),
        b"".join([lines[1], lines[0], *lines[2:]]),
        b"".join([*lines[:3], lines[2], *lines[3:]]),
    ]  # fmt: skip
    for content in changed:
        path.write_bytes(content)
        with pytest.raises(EnvironmentProblem, match="is damaged"):
            read_metrics(tmp_path)
        messages = []
        kept = read_metrics(tmp_path, messages.append)
        assert len(messages) == 1
        assert len(kept) >= len(lines) - 3
        assert all(row in rows(range(4)) for row in kept)


def test_a_damaged_file_is_repaired_with_a_message(tmp_path):
    append_metrics(tmp_path, rows(range(4), "a"))
    path = tmp_path / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], *lines[2:]]))
    with pytest.raises(EnvironmentProblem, match="line 2"):
        trim_metrics(tmp_path, {})
    messages = []
    trim_metrics(tmp_path, {"a": 3}, messages.append)
    assert "line 2, are not as they were written" in messages[0]
    assert [row["step"] for row in read_metrics(tmp_path)] == [
        0
    ]  # row 1 is lost, so row 2 does not fit


odd_rows = st.dictionaries(
    st.sampled_from(["member", "step", "loss"]) | st.text(max_size=5), json_values
)


@pytest.fixture
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@many
@given(st.lists(odd_rows.map(json.dumps).map(str.encode) | st.binary(max_size=80), max_size=5))
def test_any_bytes_are_rows_or_a_message_of_one_line(folder, lines):
    path = folder / "metrics.jsonl"
    path.unlink(missing_ok=True)
    append_metrics(folder, rows([3]))
    with open(path, "ab") as file:
        file.write(b"\n".join(lines))
    messages = []
    assert read_metrics(folder, messages.append) == rows([3])
    assert all(line.isprintable() for line in messages)


@many
@given(odd_rows)
def test_a_row_with_invalid_values_and_a_fitting_checksum_is_no_row(folder, row):
    """A program that writes a wrong row can add its checksum."""
    path = folder / "metrics.jsonl"
    path.unlink(missing_ok=True)
    try:
        append_metrics(folder, [row])
    except ValueError:
        return  # nan is refused when it is written
    for kept in read_metrics(folder, lambda _: None):
        assert isinstance(kept.pop("member"), str)
        assert kept.pop("step") >= 0
        assert all(number is None or abs(number) < float("inf") for number in kept.values())


@pytest.mark.parametrize("body", ['{"member": ' + "[" * 100_000, '{"member": ' + '{"a":' * 3000])
def test_deeply_nested_brackets_are_no_row(tmp_path, body):
    (tmp_path / "metrics.jsonl").write_text(f'{body}, "checksum": "0123456789abcdef"}}\n')
    with pytest.raises(EnvironmentProblem, match="is damaged"):
        read_metrics(tmp_path)


@pytest.mark.parametrize("checkpoint", [40, 100, 0])
def test_tensorboard_does_not_show_twice_what_a_killed_run_wrote_beyond_its_checkpoint(
    tmp_path, checkpoint
):
    member = Experiment()

    def write(start, stop, loss):
        """Writes the steps as a process does that goes on from the checkpoint at `start`."""
        segment = Segment((member,), start, stop, {"loss": np.full((1, stop - start), loss)})
        trim_metrics(tmp_path, {member.digest: start})
        logger = TensorBoard()
        logger.begin(Record("made up", Study(member)), tmp_path)
        append_metrics(tmp_path, segment.rows())
        logger.metrics(segment)
        logger.close()

    write(0, 60, 1.0)
    write(60, 160, 2.0)  # the run went on once before
    write(checkpoint, 200, 3.0)  # it was killed at step 160
    (folder,) = (tmp_path / "tensorboard").iterdir()
    expected = [
        (step, 3.0 if step >= checkpoint else 1.0 if step < 60 else 2.0)
        for step in range(0, 200, 20)
    ]
    assert shown_scalars(folder, "loss/training") == expected
