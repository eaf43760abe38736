"""A run directory has one writer. A JSON file is read as it was written, or as damaged."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from threading import Timer

import pytest
from fuzzing import json_of, many
from hypothesis import given
from hypothesis import strategies as st

from lstm_jax.errors import EnvironmentProblem
from lstm_jax.runs.directory import locked
from lstm_jax.runs.files import write_csv
from lstm_jax.runs.json_files import check, read_json, with_checksum, write_json

# The lock.


def test_the_lock_keeps_others_out_and_a_crash_frees_it(tmp_path):
    program = (
        "import sys, pathlib\nfrom lstm_jax.runs import directory\n"
        "with directory.locked(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n"
        "    sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout.readline() == b"held\n"
        says = pytest.raises(EnvironmentProblem, match=f"in use by process {holder.pid}")
        with says, locked(tmp_path):
            pass
        holder.kill()
    with locked(tmp_path):
        pass


def test_a_look_at_the_lock_does_not_refuse_a_writer(tmp_path):
    """`list` and `clean` hold the lock for a moment to see whether a process writes."""
    (tmp_path / "lock").touch()
    with (tmp_path / "lock").open() as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)
        release = Timer(0.1, fcntl.flock, [looker, fcntl.LOCK_UN])
        release.start()
        with locked(tmp_path):
            release.join()


def test_a_lock_notices_that_its_directory_was_moved_away(tmp_path):
    path = tmp_path / "runs" / "name" / "digest"
    with locked(path) as lock:
        lock.check()
        path.rename(tmp_path / "elsewhere")
        with pytest.raises(EnvironmentProblem, match="was moved or removed"):
            lock.check()
        with pytest.raises(EnvironmentProblem, match="cannot write"):
            write_json(path / "record.json", {})
        with locked(path), pytest.raises(EnvironmentProblem, match="was moved or removed"):
            lock.check()  # another directory is at this path
        shutil.rmtree(path)
        (tmp_path / "elsewhere").rename(path)
        lock.check()


def test_a_lock_escapes_the_control_characters_of_its_holder(tmp_path):
    with locked(tmp_path):
        (tmp_path / "lock").write_bytes(b"\x1b[2J\xff\nyou")
        with (
            pytest.raises(EnvironmentProblem, match=r"in use by \\x1b\[2J.*\\nyou"),
            locked(tmp_path),
        ):
            pass


# JSON.


@pytest.fixture
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("json") / "record.json"


@many
@given(json_of(st.floats(allow_nan=False, allow_infinity=False)))
def test_a_value_is_read_as_it_was_written(path, value):
    write_json(path, value)
    assert read_json(path) == value


@many
@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_a_message_of_one_line(path, content):
    path.write_bytes(content)
    try:
        read_json(path)
    except EnvironmentProblem as error:
        message = str(error)
    else:
        return
    assert "is damaged" in message
    assert message.isprintable()


def test_the_record_of_many_members_has_a_line_for_each(path):
    write_json(path, {"name": "a", "none": {}, "members": {"x": {"seed": 0}, "y": {"seed": 1}}})
    assert path.read_text().splitlines() == [
        *("{", '  "name": "a",', '  "none": {},', '  "members": {'),
        *('    "x": {"seed": 0},', '    "y": {"seed": 1}', "  }", "}"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[1", "\x1b]0;owned\x07", "NaN", '{"a": [-Infinity]}', '{"a": 1e999}'),
        *("[" * 100_000, "[" * 40 + "]" * 40, '{"a":' * 900 + "1" + "}" * 900, "1" * 5000),
    ],
)
def test_invalid_json_is_a_message_of_one_line(path, text):
    path.write_text(text)
    with pytest.raises(EnvironmentProblem, match="is damaged") as caught:
        read_json(path)
    assert str(caught.value).isprintable()


def test_a_missing_file_is_read_as_none(path):
    assert read_json(path, {"members": {}}) is None


DIGEST = re.compile("[0-9a-f]{4}")
SCHEMA = {
    "members": {DIGEST: {"seed": range(2**31), "accuracy": (float, None)}},
    "sessions": [{str: object}],
    "name": str,
    "done?": bool,
}
GOOD = {"members": {"00ff": {"seed": 1, "accuracy": 0.5}}, "sessions": [{"a": []}], "name": "n"}


def member(**values):
    return {"members": {"00ff": {"seed": 0, "accuracy": None} | values}}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"done": True},
        {"more": []},
        {"sessions": []},
        {"members": {}},
        member(),
        member(accuracy=1),
    ],
)
def test_a_value_that_fits_the_schema_passes(change):
    check(GOOD | change, SCHEMA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "it.name is 3"),
        ({"name": None}, "it.name is None"),
        ({"done": 1}, "it.done is 1"),
        ({"members": []}, "it.members is a list"),
        ({"members": {"xyz": {}}}, "a name in it.members is 'xyz'"),
        ({"members": {"0000": {}}}, "it.members.0000 has no seed"),
        ({"sessions": [{}, 7]}, r"it.sessions\[1\] is 7"),
        (member(seed=-1), "it.members.00ff.seed is -1"),
        (member(seed=2**31), "it.members.00ff.seed is 2147483648"),
        (member(seed=True), "it.members.00ff.seed is True"),
        (member(seed=1.0), r"it.members.00ff.seed is 1\.0"),
        (member(accuracy="1"), "it.members.00ff.accuracy is '1'"),
        (member(accuracy=True), "it.members.00ff.accuracy is True"),
        (member(accuracy=float("nan")), "it.members.00ff.accuracy is nan"),
        (member(accuracy=10**400), "it.members.00ff.accuracy is 1000"),
    ],
)
def test_an_entry_that_does_not_fit_the_schema_is_named(change, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        check(GOOD | change, SCHEMA)


def test_a_file_that_does_not_fit_the_schema_is_damaged(path):
    write_json(path, GOOD | {"name": "\x1b[2J"} | {"members": 1})
    with pytest.raises(EnvironmentProblem, match=r"is damaged \(it.members is 1\)"):
        read_json(path, SCHEMA)


def test_a_checksum_fits_only_the_value_it_was_made_of():
    value = with_checksum({"b": 1, "a": [0.5, None]})
    assert value == with_checksum(json.loads(json.dumps(value)))
    assert value != with_checksum(value | {"b": 2})


# CSV.


def test_rows_with_different_names_share_a_header(tmp_path):
    write_csv(tmp_path / "results.csv", [{"a": 1, "b": None}, {"a": 2, "c": "x,y"}])
    assert (tmp_path / "results.csv").read_text() == 'a,b,c\n1,,\n2,,"x,y"\n'
    assert os.listdir(tmp_path) == ["results.csv"]
