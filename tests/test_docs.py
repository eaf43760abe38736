"""What the documents show runs as it stands there."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from lstm_jax import Experiment
from lstm_jax.errors import UserError
from lstm_jax.search import Study
from lstm_jax.tasks.images import Images

pytestmark = pytest.mark.usefixtures("quickly")

ROOT = Path(__file__).parent.parent
SMALL = {"hidden_size": 4, "batch_size": 8, "microbatches": 1}


def blocks(document):
    """The blocks of Python in a document."""
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files of docs/extend.md, in a folder of their own: each block begins with its name."""
    monkeypatch.chdir(tmp_path)
    for block in blocks("docs/extend.md"):
        (tmp_path / block.split("\n")[0].removeprefix("# ")).write_text(block)
    return tmp_path


def losses(files, experiment):
    """Of eight steps, with a model so small that it compiles at once."""
    few_steps = runpy.run_path(str(files / "few_steps.py"))["few_steps"]
    return np.asarray(few_steps(experiment.replaced(SMALL), steps=8))


def test_a_cell_from_a_file_trains(files):
    experiment = Experiment(task=Images(dataset="digits"), cell="ugrnn.py:ugrnn")
    assert np.all(np.isfinite(losses(files, experiment)))


def test_a_task_of_ones_own_trains(files):
    """One value that it does not take is refused as an experiment's is."""
    values = runpy.run_path(str(files / "average.py"))
    assert np.all(np.isfinite(losses(files, values["experiment"])))
    with pytest.raises(UserError, match=r"task\.length: 0 is not between 1 and 1000"):
        values["Average"](length=0)


def test_a_data_set_of_ones_own_trains(files):
    rng = np.random.default_rng(0)
    np.savez("pictures.npz", images=rng.integers(0, 256, (100, 6, 5)).astype(np.uint8),
             labels=rng.integers(0, 10, 100))  # fmt: skip
    experiment = runpy.run_path("pictures.py")["experiment"]
    assert np.all(np.isfinite(losses(files, experiment)))


def test_the_experiment_of_the_readme_can_be_run(tmp_path):
    block = next(block for block in blocks("README.md") if "experiment =" in block)
    (tmp_path / "mine.py").write_text(block)
    values = runpy.run_path(str(tmp_path / "mine.py"))
    assert Study(values["experiment"], values["search"]).num_members == 36


@pytest.mark.parametrize(
    "document", ["README.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_lead_somewhere(document):
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        if not target.endswith(".png"):  # pictures are drawn for a release
            assert (ROOT / document).parent.joinpath(target).exists(), target
