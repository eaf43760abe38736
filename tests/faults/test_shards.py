"""Parts killed at random moments, given to several processes, put together: nothing is lost."""

import json
import random
import signal
import time

from test_faults import command, finish, finished, start

from lstm_jax.runs import checkpoints
from lstm_jax.runs.metrics_file import read_metrics

SWEEP = (
    *("--hidden-size", "8", "--cell", "lstm", "gru", "--learning-rate", "1e-3", "3e-3"),
    *(
        "--seed",
        "0",
        "1",
        "2",
        "--total-examples",
        "16000",
        "--checkpoint-every",
        "10",
        "--no-report",
    ),
)
KILLS, PARTS = 20, 4


def steps(runs):
    """How far each member is in the directory in which it is furthest."""
    found = {}
    for path in runs.glob("*/*"):
        for member, step in checkpoints.saved_members(path).items():
            found[member] = max(step, found.get(member, 0))
    return found


def test_parts_killed_twenty_times_lose_nothing_and_train_nothing_twice(tmp_path, tally):
    """Two processes at a time, of random parts, sometimes of the same; each kill hits one of them.

    No member is ever less far than it was before, so only the segment that a kill hits is trained
    again.
    """
    assert finish(start(command(tmp_path / "whole", *SWEEP)))[0] == 0
    whole, before, lost, kills = finished(tmp_path / "whole"), {}, 0, 0
    stood = {}
    runs, draw = tmp_path / "parts", random.Random(0)
    while kills < KILLS:
        chosen = [draw.randint(1, PARTS) for _ in range(2)]
        both = [start(command(runs, *SWEEP, "--shard", f"{part}/{PARTS}")) for part in chosen]
        for _ in range(draw.randint(0, 4)):
            both[0].stdout.readline()
        time.sleep(draw.uniform(0, 1))
        for process in both:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
        for process in both:
            process.communicate()
        now, stand = finished(runs), steps(runs)
        lost += len(before.items() - now.items())
        lost += sum(stand[member] < step for member, step in stood.items())
        before, stood = now, stand
    code, lines = finish(start(command(runs, *SWEEP)))
    assert code == 0, lines
    (record,) = (path for path in runs.glob("*/*/record.json") if "-of-" not in path.parent.name)
    members = json.loads(record.read_text())["members"]
    together = {key: member["parameters_sha256"] for key, member in members.items()}
    rows = read_metrics(record.parent)
    once = len({(row["member"], row["step"]) for row in rows}) == len(rows)
    survived = together == whole and once and list(together) == list(whole)
    tally("SIGKILL of random parts, put together", kills, kills * survived, lost)
    assert survived
    assert not lost
