"""A checkpoint is loaded as it was saved. If it is damaged, the one before it is loaded."""

import hashlib
import itertools
import os
import random

import numpy as np
import pytest
import safetensors.numpy
from kills import killed_before

from lstm_jax.errors import EnvironmentProblem
from lstm_jax.runs import checkpoints
from lstm_jax.runs.files import clear_leftovers
from lstm_jax.runs.json_files import read_json, with_checksum, write_json

MEMBERS = ("a", "b", "c")


def arrays_of(step):
    rng = np.random.default_rng(step)
    return {
        "params/kernel": rng.standard_normal((3, 5, 7)).astype(np.float32),
        "adam/count": np.full(3, step, np.int32),
        "key": rng.integers(0, 2**32, (3, 2), np.uint32),
        "stopped": np.array([True, False, True]),
    }


def save(directory, step):
    seconds = [step / 2, None, step / 4]
    saved = checkpoints.Saved(step, arrays_of(step), "of this", seconds)
    return checkpoints.save(directory, MEMBERS, saved)


def same(loaded, step, member="a"):
    wanted, row = arrays_of(step), MEMBERS.index(member)
    seconds = (step / 2, None, step / 4)[row]
    assert (loaded.step, loaded.identity, loaded.seconds) == (step, "of this", seconds)
    assert loaded.arrays.keys() == wanted.keys()
    for name, array in loaded.arrays.items():
        assert array.dtype == wanted[name].dtype
        np.testing.assert_array_equal(array, wanted[name][row])
    return True


@pytest.fixture
def saved(tmp_path):
    """A run directory with checkpoints of three members at steps 10, 20 and 30."""
    for step in (10, 20, 30):
        save(tmp_path, step)
    return tmp_path


@pytest.fixture
def folder(saved):
    (folder,) = (saved / "checkpoints").iterdir()
    return folder


def steps_in(folder):
    assert all(path.suffix in (".json", ".safetensors") for path in folder.iterdir())
    steps = sorted(int(path.stem) for path in folder.glob("*.json"))
    assert steps == sorted(int(path.stem) for path in folder.glob("*.safetensors"))
    return steps


def test_the_newest_checkpoint_is_loaded_and_the_one_before_it_is_kept(saved, folder):
    for wanted in (["b", "d"], ["a", "c"], MEMBERS):
        loaded = checkpoints.load(saved, wanted, pytest.fail)
        assert loaded.keys() == set(wanted) - {"d"}
        assert all(same(loaded[member], 30, member) for member in loaded)
    assert steps_in(folder) == [20, 30]
    assert checkpoints.saved_members(saved) == dict.fromkeys(MEMBERS, 30)


def test_safetensors_alone_reads_the_arrays(folder):
    arrays = safetensors.numpy.load_file(folder / "00000030.safetensors")
    np.testing.assert_array_equal(arrays["params/kernel"], arrays_of(30)["params/kernel"])


def test_an_array_of_any_memory_order_is_saved_with_its_values(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(4, 3, 2).T[:, ::2]
    checkpoints.save(tmp_path, ("a", "b"), checkpoints.Saved(1, {"x": array}, "", [1.0, 2.0]))
    loaded = checkpoints.load(tmp_path, ["b"], pytest.fail)["b"]
    np.testing.assert_array_equal(loaded.arrays["x"], array[1])


def test_the_fingerprint_never_changes():
    """Records of runs contain it."""
    arrays = {"b": np.arange(6, dtype=np.int32).reshape(2, 3), "a": np.float32(0.5).reshape(())}
    text = b"a <f4 ()\n" + b"\0\0\0\x3f" + b"b <i4 (2, 3)\n" + arrays["b"].tobytes()
    assert checkpoints.fingerprint(arrays) == hashlib.sha256(text).hexdigest()


def damages(whole):
    """Yields the file with a bit of each byte flipped, cut at each length, and one byte longer."""
    draw = random.Random(0)
    for position in range(len(whole)):
        byte = whole[position] ^ 1 << draw.randrange(8)
        yield whole[:position] + bytes([byte]) + whole[position + 1 :]
        yield whole[:position]
    yield whole + b"\0"


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_flipped_missing_or_added_byte_is_noticed_and_the_checkpoint_before_is_loaded(
    saved, folder, suffix
):
    path = folder / f"00000030{suffix}"
    whole = path.read_bytes()
    for number, content in enumerate(damages(whole)):
        path.write_bytes(content)
        if content == whole[:-1] and suffix == ".json":
            continue  # without the newline at its end it is the same manifest
        with pytest.raises(EnvironmentProblem, match=r"is damaged \(") as caught:
            checkpoints.read(path.with_suffix(".json"), {"a"})
        assert type(caught.value) is EnvironmentProblem
        assert str(caught.value).isprintable()
        if number % 50 == 0:
            messages = []
            assert same(checkpoints.load(saved, ["a"], messages.append)["a"], 20)
            assert len(messages) == 1


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_checkpoint_without_one_of_its_files_is_not_loaded(saved, folder, suffix):
    (folder / f"00000030{suffix}").unlink()
    messages = []
    assert same(checkpoints.load(saved, ["c"], messages.append)["c"], 20, "c")
    assert len(messages) == (suffix == ".safetensors")


def test_files_of_different_checkpoints_are_not_loaded_as_one(saved, folder):
    (folder / "00000030.safetensors").write_bytes((folder / "00000020.safetensors").read_bytes())
    messages = []
    assert same(checkpoints.load(saved, ["a"], messages.append)["a"], 20)
    (folder / "00000040.json").write_bytes((folder / "00000020.json").read_bytes())
    (folder / "00000040.safetensors").write_bytes((folder / "00000020.safetensors").read_bytes())
    assert same(checkpoints.load(saved, ["a"], messages.append)["a"], 20)
    assert len(messages) == 3
    assert checkpoints.saved_members(saved)["a"] == 30  # by its manifest alone


@pytest.mark.parametrize(
    "change",
    [
        *({"seconds": []}, {"seconds": ["1", 1, 1]}, {"members": ["a"]}, {"members": "abc"}),
        *(
            {"step": 31},
            {"step": True},
            {"identity": None},
            {"file": {}},
            {"identity": "\x1b[2J" * 99},
        ),
    ],
)
def test_a_manifest_with_invalid_values_and_a_fitting_checksum_is_damaged(saved, folder, change):
    path = folder / "00000030.json"
    write_json(path, with_checksum(read_json(path) | change))
    if change.get("identity"):
        assert checkpoints.load(saved, ["a"], pytest.fail)["a"].step == 30
    else:
        messages = []
        assert same(checkpoints.load(saved, ["a"], messages.append)["a"], 20)
        assert len(messages) == 1
        assert messages[0].isprintable()


def test_arrays_of_fewer_members_than_in_the_manifest_are_damaged(saved, folder):
    content = safetensors.numpy.save({"x": np.zeros((2, 4), np.float32)})
    (folder / "00000030.safetensors").write_bytes(content)
    file = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path = folder / "00000030.json"
    write_json(path, with_checksum(read_json(path) | {"file": file}))
    with pytest.raises(EnvironmentProblem, match="not those of its members"):
        checkpoints.read(path, {"c"})


def test_a_save_killed_at_any_moment_leaves_an_undamaged_checkpoint(tmp_path):
    """The next start and save remove the files that it left."""
    for moment in itertools.count():
        home = tmp_path / str(moment)
        home.mkdir()
        for step in (10, 20):
            save(home, step)
        with killed_before(moment) as kills:
            save(home, 30)
        loaded = checkpoints.load(home, ["a"], pytest.fail)["a"]
        assert same(loaded, loaded.step)
        assert loaded.step in ((20, 30) if kills else (30,))
        if not kills:
            break
        save(home, loaded.step + 10)
        clear_leftovers(home)
        assert steps_in(next((home / "checkpoints").iterdir())) == [loaded.step, loaded.step + 10]
    assert moment > 15


def test_damaged_checkpoints_of_later_steps_do_not_replace_new_ones(saved, folder):
    """If both kept checkpoints are damaged, the run starts over, and its new ones are kept."""
    for path in folder.glob("*.json"):
        path.write_text("{}")
    save(saved, 5)
    assert same(checkpoints.load(saved, ["a"], print)["a"], 5)
    save(saved, 10)
    assert steps_in(folder) == [5, 10]


def test_a_step_of_nine_digits_is_later_than_one_of_eight(tmp_path):
    for step in (99_999_999, 100_000_000):
        save(tmp_path, step)
    assert same(checkpoints.load(tmp_path, ["a"], print)["a"], 100_000_000)


def test_files_that_are_no_checkpoints_are_left_alone(saved, folder):
    for name in ("notes.txt", "30.json", "0000003x.json"):
        (folder / name).write_text("mine")
    (saved / "checkpoints" / "notes").mkdir()
    save(saved, 40)
    clear_leftovers(saved)
    assert same(checkpoints.load(saved, ["a"], pytest.fail)["a"], 40)
    assert {"notes.txt", "30.json", "0000003x.json"} < set(os.listdir(folder))


@pytest.mark.parametrize("linked", ["checkpoints", "the placement"])
def test_a_link_to_a_folder_is_refused_and_its_target_is_not_changed(
    saved, folder, tmp_path_factory, linked
):
    """It may lead into another run, whose checkpoints have the same names."""
    link = saved / "checkpoints" if linked == "checkpoints" else folder
    target = tmp_path_factory.mktemp("other") / "run"
    link.rename(target)
    link.symlink_to(target)
    before = sorted(str(path) for path in target.rglob("*"))
    for attempt in (
        lambda: save(saved, 40),
        lambda: checkpoints.load(saved, ["a"], print),
        lambda: checkpoints.saved_members(saved),
    ):
        with pytest.raises(EnvironmentProblem, match=f"{link} is a link"):
            attempt()
    assert sorted(str(path) for path in target.rglob("*")) == before


def test_a_link_to_a_file_is_damaged_and_its_target_stays(saved, folder, tmp_path_factory):
    target = tmp_path_factory.mktemp("other") / "arrays"
    (folder / "00000030.safetensors").rename(target)
    (folder / "00000030.safetensors").symlink_to(target)
    messages = []
    assert same(checkpoints.load(saved, ["a"], messages.append)["a"], 20)
    assert "is a link" in messages[0]
    save(saved, 30), save(saved, 40), save(saved, 50)
    assert target.exists()
    assert steps_in(folder) == [40, 50]
