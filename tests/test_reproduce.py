"""`reproduce` trains a run again from its record alone and names any difference."""

import json
from dataclasses import replace

import pytest
from trained_runs import quiet

from lstm_jax import Experiment, Images
from lstm_jax.config.search import Study
from lstm_jax.data.images import load_images
from lstm_jax.errors import NotReproduced, UserError
from lstm_jax.report.figures.gradients import train_first
from lstm_jax.runs.metrics_file import append_metrics, read_metrics
from lstm_jax.runs.record import read_run
from lstm_jax.runs.reproduce import SEGMENT_STEPS, reproduce
from lstm_jax.runs.run_study import run

pytestmark = pytest.mark.usefixtures("fused")

SWEEP = Experiment(
    task=Images(dataset="digits"),
    hidden_size=4,
    total_examples=8_000,
    microbatches=1,
    seed=(0, 1, 2),
)
FIRST, SECOND, _ = (member.digest for member in SWEEP.members())


@pytest.fixture
def console():
    return quiet()


@pytest.fixture(scope="module")
def finished(fused, tmp_path_factory):
    console, runs = quiet(), tmp_path_factory.mktemp("runs")
    return run("digits", Study(SWEEP), console, runs_dir=runs, checkpoint_every=SEGMENT_STEPS)


@pytest.fixture
def restored(finished):
    """Restores the files of the run after the test."""
    texts = {path: path.read_bytes() for path in finished.glob("*.json*")}
    yield
    for path, text in texts.items():
        path.write_bytes(text)


def rewrite_metrics(directory, rows):
    (directory / "metrics.jsonl").unlink()
    append_metrics(directory, [{k: v for k, v in row.items() if k != "checksum"} for row in rows])


def test_a_run_is_reproduced_bit_for_bit_and_not_changed(finished, console):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    reproduce(finished, console)
    output = console.file.getvalue()
    assert "reproduced bit for bit: 3 members, up to 63 steps; 12 rows of metrics" in output
    assert "the final parameters of 3 are as recorded" in output
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*")}


def test_one_member_can_be_reproduced_for_a_few_steps(finished, console):
    reproduce(finished, console, member=SECOND[:8], steps=30)
    assert "reproduced bit for bit: 1 member, up to 30 steps; 2 rows" in console.file.getvalue()


def test_the_first_steps_in_a_report_have_the_bits_of_the_run(finished):
    """Compares bit for bit; the segment is as long as in `reproduce`: one compiled program."""
    member = next(SWEEP.members())
    early = train_first(member, load_images("digits"), SEGMENT_STEPS, clip_norm=None)
    rows = {row["step"]: row for row in read_metrics(finished) if row["member"] == FIRST}
    assert list(rows) == [0, 20, 40, 60]
    for step, row in rows.items():
        assert row["gradient_norm"] == float(early.norms[step])


def test_the_first_difference_is_named_with_its_size(finished, restored, console):
    rows = read_metrics(finished)
    row = next(r for r in rows if (r["member"], r["step"]) == (SECOND, 40))
    row["loss"] += 1e-7
    rewrite_metrics(finished, rows)
    with pytest.raises(NotReproduced, match=r"differs first at step 40: loss .*\(by 1e-07\)"):
        reproduce(finished, console)


def test_a_row_that_is_missing_is_a_difference(finished, restored, console):
    rewrite_metrics(finished, read_metrics(finished)[:-1])
    with pytest.raises(NotReproduced, match="step 60 are not on record"):
        reproduce(finished, console)


def test_other_parameters_and_another_version_are_named(finished, restored, console):
    record = read_run(finished)
    result = record.results[FIRST]
    record.results[FIRST] = replace(result, parameters_sha256="0" * 64)
    versions = record.identities[result.identity]["versions"]
    versions["jax"] = "9" + versions["jax"]
    record.write(finished)
    sha = result.parameters_sha256
    with pytest.raises(NotReproduced, match=f"SHA-256 {'0' * 64} on record, {sha} now"):
        reproduce(finished, console)
    assert "identity: versions.jax was '9" in console.file.getvalue()


def test_a_wrong_directory_or_member_is_refused_in_one_line(finished, tmp_path, console):
    with pytest.raises(UserError, match="is not a run"):
        reproduce(tmp_path, console)
    with pytest.raises(UserError, match="0 members begin with 'zz'; there are"):
        reproduce(finished, console, member="zz")
    assert json.loads((finished / "record.json").read_text())["name"] == "digits"
