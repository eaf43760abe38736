"""Tables as people have them: every form gives the same columns; a mistake is one line."""

import bz2
import gzip
import io
import json
import lzma
import os
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lstm_jax import Forecast, Images, Language, Text, Translation
from lstm_jax.config.data_files import readings_of
from lstm_jax.data.dataset import say_nothing
from lstm_jax.data.image_files import open_picture
from lstm_jax.data.readers import read_table
from lstm_jax.data.table import TableOptions
from lstm_jax.data.text import TextColumns, read_texts
from lstm_jax.errors import EnvironmentProblem, UserError

NUMBERS = [1.5, -20000.0, 3e-7]
WORDS = ['a, "b"', "é\nzwei", "c;\td|e"]


def quoted(delimiter, end="\n"):
    """A file of three columns whose texts hold delimiters, quotes and line ends."""
    cells = ['"' + word.replace('"', '""') + '"' for word in WORDS]
    rows = [f"{n}{delimiter}{cell}{delimiter}7" for n, cell in zip(NUMBERS, cells, strict=True)]
    return end.join([delimiter.join(("x", "text", "n")), *rows, ""])


def parquet():
    table = pa.table({"x": NUMBERS, "text": pa.array(WORDS).dictionary_encode(), "n": [7] * 3})
    pq.write_table(table, out := io.BytesIO())
    return out.getvalue()


def zipped(content, *others):
    with zipfile.ZipFile(out := io.BytesIO(), "w") as archive:
        for name in ("inside.csv", "__MACOSX/._inside.csv", *others):
            archive.writestr(name, content)
    return out.getvalue()


COMMAS = quoted(",").encode()
OBJECTS = [{"x": n, "text": word, "n": 7} for n, word in zip(NUMBERS, WORDS, strict=True)]
JSON_LINES = "\n\n".join(map(json.dumps, OBJECTS)).encode()
FILES = {
    "comma.csv": COMMAS,
    "semicolon.CSV": quoted(";", "\r\n").encode(),
    "bar.csv": quoted("|").encode("utf-8-sig"),
    "tab.tsv": quoted("\t").encode(),
    "tab.txt": quoted("\t").encode("utf-16"),
    "two.csv.gz": gzip.compress(COMMAS),
    "two.CSV.bz2": bz2.compress(COMMAS),
    "two.csv.xz": lzma.compress(COMMAS),
    "two.zip": zipped(COMMAS),
    "rows.JSONL": JSON_LINES,
    "rows.json": json.dumps(OBJECTS, indent=1).encode(),
    "rows.ndjson.gz": gzip.compress(JSON_LINES),
    "columns.parquet": parquet(),
}


@pytest.mark.parametrize("name", FILES)
def test_every_form_gives_the_same_columns(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    for raw_tabs in (False, True):
        table = read_table(tmp_path / name, TableOptions(raw_tabs=raw_tabs)).with_header()
        assert list(table.columns) == ["x", "text", "n"]
        assert table.numbers("x").tolist() == NUMBERS
        assert table.words("text") == WORDS
        assert table.numbers("n").tolist() == [7.0] * 3
    if name.endswith(("csv", "CSV", "tsv")):
        assert [table.locate(row).split(", ")[1] for row in range(3)] == [
            "line 2",
            "line 3",
            "line 5",
        ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('1\t"Go!" he said\n2\tno "x"\n', ['"Go!" he said', 'no "x"']),
        ('1\t"Go!"\n2\t"Stay!"\n', ['"Go!"', '"Stay!"']),
        ('1\t"Go\n2\tand stay.\n', ['"Go', "and stay."]),
        ('1\t"""Go!"", he said"\n2\tno\n', ['"Go!", he said', "no"]),
        ('"1"\t"Go!"\n"2"\t"no"\n', ["Go!", "no"]),
    ],
)
def test_quotes_in_lines_of_speech_belong_to_them(tmp_path, content, words):
    path = tmp_path / "speech.tsv"
    path.write_text(content)
    assert read_table(path, TableOptions(raw_tabs=True)).words("2") == words


@pytest.mark.parametrize(
    ("cells", "decimal", "thousands", "numbers"),
    [
        (["1,5", "-2", " 3,25 "], ",", None, [1.5, -2, 3.25]),
        (["1.234,5", "1.234.567", "12"], ",", ".", [1234.5, 1234567, 12]),
        (["1,234.5", "+0.5", "1e3"], ".", ",", [1234.5, 0.5, 1000]),
        (["1'234", "5"], ".", "'", [1234, 5]),
        (["12 345,5", "5"], ",", " ", [12345.5, 5]),
    ],
)
def test_decimals_and_thousands_are_read_as_the_options_say(
    tmp_path, cells, decimal, thousands, numbers
):
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["a;b", *(f"{cell};x" for cell in cells)]))
    table = read_table(path, TableOptions(None, decimal, thousands)).with_header()
    assert table.numbers("a").tolist() == numbers


@pytest.mark.parametrize(
    ("cell", "decimal", "thousands"),
    [
        *[("1.5", ",", None), ("12.34,5", ",", "."), ("1,5", ".", ","), ("1,2,3", ",", None)],
        ("1_0", ".", None),
    ],
)  # fmt: skip
def test_a_number_in_another_form_is_not_guessed(tmp_path, cell, decimal, thousands):
    path = tmp_path / "own.csv"
    path.write_text(f"a;b\n1;2\n{cell};3\n")
    table = read_table(path, TableOptions(None, decimal, thousands)).with_header()
    with pytest.raises(UserError, match=r"line 3: '.*' in column a is not a finite number; write"):
        table.numbers("a")


def test_an_encoding_is_named_or_refused(tmp_path):
    path = tmp_path / "own.tsv"
    lines = [f"{'ab'[i % 2]}\tWörter {i}" for i in range(40)]
    path.write_bytes("\n".join(lines).encode("cp1252"))
    with pytest.raises(UserError, match=r"line 1 is not UTF-8 .* --task.encoding cp1252"):
        read_texts(str(path), say_nothing)
    found = read_texts(str(path), say_nothing, TextColumns(encoding="cp1252"))
    assert {text[:7] for split in found.splits.values() for _, text in split} == {"Wörter "}
    (tmp_path / "picture.tsv").write_bytes(PICTURE)
    with pytest.raises(UserError, match="is a picture"):
        read_texts(str(tmp_path / "picture.tsv"), say_nothing, TextColumns(encoding="latin-1"))
    for encoding, says in (("utf-17", "is not the name of one"), ("ascii", "line 1 is not ASCII")):
        with pytest.raises(UserError, match=says):
            read_texts(str(path), say_nothing, TextColumns(encoding=encoding))


PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (PICTURE, "is a picture"),
        (b"%PDF-1.7\n", "is a PDF"),
        ("1\tone\n".encode("utf-16-be"), "byte 0x00; UTF-16 without a byte order mark"),
        (b"1\tone\n2\t\x01two\n", "is no text: line 2 has a byte 0x01"),
        (b"1\tone\n2\t\x01\xe4\n", "line 2"),
        (gzip.compress(PICTURE), "is a picture"),
        (zipped(b"1\tone\n", "b.csv"), r"packed by zip from 2 files; unpack it"),
        (parquet(), r"is a Parquet file; its name must end in .parquet"),
    ],
)
def test_what_is_no_text_is_never_learnt_as_text(tmp_path, content, says):
    for task, name in ((Text, "own.tsv"), (Translation, "own.tsv"), (Language, "own.txt")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=says) as raised:
            task(dataset=str(tmp_path / name)).load(say_nothing)
        assert "\n" not in str(raised.value)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    pipe, folder = tmp_path / "pipe.csv", tmp_path / "folder.csv"
    os.mkfifo(pipe)
    folder.mkdir()
    for path, says in (
        (pipe, "is a pipe or a device"),
        (folder, "is a folder"),
        ("/dev/zero", "dev"),
    ):
        for task in (
            Forecast(file=str(path)),
            Translation(dataset=str(path)),
            Language(dataset=str(path)),
        ):
            with pytest.raises(UserError, match=says):
                task.load(say_nothing)
        with pytest.raises(UserError, match=says):
            open_picture(str(path))
    with pytest.raises(UserError, match="is a pipe or a device"):
        readings_of(pipe)
    with pytest.raises(EnvironmentProblem, match=r"cannot be read: No such file"):
        Translation(dataset=str(tmp_path / "absent.tsv")).load(say_nothing)
    (tmp_path / "cut.parquet").write_bytes(parquet()[:-9])
    with pytest.raises(UserError, match="is no whole Parquet file"):
        read_table(tmp_path / "cut.parquet")


def test_a_packed_file_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("lstm_jax.data.files.MAX_UNPACKED", 9)
    for pack in (gzip.compress, bz2.compress, lzma.compress, zipped):
        path = tmp_path / "own.csv"
        path.write_bytes(pack(b"a,b\n1,234\n"))
        with pytest.raises(UserError, match="more than 9 bytes are packed in it"):
            read_table(path)
        path.write_bytes(pack(b"a,b\n1,2\n"))
        assert len(read_table(path).columns) == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[" * 100_000, "line 1: is nested too deeply"),
        ('{"a": 1}\n{"a": ' + "[" * 100_000, "line 2: is nested too deeply"),
        ('{"a": 1}\n{"a": "bad", "a": "good"}', "line 2: has the key 'a' twice, with \"bad\" and"),
        ('[{"a": {"b": 1, "b": 1}}]', "has the key 'b' twice, with 1 and 1; keep one"),
        ('{"a": ' + "1" * 5_000 + "}", "line 1: Exceeds the limit"),
    ],
)
def test_json_that_has_no_single_reading_is_one_line(tmp_path, content, says):
    for name in ("own.json", "own.jsonl"):
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match=says) as raised:
            read_table(tmp_path / name)
        assert "\n" not in str(raised.value)


# Columns by name.


def reviews(count=40):
    return [("ab"[i % 2], f"some, text\n{i}") for i in range(count)]


def written(path, header, rows):
    cells = [[f'"{cell}"' for cell in row] for row in rows]
    path.write_text("\n".join(",".join(row) for row in [header, *cells] if row))
    return str(path)


def test_labels_and_texts_are_found_by_their_names(tmp_path):
    rows = reviews()
    expected = None
    for header, order, columns in (
        ([], lambda a, b, i: (a, b), {}),
        (["label", "text"], lambda a, b, i: (a, b), {}),
        (["Review", "Sentiment"], lambda a, b, i: (b, a), {}),
        (["id", "text", "title", "label"], lambda a, b, i: (i, b, "t", a), {}),
        (["v1", "v2", "", ""], lambda a, b, i: (a, b, "", ""),
         {"label_column": "v1", "text_column": "v2"}),
        ([], lambda a, b, i: (i, b, a), {"label_column": "3", "text_column": "2"}),
        ([], lambda a, b, i: (b, a), {"label_column": "2"}),
        (["v2", "v1"], lambda a, b, i: (b, a), {"label_column": "v1"}),
    ):  # fmt: skip
        path = written(
            tmp_path / "own.csv", header, [order(*row, str(i)) for i, row in enumerate(rows)]
        )
        found = read_texts(path, say_nothing, TextColumns(**columns))
        expected = expected or found
        assert found == expected
    messages = []
    path = written(tmp_path / "own.csv", ["id", "text", "label"], [("1", b, a) for a, b in rows])
    read_texts(path, messages.append)
    assert messages == [
        f"{path}: the first line names the columns, id, text, label",
        f"{path}: left out 1 column, id",
    ]
    for header, says in (
        (["title", "body", "label"], "title, body, label: say which one is the label, with --task"),
        (["id", "n", "m"], r"\(a name, or a number from 1\)"),
    ):
        path = written(tmp_path / "own.csv", header, [("1", b, a) for a, b in rows])
        with pytest.raises(UserError, match=says):
            read_texts(path, say_nothing)
    path = written(tmp_path / "own.csv", ["label", "text"], rows)
    with pytest.raises(UserError, match="both are the column text"):
        read_texts(path, say_nothing, TextColumns("text", "text"))
    with pytest.raises(UserError, match=r"no column 'labl'. Did you mean label\?"):
        read_texts(path, say_nothing, TextColumns("labl", "text"))


def test_sources_and_targets_are_found_by_their_names(tmp_path):
    def arrays(path, **fields):
        said = []
        dataset = Translation(dataset=str(path), **fields).load(said.append)
        return dataset.fingerprint, said

    pairs = [(f"w{i}", f"x{i}") for i in range(200)]
    plain = tmp_path / "own.tsv"
    plain.write_text("\n".join(map("\t".join, pairs)))
    expected, _ = arrays(plain)
    path = tmp_path / "licence.tsv"
    path.write_text("\n".join(f"{a}\t{b}\tCC-BY {i}" for i, (a, b) in enumerate(pairs)))
    found, said = arrays(path)
    assert found == expected
    assert said[0] == f"{path}: left out 1 column, 3"
    path = written(
        tmp_path / "own.csv", ["target", "id", "source"], [(b, "1", a) for a, b in pairs]
    )
    found, said = arrays(path)
    assert found == expected
    assert said[1] == f"{path}: left out 1 column, id"
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps({"translation": {"en": a, "de": b}}) for a, b in pairs))
    assert arrays(path)[0] == expected
    path.write_text("\n".join(json.dumps({"n": 1, "q": a, "a": b}) for a, b in pairs))
    assert arrays(path, source_column="q", target_column="a")[0] == expected
    with pytest.raises(
        UserError, match=r"n, q, a: say which one is the source, with --task.source-"
    ):
        arrays(path)


def test_texts_are_read_from_folders_by_class(tmp_path):
    rows = [(label, f"text {i}") for i, (label, _) in enumerate(reviews())]
    file = written(tmp_path / "own.csv", ["label", "text"], rows)
    for folder in ("plain", "split/train"):
        for index, (label, text) in enumerate(rows):
            path = tmp_path / folder / label / f"{index}.TXT"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
    (tmp_path / "plain" / "a" / "list.md").write_text("no text")
    (tmp_path / "plain" / "a" / "empty.txt").touch()
    messages = []
    found = read_texts(f"{tmp_path}/plain", messages.append)
    assert {split: set(texts) for split, texts in found.splits.items()} == {
        split: set(texts) for split, texts in read_texts(file, say_nothing).splits.items()
    }
    assert messages == [f"{tmp_path}/plain: left out an empty file 1 time"]
    (tmp_path / "split" / "test" / "b").mkdir(parents=True)
    (tmp_path / "split" / "test" / "b" / "1.txt").write_text("held out")
    found = read_texts(f"{tmp_path}/split/", say_nothing)
    assert found.splits["test"] == [("b", "held out")]
    assert [len(texts) for texts in found.splits.values()] == [36, 4, 1]
    with pytest.raises(UserError, match=r"no .txt files lie in folders of"):
        read_texts(f"{tmp_path}/split/test/b/", say_nothing)


IMAGES = np.random.RandomState(0).randint(0, 256, (60, 6, 6)).astype(np.uint8)


def image_rows(images=IMAGES, labels=None):
    labels = np.arange(len(images)) % 3 if labels is None else labels
    return [(label, *image.ravel()) for label, image in zip(labels, images, strict=True)]


def test_pixels_are_read_in_the_order_of_their_numbers(tmp_path):
    expected, said = None, []
    for sort in (list, sorted):  # p0, p1, p10, p11, ... and so on
        names = [f"p{i}" for i in range(36)]
        rows = [(label, *(pixels[names.index(n)] for n in sort(names)))
                for label, *pixels in image_rows()]  # fmt: skip
        path = written(tmp_path / "own.csv", ["label", *sort(names)], rows)
        found = Images(dataset=path).load(said.append).fingerprint
        expected = expected or found
        assert found == expected
    assert said == [
        f"{path}: column p10 is before p2; the pixels are read in the order of their numbers"
    ]
    said.clear()
    names = [f"{i % 6}x{i // 6}" for i in range(36)]  # no order that numbers tell
    path = written(tmp_path / "own.csv", ["label", *names], image_rows())
    assert Images(dataset=path).load(said.append).fingerprint == expected
    assert not said


def test_images_in_a_table_are_those_of_an_archive(tmp_path):
    np.savez(tmp_path / "own.npz", images=IMAGES, labels=np.arange(60) % 3)
    expected = Images(dataset=str(tmp_path / "own.npz")).load(say_nothing)
    names = ["label", *(f"pixel{i}" for i in range(36))]
    rows = image_rows()
    plain = written(tmp_path / "own.csv", names, rows)
    packed = tmp_path / "own.csv.zip"
    packed.write_bytes(zipped((tmp_path / "own.csv").read_bytes()))
    last = written(
        tmp_path / "last.csv", ["id", *names[1:], "class"], [("7", *r[1:], r[0]) for r in rows]
    )
    bare = written(tmp_path / "bare.csv", [], rows)
    index = written(tmp_path / "index.csv", ["", *names], [(i, *r) for i, r in enumerate(rows)])
    columns = dict(zip(names, np.array(rows).T, strict=True))
    pq.write_table(pa.table(columns), tmp_path / "own.parquet")
    for path, fields in (
        (plain, {}), (index, {}),
        (packed, {}), (last, {}), (bare, {}), (tmp_path / "own.parquet", {}),
        (last, {"label_column": "class"}), (last, {"label_column": "38", "shape": "6x6"}),
    ):  # fmt: skip
        assert (
            Images(dataset=str(path), **fields).load(say_nothing).fingerprint
            == expected.fingerprint
        )
    heard = []
    Images(dataset=bare).load(heard.append)
    Images(dataset=last).load(heard.append)
    assert [line.split(": ")[1] for line in heard] == [
        "has no line of names, so the label is in its first column", "left out 1 column, id",
    ]  # fmt: skip
    wide = Images(dataset=plain, shape="4x3x3").load(say_nothing)
    assert wide.metadata["shapes"]["images"] == [4, 9]
    assert wide.metadata["channels"] == 3


def test_pictures_in_a_parquet_file_are_those_of_a_folder(tmp_path):
    """As data sets of Hugging Face have them; a damaged one is named with its row."""
    cells = []
    for image in IMAGES:
        Image.fromarray(image).save(out := io.BytesIO(), "PNG")
        cells.append({"bytes": out.getvalue(), "path": "x.png"})
    columns = {"image": cells, "label": np.arange(60) % 3}
    path = tmp_path / "own.parquet"
    pq.write_table(pa.table(columns), path)
    np.savez(tmp_path / "own.npz", images=IMAGES, labels=np.arange(60) % 3)
    found, expected = (
        Images(dataset=str(each)).load(say_nothing) for each in (path, tmp_path / "own.npz")
    )
    assert found.fingerprint == expected.fingerprint
    (reading,) = readings_of(path)
    assert reading.task == Images(dataset=str(path))
    cells[7]["bytes"] = cells[7]["bytes"][:50]
    pq.write_table(pa.table(columns), path)
    with pytest.raises(UserError, match=r"own.parquet, entry 8: not a picture, or a damaged one"):
        Images(dataset=str(path)).load(say_nothing)


@pytest.mark.parametrize(
    ("header", "rows", "fields", "says"),
    [
        (
            ["label", "p0", "p1"],
            [(1, 2, 3)],
            {},
            "2 columns of pixels are not those of a square; give",
        ),
        (["label", "p0"], [(1, 256)], {}, "line 2: 256 in column p0 is not a whole number from 0"),
        (["label", "p0"], [(1, 0.5)], {}, "line 2: 0.5 in column p0 .*; values from 0 to 1 must"),
        (["label", "p0"], [(1, "x")], {}, "line 2: 'x' in column p0 is not a finite number"),
        (["label", "p0"], [("", 1)], {}, "line 2: the label in column label is missing"),
        (["label", "p0"], [(1, 2)], {"shape": "2x2"}, "task.shape: '2x2' is not rows x columns"),
        (["label", "pixels"], [(1, "1 2")], {}, "0 columns of pixels .*have names such as pixel0"),
        (["kind", "p0"], [(1, 2)], {}, r"which column is the label, .*; it has kind, p0"),
        (["kind", "p0"], [(1, 2)], {"label_column": "label"}, "no column 'label'"),
    ],
)
def test_a_wrong_table_of_images_is_one_line(tmp_path, header, rows, fields, says):
    path = written(tmp_path / "own.csv", header, rows)
    with pytest.raises(UserError, match=says) as raised:
        Images(dataset=path, **fields).load(say_nothing)
    assert "\n" not in str(raised.value)


def test_a_series_is_read_from_every_form(tmp_path):
    rows = np.arange(200.0) % 7
    days = np.datetime64("2020-01-01") + np.arange(200)
    text = "\n".join(
        f'{day};"{row:.1f}"'.replace(".", ",") for day, row in zip(days, rows, strict=True)
    )
    (tmp_path / "own.csv").write_text("day;x\n" + text)
    pq.write_table(pa.table({"day": days, "x": rows.astype(np.float32)}), tmp_path / "own.parquet")
    lines = [json.dumps({"x": row, "day": str(day)}) for day, row in zip(days, rows, strict=True)]
    (tmp_path / "own.jsonl").write_text("\n".join(lines))
    found = [
        Forecast(file=str(tmp_path / name), time="day", **fields).load(pytest.fail).fingerprint
        for name, fields in (("own.csv", {"decimal": ","}), ("own.parquet", {}), ("own.jsonl", {}))
    ]
    assert len(set(found)) == 1
    with pytest.raises(UserError, match=r"^task.decimal, task.thousands: '.' cannot be both"):
        Forecast(thousands=".").check()
