"""Data sets of TensorFlow Datasets (TFDS): found on disk or downloaded, verified, never half there.

They lie in TFDS_DATA_DIR, by default ~/tensorflow_datasets, where users of TFDS expect them. Only
their preparation needs TensorFlow, so it runs in a process of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.util
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.data.dataset import Say, path_of
from lstm_jax.data.labelled_splits import SPLITS
from lstm_jax.errors import EnvironmentProblem, UserError, did_you_mean, one_line
from lstm_jax.signals import interrupt_on_signal

FALLBACK = "or train on the bundled data with `--fallback`"
NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")  # of a set, such as mnist or emnist/letters
# Endings of files that hold texts; a set of TFDS has no such name.
SUFFIXES = (".json", ".jsonl", ".parquet", ".arrow", ".xlsx", ".zip", ".npz", ".pkl")
INCOMPLETE, OWNER = "incomplete.lstm_jax.", "owner"
PR_SET_PDEATHSIG = 1  # of Linux's prctl
REQUEST_SECONDS, REACHABLE_SECONDS = 4, 6.0

Texts = list[tuple[str, ...]]  # the wanted features of each example


def tfds_root() -> Path:
    """Returns the folder of TFDS's data sets. Raises EnvironmentProblem where `~` is nowhere."""
    root = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    try:
        return root.expanduser().absolute()
    except RuntimeError:
        raise EnvironmentProblem(
            f"{root}: this user has no home directory; set HOME or TFDS_DATA_DIR to a folder"
        ) from None


def load_text_set(
    name: str,
    wanted: tuple[tuple[str, ...], ...],
    say: Say,
    instead: str = FALLBACK,
    lines: str = "a file of text is given by its path, ./FILE",
) -> dict[str, Texts]:
    """Returns the wanted features of all examples, by split, in TFDS's order.

    Each wanted feature is given by the names that it has in some set; a class is its number.
    Raises UserError for an unknown name or a set without these features, and EnvironmentProblem
    if the set is damaged, or neither on disk nor available; its line ends in what one can do
    `instead`. For the name of a file the line says what is read of a file: `lines`.
    """
    if path_of(name).is_file() and Path(name).suffix:
        raise UserError(f"dataset: {name} is a file of another kind: {lines}")
    if Path(name).suffix in SUFFIXES:
        raise UserError(f"dataset: there is no file {name}; {lines}")
    if not NAME.fullmatch(name):
        raise UserError(f"dataset: expected a file, or a name such as imdb_reviews, got {name!r}")
    try:
        with quiet_tfds():
            builder = prepared_builder(name, tfds_root(), say, find_builder)
            features = _choose_features(name, builder.info.features or {}, wanted)
            say(f"reading {name}")
            return {
                s: _read_texts(builder, s, features) for s in SPLITS if s in builder.info.splits
            }
    except UserError as error:
        if not path_of(name).is_file():
            raise
        raise UserError(f"{error} There is a file {name}, read as ./{name}: {lines}") from error
    except EnvironmentProblem as error:
        raise EnvironmentProblem(str(error).replace(FALLBACK, instead)) from error


def _choose_features(name: str, features: Any, wanted: tuple[tuple[str, ...], ...]) -> list[str]:
    """Returns the names of the wanted features in this set."""
    chosen = []
    for names in wanted:
        key = next((key for key in names if key in features), None)
        if key is None:
            raise UserError(f"dataset: {name} has no feature {' or '.join(names)}")
        if key == "label" and not getattr(features[key], "num_classes", None):
            raise UserError(f"dataset: the labels of {name} are not classes: {features[key]}")
        if features[key].shape != ():
            raise UserError(f"dataset: {key!r} of {name} is not text: {features[key]}")
        chosen.append(key)
    return chosen


def _read_texts(builder: Any, split: str, features: list[str]) -> Texts:
    """Returns these features of a split; TFDS hands texts out as bytes, classes as numbers."""
    try:
        examples = [[e[feature] for feature in features] for e in builder.as_data_source(split)]
    except Exception as error:
        raise damaged(builder.name, builder, error) from error
    return [
        tuple(v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in values)
        for values in examples
    ]


def damaged(name: str, builder: Any, error: Exception) -> EnvironmentProblem:
    """Returns the error for a set that is on disk and cannot be read."""
    return EnvironmentProblem(
        f"{name}: {builder.data_path} is damaged, remove it to have it prepared again: "
        f"{one_line(error)}"
    )


def prepared_builder(name: str, root: Path, say: Say, find: Callable[[str, Path], Any]) -> Any:
    """Returns the builder `find(name, root)` of a set that is on disk, prepared now if need be.

    Its files have the one format that is read without TensorFlow.
    """
    builder = find(name, root)
    if Path(builder.data_path).exists() and builder.info.file_format.value != "array_record":
        builder = find(name, root / "array_record")
    if not Path(builder.data_path).exists():
        prepare(name, builder, root, say)
        builder = find(name, Path(builder.data_dir_root))
    return builder


def find_image_builder(name: str, root: Path) -> Any:
    """Returns TFDS's builder of an image-classification set whose images all have one size.

    Raises UserError for any other set.
    """
    builder = find_builder(name, root)
    features = builder.info.features
    if not {"image", "label"} <= set(features or ()):
        raise UserError(
            f"dataset: {name} is not for image classification: it needs an image and a label"
        )
    image, label = features["image"], features["label"]
    if image.np_dtype != np.uint8 or len(image.shape) != 3 or None in image.shape:
        raise UserError(f"dataset: {name} has no uint8 images of one fixed size: {image}")
    if not getattr(label, "num_classes", None):
        raise UserError(f"dataset: the labels of {name} are not classes: {label}")
    return builder


def find_builder(name: str, root: Path) -> Any:
    """Returns TFDS's builder of a set. Raises UserError for an unknown name."""
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=root)
    except Exception as error:
        base = name.split("/")[0]
        known = ["digits", *tfds.list_builders(with_community_datasets=False)]
        if base in known:
            configs = tfds.builder_cls(base).builder_configs
            known = [base, *(f"{base}/{config}" for config in configs)]
        if name not in known:
            if "." in name:  # the name of a file
                raise UserError(
                    f"dataset: {name!r} is neither a data set of TFDS nor an .npz. A folder of "
                    "pictures is named by its path, ./folder; arrays go in from Python, "
                    "lstm_jax.run(..., data=lstm_jax.make_dataset(...)), or by a task of your own, "
                    "docs/extend.md"
                ) from None
            hint = f" A folder is given by its path, ./{name}." if Path(name).is_dir() else ""
            raise UserError(
                f"dataset: TFDS has no {name!r}.{hint or did_you_mean(name, known)}"
            ) from None
        raise EnvironmentProblem(
            f"{name}: cannot be opened in {root} ({one_line(error)})"
        ) from error


def prepare(name: str, builder: Any, root: Path, say: Say) -> None:
    """Has TFDS prepare the set, which appears under `builder.data_path` whole or not at all.

    Raises EnvironmentProblem, with the ways out, where that is not possible.
    """
    missing = _files_to_download(name, builder, root)
    if importlib.util.find_spec("tensorflow") is None:
        raise EnvironmentProblem(
            f"{name}: not in {root} yet, and preparing it needs TensorFlow, once: `make`, or "
            f"`pip install 'lstm_jax[datasets]'`, {FALLBACK}"
        )
    url = next((url for url in missing if url.startswith("http")), None)
    if url and not is_reachable(url):
        files = ", ".join(filter(None, missing.values()))
        raise EnvironmentProblem(
            f"{name}: not in {root}, and {url.split('/')[2]} does not answer; connect, "
            + (f"put {files} into {root / 'downloads' / 'manual'}, " if files else "")
            + f"set TFDS_DATA_DIR to a folder that holds it, {FALLBACK}"
        )
    say(f"{'downloading and ' if missing else ''}preparing {name} with TFDS (once)")
    home, path = Path(builder.data_dir_root), Path(builder.data_path)
    try:
        home.mkdir(parents=True, exist_ok=True)
        with interrupt_on_signal(), _temporary_folder(home) as (folder, owner):
            reason = _run_child(owner, name, str(folder), str(root / "downloads"))
            prepared = folder / "data" / path.relative_to(home)
            if prepared.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    prepared.rename(path)
                except OSError:
                    if not path.exists():  # otherwise another process was faster
                        raise
    except OSError as error:
        raise EnvironmentProblem(
            f"{name}: {home} cannot be written ({one_line(error)}); set TFDS_DATA_DIR to a folder "
            f"that can, {FALLBACK}"
        ) from error
    if not path.exists():
        raise EnvironmentProblem(
            f"{name}: TFDS could not prepare it in {home} ({reason}); try again, {FALLBACK}"
        )


@contextlib.contextmanager
def _temporary_folder(home: Path) -> Iterator[tuple[Path, int]]:
    """Yields a new folder beside the data sets, and the descriptor that locks it while it is open.

    It first removes such folders whose owners are dead: each may hold a whole data set.
    """
    for abandoned in home.glob(f"{INCOMPLETE}*"):
        if not _is_owned(abandoned):
            shutil.rmtree(abandoned, ignore_errors=True)  # follows no link
    folder = Path(tempfile.mkdtemp(dir=home, prefix=INCOMPLETE))
    try:
        with open(folder / OWNER, "x") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            print("process", os.getpid(), "on", os.uname().nodename, file=owner, flush=True)
            yield folder, owner.fileno()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_owned(folder: Path) -> bool:
    """Returns whether a living process uses this folder, or has just made it."""
    try:
        with open(folder / OWNER, "r+") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return time.time() - folder.lstat().st_mtime < 3600
    except OSError:  # it is locked, or not ours to remove
        return True
    return False


def _run_child(owner: int, *arguments: str) -> str:
    """Runs `prepare_in_child` in a process of its own. Returns the last line of its stderr.

    This keeps TensorFlow's memory, threads, messages and claim on a GPU out of our process. The
    child ends when we do, however we do. A signal that stops it is a KeyboardInterrupt here.
    """
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"from {__name__} import prepare_in_child; prepare_in_child()",
            *arguments,
        ],
        env=os.environ
        | {
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        stdin=subprocess.PIPE,  # nothing is written there: it closes when we end
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        pass_fds=[owner],  # while the child lives, nobody clears its folder
    ) as child:
        assert child.stderr is not None
        try:
            lines = child.stderr.read().strip().splitlines()
            child.wait()
        except BaseException:  # such as the first Ctrl-C
            child.kill()
            raise
    if child.returncode in (-signal.SIGINT, -signal.SIGTERM):
        raise KeyboardInterrupt
    return (lines or [f"exit code {child.returncode}"])[-1][:300]


def prepare_in_child() -> None:
    """Downloads, verifies and prepares a set; on failure the last line of stderr says why.

    It extracts into a folder of its own. TFDS's shared one goes by file name, so it would take the
    images of MNIST for those of Fashion-MNIST when both sets' files were put there by hand.
    """
    _end_with_parent()
    import tensorflow_datasets as tfds

    name, folder, downloads = sys.argv[1:]
    try:
        tfds.builder(name, data_dir=f"{folder}/data").download_and_prepare(
            download_dir=downloads,
            download_config=tfds.download.DownloadConfig(
                extract_dir=f"{folder}/extracted", try_download_gcs=False
            ),
            file_format="array_record",
        )
    except Exception as error:
        sys.exit(one_line(error))


def _end_with_parent() -> None:
    """Makes this process end at once with its parent, at a Ctrl-C and at a SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":  # where no Python thread has to get its turn for it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        os.read(0, 1)  # returns when the parent's end is closed
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _files_to_download(name: str, builder: Any, root: Path) -> dict[str, str | None]:
    """Returns the file name, by URL, of each source that is not on disk.

    Raises EnvironmentProblem for a file in `downloads/manual` that is not the original.
    """
    from tensorflow_datasets.core.download import checksums, resource

    missing = {}
    for url, info in builder.url_infos.items():
        by_hand = root / "downloads" / "manual" / (info.filename or "")
        cached = root / "downloads" / builder.name / resource.get_dl_fname(url, info.checksum)
        if by_hand.is_file():
            if checksums.compute_url_info(by_hand) != info:
                raise EnvironmentProblem(
                    f"{by_hand}: not the original of {name} (size or SHA-256 differs from what "
                    f"TFDS knows); replace it, remove it to download it, {FALLBACK}"
                )
        elif not cached.exists():
            missing[url] = info.filename
    return missing


def is_reachable(url: str, seconds: float = REACHABLE_SECONDS) -> bool:
    """Returns within `seconds` whether a URL answers; TFDS would retry for minutes.

    It asks with `requests`, as TFDS does, so that proxies and certificates are the same, and in a
    thread, because no timeout of `requests` ends a name look-up that hangs.
    """
    import requests

    statuses: list[int] = []

    def ask() -> None:
        with (
            contextlib.suppress(Exception),
            requests.get(url, stream=True, timeout=REQUEST_SECONDS) as response,
        ):
            statuses.append(response.status_code)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(statuses) and statuses[0] < 500


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Hides TFDS's warnings, such as that OpenCV would be faster: they are not for our users."""
    from absl.logging import get_absl_logger

    logger = get_absl_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
