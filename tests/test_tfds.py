"""A TFDS set: prepared once and whole by a process that ends with ours, or a line that says why."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from lstm_jax.data import images as data
from lstm_jax.data import tfds_sets
from lstm_jax.errors import EnvironmentProblem, UserError

# Hides an installed TensorFlow, as if it were not there.
WITHOUT_TENSORFLOW = """
import sys
from importlib.machinery import PathFinder

class Without:
    def find_spec(name, path=None, target=None):
        return None if name == "tensorflow" else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""
# A set that TFDS writes as it writes any other; image n is n everywhere and shows n % 10.
PREPARE_TINY = """
import io
import tensorflow_datasets as tfds
from PIL import Image
from lstm_jax.data.tfds_sets import prepare_in_child

class Tiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = None

    def _info(self):
        image = tfds.features.Image(shape=(6, 5, 1))
        label = tfds.features.ClassLabel(num_classes=10)
        features = tfds.features.FeaturesDict({"image": image, "label": label})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, _):
        parts = {"train": range(60), "test": range(100, 120)}
        return {name: self._generate_examples(numbers) for name, numbers in parts.items()}

    def _generate_examples(self, numbers):
        for n in numbers:
            file = io.BytesIO()
            Image.new("L", (5, 6), n).save(file, "PNG")
            yield n, {"image": file.getvalue(), "label": n % 10}

tfds.disable_progress_bar()
prepare_in_child()
"""
LOAD_TINY = """
import sys
from lstm_jax.data import images as data
tiny = data.load_images("tiny", print)
print(tiny.num_examples, "tensorflow" in sys.modules)
"""


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory):
    """A data folder with a tiny set, prepared by TFDS as the process that prepares calls it."""
    own = tmp_path_factory.mktemp("own")
    arguments = ["tiny", str(own), str(own / "downloads")]
    with subprocess.Popen(
        [sys.executable, "-c", PREPARE_TINY, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as child:
        assert child.wait() == 0
    return own / "data"


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


# Names.


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("mnits", "mnist"),
        ("emnist/leters", "emnist/letters"),
        ("mnist/foo", "no 'mnist/foo'"),
        ("../mnist", "is not there"),
        ("mnist/..", "expected a name"),
        ("", "expected a name"),
        ("imdb_reviews", "not for image classification"),
        ("cats_vs_dogs", "one fixed size"),
    ],
)
def test_a_wrong_name_is_the_users_mistake(nowhere, name, answer):
    with pytest.raises(UserError, match=answer) as caught:
        data.load_images(name, pytest.fail)
    assert "\n" not in str(caught.value)


# Nothing there, or not the real thing.


@pytest.mark.parametrize("name", ["mnist", "kmnist"])
def test_offline_the_error_comes_at_once_and_says_the_ways_out(nowhere, name):
    start = time.monotonic()
    with pytest.raises(EnvironmentProblem) as caught:
        data.load_images(name, pytest.fail)
    assert time.monotonic() - start < 10
    for way in ("connect", "train-images-idx3-ubyte.gz", "manual", "TFDS_DATA_DIR", "--fallback"):
        assert way in str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.listdir(nowhere) == []


def test_a_host_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr("requests.get", lambda *args, **options: time.sleep(60))
    start = time.monotonic()
    assert not tfds_sets.is_reachable("https://example.invalid/file", seconds=0.2)
    assert time.monotonic() - start < 2


def test_without_tensorflow_it_says_what_to_install(nowhere):
    said = in_a_fresh_python(
        WITHOUT_TENSORFLOW
        + """
from lstm_jax.errors import EnvironmentProblem
from lstm_jax.data import images as data
try:
    data.load_images("mnist", print)
except EnvironmentProblem as error:
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
    with pytest.raises(EnvironmentProblem, match=r"kmnist: .*Checksum.*try again"):
        data.load_images("kmnist", remarks.append)
    server.shutdown()
    server.server_close()
    assert remarks == ["downloading and preparing kmnist with TFDS (once)"]
    assert os.listdir(nowhere) == ["downloads"]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "swapped"])
def test_a_damaged_manual_file_is_named(manual_files, nowhere, damage):
    manual = shutil.copytree(manual_files, nowhere / "downloads" / "manual")
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
    with pytest.raises(
        EnvironmentProblem, match=r"labels-idx1-ubyte.gz: not the original of mnist"
    ):
        data.load_images("mnist", pytest.fail)
    assert os.listdir(nowhere) == ["downloads"]


def test_a_folder_that_cannot_be_written_is_reported(manual_files, nowhere, monkeypatch):
    def fail(*args, **options):
        raise PermissionError("read-only")

    shutil.copytree(manual_files, nowhere / "downloads" / "manual")
    monkeypatch.setattr(tfds_sets, "_temporary_folder", fail)
    with pytest.raises(EnvironmentProblem, match=r"cannot be written .*set TFDS_DATA_DIR"):
        data.load_images("mnist")


# The process that prepares.

# Stands for TFDS: fills the folders it is given, and takes its time where the set is called `slow`.
STAND_IN = """
import os, pathlib, time, types

download = types.SimpleNamespace(DownloadConfig=lambda extract_dir, **_: pathlib.Path(extract_dir))

class builder:
    def __init__(self, name, data_dir):
        self.name, self.folder = name, pathlib.Path(data_dir) / name / "1.0.0"

    def download_and_prepare(self, download_config, **_):
        for folder in (download_config, self.folder):
            folder.mkdir(parents=True)
            (folder / str(os.getpid())).write_text("")
        if self.name == "deaf":  # to the death of its parent: the pipe is left
            import ctypes
            ctypes.CDLL(None).prctl(1, 0)
        if self.name != "quick":
            time.sleep(60)
"""
PREPARE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell began us aside
import sys, pathlib, types
from lstm_jax.data import tfds_sets
from lstm_jax.errors import Interrupted
name, home = sys.argv[1], pathlib.Path(sys.argv[2])
builder = types.SimpleNamespace(data_dir_root=home, data_path=home / name / "1.0.0", url_infos={})
tfds_sets._files_to_download = lambda *_: {}
try:
    tfds_sets.prepare(name, builder, home, lambda line: None)
except (Interrupted, KeyboardInterrupt) as error:
    sys.exit(type(error).__name__)
"""


@pytest.fixture
def preparing(tmp_path):
    """Starts to prepare a set with the stand-in, in a process group of its own."""
    module, home, started = tmp_path / "tensorflow_datasets.py", tmp_path / "home", []
    module.write_text(STAND_IN)
    path = os.pathsep.join([str(tmp_path), *sys.path])

    def start(name):
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", PREPARE, name, str(home)],
                env=os.environ | {"PYTHONPATH": path},
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield home, start
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def child_in(home, but=None):
    """The process that prepares, once it is at it, and its folder."""
    for _ in range(400):
        for file in home.glob("incomplete.*/data/*/1.0.0/*"):
            if file.parents[3] != but:
                return int(file.name), file.parents[3]
        time.sleep(0.02)
    raise AssertionError("nothing was begun")


def lives(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"  # ended, and nobody has asked


def ends(pid):
    for _ in range(200):
        if not lives(pid):
            return True
        time.sleep(0.02)
    return False


def test_a_set_appears_whole_and_nothing_is_left_beside_it(preparing):
    home, start = preparing
    assert start("quick").communicate()[1] == ""
    assert os.listdir(home) == ["quick"]
    assert len(os.listdir(home / "quick" / "1.0.0")) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
@pytest.mark.parametrize("name", ["slow", "deaf"])
def test_the_child_ends_with_its_parent_and_the_next_start_removes_its_folder(preparing, name):
    """And only that: what a living process prepares stays."""
    home, start = preparing
    parent = start(name)
    child, stale = child_in(home)
    parent.kill()
    assert ends(child)
    assert stale.exists()
    start("slow")
    living, folder = child_in(home, but=stale)
    assert not stale.exists()
    assert start("quick").communicate()[1] == ""
    assert set(home.iterdir()) == {folder, home / "quick"}
    assert lives(living)


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("to", ["the parent", "the child", "both"])
def test_the_first_signal_stops_the_child(preparing, number, to):
    home, start = preparing
    parent = start("slow")
    child, _ = child_in(home)
    if to == "both":  # as a terminal does it
        os.killpg(parent.pid, number)
    else:
        os.kill(parent.pid if to == "the parent" else child, number)
    said = parent.communicate(timeout=60)[1].strip()
    assert ends(child)
    if number == signal.SIGINT or to == "the child":
        assert said in ("Interrupted", "KeyboardInterrupt")
        assert os.listdir(home) == []
    else:
        assert parent.returncode == -signal.SIGTERM


def test_a_folder_that_is_a_link_is_not_cleared(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "owner").write_text("")
    (tmp_path / "home" / f"{tfds_sets.INCOMPLETE}x").symlink_to(tmp_path / "precious")
    with tfds_sets._temporary_folder(tmp_path / "home"):
        pass
    assert (tmp_path / "precious" / "owner").exists()


# A set that TFDS has prepared. The real MNIST is prepared in tests/faults.


def test_a_prepared_set_is_loaded_and_its_arrays_are_kept_beside_it(
    tiny_dir, tmp_path, monkeypatch
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    shutil.copytree(tiny_dir, tmp_path, dirs_exist_ok=True)
    said = []
    tiny = data.load_images("tiny", said.append)
    assert said == ["decoding tiny"]
    splits = {"train": 55, "validation": 5, "test": 20}
    seen = []
    for name, size in splits.items():
        images, labels = getattr(tiny, name)["images"], getattr(tiny, name)["labels"]
        assert (images.shape, images.dtype, labels.dtype) == ((size, 6, 5), np.uint8, np.int32)
        assert np.all(images == images[:, :1, :1])
        np.testing.assert_array_equal(labels, images[:, 0, 0] % 10)
        seen.append(set(images[:, 0, 0].tolist()))
    assert (seen[0] | seen[1], seen[2]) == (set(range(60)), set(range(100, 120)))
    assert data.load_images("tiny", pytest.fail).fingerprint == tiny.fingerprint
    assert sorted(os.listdir(tmp_path / "tiny")) == ["1.0.0", data.ARRAYS]


@pytest.mark.parametrize("installed", ["", WITHOUT_TENSORFLOW], ids=["installed", "absent"])
def test_reading_a_prepared_set_needs_no_tensorflow(tiny_dir, tmp_path, installed):
    """Where it is installed it is not imported either."""
    shutil.copytree(tiny_dir, tmp_path, dirs_exist_ok=True)
    said = in_a_fresh_python(installed + LOAD_TINY, TFDS_DATA_DIR=str(tmp_path))
    assert said == "decoding tiny\n55 False"


def test_a_damaged_record_is_found(tiny_dir, tmp_path, monkeypatch):
    shutil.copytree(tiny_dir, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    (records,) = (tmp_path / "tiny" / "1.0.0").glob("*train.array_record*")
    damaged = bytearray(records.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    records.write_bytes(damaged)
    with pytest.raises(EnvironmentProblem, match=r"1\.0\.0 is damaged, remove it"):
        data.load_images("tiny")
