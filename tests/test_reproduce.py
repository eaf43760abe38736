"""A run is made again from its record alone, and any difference is told."""

import io
import json

import pytest
from rich.console import Console

from lstm_jax import Experiment
from lstm_jax.errors import NotReproduced, UserError
from lstm_jax.runs import store
from lstm_jax.runs.reproduce import reproduce
from lstm_jax.runs.runner import run

SWEEP = Experiment(dataset="digits", hidden_size=8, num_examples=16_000, seed=(0, 1, 2))


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    console = Console(file=io.StringIO())
    return run("digits", SWEEP, console, runs_dir=tmp_path_factory.mktemp("runs"), segment_steps=50)


@pytest.fixture
def changed(finished):
    """Changes files of the run; afterwards they are as they were."""
    texts = {path: path.read_text() for path in finished.glob("*.json*")}

    def change(name, old, new):
        text = (finished / name).read_text()
        assert old in text
        (finished / name).write_text(text.replace(old, new, 1))
        if name == "record.json":
            store.write_json(
                finished / name, store.sealed(json.loads((finished / name).read_text()))
            )

    yield change
    for path, text in texts.items():
        path.write_text(text)


def test_a_run_is_reproduced_bit_for_bit_and_left_alone(finished, console):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    reproduce(finished, console)
    said = console.file.getvalue()
    assert "reproduced bit for bit: 3 members, up to 125 steps; 21 rows of metrics" in said
    assert "the final parameters of 3 are as recorded" in said
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*")}


def test_one_member_and_a_few_steps(finished, console):
    digest = SWEEP.solo(SWEEP.members()[1]).digest
    reproduce(finished, console, member=digest[:8], steps=30)
    assert "reproduced bit for bit: 1 member, up to 30 steps; 2 rows" in console.file.getvalue()


def test_the_first_difference_is_told_with_its_size(finished, changed, console):
    digest = SWEEP.solo(SWEEP.members()[1]).digest
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    row = next(r for r in rows if (r["member"], r["step"]) == (digest, 40))
    near = row | {"loss": row["loss"] + 1e-7}
    changed("metrics.jsonl", json.dumps(row), json.dumps(near))
    with pytest.raises(NotReproduced, match=r"seed 1: differs first at step 40: .*\(by 1e-07\)"):
        reproduce(finished, console)


def test_other_parameters_and_another_version_are_told(finished, changed, console):
    record = json.loads((finished / "record.json").read_text())
    sha = record["members"][SWEEP.solo(SWEEP.members()[0]).digest]["parameters_sha256"]
    changed("record.json", sha, "0" * 64)
    changed("record.json", '"jax": "', '"jax": "9')
    with pytest.raises(NotReproduced, match=f"SHA-256 {'0' * 64} on record, {sha} now"):
        reproduce(finished, console)
    assert "identity: versions was {'jax': '9" in console.file.getvalue()


def test_what_is_no_run_and_what_is_no_member_is_one_line(finished, tmp_path, console):
    with pytest.raises(UserError, match="is no run"):
        reproduce(tmp_path, console)
    with pytest.raises(UserError, match="0 members begin with 'zz'; there are"):
        reproduce(finished, console, member="zz")
