"""Long texts as windows of bytes: Python's standard library, a user's files, sets of TFDS.

Also the bits per byte of models that count byte sequences, as a comparison.

Axes: N windows, L bytes in a window, K windows in a stream, S streams.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import numpy as np

from lstm_jax.data.dataset import Arrays, Dataset, Say, make_dataset, path_of, say_nothing
from lstm_jax.data.files import is_text_file, read_text
from lstm_jax.data.labelled_splits import SPLITS
from lstm_jax.data.readers import READERS
from lstm_jax.data.tfds_sets import load_text_set
from lstm_jax.errors import EnvironmentProblem, UserError

PYTHON = (
    "argparse ast base64 calendar codecs configparser contextlib csv dataclasses difflib dis "
    "doctest enum fractions ftplib functools gettext gzip heapq imaplib inspect ipaddress "
    "locale mailbox mimetypes optparse os pdb pickle platform plistlib pprint pstats pydoc "
    "random selectors shlex shutil smtplib socket socketserver statistics subprocess tarfile "
    "tempfile textwrap threading tokenize trace traceback typing uuid warnings weakref "
    "webbrowser"
)  # modules of one file each, by name: 2.7 million bytes

NUM_STREAMS = 50  # evaluated side by side: as many examples as `train.step` evaluates at a time
NUM_BYTES = 256  # different ones


def load_language(name: str, length: int, say: Say = say_nothing) -> Dataset:
    """Returns windows of a text: `symbols`, uint8 [N,L+1], and `lengths`, int32 [N].

    A model reads the first L bytes of a window and predicts the last L; `lengths` says how many of
    these count. Training windows follow each other in the text. Validation and test are cut into
    NUM_STREAMS equal streams, and window k of all streams comes before window k+1 of all streams.
    Raises UserError for an unknown name or path and for a text that is too short, and
    EnvironmentProblem if the text cannot be obtained.
    """
    texts, rule = _read_splits(name, say)
    splits = []
    for split, text in zip(SPLITS, texts, strict=True):
        if len(text) <= (length if split == "train" else NUM_STREAMS):
            raise UserError(
                f"dataset: {name} has {len(text):,} bytes for {split}; windows of {length} need "
                "more: give a longer text or a smaller task.length"
            )
        splits.append((train_windows if split == "train" else stream_windows)(text, length))
    sizes = dict(zip(SPLITS, map(len, texts), strict=True))
    return make_dataset(Path(name).name, *splits, split=rule, bytes=sizes)


def train_windows(text: bytes, length: int) -> Arrays:
    """Returns all whole windows of a text, one after another."""
    symbols = np.frombuffer(text, np.uint8)
    count = (len(symbols) - 1) // length
    index_NL = np.arange(count)[:, None] * length + np.arange(length + 1)
    return {"symbols": symbols[index_NL], "lengths": np.full(count, length, np.int32)}


def stream_windows(text: bytes, length: int) -> Arrays:
    """Returns the windows of the streams of a text; each byte but the first is predicted once."""
    symbols = np.frombuffer(text, np.uint8)
    stream_length = -(-(len(symbols) - 1) // NUM_STREAMS)
    count = -(-stream_length // length)
    starts_KS = np.arange(count)[:, None] * length + np.arange(NUM_STREAMS) * stream_length
    ends_S = np.minimum((np.arange(NUM_STREAMS) + 1) * stream_length, len(symbols) - 1)
    lengths_KS = np.clip(ends_S - starts_KS, 0, length).astype(np.int32)
    index_NL = starts_KS.reshape(-1, 1) + np.arange(length + 1)
    inside_NL = np.arange(length + 1) <= lengths_KS.reshape(-1, 1)
    symbols_NL = symbols[np.minimum(index_NL, len(symbols) - 1)]
    return {"symbols": np.where(inside_NL, symbols_NL, np.uint8(0)), "lengths": lengths_KS.ravel()}


def windows_text(split: Arrays) -> bytes:
    """Returns the text of windows that follow each other in it."""
    symbols_NL, lengths_N = split["symbols"], split["lengths"]
    inside_NL = np.arange(1, symbols_NL.shape[1]) <= lengths_N[:, None]
    return symbols_NL[0, :1].tobytes() + symbols_NL[:, 1:][inside_NL].tobytes()


def streams_text(split: Arrays) -> bytes:
    """Returns the text of the windows of streams: one stream after another."""
    order_N = np.arange(len(split["lengths"])).reshape(-1, NUM_STREAMS).T.ravel()
    return windows_text({name: array[order_N] for name, array in split.items()})


def _read_splits(name: str, say: Say) -> tuple[tuple[bytes, bytes, bytes], str]:
    """Returns the texts of training, validation and test, and the rule of the split, in words.

    The rule is part of the data's fingerprint: other words make another data set.
    """
    if name == "python":
        return _python(say), "of the modules, by name, every tenth is test, the fifth validation"
    if is_text_file(name):
        path = path_of(name)
        if path.suffix.lower() in READERS:
            say(
                f"{path}: is a table, and is read as it stands, with its marks and its names; "
                "to learn its texts alone, write them into a .txt"
            )
        text = read_text(path)
        rule = "by place: the last 5 % are test, the 5 % before them validation"
        return _split_by_position(text), rule
    splits = load_text_set(name, (("text",),), say)
    texts = {
        split: "\n".join(text for (text,) in examples).encode()
        for split, examples in splits.items()
    }
    if {*SPLITS} <= set(texts):
        return (texts["train"], texts["validation"], texts["test"]), "TFDS's"
    if "train" not in texts:
        raise UserError(f"dataset: {name} has no train split")
    if "test" not in texts:
        rule = "by place: the last 5 % are test, 5 % before validation"
        return _split_by_position(texts["train"]), rule
    cut = len(texts["train"]) * 19 // 20
    train, validation = texts["train"][:cut], texts["train"][cut:]
    return (train, validation, texts["test"]), "TFDS's test; the last 5 % of train are validation"


def _split_by_position(text: bytes) -> tuple[bytes, bytes, bytes]:
    first, second = len(text) * 90 // 100, len(text) * 95 // 100
    return text[:first], text[first:second], text[second:]


def _python(say: Say) -> tuple[bytes, bytes, bytes]:
    """Returns the source of the standard library of this Python, in three splits."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    sources: tuple[list[bytes], list[bytes], list[bytes]] = ([], [], [])
    missing = []
    for index, module in enumerate(PYTHON.split()):
        split = {9: 2, 4: 1}.get(index % 10, 0)
        try:
            sources[split].append((folder / f"{module}.py").read_bytes())
        except OSError:
            missing.append(module)
    if missing:
        say(f"python: {sys.version.split()[0]} has no source of {', '.join(missing)}")
    if not all(sources):
        raise EnvironmentProblem(
            f"python: the source of the standard library is not in {folder}; give a text of your "
            "own, `--task.dataset FILE.txt`"
        )
    train, validation, test = (b"".join(modules) for modules in sources)
    return train, validation, test


def ngram_bits_per_byte(train: bytes, test: bytes, max_order: int = 5) -> list[float]:
    """Returns the mean bits per byte of `test` under n-gram models of `train`, of orders 1, 2, ...

    A model of order n predicts a byte from the n - 1 bytes before it. It mixes its counts
    with the model of order n - 1. The more different bytes followed a context, the larger the
    weight of order n - 1:
    p_n(c) = (count(c) + distinct * p_n-1(c)) / (count + distinct), from 1/256 upwards (Witten and
    Bell, "The zero-frequency problem", 1991, their method C).
    """
    train_M, test_N = (np.frombuffer(text, np.uint8).astype(np.uint64) for text in (train, test))
    p_N = np.full(len(test_N), 1 / NUM_BYTES)
    bits = []
    for order in range(1, max_order + 1):
        grams, counts = np.unique(_ngrams(train_M, order), return_counts=True)
        contexts, first = np.unique(grams // NUM_BYTES, return_index=True)
        totals = np.add.reduceat(counts, first)
        distinct = np.diff(np.append(first, len(grams)))
        wanted = _ngrams(test_N, order)
        is_known, context = _search_sorted(contexts, wanted // NUM_BYTES)
        is_seen, gram = _search_sorted(grams, wanted)
        count = np.where(is_seen, counts[gram], 0)
        below = p_N[order - 1 :]  # the first bytes have no context of this length: theirs stays
        mixed = (count + distinct[context] * below) / (totals[context] + distinct[context])
        p_N = np.concatenate([p_N[: order - 1], np.where(is_known, mixed, below)])
        bits.append(float(-np.mean(np.log2(p_N))))
    return bits


def _ngrams(symbols_N: np.ndarray, order: int) -> np.ndarray:
    """Returns all runs of `order` bytes, at most 8, as numbers, uint64."""
    count = len(symbols_N) - order + 1
    grams = np.zeros(max(count, 0), np.uint64)
    for offset in range(order):
        grams = grams * np.uint64(NUM_BYTES) + symbols_N[offset : offset + count]
    return grams


def _search_sorted(sorted_values: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns whether each wanted value is there, and its index (any index if it is not)."""
    index = np.minimum(np.searchsorted(sorted_values, wanted), len(sorted_values) - 1)
    return sorted_values[index] == wanted, index
