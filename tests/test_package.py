"""What is in the wheel, and what an installation without the extra `experiments` can do."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import lstm_jax
from lstm_jax.errors import EXPERIMENTS_PACKAGES, EnvironmentProblem, explain_missing_packages
from lstm_jax.runs import provenance

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel's content, as pip would put it there."""
    folder = tmp_path_factory.mktemp("wheel")
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site")
    return folder / "site"


def python(program, site, home):
    """What a program says that finds lstm_jax in this folder alone, started in an empty one."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=home, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": str(site)},
    )  # fmt: skip
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def test_all_files_of_the_package_and_the_experiments_are_in_the_wheel(installed):
    here = {path.relative_to(ROOT) for path in (ROOT / "lstm_jax").rglob("*")}
    here = {path for path in here if path.suffix in (".py", ".html", ".typed")}
    here |= {Path("lstm_jax/experiments") / p.name for p in (ROOT / "experiments").glob("*.*")}
    there = {path.relative_to(installed) for path in (installed / "lstm_jax").rglob("*.*")}
    assert there == here
    (metadata,) = installed.glob("*.dist-info/METADATA")
    assert f"Version: {lstm_jax.__version__}" in metadata.read_text()


def test_experiments_are_found_in_an_empty_folder(installed, tmp_path):
    program = (
        "from lstm_jax.cli.parse import parse\n"
        "from lstm_jax.config.experiment_files import experiment_folders\n"
        "study = parse(['run', 'digits', '--seed', '3']).study\n"
        "print(study.experiment, experiment_folders()[1])"
    )
    code, (line,), err = python(program, installed, tmp_path)
    assert (code, err) == (0, [])
    assert "seed=3" in line
    assert "task.dataset='digits'" in line
    assert line.endswith(str(installed / "lstm_jax" / "experiments"))


def test_a_layer_needs_jax_and_flax_alone_and_a_command_says_what_else_is_to_be_installed(
    installed, tmp_path
):
    program = (
        "import sys\n"
        f"for name in {list(EXPERIMENTS_PACKAGES)}: sys.modules[name] = None\n"
        "import lstm_jax\n"
        "assert not {'jax', 'numpy'} & set(sys.modules)\n"
        "from lstm_jax import GRU, LSTM, RNN, Experiment, lstm\n"
        "print([x.__name__ for x in (GRU, LSTM, RNN, lstm)])\n"
        "from lstm_jax.cli.main import main\n"
        "main(['run', 'digits'])\n"
    )
    code, out, err = python(program, installed, tmp_path)
    assert (code, out) == (3, ["['GRU', 'LSTM', 'RNN', 'lstm']"])
    assert len(err) == 1
    assert "needs jinja2: pip install 'lstm_jax[experiments]'" in err[0]
    assert not list(tmp_path.iterdir())


def test_the_extra_is_what_is_said_to_be_missing():
    extra = PROJECT["optional-dependencies"]["experiments"]
    assert {name.split(">")[0] for name in extra} == set(EXPERIMENTS_PACKAGES.values())
    base = {name.split(">")[0] for name in PROJECT["dependencies"]}
    assert base == {"jax", "flax", "optax", "scipy", "rich"}
    for module, package in EXPERIMENTS_PACKAGES.items():
        with pytest.raises(EnvironmentProblem, match=package), explain_missing_packages():
            raise ModuleNotFoundError(name=f"{module}.inner")
    with pytest.raises(EnvironmentProblem, match="flatbuffers"), explain_missing_packages():
        raise ImportError("install it") from ModuleNotFoundError(name="flatbuffers")  # as JAX does
    with pytest.raises(ModuleNotFoundError), explain_missing_packages():
        raise ModuleNotFoundError(name="something_of_the_users")


def test_every_name_at_the_top_is_there_and_an_unknown_one_is_an_attribute_error():
    for name in lstm_jax.__all__:
        assert getattr(lstm_jax, name).__name__ == name
    assert set(lstm_jax.__all__) <= set(dir(lstm_jax))
    with pytest.raises(AttributeError, match="has no attribute 'lstn'"):
        lstm_jax.lstn  # noqa: B018
    assert sorted(n for names in lstm_jax._MODULES.values() for n in names) == sorted(
        lstm_jax.__all__
    )


def test_the_commit_of_a_checkout_that_an_installation_happens_to_lie_in_is_not_ours(monkeypatch):
    """As `.venv` lies in a project of the user's: git knows a commit there, and not this file."""
    monkeypatch.setattr(provenance, "_git", lambda *a: None if a[0] == "ls-files" else "abc")
    session = provenance.session_provenance()
    assert (session["commit"], session["dirty"]) == (None, None)
    monkeypatch.setattr(provenance, "_git", lambda *a: "abc")
    assert provenance.session_provenance()["commit"] == "abc"


def test_the_version_is_said_once():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {lstm_jax.__version__}\n" in citation
    assert "version" not in PROJECT
