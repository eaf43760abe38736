"""Shards that are killed at random moments and then joined lose no result."""

import json
import random
import signal
import time

from test_faults import command, finish, finished, start

from lstm_jax.runs import checkpoints
from lstm_jax.runs.metrics_file import read_metrics

SWEEP = (
    *("--hidden-size", "8", "--cell", "lstm", "gru", "--learning-rate", "1e-3", "3e-3"),
    *("--seed", "0", "1", "2", "--total-examples", "16000", "--checkpoint-every", "10"),
    "--no-report",
)
KILLS, NUM_SHARDS = 20, 4


def steps(runs):
    """Returns the last saved step of each member, in whichever directory it is."""
    results = {}
    for path in runs.glob("*/*"):
        for member, step in checkpoints.saved_members(path).items():
            results[member] = max(step, results.get(member, 0))
    return results


def test_shards_killed_twenty_times_lose_no_result_and_train_no_segment_twice(tmp_path, tally):
    """Two processes at a time train random shards, sometimes the same one, and are killed.

    No member ever has fewer saved steps than before, so only the segment in which it was killed is
    trained again.
    """
    assert finish(start(command(tmp_path / "whole", *SWEEP)))[0] == 0
    whole, before, lost, kills = finished(tmp_path / "whole"), {}, 0, 0
    steps_before = {}
    runs, draw = tmp_path / "shards", random.Random(0)
    while kills < KILLS:
        chosen = [draw.randint(1, NUM_SHARDS) for _ in range(2)]
        both = [start(command(runs, *SWEEP, "--shard", f"{n}/{NUM_SHARDS}")) for n in chosen]
        for _ in range(draw.randint(0, 4)):
            both[0].stdout.readline()
        time.sleep(draw.uniform(0, 1))
        for process in both:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
        for process in both:
            process.communicate()
        now, steps_now = finished(runs), steps(runs)
        lost += len(before.items() - now.items())
        lost += sum(steps_now[member] < step for member, step in steps_before.items())
        before, steps_before = now, steps_now
    code, lines = finish(start(command(runs, *SWEEP)))
    assert code == 0, lines
    (record,) = (path for path in runs.glob("*/*/record.json") if "-of-" not in path.parent.name)
    members = json.loads(record.read_text())["members"]
    joined = {key: member["parameters_sha256"] for key, member in members.items()}
    rows = read_metrics(record.parent)
    once = len({(row["member"], row["step"]) for row in rows}) == len(rows)
    survived = joined == whole and once and list(joined) == list(whole)
    tally("SIGKILL of random shards, then joined", kills, kills * survived, lost)
    assert survived
    assert not lost
