"""What users and their surroundings get wrong: one line that says what to do, the right code."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import EpsImagePlugin
from rich.console import Console
from trained_runs import made_up_record

from lstm_jax import Experiment, Images
from lstm_jax.cli.commands import Run
from lstm_jax.cli.main import main
from lstm_jax.cli.parse import parse
from lstm_jax.config.experiment_files import load_study
from lstm_jax.config.search import Study
from lstm_jax.data.dataset import say_nothing
from lstm_jax.errors import UserError
from lstm_jax.predict import pictures
from lstm_jax.predict.pictures import read_picture
from lstm_jax.runs import checkpoints, directory, record
from lstm_jax.runs.loggers.console import ProgressBar
from lstm_jax.runs.results import Segment
from lstm_jax.train.placement import build_programs, place_on_devices

ROOT = Path(__file__).parent.parent


@pytest.fixture
def complaint(capsys, monkeypatch):
    """complaint(argv): the exit code and the one line on stderr."""
    monkeypatch.chdir(ROOT)

    def call(argv):
        with pytest.raises(SystemExit) as left:
            main(argv)
        (line,) = capsys.readouterr().err.splitlines()
        return left.value.code, line

    return call


ANOTHER_NAME = """
    lr:learning-rate epochs:total-epochs steps:total-steps train-examples:total-examples
    looks:num-evals keep:restore-best segment-steps:checkpoint-every part:shard num_layers:layers
    units:hidden-size hidden-dim:hidden-size bs:batch-size
    grad-clip:clip-norm wd:optimizer.weight-decay
    optim:optimizer scheduler:schedule warmup:schedule.warmup-steps model:cell device:platform
    output-dir:runs-dir dataset:task.dataset reading:task.reading shift:task.shift
    weight-decay:optimizer.weight-decay momentum:optimizer.momentum
    warmup-steps:schedule.warmup-steps data:task.dataset chunks:microbatches
    hidden_size=64:hidden-size learnig-rate:learning-rate
"""
MISTAKES = {f"run digits --{name} 3": f"Did you mean --{option}?"
            for name, option in (pair.split(":") for pair in ANOTHER_NAME.split())} | {
    "predict tests x.png --rows": "Did you mean --show-each-time-step?",
    "run digits --frobnicate": "no option --frobnicate.",
    "run digits --no\nsuch 1": "no option --no such",
    "reproduce tests --epochs 3": "no option --epochs.",
    "plan digits --checkpoint-every 3": "no option --checkpoint-every",
    "run digits --layers two": "layers: expected a whole number, got 'two'",
    "run digits --layers 65": "layers: 65 is not between 1 and 64",
    "run digits --layers 1 1": "1 is there twice",
    "run digits --cell transformer": "There are lstm, gru",
    "run digits --cell mine.py": "path/to/file.py:attribute",
    "run digits --optimizer adm": "Did you mean adam",
    "run digits --optimizer ADAM": "Did you mean adam",
    "run digits --seed 0,1": "got '0,1'; separate several values by spaces",
    "run digits --seed ": "seed: expected a whole number, got ''",
    "run digits --seed 0 --seed 1": "--seed is there twice",
    "run digits --hidden-size": "expected at least one argument",
    "run digits --schedule lin": "is not one of constant, cosine",
    "run digits --kernel-init glorot": "is not one of notebook, orthogonal",
    "run digits --backend cuda": "is not one of scan, associative, cudnn",
    "run digits --backend associative": "runs cells that are linear in their state",
    "run digits --task.reading diagonal": "is not one of rows, columns",
    "run digits --platform cuda": "is not one of auto, cpu, gpu, tpu",
    "run digits --platform cpu gpu": "'gpu' belongs to no option",
    "run digits --checkpoint-every 1.5": "checkpoint_every: expected a whole number, got 1.5",
    "run digits --checkpoint-every=--": "--checkpoint-every",
    "run digits --checkpoint-every inf": "expected a whole number",
    "run digits --checkpoint-every 3000000000": "3000000000 is not between 1 and 1000000",
    "run digits --max-minutes soon": "max_minutes: expected a number, got 'soon'",
    "run digits --max-minutes 0": "max_minutes: 0.0 is not at least",
    "run digits --max-minutes nan": "max_minutes: nan is not at least",
    "run digits --total-examples 1e1000": "expected a whole number",
    "run digits --total-examples 1e3.5": "expected a whole number, got '1e3.5'",
    "run digits --batch-size 1.5e0": "expected a whole number, got 1.5",
    "run digits --clip-norm off": "expected a number, got 'off'",
    "run digits --learning-rate none": "expected a number, got 'none'",
    "run digits --learning-rate=-1": "learning_rate: -1.0 is not between",
    "run digits --learning-rate -1": "learning_rate: -1.0 is not between",
    "run digits --learning-rate nan": "learning_rate: nan is not between",
    "run digits --optimizer.weight-decay 0.1": "adam has no such field; adamw, sgd",
    "run digits --optimizer adam sgd --schedule.decay-steps 3": "warmup_stable_decay has it",
    "run digits --search bayes": "is not one of grid, random, tpe",
    "run digits --search random grid": "grid",
    "run digits --trials 5": "a grid has none",
    "run digits --shard 9/8": "9/8 is not one of the shards 1/8 to 8/8",
    "run digits --shard /3": "none is set",
    "run digits --shard 1/9": "9 shards are more than the study has",
    "run digits --runs-dir=": "expected a path, got ''",
    "run digits --runs-dir": "expected one argument",
    "run --seed 1 2 --platform cpu digits --lr 1": "Did you mean --learning-rate?",
    "run --layers two digits": "layers: expected a whole number, got 'two'",
    "help": "Did you mean --help",
    "--versio": "Did you mean --version",
    "rnu baseline": "Did you mean run",
    "digits": "no command 'digits'",
    "run": "which experiment? There are baseline",
    "run basline": "Did you mean baseline",
    "run zzz": "There are baseline",
    "run digits baseline": "'baseline' belongs to no option",
    "run ../x": "does not exist",
    f"run {'a' * 300}.py": "does not exist",
    "run /etc/passwd": "no Python file",
    "clean nowhere": "no runs of nowhere lie in runs",
    "predict tests": "give at least one input",
    "predict nowhere x.png": "nowhere",
    "export nowhere": "nowhere",
    "report nowhere": "nowhere",
    "reproduce": "which run directory?",
    "reproduce no/such": "is not a directory",
    "reproduce tests --steps 0": "steps: 0 is not at least 1",
}  # fmt: skip


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_do(complaint, line):
    code, message = complaint(line.split(" "))
    assert (code, MISTAKES[line] in message) == (2, True), message


@pytest.mark.parametrize(
    "line",
    [
        "digits --seed 1 2 --report --platform cpu --hidden-size 1e1",
        "--seed 1 2 digits --report --platform cpu --hidden-size 1e1",
        "--seed 1 2 --report digits --platform cpu --hidden-size 1e1",
        "--hidden-size 10 --report --platform cpu --seed 1 2 digits",
    ],
)
def test_the_name_may_stand_after_options(line):
    shipped = load_study("digits").experiment
    expected = shipped.replace({"seed": (1, 2), "hidden_size": 10})
    assert parse(["run", *line.split()]) == Run("cpu", "digits", Study(expected), report=True)


def test_a_value_is_not_taken_for_the_name():
    argv = ["run", "--cell", "gru", "lstm", "digits", "--task.dataset", "digits", "mnist"]
    experiment = parse([*argv, "--checkpoint-every", "1e3"]).study.experiment
    assert experiment.values_of("cell") == ("gru", "lstm")
    assert experiment.values_of("task.dataset") == ("digits", "mnist")


def test_the_version(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("lstm_jax 0.")


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (FloatingPointError("Invalid value (nan)\nsee jit"), "unset JAX_DEBUG_NANS"),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "fewer members"),
        (MemoryError(), "not enough memory"),
        (OSError(28, "No space left on device"), "No space left"),
    ],
)
def test_what_jax_and_the_system_say_is_one_line_and_code_3(complaint, monkeypatch, raised, says):
    def run(*_):
        raise raised

    monkeypatch.setattr(Run, "run", run)
    code, line = complaint(["run", "digits"])
    assert (code, says in line) == (3, True), line


def test_a_user_without_a_home_is_told(complaint, monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    assert complaint(["run", "digits"]) == (
        3, "lstm_jax: this user has no home directory; set HOME to a folder",
    )  # fmt: skip


def test_a_screen_that_knows_ascii_alone(monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    with pytest.raises(SystemExit):
        main(["--version"])
    print("0.9612 ± 0.0021", flush=True)
    assert screen.buffer.getvalue().endswith(b"0.9612 \\xb1 0.0021\n")


def test_a_file_that_is_no_experiment_and_may_raise_anything(tmp_path, complaint, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text, says in {
        "x = 1": "defines no `experiment",
        "import nothing_of_the_kind": "ModuleNotFoundError",
        "from lstm_jax import Experiment\nexperiment = Experiment(seed=-1)": "seed: -1",
        "def": "SyntaxError",
        "raise SystemExit(0)": "SystemExit",
        "raise ValueError('a\\nb')": "a b",
        "raise BaseException('a\\nb')": "mine.py: BaseException",
        "raise GeneratorExit": "mine.py: GeneratorExit",
        "class E(Exception):\n def __str__(self): 1 / 0\nraise E": "mine.py: E",
    }.items():
        Path("mine.py").write_text(text)
        code, line = complaint(["run", "mine.py"])
        assert (code, says in line) == (2, True), line


def test_an_archive_on_stdin_is_refused(monkeypatch):
    file = io.BytesIO()
    np.savez(file, x=np.zeros((2, 8, 8), np.uint8), y=np.zeros(2))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.getvalue())))
    with pytest.raises(UserError, match=r"archive of arrays \(x, y\); write one with numpy.save"):
        pictures.read_stdin()


def test_only_named_formats_are_pictures(tmp_path, monkeypatch):
    """Pillow would have Ghostscript, a program that runs programs, read this one."""
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", pytest.fail)
    path = tmp_path / "seven.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(UserError, match="of none of the formats PNG, JPEG"):
        read_picture(str(path), (8, 8))


def test_a_name_is_no_program_for_makes_shell(tmp_path):
    """The venv's Python is one here that prints what it is told to run."""
    for file in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / file, tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/bash\nprintf "[%s]" "$@"\n')
    python.chmod(0o755)
    (tmp_path / ".venv" / ".installed").touch()
    # These tests run under `make` themselves, which tells a make below it so.
    bare = {k: v for k, v in os.environ.items() if k not in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS")}
    for name in ("`touch bad`", "$(touch bad)", "$(shell touch bad)", '"; touch bad; "', "a b"):
        argv = ["make", "experiment", f"NAME={name}", "ARGS=--cell 'own cell.py:x'"]
        done = subprocess.run(
            argv, cwd=tmp_path, capture_output=True, text=True, check=True, env=bare
        )
        words = ["-m", "lstm_jax", "run", name, "--fallback", "--cell", "own cell.py:x"]
        assert done.stdout == "".join(f"[{word}]" for word in words)
    assert "bad" not in os.listdir(tmp_path)


def test_whether_a_report_is_of_this_record_is_no_matter_of_clocks(tmp_path):
    (tmp_path / "report").mkdir()
    path = tmp_path / "record.json"
    path.write_text("one")
    assert not record.is_reported(tmp_path)
    (tmp_path / "report" / "index.html").write_text("")
    (tmp_path / "report" / record.RECORD_CHECKSUM).write_text(record.record_checksum(tmp_path))
    os.utime(path, (2e9, 2e9))
    assert record.is_reported(tmp_path)
    path.write_text("another")
    os.utime(path, (1, 1))
    assert not record.is_reported(tmp_path)


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_fits_80_columns_and_counts_to_the_total(terminal):
    """Also where the work was less than was thought, as after a halving."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=80, color_system=None)
    study = Study(Experiment(cell=("lstm_peephole", "gru"), seed=(0, 1)))
    results = list(made_up_record(study.experiment).results.values())
    begun = record.Record("made up", study)
    bar = ProgressBar(console)
    bar.begin(begun, Path())
    for result in results[1:]:
        for start, stop, scores in ((0, 600, None), (600, 700, [{"accuracy": 0.9625}])):
            columns = {
                name: np.full((1, stop - start), value)
                for name, value in (("loss", 2.302585), ("accuracy", 0.9875))
            }
            segment = Segment((result.member,), start, stop, columns, scores, 1.0)
            if scores:
                bar.evaluation(segment)
            bar.metrics(segment)
        begun.results[result.member.digest] = result
        bar.finish([result])
    begun.results[results[0].member.digest] = results[0]
    bar.close()
    text = screen.getvalue().replace("\x1b[2K", "\n").replace("\x1b[1A", "")
    lines = text.replace("\x1b[?25l", "").replace("\x1b[?25h", "").split("\n")
    if terminal:
        assert max(map(len, lines)) <= 80
        assert "100 %" in lines[-3]
        assert "step 700/782  loss 2.303  accuracy 0.988" in lines[-3]
        assert "validation 0.963 at step 600  4 of 4 members done  cell gru" in lines[-2]
    else:
        assert lines[0].startswith("cell lstm_peephole  step 600/782")
        assert "validation" not in lines[2]
        assert lines[3].endswith("validation 0.963 at step 600  1 of 4 members done")
        assert lines[-2] == "4 of 4 members done"


def test_plan_knows_a_half_trained_member(tmp_path, capsys):
    member = Experiment(task=Images(dataset="digits"), hidden_size=8, total_examples=16_000)
    home = directory.run_directory(tmp_path, "digits", Study(member))
    home.mkdir(parents=True)
    saved = checkpoints.Saved(20, {"x": np.zeros((1, 3))}, "", [1.0])
    checkpoints.save(home, (member.digest,), saved)
    argv = ["plan", "digits", "--hidden-size", "8", "--total-examples", "16000"]
    main([*argv, "--runs-dir", str(tmp_path)])
    out = capsys.readouterr().out
    assert "1 member, 1 to train" in out
    assert "1 of them go on from step 20, where they were saved" in out


def test_a_healthy_run_holds_no_number_that_is_none():
    """Not even where nothing was computed yet, so that JAX_DEBUG_NANS finds none."""
    member = Experiment(
        task=Images(dataset="digits"),
        hidden_size=3,
        batch_size=8,
        microbatches=2,
        total_examples=32,
    )
    (placement,) = place_on_devices([member])
    programs = build_programs(placement, member.task.load(say_nothing), 4)
    state, metrics = programs.segment(programs.init(), 0, 1)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, metrics)))
