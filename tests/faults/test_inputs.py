"""Three hundred bad inputs: each ends with a message of one line and the right exit code."""

import io
import os
import random
import shutil
import string
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_commands import SMALL, digests

from lstm_jax.cli.main import main
from lstm_jax.config.experiment import Experiment


@pytest.fixture
def call(capsys):
    """call(argv) returns the exit code; it fails if an error is not one line of ours."""

    def call(argv):
        try:
            main([str(word) for word in argv])
            code = 0
        except SystemExit as error:
            code = error.code
        errors = capsys.readouterr().err.splitlines()
        if code:
            assert len(errors) == 1, errors
            assert errors[0].startswith("lstm_jax: "), errors
            assert errors[0].isprintable(), errors
        return code

    return call


PATHS = [path.replace("_", "-") for path in Experiment().values]
WORDS = [
    "",
    "-1",
    "nan",
    "inf",
    "1e999",
    "x",
    "1.5",
    "1_0",
    "0x8",
    "é",
    "\x1b[2J",
    "--",
    "'",
    "none",
]


def bad_command_lines(draw):
    """Yields commands with one mistake each."""
    for path in PATHS:
        yield [
            "run",
            "digits",
            f"--{path}",
            draw.choice(["", "-9", "nan", "x", "\x1b[2J", "1e999"]),
        ]
        yield ["plan", "digits", f"--{path}"]
        yield ["run", "digits", f"--{path[:-1]}x", "1"]
    for word in WORDS:
        yield ["run", word + "?"]
        yield [f"{word}?", "digits"]
        yield ["reproduce", f"no/such{word}"]
        yield ["run", "digits", "--halving", word or "-"]
    yield from (["run", "digits", f"--checkpoint-every={word}"] for word in WORDS)


def test_a_bad_command_line_is_refused(call, tally, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = list(bad_command_lines(random.Random(0)))
    # A word that happens to be valid is refused as well: nothing can be written to this folder.
    bad = {" ".join(argv): call([*argv, "--runs-dir", "/dev/null/x"]) for argv in lines}
    wrong = {line: code for line, code in bad.items() if code not in (2, 3)}
    tally("bad command lines", len(bad), len(bad) - len(wrong))
    assert not wrong


FILES = [
    "", "x = 1", "experiment = 1", "experiment = None", "def", "\x00", "import nothing",
    "raise SystemExit", "raise SystemExit(0)", "raise GeneratorExit", "raise BaseException",
    "import sys; sys.exit('bye')", "1 / 0", "raise ValueError('\\x1b[2J')", "(" * 500,
    "def f(): f()\nf()", "assert False", "raise MemoryError", "raise OSError(2, 'no')",
    "class E(Exception):\n def __str__(self): raise ValueError\nraise E",
    "from lstm_jax import Experiment\nexperiment = Experiment",
    "from lstm_jax import Experiment\nexperiment = Experiment(seed=-1)",
    "from lstm_jax import Experiment\nexperiment = Experiment(seed='a')",
    "from lstm_jax import Experiment\nexperiment = Experiment(seed=[])",
    "from lstm_jax import Experiment\nexperiment = Experiment(seed=[[1]])",
    "from lstm_jax import Experiment\nexperiment = Experiment(seed={1})",
    "from lstm_jax import Experiment\nexperiment = Experiment(seed=float('nan'))",
    "from lstm_jax import Experiment\nexperiment = Experiment(seed=range(10**7))",
    "from lstm_jax import Experiment\nexperiment = Experiment(sed=1)",
    "from lstm_jax import Experiment\nexperiment = Experiment(1)",
    "from lstm_jax import Experiment\nexperiment = Experiment(task='images')",
    "from lstm_jax import Experiment\nexperiment = Experiment(cell=None)",
    "from lstm_jax import Experiment\nexperiment = Experiment(cell='no.py:x')",
    "from lstm_jax import Experiment\nexperiment = Experiment(learning_rate=10**400)",
    "from lstm_jax import Experiment\nexperiment = Experiment()\nsearch = 1",
    "from lstm_jax import Experiment, Images\nexperiment = Experiment(task=Images(dataset=3))",
    "from lstm_jax import Experiment, Images\nexperiment = Experiment(task=Images(reading='x'))",
    "from lstm_jax import *\nexperiment = Experiment()\nsearch = Search(halving=3)",
]  # fmt: skip


def test_a_bad_experiment_file_is_refused(call, tally, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = []
    for text in FILES:
        Path("mine.py").write_text(text)
        if call(["run", "mine.py"]) not in (2, 3):
            wrong.append(text)
    for name, content in (("binary", os.urandom(99)), ("utf16", "x = 1".encode("utf-16"))):
        Path("mine.py").write_bytes(content)
        if call(["run", "mine.py"]) != 2:
            wrong.append(name)
    tally("bad experiment files", len(FILES) + 2, len(FILES) + 2 - len(wrong))
    assert not wrong


NONSENSE = (
    b"", b"{}", b"[]", b"null", b"nan", b"{" * 100_000, b"[" * 100_000, b"\xff\xfe", b"1e999",
    b"\x00" * 100, b'{"a": \x1b[2J}', b'{"name": 1}', b'"' + b"x" * 10_000 + b'"',
)  # fmt: skip


def damages(data, draw):
    yield from NONSENSE
    for _ in range(12):
        i = draw.randrange(len(data))
        yield data[:i]
        yield data[:i] + bytes([data[i] ^ 1 << draw.randrange(8)]) + data[i + 1 :]
    yield data * 2


@pytest.mark.parametrize("name", ["record.json", "metrics.jsonl", "*.json", "*.safetensors"])
def test_a_damaged_file_of_a_run_never_leads_to_other_results(
    call, tally, tmp_path, finished_runs, name
):
    """If there are two checkpoints, the later one is damaged."""
    shutil.copytree(finished_runs, tmp_path / "runs")
    (home,) = (tmp_path / "runs" / "digits").iterdir()
    folder = home if name[0] != "*" else next((home / "checkpoints").iterdir())
    path = max(folder.glob(name))
    whole, wrong = path.read_bytes(), []
    contents = list(damages(whole, random.Random(name)))
    for number, content in enumerate(contents):
        shutil.rmtree(home)
        shutil.copytree(next((finished_runs / "digits").iterdir()), home)
        path.write_bytes(content)
        code = call(["run", "digits", "--runs-dir", tmp_path / "runs", *SMALL])
        if code == 0:  # trained again, or without effect
            same = digests(tmp_path / "runs") == digests(finished_runs)
        if code not in (0, 3) or (code == 0 and not same):
            wrong.append((number, content[:50], code))
    tally(f"damaged {name}", len(contents), len(contents) - len(wrong))
    assert not wrong


def pictures(draw):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (40, 30), np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    data = file.getvalue()
    yield from (
        b"", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"GIF89a", b"BM", b"II*\x00",
        b"<svg/>", b"\xff\xd8\xff", b"RIFF\x00\x00\x00\x00WEBP", b"P5 99999 99999 255\n", b"x",
    )  # fmt: skip
    for _ in range(20):
        yield data[: draw.randrange(len(data) - 12)]
    for kind in ("PNG", "BMP", "PPM", "TIFF"):  # valid images of one colour: nothing is drawn
        file = io.BytesIO()
        Image.new("L", (9, 9), 200).save(file, kind)
        yield file.getvalue()


def test_a_file_that_is_no_picture_of_a_digit_is_refused(call, tally, tmp_path, finished_runs):
    (home,) = (finished_runs / "digits").iterdir()
    found, wrong = list(pictures(random.Random(0))), []
    for number, content in enumerate(found):
        path = tmp_path / f"{number}.png"
        path.write_bytes(content)
        if call(["predict", home, path]) != 2:
            wrong.append((number, content[:50]))
    (tmp_path / "none").mkdir()
    letters = string.ascii_letters + "\x1b"
    for name in ("absent.png", "x" * 300, "", letters, str(tmp_path / "none")):
        if call(["predict", home, name]) != 2:
            wrong.append(name)
    tally("no pictures", len(found) + 5, len(found) + 5 - len(wrong))
    assert not wrong
