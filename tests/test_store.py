"""The run directory: what is read back is what was written, or it is said to be damaged."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest

from lstm_jax.errors import SurroundingsError
from lstm_jax.runs import checkpoints, store


def arrays_of(step, members=2):
    rng = np.random.default_rng(step)
    return {
        "params/kernel": rng.standard_normal((members, 5, 7)).astype(np.float32),
        "adam/count": np.full(members, step, np.int32),
        "diverged_at": np.full(members, -1, np.int32),
    }


def save(directory, step):
    seconds = [step / 2, step / 4]
    saved = checkpoints.Saved(step, arrays_of(step), "of this", seconds)
    checkpoints.save(directory, ("a", "b"), saved)


def same(saved, step, row):
    wanted = arrays_of(step)
    assert saved.step == step
    assert (saved.identity, saved.seconds) == ("of this", step / (4 if row else 2))
    assert saved.arrays.keys() == wanted.keys()
    for name, array in saved.arrays.items():
        assert array.dtype == wanted[name].dtype
        np.testing.assert_array_equal(array, wanted[name][row])


@pytest.fixture
def saved(tmp_path):
    """A run directory with checkpoints of two members at steps 10, 20 and 30."""
    for step in (10, 20, 30):
        save(tmp_path, step)
    return tmp_path


def test_the_newest_checkpoint_comes_back_and_the_one_before_is_kept(saved):
    said = []
    found = checkpoints.load(saved, ["b", "c"], said.append)
    assert (found.keys(), said) == ({"b"}, [])
    same(found["b"], 30, row=1)
    steps = sorted(int(path.name) for path in saved.glob("checkpoints/*/*"))
    assert steps == [20, 30]


def test_a_checkpoint_older_than_the_record_of_times_is_read(saved):
    for path in saved.glob("checkpoints/*/*/manifest.json"):
        manifest = store.read_json(path)
        del manifest["seconds"], manifest["identity"]
        store.write_json(path, store.sealed(manifest))
    found = checkpoints.load(saved, ["a"], print)["a"]
    assert (found.step, found.identity, found.seconds) == (30, "", None)


def test_a_killed_writers_leftover_is_passed_over_and_removed(saved):
    (folder,) = (saved / "checkpoints").iterdir()
    leftover = folder / "00000035" / "arrays"
    leftover.mkdir(parents=True)
    same(checkpoints.load(saved, ["a"], print)["a"], 30, row=0)
    save(saved, 40)
    assert not leftover.exists()


def test_a_damaged_future_does_not_crowd_out_what_is_saved_after_it(saved):
    """Both kept checkpoints damaged, the run starts over: its earlier steps are kept, not those."""
    for path in saved.glob("checkpoints/*/*/manifest.json"):
        path.write_text("{}")
    save(saved, 5)
    same(checkpoints.load(saved, ["a"], print)["a"], 5, row=0)
    save(saved, 10)
    assert sorted(int(path.name) for path in saved.glob("checkpoints/*/*")) == [5, 10]


def files_of(checkpoint):
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


def test_a_flipped_or_missing_byte_never_passes_for_the_state(saved):
    """Every file of the last checkpoint, damaged in seeded places: found out, or without effect."""
    (folder,) = (saved / "checkpoints").iterdir()
    rng = random.Random(0)
    detected = 0
    for path in files_of(folder / "00000030"):
        whole = path.read_bytes()
        places = sorted(rng.sample(range(len(whole)), min(len(whole), 6)))
        for damaged in [
            *(
                whole[:i] + bytes([whole[i] ^ 1 << rng.randrange(8)]) + whole[i + 1 :]
                for i in places
            ),
            *(whole[:i] for i in places),
        ]:
            path.write_bytes(damaged)
            said = []
            found = checkpoints.load(saved, ["a"], said.append)
            same(found["a"], 20 if said else 30, row=0)
            assert all("is damaged" in line and "\n" not in line for line in said)
            detected += bool(said)
        path.write_bytes(whole)
    assert detected > 20


def test_metrics_after_a_kill_hold_each_step_once(tmp_path):
    def rows(steps):
        return [
            {"member": m, "step": s, "loss": 1.0, "accuracy": None} for s in steps for m in "ab"
        ]

    store.append_metrics(tmp_path, rows([0, 20, 40]))
    with open(tmp_path / "metrics.jsonl", "a") as handle:
        handle.write('{"member": "a", "st')  # torn by a kill
    store.trim_metrics(tmp_path, {"a": 20})
    left = [(row["member"], row["step"]) for row in store.read_metrics(tmp_path)]
    assert left == [("a", 0), ("b", 0), ("b", 20), ("b", 40)]
    store.append_metrics(tmp_path, rows([60]))
    assert len(store.read_metrics(tmp_path)) == 6


def test_the_lock_keeps_others_out_and_a_crash_frees_it(tmp_path):
    program = (
        "import sys, pathlib\nfrom lstm_jax import store\n"
        "with store.locked(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n"
        "    sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout.readline() == b"held\n"
        says = pytest.raises(SurroundingsError, match=f"in use by process {holder.pid}")
        with says, store.locked(tmp_path):
            pass
        holder.kill()
    with store.locked(tmp_path):
        pass


def test_a_damaged_record_is_one_line(tmp_path):
    path = tmp_path / "record.json"
    assert store.read_json(path) is None
    store.write_json(path, {"members": {}})
    assert store.read_json(path) == {"members": {}}
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(SurroundingsError, match="is damaged"):
        store.read_json(path)


def test_a_failing_disk_is_one_line_and_the_old_file_stays(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    store.write_json(path, 1)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SurroundingsError, match=r"cannot write.*No space left"):
        store.write_json(path, 2)
    assert store.read_json(path) == 1
