"""Looks at a user's file or folder, and says which task reads it and how."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.dataset import say_nothing
from lstm_jax.data.files import is_text_file, read_bytes, read_text
from lstm_jax.data.folders import FolderWalk
from lstm_jax.data.image_files import picture_sizes
from lstm_jax.data.readers import READERS, open_npz, read_table
from lstm_jax.data.series import SPLIT_WORDS, listed
from lstm_jax.data.table import Table, TableOptions
from lstm_jax.errors import UserError
from lstm_jax.fields import field_specs
from lstm_jax.tasks.forecast import Forecast
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.language import Language
from lstm_jax.tasks.task import Task
from lstm_jax.tasks.text import Text
from lstm_jax.tasks.translation import Translation

MAX_ROWS = 10_000  # that are looked at
MIN_PIXELS = 16
MAX_PICTURES = 1_000  # that are looked at
SCALED = "64x64"  # the shape of pictures that have several sizes
MIN_WORDS = 3  # of a text, on average
MAX_LABELS = 50
MAX_WIDTH = 80  # of a line of source
NUMBER = re.compile(r"[+-]?[\d.,]+$")
PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm"}
TIME_NAME = re.compile(r"\b(time|date|day|month|year|hour|timestamp|datetime)s?\b", re.IGNORECASE)
TARGET_NAME = re.compile(r"^(target|y|value|close|price|sales|count|load|demand)$", re.IGNORECASE)


class Reading(NamedTuple):
    """A task that reads a file, and what was understood of the file."""

    task: Task
    understood: str  # a sentence


def readings_of(path: Path) -> list[Reading]:
    """Returns the tasks that may read a file or a folder, the most probable first.

    Raises UserError where none does, and EnvironmentProblem for a path that cannot be read.
    """
    if path.is_dir():
        found = list(_of_folder(path))
    elif path.suffix.lower() == ".npz":
        found = list(_of_arrays(path))
    else:
        found = list(_of_file(path))
    if not found:
        raise UserError(
            f"{path}: no task reads it as it is: it has neither labels beside texts or pixels, nor "
            "two columns of sentences, nor a column of numbers below a line of names; see "
            "docs/own-data.md"
        )
    unique: dict[str, Reading] = {}
    for reading in found:
        unique.setdefault(source_of(reading.task), reading)
    return list(unique.values())


def _of_folder(path: Path) -> Iterator[Reading]:
    """Yields readings of a folder, by the files in its folders of classes."""
    walk = FolderWalk(path)
    folders = walk.subfolders(walk.split_folders(say_nothing)["train"])
    files = [file for folder in folders for file in walk.files(folder)]
    endings = {file.suffix.lower() for file in files}
    if endings & PICTURES:
        understood = f"It has pictures in {len(folders)} folders."
        shape = None
        pictures = [file for file in files if file.suffix.lower() in PICTURES]
        if len(picture_sizes(pictures[:: 1 + len(pictures) // MAX_PICTURES])) > 1:
            shape = SCALED
            understood += f" They have several sizes, and are scaled to {shape} pixels."
        yield Reading(Images(dataset=f"{path}/", shape=shape), understood)
    if ".txt" in endings:
        why = f"It has texts in {len(folders)} folders, which are their labels."
        yield Reading(Text(dataset=f"{path}/", pooling="mean"), why)
    if ".txt" in endings or any(path.glob("*.txt")):
        task = Language(dataset=f"{path}/**/*.txt")
        yield Reading(task, "Its .txt files are one long text, whose next byte is predicted.")


def _of_arrays(path: Path) -> Iterator[Reading]:
    """Yields readings of an .npz of arrays."""
    with open_npz(path) as file:
        shapes = {name: file[name].shape for name in file.files}
        numbers = [n for n in file.files if file[n].ndim == 1 and file[n].dtype.kind in "iuf"]
    images = [f"{name} {list(shape)}" for name, shape in shapes.items() if len(shape) in (3, 4)]
    if images:
        yield Reading(Images(dataset=_named(path)), f"It has images, {', '.join(images)}.")
    if numbers:
        yield Reading(
            Forecast(file=str(path), target=numbers[-1], columns=_columns(numbers)),
            f"It has columns of numbers, {', '.join(numbers)}; the last one is forecast.",
        )


def _of_file(path: Path) -> Iterator[Reading]:
    """Yields readings of a table or a text.

    Raises UserError for an empty file, and for a table that has numbers where names are needed.
    """
    reads = [_images, _named_texts, _series, _texts]
    content, file_name = read_bytes(path)
    if not content.strip():
        raise UserError(f"{path}: the file is empty")
    is_table = Path(file_name).suffix.lower() in READERS
    if not is_table and b"\t" not in read_text(path).partition(b"\n")[0]:
        reads = [_series]  # commas of prose separate no cells
    table, encoding, is_read = None, None, not is_table
    with nullcontext() if is_table else suppress(UserError):
        table, encoding = _read_table(path)
    for read in reads if table is not None else []:
        with suppress(UserError):
            for reading in read(table, _named(path), encoding):
                doubt = f" It is not UTF-8, and read as {encoding}." if encoding else ""
                is_read = True
                yield reading._replace(understood=reading.understood + doubt)
                if isinstance(reading.task, Images):
                    return
    if not is_table:
        task = Language(dataset=_named(path))
        yield Reading(task, "It is one long text, whose next byte is predicted.")
    first = table.first_row() if table is not None else []
    if not is_read and any(map(NUMBER.match, first)):
        raise UserError(
            f"{path}: row 1 ({listed(first)}) does not name the columns: write a name for each of "
            "them there; see docs/own-data.md"
        )


def _read_table(path: Path) -> tuple[Table, str | None]:
    """Returns the table, and its encoding where that is the one of western office programs."""
    try:
        return read_table(path, TableOptions(raw_tabs=True)), None
    except UserError as error:
        if "is not UTF-8" not in str(error):
            raise
    return read_table(path, TableOptions("cp1252", raw_tabs=True)), "cp1252"


def _images(table: Table, name: str, encoding: str | None) -> Iterator[Reading]:
    """Yields the reading of a table whose rows hold a label and a picture."""
    from lstm_jax.data.image_tables import image_columns, image_labels, image_shape, pixel_values

    if (column := table.bytes_column()) is not None:
        image_labels(table, None, say_nothing)
        yield Reading(Images(dataset=name), f"Each row has a label, and a picture in {column}.")
        return
    table, label, pixels = image_columns(table.head(MAX_ROWS), None, say_nothing)
    if len(pixels) < MIN_PIXELS:
        return
    shape = None
    side = round((len(pixels) / 3) ** 0.5)
    if 3 * side * side == len(pixels):
        shape = f"{side}x{side}x3"
    rows, columns, channels = image_shape(table.path, len(pixels), shape)
    for pixel in pixels:
        pixel_values(table, pixel)
    kind = "colour images" if channels == 3 else "images"
    yield Reading(
        Images(dataset=name, label_column=label if table.has_header else None, shape=shape),
        f"Each row is a label, in column {label}, and {len(pixels)} pixels: {kind} of {rows} x "
        f"{columns}.",
    )


def _named_texts(table: Table, name: str, encoding: str | None) -> Iterator[Reading]:
    """Yields the reading of a table that names a label and a text, or a source and a target."""
    from lstm_jax.data import pairs, text

    named = table.with_header()
    header = list(named.columns)
    if (found := text.named_columns(table)) is not None:
        label, content = (header[i] for i in found)
        if _numbers(named, content) is None:  # not the x and y of a series
            yield _text_reading(name, label, content, encoding, "by their names")
    if (found := pairs.named_columns(table)) is not None:
        source, target = (header[i] for i in found)
        if _numbers(named, source) is None:
            yield _pair_reading(name, source, target, encoding, "by their names")


def _text_reading(name: str, label: str, text: str, encoding: str | None, why: str) -> Reading:
    """Returns the reading of a table with these columns."""
    task = Text(
        dataset=name, label_column=label, text_column=text, encoding=encoding, pooling="mean"
    )
    return Reading(task, f"Column {label} is the label, column {text} the text: {why}.")


def _pair_reading(name: str, source: str, target: str, encoding: str | None, why: str) -> Reading:
    """Returns the reading of a table with these columns."""
    task = Translation(dataset=name, source_column=source, target_column=target, encoding=encoding)
    return Reading(task, f"Column {source} is translated into column {target}: {why}.")


def _series(table: Table, name: str, encoding: str | None) -> Iterator[Reading]:
    """Yields the reading of a table that has times and numbers, or numbers alone."""
    if any(NUMBER.match(cell) for cell in table.first_row()):
        return  # no names
    table = table.with_header()
    decimal, thousands = _form_of_numbers(table)
    table = table._replace(options=TableOptions(encoding, decimal, thousands))
    times = [each for each in table.columns if _is_time(table, each)]
    others = [each for each in table.columns if each not in times and any(table.words(each))]
    numbers = {each: v for each in others if (v := _numbers(table, each)) is not None}
    others = [each for each in others if each not in numbers]
    counters = [each for each, v in numbers.items() if len(v) > 1 and (np.diff(v) == 1).all()]
    inputs = [each for each in numbers if each not in counters] or counters
    if not inputs or (others and not times):
        return
    named = list(filter(TARGET_NAME.match, inputs))
    target = named[0] if named else inputs[-1]
    candidates = [each for each in named or inputs if each != target]
    why = ", chosen by its name," if named else ", the last one of numbers,"
    words = [f"Column {target}{why if candidates else ''} is forecast from {', '.join(inputs)}."]
    fields: dict[str, Any] = {"target": target, "columns": _columns(inputs), "encoding": encoding}
    split = next((each for each in others if _is_split(table.words(each))), None)
    if split is not None:
        fields["split"] = split
        words.append(f"Column {split} names the split of each row.")
    if not times:
        words.append("No column is a time: the rows are taken to be equally far apart.")
    else:
        time = table.words(times[0])
        fields["time"] = times[0]
        words.append(f"Column {times[0]} is the time.")
        if _repeats(time):
            by = {each: zip(table.words(each), time, strict=True) for each in others}
            fields["series"] = next((n for n, pairs in by.items() if not _repeats(pairs)), None)
            words.append(
                f"Column {fields['series']} names the series."
                if fields["series"]
                else "The same time is there twice, and no column names several series."
            )
    if lacking := [each for each in inputs if np.isnan(numbers[each]).any()]:
        fields["missing"] = "drop"
        words.append(f"Values are missing in {', '.join(lacking)}: such rows are gaps.")
    if (decimal, thousands) != (".", None):
        fields |= {"decimal": decimal, "thousands": thousands}
        words.append(
            "Its numbers have a decimal comma."
            if decimal == ","
            else "Commas stand between the thousands of its numbers."
        )
    read = {*inputs, *fields.values()}
    if rest := [each for each in table.columns if each not in read]:
        words.append(f"Not read: {', '.join(rest)}.")
    task = Forecast(file=str(table.path), **fields)
    yield Reading(task, " ".join(words))
    if candidates:
        first, *more = candidates
        also = f"; target may also be {listed(more)}" if more else ""
        yield Reading(replace(task, target=first), f"Column {first} is forecast{also}.")


def _texts(table: Table, name: str, encoding: str | None) -> Iterator[Reading]:
    """Yields readings of a table with columns of texts: with a column of labels, or as pairs."""
    table = table.with_header() if _has_header(table) else table
    columns = {each: table.words(each) for each in table.columns}
    texts = [each for each, words in columns.items() if _is_text(words)]
    labels = [
        each
        for each, words in columns.items()
        if each not in texts and 2 <= len(set(words)) <= min(MAX_LABELS, len(words) / 2)
    ]
    pairs = []
    if len(texts) >= 2:
        pairs = [_pair_reading(name, texts[0], texts[1], encoding, "both have sentences")]
    if texts[:2] == list(columns)[:2]:
        yield from pairs
    for label in labels if texts else []:
        why = f"it has {len(set(columns[label]))} labels"
        yield _text_reading(name, label, texts[0], encoding, why)
    yield from pairs


def _has_header(table: Table) -> bool:
    """Returns whether a table has names: the file's, or short cells that are in no other row."""
    if table.has_header:
        return True
    first = zip(table.first_row(), map(table.words, table.columns), strict=True)
    return all(
        len(name.split()) <= 2 and not name.isdecimal() and name not in words[1:]
        for name, words in first
        if any(words)
    )


def _is_text(words: list[str]) -> bool:
    """Returns whether cells have as many words as texts."""
    return sum(len(word.split()) for word in words) >= MIN_WORDS * max(1, len(words))


def _is_time(table: Table, name: str) -> bool:
    """Returns whether a column holds times: all are dates, or it is named so and rises."""
    from lstm_jax.data.times import parse_times

    try:
        times = parse_times(table.words(name))
    except ValueError:
        return False
    if times.are_dates:
        return True
    return bool(TIME_NAME.search(name)) and bool((np.diff(times.values) > 0).all())


def _numbers(table: Table, name: str) -> np.ndarray | None:
    """Returns a column as numbers; None where it holds other values, or none."""
    try:
        values = table.numbers(name, allow_missing=True)
    except UserError:
        return None
    return None if np.isnan(values).all() else values


def _form_of_numbers(table: Table) -> tuple[str, str | None]:
    """Returns the signs before decimals and between thousands by which most columns are numbers."""
    forms: list[tuple[str, str | None]] = [(".", None), (".", ","), (",", None), (",", ".")]

    def count(form: tuple[str, str | None]) -> int:
        read = table._replace(options=TableOptions(None, *form))
        return sum(_numbers(read, name) is not None for name in table.columns)

    return max(forms, key=count)


def _repeats(values: Iterable[object]) -> bool:
    """Returns whether two of the values are the same."""
    values = list(values)
    return len(set(values)) < len(values)


def _is_split(words: list[str]) -> bool:
    """Returns whether a column has a split in each row, training first."""
    splits = [SPLIT_WORDS.get(word.lower(), word.lower()) for word in words]
    runs = [split for i, split in enumerate(splits) if i == 0 or splits[i - 1] != split]
    return runs in (["train", "test"], ["train", "validation", "test"])


def _columns(names: list[str]) -> str | None:
    """Returns names as the field `columns` of a forecast; None for one, which is the target."""
    return (
        ",".join(f'"{name}"' if "," in name else name for name in names) if len(names) > 1 else None
    )


def _named(path: Path) -> str:
    """Returns the name of a data set that is a file, which no set of TFDS has."""
    return str(path) if is_text_file(str(path)) or path.suffix == ".npz" else f"./{path}"


def source_of(task: Task) -> str:
    """Returns the Python source of a task: its class with the fields that differ from defaults.

    It is one line, or a line for each field.
    """
    plain = type(task)()
    fields = [
        f"{name}={json.dumps(value, ensure_ascii=False) if isinstance(value, str) else value}"
        for name in field_specs(task)
        if (value := getattr(task, name)) != getattr(plain, name)
    ]
    source = f"{type(task).__name__}({', '.join(fields)})"
    if len(source) < MAX_WIDTH:
        return source
    lines = "".join(f"    {field},\n" for field in fields)
    return f"{type(task).__name__}(\n{lines})"
