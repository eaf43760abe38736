"""A data set prepared by TFDS on disk: downloaded or found, verified, and never half there.

Preparing is the only thing that needs TensorFlow, so it runs in a process of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.util
import logging
import os
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

from lstm_jax.errors import EnvironmentProblem, UserError, did_you_mean
from lstm_jax.signals import interrupt_on_signal

FALLBACK = "or train on the bundled data with `--fallback`"
INCOMPLETE, OWNER = "incomplete.lstm_jax.", "owner"
PR_SET_PDEATHSIG = 1  # of Linux's prctl


def have(name: str, root: Path, say: Callable[[str], None], opened: Callable[..., Any]) -> Any:
    """Returns the builder that `opened(name, root)` gives, of a set that is on disk: prepared now
    if need be, in the one format that is read without TensorFlow.
    """
    builder = opened(name, root)
    if Path(builder.data_path).exists() and builder.info.file_format.value != "array_record":
        builder = opened(name, root / "array_record")
    if not Path(builder.data_path).exists():
        prepare(name, builder, root, say)
        builder = opened(name, Path(builder.data_dir_root))
    return builder


def open_builder(name: str, root: Path) -> Any:
    """TFDS's builder of an image-classification set whose images all have one size."""
    builder = find_builder(name, root)
    features = builder.info.features
    if not {"image", "label"} <= set(features or ()):
        raise UserError(f"dataset: {name} is no image classification: needs an image and a label")
    image, label = features["image"], features["label"]
    if image.np_dtype != np.uint8 or len(image.shape) != 3 or None in image.shape:
        raise UserError(f"dataset: {name} has no uint8 images of one fixed size: {image}")
    if not getattr(label, "num_classes", None):
        raise UserError(f"dataset: the labels of {name} are no classes: {label}")
    return builder


def find_builder(name: str, root: Path) -> Any:
    """TFDS's builder of any set."""
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=root)
    except Exception as error:
        base = name.split("/")[0]
        known = ["digits", *tfds.list_builders(with_community_datasets=False)]
        if base in known:
            known = [
                base,
                *(f"{base}/{config}" for config in tfds.builder_cls(base).builder_configs),
            ]
        if name not in known:
            if "." in name:  # the name of a file
                raise UserError(
                    f"dataset: {name!r} is neither a data set of TFDS nor an .npz. A folder of "
                    "pictures is named by its path, ./folder; arrays go in from Python, "
                    "lstm_jax.run(..., data=lstm_jax.make_dataset(...)), or by a task of your own, "
                    "docs/extend.md"
                ) from None
            there = f" A folder is given by its path, ./{name}." if Path(name).is_dir() else ""
            raise UserError(
                f"dataset: TFDS has no {name!r}.{there or did_you_mean(name, known)}"
            ) from None
        raise EnvironmentProblem(
            f"{name}: cannot be opened in {root} ({one_line(error)})"
        ) from error


def prepare(name: str, builder: Any, root: Path, say: Callable[[str], None]) -> None:
    """Has TFDS prepare the set, which appears under `builder.data_path` whole or not at all."""
    wanted = _to_download(name, builder, root)
    if importlib.util.find_spec("tensorflow") is None:
        raise EnvironmentProblem(
            f"{name}: not in {root} yet, and preparing it needs TensorFlow, once: `make`, or "
            f"`pip install 'lstm_jax[datasets]'`, {FALLBACK}"
        )
    url = next((url for url in wanted if url.startswith("http")), None)
    if url and not answers(url):
        files = ", ".join(filter(None, wanted.values()))
        raise EnvironmentProblem(
            f"{name}: not in {root}, and {url.split('/')[2]} does not answer; connect, "
            + (f"put {files} into {root / 'downloads' / 'manual'}, " if files else "")
            + f"set TFDS_DATA_DIR to a folder that holds it, {FALLBACK}"
        )
    say(f"{'downloading and ' if wanted else ''}preparing {name} with TFDS (once)")
    home, path = Path(builder.data_dir_root), Path(builder.data_path)
    try:
        home.mkdir(parents=True, exist_ok=True)
        with interrupt_on_signal(), _own_folder(home) as (own, owner):
            reason = _prepare_apart(owner, name, str(own), str(root / "downloads"))
            _appear(own / "data" / path.relative_to(home), path)
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
def _own_folder(home: Path) -> Iterator[tuple[Path, int]]:
    """A new folder beside the data sets, and the descriptor that keeps it as long as it is open.

    Those whose owners are dead are removed first: each may hold a whole data set.
    """
    for folder in home.glob(f"{INCOMPLETE}*"):
        if not _is_owned(folder):
            shutil.rmtree(folder, ignore_errors=True)  # follows no link
    own = Path(tempfile.mkdtemp(dir=home, prefix=INCOMPLETE))
    try:
        with open(own / OWNER, "x") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            print("process", os.getpid(), "on", os.uname().nodename, file=owner, flush=True)
            yield own, owner.fileno()
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _is_owned(folder: Path) -> bool:
    """Whether a living process prepares in this folder, or has made it just now."""
    try:
        with open(folder / OWNER, "r+") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return time.time() - folder.lstat().st_mtime < 3600
    except OSError:  # it is locked, or not ours to remove
        return True
    return False


def _appear(prepared: Path, path: Path) -> None:
    """Moves what was prepared to where it belongs, unless another process was faster."""
    if prepared.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            prepared.rename(path)
        except OSError:
            if not path.exists():
                raise


def _prepare_apart(owner: int, *arguments: str) -> str:
    """Runs `prepare_here` in a process of its own, which keeps TensorFlow's memory, threads,
    chatter and claim on a GPU out of ours. Returns the last line it wrote to stderr.

    The child ends when we do, however we do, and when it is told to: that is a KeyboardInterrupt.
    """
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"from {__name__} import prepare_here; prepare_here()",
            *arguments,
        ],
        env=os.environ
        | {
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        stdin=subprocess.PIPE,  # nothing is written there: its end is ours
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        pass_fds=[owner],  # while the child lives, nobody clears its folder
    ) as child:
        assert child.stderr is not None
        try:
            said = child.stderr.read().strip().splitlines()
            child.wait()
        except BaseException:  # such as the first Ctrl-C
            child.kill()
            raise
    if child.returncode in (-signal.SIGINT, -signal.SIGTERM):
        raise KeyboardInterrupt
    return (said or [f"exit code {child.returncode}"])[-1][:300]


def prepare_here() -> None:
    """Downloads, verifies and prepares; on failure the last line of stderr says why.

    Extracts into a folder of its own: TFDS's shared one goes by file name, so it would take the
    images of MNIST for those of Fashion-MNIST when both sets' files were put there by hand.
    """
    _end_with_our_parent()
    import tensorflow_datasets as tfds

    name, own, downloads = sys.argv[1:]
    try:
        tfds.builder(name, data_dir=f"{own}/data").download_and_prepare(
            download_dir=downloads,
            download_config=tfds.download.DownloadConfig(
                extract_dir=f"{own}/extracted", try_download_gcs=False
            ),
            file_format="array_record",
        )
    except Exception as error:
        sys.exit(one_line(error))


def _end_with_our_parent() -> None:
    """Has this process end at once with its parent, at a Ctrl-C and at a SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":  # where no Python thread has to get its turn for it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        os.read(0, 1)  # returns when the parent's end is closed
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _to_download(name: str, builder: Any, root: Path) -> dict[str, str | None]:
    """URL and file name of the sources that are not on disk.

    Raises `EnvironmentProblem` for a file in `downloads/manual` that is not the original.
    """
    from tensorflow_datasets.core.download import checksums, resource

    wanted = {}
    for url, info in builder.url_infos.items():
        by_hand = root / "downloads" / "manual" / (info.filename or "")
        if by_hand.is_file():
            if checksums.compute_url_info(by_hand) != info:
                raise EnvironmentProblem(
                    f"{by_hand}: not the original of {name} (size or SHA-256 differs from what "
                    f"TFDS knows); replace it, remove it to download it, {FALLBACK}"
                )
        elif not (
            root / "downloads" / builder.name / resource.get_dl_fname(url, info.checksum)
        ).exists():
            wanted[url] = info.filename
    return wanted


def answers(url: str, patience: float = 6.0) -> bool:
    """Whether a download stands a chance, in seconds; TFDS would retry for minutes.

    PredictOptions with `requests`, as TFDS downloads, so that proxies and certificates are the same; in a
    thread, because no timeout of its own ends a name look-up that hangs.
    """
    import requests

    statuses: list[int] = []

    def ask() -> None:
        with contextlib.suppress(Exception), requests.get(url, stream=True, timeout=4) as response:
            statuses.append(response.status_code)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return bool(statuses) and statuses[0] < 500


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """TFDS's warnings, such as that OpenCV would be faster, are not for our users."""
    from absl.logging import get_absl_logger

    logger = get_absl_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def one_line(error: Exception) -> str:
    """An exception as one short line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
