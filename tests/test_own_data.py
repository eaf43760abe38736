"""`new --data` understands every form of a user's data, and docs/own-data.md shows what it says."""

import re
from pathlib import Path

import numpy as np
import pytest
from own_files import shapes, write_own_files

from lstm_jax.cli.main import main
from lstm_jax.config.data_files import readings_of, source_of
from lstm_jax.config.experiment_files import load_study
from lstm_jax.data.dataset import say_nothing
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.tasks.text import Text

PAGE = (Path(__file__).parent.parent / "docs" / "own-data.md").read_text()
SECTIONS = [part for part in PAGE.split("\n## ") if "lstm-jax new" in part.partition("\n```")[2]]


@pytest.fixture(scope="module")
def own_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    write_own_files(folder)
    return folder


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition("\n")[0])
def test_every_block_of_the_page_says_what_comes(section, own_files, monkeypatch, capsys):
    monkeypatch.chdir(own_files)
    beginning, commands, output = re.findall(r"```\w+\n(.*?)```", section, re.DOTALL)
    path = Path(re.search(r"--data (\S+)", commands)[1])
    if path.suffix == ".npz":
        labels, images = shapes()
        exec(beginning, {"numpy": np, "images": images, "labels": labels})
    elif path.is_dir():
        assert all(Path(line).is_file() for line in beginning.splitlines())
    else:
        assert path.read_text().startswith(beginning)
    for line in commands.splitlines():
        main(line.split()[1:])
    name = commands.split()[-1]
    said = capsys.readouterr()
    text = said.out + said.err + Path("experiments", f"{name}.py").read_text()
    lines = {" ".join(line.split()) for line in text.splitlines()}
    assert set(output.splitlines()) <= lines
    study = load_study(name)
    assert study.num_members == 3
    task = study.experiment.task
    assert eval(source_of(task), {type(task).__name__: type(task)}) == task


@pytest.mark.parametrize(
    ("name", "content", "source"),
    [
        ("a.csv", "day,id,shop,sold\n" + "".join(
            f"2024-01-{1 + i // 2:02},{i},{'AB'[i % 2]},{i % 7}\n" for i in range(60)
        ), 'Forecast(file="a.csv", target="sold", time="day", series="shop")'),
        ("a.csv", "x,y\n1,2\n3,\n4,1\n",
         'Forecast(file="a.csv", target="y", columns="x,y", missing="drop")'),
        ("a.csv", 'n,y\n"1,234.5",2\n"12",2\n"17",4\n',
         'Forecast(file="a.csv", target="y", columns="n,y", thousands=",")'),
        ("a.tsv", "day\tv\n2024-01-01\t1\n2024-01-02\t2,5\n2024-01-03\t2\n",
         'Forecast(file="a.tsv", target="v", time="day", decimal=",")'),
        ("a.csv", "t,set,y\n2024-01-01,train,1\n2024-01-02,train,2\n2024-01-03,test,2\n",
         'Forecast(file="a.csv", target="y", split="set", time="t")'),
        ("a.jsonl", '{"translation": {"de": "ja", "en": "yes"}}\n',
         'Translation(\n    dataset="a.jsonl",\n    source_column="translation.de",\n'
         '    target_column="translation.en",\n)'),
        ("a", "1\ta film like that\n0\tan old film, too\n" * 3,
         'Text(dataset="./a", label_column="1", text_column="2", pooling="mean")'),
        ("a.csv", "v1,v2,\n" + "ham,so it is,\nspam,come and buy,\n" * 3,
         'Text(dataset="a.csv", label_column="v1", text_column="v2", pooling="mean")'),
        ("a.csv", "x,y,\n1,2,\n3,2,\n", 'Forecast(file="a.csv", target="y", columns="x,y")'),
        ("a.csv", "x\n1\n2\n", 'Forecast(file="a.csv")'),
        ("a.md", "# Words, and more\n\nwords, words, words\n", 'Language(dataset="a.md")'),
        ("pixels.csv", "".join(f"{i},{','.join(['7'] * 48)}\n" for i in range(3)),
         'Images(dataset="pixels.csv", shape="4x4x3")'),
    ],
)  # fmt: skip
def test_a_file_is_understood(name, content, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(content)
    assert source_of(readings_of(Path(name))[0].task) == source


def test_other_readings_stand_beside_the_first(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"a title of {i},and a long body {i},{'xyz'[i % 3]}" for i in range(30)]
    Path("posts.csv").write_text("\n".join(["head,words,kind", *rows]))
    found = [source_of(reading.task) for reading in readings_of(Path("posts.csv"))]
    assert [source.split("(")[0] for source in found] == ["Translation", "Text"]
    main(["new", "posts", "--data", "posts.csv"])
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("posts.csv: Column head is translated into column words")
    assert shown[1] == "Or: Column kind is the label, column head the text: it has 3 labels."
    text = Path("experiments/posts.py").read_text()
    assert "# Or: Column kind is the label, column head the text: it has 3 labels." in text
    assert '#     task=Text(\n#         dataset="posts.csv",' in text
    Path("rooms.csv").write_text("a,b,c\n1,2,7\n3,2,5\n")
    by_position, other = readings_of(Path("rooms.csv"))
    assert (by_position.task.target, other.task.target) == ("c", "a")
    assert by_position.understood.startswith("Column c, the last one of numbers, is forecast from")
    assert other.understood == "Column a is forecast; target may also be b."
    office = Path("office.csv")
    office.write_bytes(b"text;label\n" + "schön;gut\nübel;schlecht\n".encode("cp1252"))
    (reading,) = readings_of(office)
    assert (reading.task.encoding, reading.task.label_column) == ("cp1252", "label")
    assert reading.understood.endswith("It is not UTF-8, and read as cp1252.")


def test_what_no_task_reads_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("words.csv").write_text("a,b\nx,y\nz,u\n")
    Path("head.csv").write_text("a,b\n")
    Path("iris.csv").write_text("3,2,red,blue\n5.1,3.5,0,1\n4.9,3.0,1,0\n")
    Path("empty.csv").write_text("\n")
    Path("empty").mkdir()
    Path("picture.txt").write_bytes(b"\x89PNG\r\n")
    np.savez("scalar.npz", x=1)
    for name, says in (
        ("words.csv", "no task reads it as it is"), ("head.csv", "no task reads it"),
        ("iris.csv", r"row 1 \(3, 2, red, blue\) does not name the columns"),
        ("empty.csv", "the file is empty"), ("empty", "no task reads it"),
        ("scalar.npz", "no task reads it"), ("picture.txt", "is a picture"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=says):
            readings_of(Path(name))
    with pytest.raises(EnvironmentProblem, match=r"absent\.csv cannot be read"):
        readings_of(Path("absent.csv"))
    with pytest.raises(SystemExit) as left:
        main(["new", "mine", "--data", "words.csv"])
    assert left.value.code == 2
    assert not Path("experiments").exists()


def test_a_reading_loads_what_it_says(own_files, monkeypatch):
    monkeypatch.chdir(own_files)
    first, *others = readings_of(Path("reviews"))
    assert isinstance(first.task, Text)
    for reading in (first, *others):
        assert reading.task.load(say_nothing).num_examples
