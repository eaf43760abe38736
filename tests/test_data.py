"""The data as arrays: the same bits every time, and damage found. (TFDS: `test_tfds.py`.)"""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from lstm_jax.data import load as data
from lstm_jax.errors import SurroundingsError, UserError

# The order of the batches.


@pytest.mark.parametrize("num_examples", [1, 2, 1318, 55_000])
def test_an_epoch_visits_every_example_once(num_examples):
    order = data.epoch_order(jax.random.key(0), 3, num_examples)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(num_examples))


def test_the_order_is_a_pure_function_of_key_and_epoch():
    key, other_key = jax.random.split(jax.random.key(7))
    order = np.asarray(data.epoch_order(key, 0, 1000))
    jitted = jax.jit(data.epoch_order, static_argnums=2)
    np.testing.assert_array_equal(order, data.epoch_order(key, 0, 1000))
    np.testing.assert_array_equal(order, jitted(key, 0, 1000))
    for other in (data.epoch_order(key, 1, 1000), data.epoch_order(other_key, 0, 1000)):
        assert np.sum(order == np.asarray(other)) < 20  # by chance: one place in a thousand agrees


# Digits.


def test_digits_are_split_in_order_and_never_change():
    digits = data.load("digits")
    assert digits.name == "digits"
    assert digits.num_classes == 10
    sizes = [split.images.shape for split in (digits.train, digits.validation, digits.test)]
    assert sizes == [(1318, 8, 8), (119, 8, 8), (360, 8, 8)]
    assert digits.train.images.min() == 0
    assert digits.train.images.max() == 255
    for split in (digits.train, digits.validation, digits.test):
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int32
        assert split.labels.shape == split.images.shape[:1]
        assert set(split.labels) == set(range(10))
    assert digits.fingerprint == data.load("digits").fingerprint
    # Change it only when the preparation of `digits` changes on purpose: recorded runs name it.
    assert digits.fingerprint == "40bafce680d6cd84887ca7a86b6f30ac3fce7dea185dbe1d0da7e32628df2be1"


def test_the_fingerprint_notices_every_array():
    digits = data.load("digits")
    train = data.Split(*map(np.concatenate, zip(digits.validation, digits.train, strict=True)))
    assert data._dataset("digits", train, digits.test, 10).fingerprint == digits.fingerprint
    for split in (train, digits.test):
        for array in split:
            array[5], before = (array[5] + 1) % 10, array[5].copy()
            changed = data._dataset("digits", train, digits.test, 10)
            assert changed.fingerprint != digits.fingerprint
            array[5] = before


@pytest.mark.parametrize(
    ("images", "labels", "problem"),
    [
        (np.zeros((24, 8, 8), np.float32), np.zeros(24, np.int32), "images are float32"),
        (np.zeros((24, 64), np.uint8), np.zeros(24, np.int32), "images are uint8"),
        (np.zeros((24, 8, 0), np.uint8), np.zeros(24, np.int32), "no images"),
        (np.zeros((24, 8, 8), np.uint8), np.zeros(23, np.int32), "labels are int32"),
        (np.zeros((24, 8, 8), np.uint8), np.full(24, 10, np.int32), "labels from 10 to 10"),
        (np.zeros((24, 8, 8), np.uint8), np.full(24, -1, np.int32), "labels from -1 to -1"),
        (np.zeros((11, 8, 8), np.uint8), np.zeros(11, np.int32), "no images in its validation"),
    ],
)
def test_arrays_that_are_off_are_named(images, labels, problem):
    good = data.load("digits").test
    with pytest.raises(SurroundingsError, match=f"^odd: .*{problem}"):
        data._dataset("odd", data.Split(images, labels), good, 10)


# The kept arrays.


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Arrays kept under the name `made_up`, which only they can provide."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    path = tmp_path / "made_up" / data.ARRAYS
    path.parent.mkdir()
    data._write_arrays(path, data.load("digits")._replace(name="made_up"))
    return path


def test_kept_arrays_come_back_to_the_bit(kept):
    digits, back = data.load("digits"), data.load("made_up", pytest.fail)
    assert back.fingerprint == digits.fingerprint
    assert back.name == "made_up"
    for split, same in zip(digits[1:4], back[1:4], strict=True):
        for array, same_array in zip(split, same, strict=True):
            np.testing.assert_array_equal(array, same_array)
    assert os.listdir(kept.parent) == [data.ARRAYS]


def test_a_flipped_bit_is_found_or_changes_nothing(kept):
    """A few bits of the container carry nothing, such as a time; no other flip may get through."""
    whole, fingerprint = kept.read_bytes(), data.load("digits").fingerprint
    rng = np.random.default_rng(0)
    offsets = [*range(0, 300, 7), *rng.integers(len(whole), size=60), *range(-900, 0, 7)]
    found = 0
    for offset in offsets:
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << int(rng.integers(8))
        kept.write_bytes(damaged)
        try:
            assert data._read_arrays(kept, "made_up").fingerprint == fingerprint
        except Exception:
            found += 1
    assert found > len(offsets) / 2


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_arrays_are_decoded_again(kept, share):
    whole = kept.read_bytes()
    kept.write_bytes(whole[: int(share * len(whole))])
    remarks = []
    with pytest.raises(UserError, match="no 'made_up'"):  # there is nothing to decode it from
        data.load("made_up", remarks.append)
    assert len(remarks) == 1
    assert "damaged" in remarks[0]
    assert "\n" not in remarks[0]


def test_a_failed_write_leaves_nothing_behind(kept, monkeypatch):
    def fail(descriptor):
        raise OSError("no space left")

    whole = kept.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        data._write_arrays(kept, data.load("digits"))
    assert os.listdir(kept.parent) == [data.ARRAYS]
    assert kept.read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "missing"))
    monkeypatch.setattr(data, "_from_tfds", lambda *_: data.load("digits"))
    remarks = []
    assert data.load("made_up", remarks.append).fingerprint == data.load("digits").fingerprint
    assert len(remarks) == 1
    assert "cannot be kept" in remarks[0]


# The module.


def test_importing_loads_nothing_heavy():
    loaded = "import sys, lstm_jax.data; print({m.split('.')[0] for m in sys.modules})"
    modules = subprocess.check_output([sys.executable, "-c", loaded], text=True)
    assert not any(f"'{m}'" in modules for m in ("tensorflow", "tensorflow_datasets", "sklearn"))
