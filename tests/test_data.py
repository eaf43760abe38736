"""The data: the same bits every time, damage found, and a quick answer when there is none."""

import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jax
import numpy as np
import pytest

from lstm_jax.data import load as data
from lstm_jax.data import tfds as prepare
from lstm_jax.errors import SurroundingsError, UserError

# Hides an installed TensorFlow, as if it were not there.
WITHOUT_TENSORFLOW = """
import sys
from importlib.machinery import PathFinder

class Without:
    def find_spec(name, path=None, target=None):
        return None if name == "tensorflow" else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""
LOAD_MNIST = """
import sys
from lstm_jax.data import load as data
mnist = data.load("mnist", print)
print(mnist.fingerprint[:6], "tensorflow" in sys.modules)
"""
MNIST_TEST_COUNTS = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)


@pytest.fixture(scope="session")
def manual_files():
    """The folder of the four original MNIST files, if TFDS_DATA_DIR has it."""
    folder = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    folder = folder.absolute() / "downloads" / "manual"
    if len(list(folder.glob("*-ubyte.gz"))) < 4:
        pytest.skip("needs the four MNIST files in TFDS_DATA_DIR/downloads/manual")
    return folder


def copy_manual(manual_files, root):
    """A data folder that holds copies of the four files, free to be damaged."""
    manual = root / "downloads" / "manual"
    manual.mkdir(parents=True)
    for file in manual_files.glob("*-ubyte.gz"):
        (manual / file.name).write_bytes(file.read_bytes())
    return manual


@pytest.fixture(scope="session")
def mnist_dir(manual_files, tmp_path_factory):
    """A data folder with MNIST prepared and its arrays kept, made once from the original files."""
    root = tmp_path_factory.mktemp("tensorflow_datasets")
    copy_manual(manual_files, root)
    said = in_a_fresh_python(LOAD_MNIST, TFDS_DATA_DIR=str(root))
    assert said == "preparing mnist with TFDS (once)\ndecoding mnist\n582e05 False"
    return root


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """An empty data folder, and a network that is down."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def in_a_fresh_python(code, **environment):
    """What the code prints. Warnings are errors there too, and nothing may reach stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


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


# Names.


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("mnits", "mnist"),
        ("emnist/leters", "emnist/letters"),
        ("mnist/foo", "no 'mnist/foo'"),
        ("../mnist", "expected a name"),
        ("mnist/..", "expected a name"),
        ("", "expected a name"),
        ("imdb_reviews", "no image classification"),
        ("cats_vs_dogs", "one fixed size"),
    ],
)
def test_a_wrong_name_is_the_users_mistake(nowhere, name, answer):
    with pytest.raises(UserError, match=answer) as caught:
        data.load(name, pytest.fail)
    assert "\n" not in str(caught.value)


def test_importing_loads_nothing_heavy():
    loaded = "import sys, lstm_jax.data; print({m.split('.')[0] for m in sys.modules})"
    modules = in_a_fresh_python(loaded)
    assert not any(f"'{m}'" in modules for m in ("tensorflow", "tensorflow_datasets", "sklearn"))


# Nothing there, or not the real thing.


@pytest.mark.parametrize("name", ["mnist", "kmnist"])
def test_offline_is_answered_at_once_with_the_ways_out(nowhere, name):
    start = time.monotonic()
    with pytest.raises(SurroundingsError) as caught:
        data.load(name, pytest.fail)
    assert time.monotonic() - start < 10
    for way in ("connect", "train-images-idx3-ubyte.gz", "manual", "TFDS_DATA_DIR", "--fallback"):
        assert way in str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.listdir(nowhere) == []


def test_a_host_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr("requests.get", lambda *args, **options: time.sleep(60))
    start = time.monotonic()
    assert not prepare.answers("https://example.invalid/file", patience=0.2)
    assert time.monotonic() - start < 2


def test_without_tensorflow_it_says_what_to_install(nowhere):
    said = in_a_fresh_python(
        WITHOUT_TENSORFLOW
        + """
from lstm_jax import experiment as config
from lstm_jax.data import load as data
try:
    data.load("mnist", print)
except config.SurroundingsError as error:
    print(error)
"""
    )
    assert said.startswith("mnist: not in ")
    assert "pip install 'lstm_jax[datasets]'" in said


def test_a_download_of_the_wrong_bytes_is_refused(nowhere, monkeypatch):
    """A proxy that answers everything with a page of its own, as in a hotel."""

    class Hotel(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>please log in</html>")

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hotel)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
    remarks = []
    with pytest.raises(SurroundingsError, match=r"kmnist: .*Checksum.*try again"):
        data.load("kmnist", remarks.append)
    server.shutdown()
    server.server_close()
    assert remarks == ["downloading and preparing kmnist with TFDS (once)"]
    assert list((nowhere / "kmnist").iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "flipped", "swapped"])
def test_a_damaged_manual_file_is_named(manual_files, nowhere, damage):
    manual = copy_manual(manual_files, nowhere)
    file = manual / "train-labels-idx1-ubyte.gz"
    whole = file.read_bytes()
    if damage == "truncated":
        file.write_bytes(whole[:-1])
    elif damage == "flipped":
        file.write_bytes(whole[:9000] + bytes([whole[9000] ^ 1]) + whole[9001:])
    else:
        other = manual / "t10k-labels-idx1-ubyte.gz"
        file.write_bytes(other.read_bytes())
        other.write_bytes(whole)
    with pytest.raises(SurroundingsError, match=r"labels-idx1-ubyte.gz: not the original of mnist"):
        data.load("mnist", pytest.fail)
    assert os.listdir(nowhere) == ["downloads"]


def test_no_room_to_prepare_is_said(manual_files, nowhere, monkeypatch):
    def fail(*args, **options):
        raise PermissionError("read-only")

    copy_manual(manual_files, nowhere)
    monkeypatch.setattr("tempfile.TemporaryDirectory", fail)
    with pytest.raises(SurroundingsError, match=r"cannot be written .*set TFDS_DATA_DIR"):
        data.load("mnist")


# The real MNIST.


def test_mnist_is_mnist(mnist_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(mnist_dir))
    start = time.monotonic()
    mnist = data.load("mnist", pytest.fail)
    assert time.monotonic() - start < 2
    sizes = [split.images.shape for split in (mnist.train, mnist.validation, mnist.test)]
    assert sizes == [(55_000, 28, 28), (5_000, 28, 28), (10_000, 28, 28)]
    assert tuple(np.bincount(mnist.test.labels)) == MNIST_TEST_COUNTS
    assert mnist.fingerprint == "582e054b25638a338610a19f0cf30422fe2f27bbcc98f6b8f3f68b110bae32ac"


def test_preparing_leaves_only_the_data_set(mnist_dir):
    folder = mnist_dir / "mnist"
    assert sorted(os.listdir(mnist_dir)) == ["downloads", "mnist"]
    assert sorted(os.listdir(folder)) == ["3.0.1", data.ARRAYS]


def test_reading_what_is_prepared_needs_no_tensorflow(mnist_dir, tmp_path):
    """Where it is installed it is not imported either: `mnist_dir` is made that way."""
    shutil.copytree(mnist_dir / "mnist" / "3.0.1", tmp_path / "mnist" / "3.0.1")
    said = in_a_fresh_python(WITHOUT_TENSORFLOW + LOAD_MNIST, TFDS_DATA_DIR=str(tmp_path))
    assert said == "decoding mnist\n582e05 False"


def test_a_damaged_record_is_found(mnist_dir, tmp_path, monkeypatch):
    shutil.copytree(mnist_dir / "mnist" / "3.0.1", tmp_path / "mnist" / "3.0.1")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    (records,) = (tmp_path / "mnist" / "3.0.1").glob("*train.array_record*")
    damaged = bytearray(records.read_bytes())
    damaged[100_000] ^= 1
    records.write_bytes(damaged)
    with pytest.raises(SurroundingsError, match=r"3\.0\.1 is damaged, remove it"):
        data.load("mnist")
