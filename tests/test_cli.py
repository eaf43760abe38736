"""Mistakes are answered at once: one line, the exit code of the design, before JAX starts."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lstm_jax import Experiment, Images
from lstm_jax.cli.command import Command
from lstm_jax.cli.commands import COMMANDS
from lstm_jax.cli.main import main
from lstm_jax.cli.parse import ALIASES, parse
from lstm_jax.config.experiment_files import load_study
from lstm_jax.config.experiment_values import all_field_specs
from lstm_jax.config.search import Search
from lstm_jax.errors import UserError
from lstm_jax.fields import field_specs
from lstm_jax.runs.progress import text_table

ROOT = Path(__file__).parent.parent


def test_overrides_are_laid_over_the_experiments_own_values():
    argv = ["run", "digits", "--hidden-size", "8", "16", "--learning-rate", "3e-3"]
    parsed = parse(argv)
    shipped = load_study("digits")
    assert parsed.study.experiment == Experiment(
        task=Images(dataset="digits"),
        hidden_size=(8, 16),
        learning_rate=3e-3,
        total_examples=shipped.experiment.total_examples,
    )


def test_every_field_of_experiment_task_and_search_has_an_option():
    argv = ["run", "digits", "--task.shift", "0", "1", "--clip-norm", "none", "1"]
    argv += ["--cell", "gru", "lstm", "--total-examples", "1e4", "--search", "random"]
    study = parse([*argv, "--trials", "3", "--optimizer.b1", "0.5"]).study
    assert study.experiment.values_of("task.shift") == (0, 1)
    assert study.experiment.values_of("clip_norm") == (None, 1.0)
    assert study.experiment.total_examples == 10_000
    assert (study.search.method, study.search.trials) == ("random", 3)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("predict RUN --json FILE", {"run_dir": "RUN", "inputs": ("FILE",), "json": True}),
        ("predict --json RUN FILE", {"run_dir": "RUN", "inputs": ("FILE",), "json": True}),
        ("predict RUN a.png --json b.png", {"inputs": ("a.png", "b.png"), "json": True}),
        ("predict RUN - --length 9 -1", {"inputs": ("-", "-1"), "length": 9}),
        ("predict RUN --beam=3 x --seed 1e3", {"inputs": ("x",), "beam": 3, "seed": 1000}),
        ("predict RUN --no-json -- --json -x.png", {"inputs": ("--json", "-x.png"), "json": False}),
        ("predict --last f.csv RUN", {"run_dir": "RUN", "inputs": (), "last": Path("f.csv")}),
        ("compare A --runs-dir R B", {"runs": ("A", "B"), "runs_dir": Path("R")}),
        ("reproduce --steps 3 RUN", {"run_dir": "RUN", "steps": 3}),
        ("clean --yes digits", {"name": "digits", "yes": True}),
        ("list", {"name": None}),
    ],
)
def test_inputs_and_options_may_stand_in_any_order(line, values):
    command = parse(line.split())
    assert {name: getattr(command, name) for name in values} == values


def test_a_sentence_that_begins_with_a_dash_is_an_input():
    sentence = "--show-each-time-step is an option"
    command = parse(["predict", "RUN", "--show-each-time-step", sentence, "- so what"])
    assert (command.show_each_time_step, command.inputs) == (True, (sentence, "- so what"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("predict RUN --jsn x.png", "no option --jsn. Did you mean --json"),
        ("predict RUN -x x.png", "'-x' belongs to no option"),
        ("predict RUN x.png --beam", "argument --beam: expected one argument"),
        ("predict RUN x.png --beam -- 3", "argument --beam: expected one argument"),
        ("predict RUN x.png --beam 0", "beam: 0 is not between 1 and 1000"),
        ("reproduce RUN more", "'more' belongs to no option"),
        ("experiments more", "'more' belongs to no option"),
        ("compare --runs-dir R", "required: runs"),
        ("run digits -- --seed 3", "--seed stands behind `--`"),
    ],
)
def test_a_word_that_fits_nowhere_is_refused(line, says):
    with pytest.raises(UserError) as refused:
        parse(line.split())
    assert says in str(refused.value)


def test_every_alias_stands_for_an_option():
    chosen = Experiment(optimizer="adamw")  # it has all fields that have an alias
    options = {path.replace("_", "-") for path in all_field_specs(chosen)}
    for command in COMMANDS.values():
        options |= {field.name.replace("_", "-") for field in dataclasses.fields(command)}
    options |= {field.replace("_", "-") for field in field_specs(Search)}
    assert set(ALIASES.values()) <= options
    # `reproduce` and `new` have options of these names.
    assert not set(ALIASES) & (options - {"steps", "data"})


def test_help_shows_the_range_or_the_choices_of_every_field_and_its_value(capsys):
    with pytest.raises(SystemExit):
        parse(["run", "digits", "--hidden-size", "7", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for shown in (
        "units H of each layer (from 1 to 8192; here: ",
        "(one of adam, adamw, sgd, rmsprop, lion, lamb, adafactor, muon; here: adam)",
        "or none; here: none)",
        "(true or false; here: false)",
        "(one of rows, columns, pixels, permuted; here: rows)",
        "(one of grid, random, tpe; here: grid)",
        "(from 1 to 1000000; default: 100)",
        "(one of auto, cpu, gpu, tpu; default: auto)",
        "--note TEXT",
    ):
        assert shown in text, shown


def test_an_unknown_name_in_a_strange_form_never_runs_anything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ["a b", "a;b", "..", ".", "a/../../b.py", "x" * 300]:
        with pytest.raises(UserError):
            load_study(name)


def python(*argv, **environment):
    return subprocess.run(
        [sys.executable, *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
    )


HELP = """
from lstm_jax.cli.main import main
try: main(["run", "--help"])
except SystemExit as left: assert left.code == 0
"""


@pytest.mark.parametrize(
    ("program", "heavy"),
    [
        (HELP, ("jax", "tensorflow", "tensorflow_datasets")),
        ("import lstm_jax.cells", ("jax",)),
        ("import lstm_jax.data", ("tensorflow", "tensorflow_datasets", "sklearn")),
        ("import lstm_jax.runs.plan, lstm_jax.report.page", ("tensorflow", "tensorflow_datasets")),
        (
            "import lstm_jax.runs.directory, lstm_jax.runs.provenance",
            ("jax", "flax", "safetensors", "numpy"),
        ),
    ],
)
def test_a_module_imports_no_heavy_library_that_it_does_not_need(program, heavy):
    done = python("-c", f"import sys\n{program}\nprint(set({heavy}) & set(sys.modules))")
    assert (done.stdout.splitlines()[-1:], done.stderr) == (["set()"], "")
    assert ("--hidden-size" in done.stdout) == (program == HELP)


def test_a_list_that_nobody_reads_to_its_end_ends_without_a_word():
    with subprocess.Popen(
        [sys.executable, "-m", "lstm_jax", "experiments"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_an_absent_platform_is_refused(tmp_path, platform):
    argv = ("digits", "--platform", platform, "--runs-dir", str(tmp_path))
    done = python("-m", "lstm_jax", "run", *argv)
    if platform == "gpu" and done.returncode == 0:
        pytest.skip("this machine has a GPU")
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1), done.stderr
    assert platform in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("columns", "lines"), [(None, 1), ("40", 3)])
def test_a_table_that_is_not_on_a_terminal_has_its_own_width_or_that_of_columns(
    columns, lines, monkeypatch, capsys
):
    class Show(Command):
        def run(self, console):
            console.print(text_table(["file"], [["long/" * 20]]))

    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("lstm_jax.cli.main.parse", lambda words: Show())
    main([])
    assert sum("long" in line for line in capsys.readouterr().out.splitlines()) == lines
