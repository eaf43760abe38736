"""Files of somebody else's run directory: no link is followed, nothing hangs, no write is half."""

import contextlib
import fcntl
import itertools
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kills import killed_before

from lstm_jax.errors import EnvironmentProblem
from lstm_jax.runs import files
from lstm_jax.runs.directory import locked
from lstm_jax.runs.files import write_csv
from lstm_jax.runs.json_files import read_json, write_json
from lstm_jax.runs.metrics_file import append_metrics, read_metrics

ROW = {"member": "a", "step": 0, "loss": 1.0}


@pytest.fixture
def precious(tmp_path):
    """A file and a folder that are no part of the run."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "precious").write_text("mine")
    return folder


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def unharmed(precious):
    assert os.listdir(precious) == ["precious"]
    return (precious / "precious").read_text() == "mine"


WRITERS = {
    "lock": lambda run: locked(run).__enter__(),
    "metrics.jsonl": lambda run: append_metrics(run, [ROW]),
    "record.json": lambda run: write_json(run / "record.json", {}),
    "results.csv": lambda run: write_csv(run / "results.csv", [ROW]),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_no_write_goes_through_a_link(run_dir, precious, name, link):
    link(precious / "precious", run_dir / name)
    if name in ("record.json", "results.csv"):
        WRITERS[name](run_dir)  # in the place of the link
        assert (run_dir / name).lstat().st_nlink == 1
        assert not (run_dir / name).is_symlink()
    else:
        with pytest.raises(EnvironmentProblem, match=f"^{run_dir / name} is a link") as caught:
            WRITERS[name](run_dir)
        assert str(caught.value).isprintable()
    assert unharmed(precious)


@pytest.mark.parametrize("name", WRITERS)
def test_no_write_goes_through_a_link_that_leads_nowhere(run_dir, precious, name):
    (run_dir / name).symlink_to(precious / "new")
    with contextlib.suppress(EnvironmentProblem):
        WRITERS[name](run_dir)
    assert unharmed(precious)


def test_no_write_goes_into_a_folder_that_is_a_link(tmp_path, precious):
    (tmp_path / "run").symlink_to(precious)
    with pytest.raises(EnvironmentProblem, match="run is a link"):
        files.write_text(tmp_path / "run" / "record.json", "")
    with pytest.raises(EnvironmentProblem, match="run is a link"):
        files.make_folder(tmp_path / "run")
    with pytest.raises(EnvironmentProblem, match="run is a link"), locked(tmp_path / "run"):
        pass
    assert unharmed(precious)


READERS = {"record.json": lambda run: read_json(run / "record.json"), "metrics.jsonl": read_metrics}


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_a_device_a_folder_and_a_link_are_no_file(run_dir, name):
    path, read = run_dir / name, READERS[name]
    began = time.monotonic()
    os.mkfifo(path)
    with pytest.raises(EnvironmentProblem, match="is not a regular file"):
        read(run_dir)
    path.unlink()
    path.mkdir()
    with pytest.raises(EnvironmentProblem, match="is not a regular file"):
        read(run_dir)
    path.rmdir()
    for target in ("/dev/zero", "/etc/hostname", str(path)):
        path.symlink_to(target)
        with pytest.raises(EnvironmentProblem, match="is a link"):
            read(run_dir)
        path.unlink()
    assert time.monotonic() - began < 2


def test_a_file_larger_than_any_of_ours_is_not_read(run_dir):
    path = run_dir / "record.json"
    with open(path, "wb") as file:
        file.truncate(2**40)  # of holes
    with pytest.raises(EnvironmentProblem, match="larger than"):
        read_json(path)


@pytest.mark.parametrize("old", [None, "old"])
def test_killed_at_any_step_a_write_leaves_the_old_or_the_new(run_dir, old):
    path, left = run_dir / "record.json", []
    for moment in itertools.count():
        path.unlink(missing_ok=True)
        if old:
            files.write_text(path, old)
        with killed_before(moment) as kills:
            files.write_text(path, "new")
        left.append(path.read_text() if path.exists() else None)
        if not kills:
            break
        with locked(run_dir):
            assert set(os.listdir(run_dir)) == ({"lock", "record.json"} if left[-1] else {"lock"})
    assert left == [old] * 4 + ["new"] * 2


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(run_dir, monkeypatch):
    path = run_dir / "record.json"
    files.write_text(path, "old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvironmentProblem, match=r"cannot write.*record.json: No space left"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(run_dir) == ["record.json"]


def test_only_what_dead_writers_left_aside_is_cleared(run_dir, precious):
    (run_dir / "report").mkdir()
    (run_dir / "linked").symlink_to(precious.parent)
    outside = precious.parent / ".0123456789abcdef.tmp"
    others = [run_dir / ".x.tmp", run_dir / "0123456789abcdef.tmp", run_dir / "my.tmp"]
    living = run_dir / ".aaaaaaaaaaaaaaaa.tmp"
    for path in (outside, living, *others):
        path.write_text("")
    (run_dir / ".cccccccccccccccc.tmp").symlink_to(precious / "precious")
    (run_dir / ".0123456789abcdef.tmp").write_text("")
    (run_dir / "report" / ".0123456789abcdef.tmp").write_text("")
    with open(living) as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        files.clear_leftovers(run_dir)
    assert all(path.exists() for path in (outside, living, *others))
    assert not (run_dir / ".0123456789abcdef.tmp").exists()
    assert os.listdir(run_dir / "report") == []
    assert unharmed(precious)


@given(st.text(max_size=30))
def test_a_message_holds_nothing_that_a_terminal_obeys(text):
    printed = files.printable(text + "\x1b]0;\x07\u202e\x9b")
    assert printed.isprintable()
    assert files.printable("München 0.5 ± 0.1") == "München 0.5 ± 0.1"
