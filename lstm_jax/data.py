"""A data set as arrays on the host, with its fingerprint, and the order of its batches.

`digits` comes with scikit-learn. Every other name is a TFDS image-classification set, looked for
where TFDS's users expect it: in TFDS_DATA_DIR, by default ~/tensorflow_datasets. TFDS prepares it
there once, in a process of its own (the only place that needs TensorFlow); the decoded arrays are
kept beside it, and a later start reads nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.config import SurroundingsError, UserError, closest

ARRAYS = "lstm_jax_arrays.npz"
FALLBACK = "or train on the bundled data with `--fallback digits`"


class Split(NamedTuple):
    """Images uint8 [N, rows, features] and their labels int32 [N]."""

    images: np.ndarray
    labels: np.ndarray


class Dataset(NamedTuple):
    """Three splits; the fingerprint is the SHA-256 of their names, shapes, dtypes and bytes."""

    name: str
    train: Split
    validation: Split
    test: Split
    num_classes: int
    fingerprint: str


def ignore(remark: str) -> None:
    """Says nothing."""


def epoch_order(key: jax.Array, epoch: jax.typing.ArrayLike, num_examples: int) -> jax.Array:
    """The order of one epoch's examples, int32 [num_examples]: a pure function of key and epoch."""
    return jax.random.permutation(
        jax.random.fold_in(key, epoch), jnp.arange(num_examples, dtype=jnp.int32)
    )


def load(name: str, say: Callable[[str], None] = ignore) -> Dataset:
    """The data set of this name; `say` hears what takes time, a line at a time.

    Raises `UserError` for a name that is no image-classification set, and `SurroundingsError`
    when the data is damaged, or neither on disk nor to be had.
    """
    if name == "digits":
        return _digits()
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise UserError(f"dataset: expected a name such as mnist or emnist/letters, got {name!r}")
    root = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser().absolute()
    kept = root / name / ARRAYS
    if kept.exists():
        try:
            return _read_arrays(kept, name)
        except Exception as error:  # whatever is wrong with it, the remedy is the same
            say(f"{kept} is damaged ({_line(error)}); decoding {name} again")
    with _quiet():
        dataset = _from_tfds(name, root, say)
    try:
        _write_arrays(kept, dataset)
    except OSError as error:
        say(f"{name}: the decoded arrays cannot be kept beside the data set ({_line(error)})")
    return dataset


def _digits() -> Dataset:
    """1,797 scans of 8 by 8 pixels, 0 to 16; the last 360 of them are the test."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = labels.astype(np.int32)
    return _dataset(
        "digits", Split(images[:-360], labels[:-360]), Split(images[-360:], labels[-360:]), 10
    )


def _dataset(name: str, train: Split, test: Split, num_classes: int) -> Dataset:
    """Checked and fingerprinted, with the first twelfth of `train` held out for validation."""
    held_out = len(train.images) // 12
    splits = {
        "train": Split(train.images[held_out:], train.labels[held_out:]),
        "validation": Split(train.images[:held_out], train.labels[:held_out]),
        "test": test,
    }
    digest = hashlib.sha256(f"num_classes {num_classes}\n".encode())
    for split_name, split in splits.items():
        if problem := _problem(split, num_classes):
            raise SurroundingsError(f"{name}: {problem} in its {split_name} split")
        for array_name, array in split._asdict().items():
            digest.update(f"{split_name} {array_name} {array.shape} {array.dtype.str}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
    return Dataset(name, **splits, num_classes=num_classes, fingerprint=digest.hexdigest())


def _problem(split: Split, num_classes: int) -> str:
    """What is off, or an empty string."""
    images, labels = split
    if images.dtype != np.uint8 or images.ndim != 3:
        return f"images are {images.dtype}{list(images.shape)}, not uint8[N, rows, features]"
    if labels.dtype != np.int32 or labels.shape != images.shape[:1]:
        return f"labels are {labels.dtype}{list(labels.shape)}, not int32[{len(images)}]"
    if images.size == 0:
        return "no images"
    if labels.min() < 0 or labels.max() >= num_classes:
        return f"labels from {labels.min()} to {labels.max()}, not 0 to {num_classes - 1},"
    return ""


def _read_arrays(path: Path, name: str) -> Dataset:
    """What `_write_arrays` wrote. Raises when a bit of it changed since."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        train = Split(arrays["train_images"], arrays["train_labels"])
        test = Split(arrays["test_images"], arrays["test_labels"])
        dataset = _dataset(name, train, test, int(arrays["num_classes"]))
        if dataset.fingerprint != str(arrays["fingerprint"]):
            raise ValueError("its fingerprint does not match")
    return dataset


def _write_arrays(path: Path, dataset: Dataset) -> None:
    """Whole or not at all: under another name first, then moved."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    train = Split(*map(np.concatenate, zip(dataset.validation, dataset.train, strict=True)))
    try:
        with partial.open("wb") as file:
            np.savez(
                file,
                train_images=train.images,
                train_labels=train.labels,
                test_images=dataset.test.images,
                test_labels=dataset.test.labels,
                num_classes=dataset.num_classes,
                fingerprint=dataset.fingerprint,
            )
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _from_tfds(name: str, root: Path, say: Callable[[str], None]) -> Dataset:
    """Decodes a prepared data set; prepares it if need be."""
    builder = _builder(name, root)
    if Path(builder.data_path).exists() and builder.info.file_format.value != "array_record":
        builder = _builder(name, root / "array_record")  # the other formats need TensorFlow
    folder = Path(builder.data_path)
    if not folder.exists():
        _prepare(name, builder, root, say)
        builder = _builder(name, Path(builder.data_dir_root))
    if missing := {"train", "test"} - set(builder.info.splits):
        raise UserError(f"dataset: {name} has no {' and no '.join(sorted(missing))} split")
    say(f"decoding {name}")
    try:
        train, test = _decode(builder, "train"), _decode(builder, "test")
    except Exception as error:
        raise SurroundingsError(
            f"{name}: {folder} is damaged; remove it, and it is prepared again ({_line(error)})"
        ) from error
    return _dataset(name, train, test, builder.info.features["label"].num_classes)


def _builder(name: str, root: Path) -> Any:
    """TFDS's builder of an image-classification set whose images all have one size."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=root)
    except Exception as error:
        base = name.split("/")[0]
        known = ["digits", *tfds.list_builders(with_community_datasets=False)]
        if base in known:
            known = [
                base,
                *(f"{base}/{config}" for config in tfds.builder_cls(base).builder_configs),
            ]
        if name not in known:
            raise UserError(f"dataset: TFDS has no {name!r}.{closest(name, known)}") from None
        raise SurroundingsError(f"{name}: cannot be opened in {root} ({_line(error)})") from error
    features = builder.info.features
    if not {"image", "label"} <= set(features or ()):
        raise UserError(f"dataset: {name} is no image classification: needs an image and a label")
    image, label = features["image"], features["label"]
    if image.np_dtype != np.uint8 or len(image.shape) != 3 or None in image.shape:
        raise UserError(f"dataset: {name} has no uint8 images of one fixed size: {image}")
    if not getattr(label, "num_classes", None):
        raise UserError(f"dataset: the labels of {name} are no classes: {label}")
    return builder


def _decode(builder: Any, split: str) -> Split:
    """One split in TFDS's order; the channels [h, w, c] lie side by side in a row, [h, w * c]."""
    source = builder.as_data_source(split)
    height, width, channels = builder.info.features["image"].shape
    images = np.empty((len(source), height, width * channels), np.uint8)
    labels = np.empty(len(source), np.int32)
    for start in range(0, len(source), 1000):  # in parts, so that the memory stays bounded
        rows = range(start, min(start + 1000, len(source)))
        for row, example in zip(rows, source.__getitems__(rows), strict=True):
            images[row] = example["image"].reshape(height, -1)
            labels[row] = example["label"]
    return Split(images, labels)


def _prepare(name: str, builder: Any, root: Path, say: Callable[[str], None]) -> None:
    """Has TFDS prepare the set, which appears under `builder.data_path` whole or not at all."""
    wanted = _to_download(name, builder, root)
    if importlib.util.find_spec("tensorflow") is None:
        raise SurroundingsError(
            f"{name}: not in {root} yet, and preparing it needs TensorFlow, once: `make`, or "
            f"`pip install 'lstm_jax[datasets]'`, {FALLBACK}"
        )
    url = next((url for url in wanted if url.startswith("http")), None)
    if url and not _answers(url):
        files = ", ".join(filter(None, wanted.values()))
        raise SurroundingsError(
            f"{name}: not in {root}, and {url.split('/')[2]} does not answer; connect, "
            + (f"put {files} into {root / 'downloads' / 'manual'}, " if files else "")
            + f"set TFDS_DATA_DIR to a folder that holds it, {FALLBACK}"
        )
    say(f"{'downloading and ' if wanted else ''}preparing {name} with TFDS (once)")
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, name, str(builder.data_dir_root), str(root / "downloads")],
        env=os.environ | _CHILD_ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    if not Path(builder.data_path).exists():
        reason = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise SurroundingsError(
            f"{name}: TFDS could not prepare it in {root} ({reason[:300]}); try again, {FALLBACK}"
        )


# A process of its own keeps TensorFlow's memory, threads, chatter and claim on a GPU out of ours.
_CHILD = "import sys; from lstm_jax import data; data._prepare_here(*sys.argv[1:])"
_CHILD_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONWARNINGS": "ignore",
}


def _prepare_here(name: str, home: str, downloads: str) -> None:
    """Downloads, verifies and prepares; on failure the last line of stderr says why.

    Extracts into a folder of its own: TFDS's shared one goes by file name, so it would take the
    images of MNIST for those of Fashion-MNIST when both sets' files were put there by hand.
    """
    import tensorflow_datasets as tfds

    try:
        Path(home).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home, prefix="incomplete.") as extracted:
            tfds.builder(name, data_dir=home).download_and_prepare(
                download_dir=downloads,
                download_config=tfds.download.DownloadConfig(
                    extract_dir=extracted, try_download_gcs=False
                ),
                file_format="array_record",
            )
    except Exception as error:
        sys.exit(_line(error))


def _to_download(name: str, builder: Any, root: Path) -> dict[str, str | None]:
    """URL and file name of the sources that are not on disk.

    Raises `SurroundingsError` for a file in `downloads/manual` that is not the original.
    """
    from tensorflow_datasets.core.download import checksums, resource

    wanted = {}
    for url, info in builder.url_infos.items():
        by_hand = root / "downloads" / "manual" / (info.filename or "")
        if by_hand.is_file():
            if checksums.compute_url_info(by_hand) != info:
                raise SurroundingsError(
                    f"{by_hand}: not the original of {name} (size or SHA-256 differs from what "
                    f"TFDS knows); replace it, remove it to download it, {FALLBACK}"
                )
        elif not (
            root / "downloads" / builder.name / resource.get_dl_fname(url, info.checksum)
        ).exists():
            wanted[url] = info.filename
    return wanted


def _answers(url: str, patience: float = 6.0) -> bool:
    """Whether a download stands a chance, in seconds; TFDS would retry for minutes.

    Asked with `requests`, as TFDS downloads, so that proxies and certificates are the same; in a
    thread, because no timeout of its own ends a name look-up that hangs.
    """
    import requests

    answers: list[int] = []

    def ask() -> None:
        with contextlib.suppress(Exception), requests.get(url, stream=True, timeout=4) as response:
            answers.append(response.status_code)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return bool(answers) and answers[0] < 500


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TFDS's warnings, such as that OpenCV would be faster, are not for our users."""
    from absl.logging import get_absl_logger

    logger = get_absl_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _line(error: Exception) -> str:
    """An exception as one short line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
