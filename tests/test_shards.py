"""A run in shards, killed or split again, joins to the run of one process."""

import csv
import itertools
import json
import re
import shutil
import threading
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kills import killed_before
from rich.console import Console

from lstm_jax.cli.main import main
from lstm_jax.config.experiment import Experiment
from lstm_jax.config.search import Search, Study
from lstm_jax.config.shards import Shard, parse_shard, shard_members, work
from lstm_jax.errors import UserError
from lstm_jax.report.curves import curves_by_panel
from lstm_jax.runs.clean import find_removable
from lstm_jax.runs.datasets import load_data
from lstm_jax.runs.directory import find_run, locked, run_directory
from lstm_jax.runs.metrics_file import read_metrics
from lstm_jax.runs.record import read_record
from lstm_jax.runs.reuse import reuse_finished
from lstm_jax.runs.session import open_session, record_session

pytestmark = pytest.mark.usefixtures("fused")

SWEEP = Experiment(cell=("lstm", "gru"), hidden_size=(8, 300), learning_rate=(1e-3, 1e-2, 1e-1))
ARGV = (
    *("--cell", "rnn", "--hidden-size", "2", "--learning-rate", "1e-4", "1e-3", "1e-2", "1e-1"),
    *("--seed", "0", "1", "--total-examples", "3840", "--microbatches", "1"),  # 30 steps
    *("--checkpoint-every", "10", "--no-report"),
)


# The members of a shard.


@given(
    sizes=st.lists(st.integers(1, 500), min_size=1, max_size=6, unique=True),
    seeds=st.integers(1, 5),
    count=st.integers(1, 30),
)
def test_every_member_is_in_one_shard_and_shards_have_about_equal_work(sizes, seeds, count):
    grid = Experiment(hidden_size=tuple(sizes), seed=tuple(range(seeds)), batch_size=(64, 128))
    members = tuple(grid.members())
    shares = [shard_members(members, Shard(index, count)) for index in range(1, count + 1)]
    assert sorted(m.digest for share in shares for m in share) == sorted(m.digest for m in members)
    costs = {m: work(m) * m.num_steps for m in members}
    loads = [sum(costs[m] for m in share) for share in shares]
    assert max(loads) - min(loads) <= max(costs.values())
    for share in shares:  # in the order of the study
        assert [m for m in members if m in set(share)] == list(share)


@pytest.mark.parametrize("study", [Study(SWEEP), Study(SWEEP, Search("random", 5))])
def test_a_shard_is_a_study_of_its_members_with_the_digest_of_the_whole(study):
    shards = [replace(study, shard=Shard(index, 3)) for index in (1, 2, 3)]
    assert {m for shard in shards for m in shard.members()} == set(study.members())
    assert sum(shard.num_members for shard in shards) == len(study.members())
    assert {shard.digest for shard in shards} == {study.digest}
    for shard in shards:
        assert Study.from_values(json.loads(json.dumps(shard.to_values()))) == shard
        assert shard.position({}).next_round.members[0] in shard.members()


@pytest.mark.parametrize(
    ("search", "count", "says"),
    [
        (Search(halving=2), 2, "a halving depends on the metrics of all members"),
        (Search("tpe", 4), 2, "search tpe depends on the metrics of all members"),
        (Search("random", 4, search_minutes=1), 2, "a budget in minutes depends on the time"),
        (Search(), 13, "13 shards are more than the study has: 12 members"),
    ],
)
def test_a_study_that_cannot_be_split_is_refused(search, count, says):
    with pytest.raises(UserError, match=says):
        Study(SWEEP, search, Shard(1, count))


# The shard of a job.


def slurm(job, first, last, count):
    names = ("ID", "MIN", "MAX", "COUNT")
    values = zip(names, (job, first, last, count), strict=True)
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values}


@pytest.mark.parametrize(
    ("text", "environ", "shard"),
    [
        (None, {}, None),
        ("3/16", {}, Shard(3, 16)),
        ("1/1", slurm(3, 1, 4, 4), None),
        ("3/16", slurm(3, 1, 4, 4), Shard(3, 16)),
        (None, slurm(3, 1, 4, 4), Shard(3, 4)),
        (None, slurm(0, 0, 15, 16), Shard(1, 16)),
        (None, slurm(20, 0, 20, 3), Shard(3, 3)),
        (None, slurm(5, 5, 5, 1), None),
        ("/16", slurm(7, 3, 7, 2), Shard(7, 16)),
        ("/16", {"PBS_ARRAY_INDEX": "16"}, Shard(16, 16)),
        ("/16", {"JOB_COMPLETION_INDEX": "0"}, Shard(1, 16)),
    ],
)
def test_the_shard_of_a_job(text, environ, shard):
    assert parse_shard(text, environ) == shard


@pytest.mark.parametrize(
    ("text", "environ", "says"),
    [
        ("0/4", {}, "0/4 is not one of the shards 1/4 to 4/4"),
        ("5/4", {}, "5/4 is not one of"),
        ("1/0", {}, "1/0 is not one of"),
        ("three", {}, "expected 3/16"),
        ("/4", {}, "none is set"),
        ("/4", {"PBS_ARRAY_INDEX": "0"}, "numbered from 1 to 4"),
        ("/4", {"JOB_COMPLETION_INDEX": "4"}, "numbered from 0 to 3"),
        (None, {"PBS_ARRAY_INDEX": "3"}, "give --shard /N for N jobs"),
        (None, {"JOB_COMPLETION_INDEX": "3"}, "give --shard /N for N jobs"),
        (None, slurm(7, 1, 8, 3), "not evenly spaced"),
        (None, slurm("x", 1, 8, 3), "'x', no number"),
        (None, {"SLURM_ARRAY_TASK_ID": "3"}, "SLURM_ARRAY_TASK_MIN is '', no number"),
    ],
)
def test_an_invalid_shard_is_one_line(text, environ, says):
    with pytest.raises(UserError, match=says):
        parse_shard(text, environ)


# Shards are trained and joined.


def run(runs, *argv):
    try:
        main(["run", "digits", "--runs-dir", str(runs), *ARGV, *argv])
        return 0
    except SystemExit as left:
        return left.code


@pytest.fixture(scope="module")
def whole(fused, tmp_path_factory):
    """Returns the run directory of one process."""
    runs = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Console, "print", lambda *_, **__: None)
        assert run(runs) == 0
        (directory,) = (runs / "digits").iterdir()
    return directory


@pytest.fixture(scope="module")
def shards(fused, tmp_path_factory):
    """Returns a runs folder with four shards: two finished, one begun, one never run."""
    runs = tmp_path_factory.mktemp("shards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Console, "print", lambda *_, **__: None)
        codes = [run(runs, "--shard", f"{n}/4") for n in (1, 2)]
        codes.append(run(runs, "--shard", "3/4", "--max-minutes", "1e-9"))
    assert codes == [0, 0, 75]
    return runs


def timeless(directory):
    """Returns the record's text and the table, without times and processes."""
    text = (directory / "record.json").read_text()
    text = re.sub(r'"(seconds|finished)": ("[^"]*"|[0-9.]+)', r'"\1"', text)
    lines = [line for line in text.splitlines() if '"sessions"' not in line]
    assert lines[-2].startswith('  "sha256"')
    table = list(csv.DictReader((directory / "results.csv").read_text().splitlines()))
    return lines[:-2], [{k: v for k, v in row.items() if k != "seconds"} for row in table]


def metrics(directory):
    return sorted(map(str, read_metrics(directory)))


def drawn(directory):
    """Returns what a report draws: the curves of settings, means over their seeds."""
    record, rows = read_record(directory), read_metrics(directory)
    names = ("loss", "accuracy", "validation_accuracy")
    return [curves_by_panel(record, rows, name) for name in names]


def test_joined_shards_equal_the_run_of_one_process(whole, shards, tmp_path, capsys):
    shutil.copytree(shards, tmp_path / "runs")
    assert run(tmp_path / "runs") == 0
    output = capsys.readouterr().out
    assert "2 members were finished in" in output
    assert re.search(r"[0-9] members? (was|were) begun in .*-3-of-4: reused", output)
    directory = tmp_path / "runs" / "digits" / whole.name
    assert timeless(directory) == timeless(whole)
    assert metrics(directory) == metrics(whole)
    record = read_record(directory)
    assert {result.reused_from for result in record.results.values()} == {None}
    suffixes = [session.get("in", "")[12:] for session in record.sessions]
    assert suffixes == ["-1-of-4", "-2-of-4", "-3-of-4", ""]
    assert drawn(directory) == drawn(whole)

    assert run(tmp_path / "runs") == 0
    assert "already finished" in capsys.readouterr().out
    for shard in (tmp_path / "runs" / "digits").glob("*-of-4"):
        assert [removable.path for removable in find_removable(shard)] == [shard]
        shutil.rmtree(shard)
    assert run(tmp_path / "runs") == 0
    assert "already finished" in capsys.readouterr().out


def test_a_run_in_another_number_of_shards_trains_no_step_twice(whole, shards, tmp_path, capsys):
    """Of four shards, two were finished and one begun; two are made of them all."""
    shutil.copytree(shards, tmp_path / "runs")
    home, taken = tmp_path / "runs" / "digits", Counter()
    for index in (1, 2):
        assert run(tmp_path / "runs", "--shard", f"{index}/2") == 0
        output = capsys.readouterr().out
        for count, what in re.findall("([0-9]) members? (?:was|were) (finished|begun)", output):
            taken[what] += int(count)
    assert taken == {"finished": 4, "begun": 2}
    assert run(tmp_path / "runs") == 0
    assert "step " not in capsys.readouterr().out
    assert timeless(home / whole.name) == timeless(whole)
    assert metrics(home / whole.name) == metrics(whole)
    sessions = read_record(home / whole.name).sessions
    assert len({(s.get("in"), s["started"]) for s in sessions}) == len(sessions)


def test_a_shard_resumes_members_of_the_whole_run(whole, tmp_path, capsys):
    assert run(tmp_path, "--max-minutes", "1e-9") == 75
    for index in (1, 2):
        assert run(tmp_path, "--shard", f"{index}/2") == 0
    assert "begun in" in capsys.readouterr().out
    assert run(tmp_path) == 0
    output = capsys.readouterr().out
    assert "already finished" not in output
    assert "step 10/30" not in output
    assert timeless(tmp_path / "digits" / whole.name) == timeless(whole)


def reopen(directory, **changes):
    """Writes the record of a shard as it is while a process trains it, or with other changes."""
    record = read_record(directory)
    record.sessions[-1].pop("ended")
    record.results = {d: replace(r, **changes) for d, r in record.results.items()}
    record.write(directory)


def test_only_finished_members_of_a_shard_in_use_are_reused(whole, shards, tmp_path, capsys):
    shutil.copytree(shards, tmp_path / "runs")
    home = tmp_path / "runs" / "digits"
    for index in (1, 3):
        reopen(home / f"{whole.name}-{index}-of-4")
    with locked(home / f"{whole.name}-1-of-4"), locked(home / f"{whole.name}-3-of-4"):
        assert run(tmp_path / "runs") == 0
    output = capsys.readouterr().out
    assert "-3-of-4 is in use: what it has begun is not reused" in output
    assert "2 members were finished in" in output
    assert "begun in" not in output.replace("is begun", "")
    assert timeless(home / whole.name) == timeless(whole)


def test_members_of_another_identity_are_trained_again(whole, shards, tmp_path, capsys):
    shutil.copytree(shards, tmp_path / "runs")
    home = tmp_path / "runs" / "digits"
    reopen(home / f"{whole.name}-1-of-4", identity="0" * 12)
    assert run(tmp_path / "runs") == 0
    assert "2 members of" in (output := capsys.readouterr().out)
    assert "trained with other versions, devices or data: not reused" in output
    assert timeless(home / whole.name) == timeless(whole)


def test_a_kill_while_shards_are_joined_loses_nothing(whole, shards, tmp_path):
    """At every step of every write: what was not reused yet is found again."""
    study, silent = Study(read_record(whole).study.experiment), Console(quiet=True)
    _, _, datasets = load_data("digits", study, False, silent)

    def together(runs):
        directory = run_directory(runs, "digits", study)
        with (
            open_session("digits", study, directory, silent, 10) as session,
            record_session(session, datasets),
        ):
            reuse_finished(session, study.members())
        return read_record(directory), metrics(directory)

    shutil.copytree(shards, tmp_path / "never")
    record, rows = together(tmp_path / "never")
    for moment in itertools.count(0, 4):
        runs = tmp_path / str(moment)
        shutil.copytree(shards, runs)
        with killed_before(moment) as kills:
            together(runs)
        again, rows_again = together(runs)
        assert list(again.results) == list(record.results)
        assert rows_again == rows
        if not kills:
            break
    assert moment > 20


def test_a_second_process_of_the_same_shard_waits(tmp_path):
    messages, waits, holds = [], threading.Event(), threading.Event()

    def wait(message):
        messages.append(message)
        waits.set()

    def second():
        with locked(tmp_path, wait):
            holds.set()

    with locked(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(10)
        assert "waiting for it" in messages[0]
        assert not holds.wait(0.5)
    assert holds.wait(10)
    thread.join(10)
    assert re.fullmatch(r"process \d+ on .*", (tmp_path / "lock").read_text())


def test_shards_are_listed_and_named_by_their_suffix(whole, shards, capsys):
    main(["list", "--runs-dir", str(shards)])
    output = capsys.readouterr().out
    start = f"digits/{whole.name[:6]}"
    for name, status in ((f"{start}-2-of-4", "2/2"), (f"{start}-3-of-4", "stopped at step 10")):
        assert any(name in line and status in line for line in output.splitlines()), output
    assert find_run(f"{start}-2-of-4", shards).name == f"{whole.name}-2-of-4"
    for name in ("digits", "latest", start):  # runs alone
        with pytest.raises(UserError):
            find_run(name, shards)
