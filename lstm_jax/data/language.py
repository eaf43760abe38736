"""Long texts as windows of bytes: the source of Python's standard library, files, TFDS sets.

Axes: N windows, L bytes in a window.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lstm_jax.data.dataset import Arrays, Dataset, make_dataset, path_of, say_nothing
from lstm_jax.data.text_sets import is_path, load_set
from lstm_jax.data.texts import read_text
from lstm_jax.errors import EnvironmentProblem, UserError

PYTHON = (
    "argparse ast base64 calendar codecs configparser contextlib csv dataclasses difflib dis "
    "doctest enum fractions ftplib functools gettext gzip heapq imaplib inspect ipaddress "
    "locale mailbox mimetypes optparse os pdb pickle platform plistlib pprint pstats pydoc "
    "random selectors shlex shutil smtplib socket socketserver statistics subprocess tarfile "
    "tempfile textwrap threading tokenize trace traceback typing uuid warnings weakref "
    "webbrowser"
)  # modules of one file each, by name: 2.7 million bytes

STREAMS = 50  # scored side by side: as many as `train.step` scores at a time


def load(name: str, length: int, say: Callable[[str], None] = say_nothing) -> Dataset:
    """Returns windows of a text: `symbols`, uint8 [N,L+1], of which a model reads the first L and
    foretells the last L, and `lengths`, int32 [N], how many of these are there.

    Training windows lie end to end. The scored ones lie so that window k of all streams comes
    before window k+1 of all streams: a stream is one of STREAMS equal pieces of the text.
    Raises `UserError` for a name or a path that is none and for a text that is too short, and
    `EnvironmentProblem` when it is not to be had.
    """
    texts, rule = _read(name, say)
    splits = []
    for split, text in zip(("train", "validation", "test"), texts, strict=True):
        if len(text) <= (length if split == "train" else STREAMS):
            raise UserError(
                f"dataset: {name} has {len(text):,} bytes for {split}; windows of {length} need "
                "more: give a longer text or a smaller task.length"
            )
        splits.append((windows if split == "train" else streams)(text, length))
    sizes = dict(zip(("train", "validation", "test"), map(len, texts), strict=True))
    return make_dataset(Path(name).name, *splits, split=rule, bytes=sizes)


def windows(text: bytes, length: int) -> Arrays:
    """Returns all whole windows of a text."""
    symbols = np.frombuffer(text, np.uint8)
    count = (len(symbols) - 1) // length
    at_NL = np.arange(count)[:, None] * length + np.arange(length + 1)
    return {"symbols": symbols[at_NL], "lengths": np.full(count, length, np.int32)}


def streams(text: bytes, length: int) -> Arrays:
    """Returns the windows of the streams of a text; each byte but the first is foretold once."""
    symbols = np.frombuffer(text, np.uint8)
    each = -(-(len(symbols) - 1) // STREAMS)
    count = -(-each // length)
    starts_KS = np.arange(count)[:, None] * length + np.arange(STREAMS) * each
    ends_S = np.minimum((np.arange(STREAMS) + 1) * each, len(symbols) - 1)
    lengths_KS = np.clip(ends_S - starts_KS, 0, length).astype(np.int32)
    at_NL = starts_KS.reshape(-1, 1) + np.arange(length + 1)
    inside_NL = np.arange(length + 1) <= lengths_KS.reshape(-1, 1)
    found_NL = symbols[np.minimum(at_NL, len(symbols) - 1)]
    return {
        "symbols": np.where(inside_NL, found_NL, np.uint8(0)),
        "lengths": lengths_KS.ravel(),
    }


def joined(split: Arrays) -> bytes:
    """Returns the text of windows that lie end to end."""
    symbols_NL, lengths_N = split["symbols"], split["lengths"]
    inside_NL = np.arange(1, symbols_NL.shape[1]) <= lengths_N[:, None]
    return symbols_NL[0, :1].tobytes() + symbols_NL[:, 1:][inside_NL].tobytes()


def one_after_another(split: Arrays) -> Arrays:
    """Returns the windows of `streams` with one stream after another, so that they lie end to
    end.
    """
    order_N = np.arange(len(split["lengths"])).reshape(-1, STREAMS).T.ravel()
    return {name: array[order_N] for name, array in split.items()}


def _read(name: str, say: Callable[[str], None]) -> tuple[tuple[bytes, bytes, bytes], str]:
    """Three texts, and the rule by which they were split."""
    if name == "python":
        return _python(say), "of the modules, by name, every tenth is test, the fifth validation"
    if is_path(name):
        text = read_text(path_of(name))
        return _by_place(text), "by place: the last 5 % are test, the 5 % before them validation"
    found, _ = load_set(name, (("text",),), say)
    texts = {
        split: "\n".join(text for (text,) in examples).encode() for split, examples in found.items()
    }
    if {"train", "validation", "test"} <= set(texts):
        return (texts["train"], texts["validation"], texts["test"]), "TFDS's"
    if "train" not in texts:
        raise UserError(f"dataset: {name} has no train split")
    if "test" not in texts:
        return _by_place(texts["train"]), "by place: the last 5 % are test, 5 % before validation"
    cut = len(texts["train"]) * 19 // 20
    train, validation = texts["train"][:cut], texts["train"][cut:]
    return (train, validation, texts["test"]), "TFDS's test; the last 5 % of train are validation"


def _by_place(text: bytes) -> tuple[bytes, bytes, bytes]:
    first, second = len(text) * 90 // 100, len(text) * 95 // 100
    return text[:first], text[first:second], text[second:]


def _python(say: Callable[[str], None]) -> tuple[bytes, bytes, bytes]:
    """The source of the standard library that runs."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    parts: tuple[list[bytes], list[bytes], list[bytes]] = ([], [], [])
    missing = []
    for place, module in enumerate(PYTHON.split()):
        part = {9: 2, 4: 1}.get(place % 10, 0)
        try:
            parts[part].append((folder / f"{module}.py").read_bytes())
        except OSError:
            missing.append(module)
    if missing:
        say(f"python: {sys.version.split()[0]} has no source of {', '.join(missing)}")
    if not all(parts):
        raise EnvironmentProblem(
            f"python: the source of the standard library is not in {folder}; give a text of your "
            "own, `--task.dataset FILE.txt`"
        )
    train, validation, test = (b"".join(part) for part in parts)
    return train, validation, test
