"""What the documents show runs as it stands there."""

import io
import pickle
import re
import runpy
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest
from fast_compile import fast_jit
from flax import nnx
from rich.console import Console

from lstm_jax import Experiment
from lstm_jax.config.search import Study
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.runs.datasets import load_data
from lstm_jax.runs.record import Record, read_record
from lstm_jax.tasks.images import Images

pytestmark = pytest.mark.usefixtures("fast_compile")

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


@pytest.fixture
def other_peoples_code():
    """Frameworks add a bias of one axis to arrays of two."""
    with jax.numpy_rank_promotion("allow"):
        yield


def losses(files, experiment):
    """Of eight steps, with a model so small that it compiles at once."""
    few_steps = runpy.run_path(str(files / "few_steps.py"))["few_steps"]
    return np.asarray(few_steps(experiment.replace(SMALL), steps=8))


def test_a_cell_from_a_file_trains(files):
    experiment = Experiment(task=Images(dataset="digits"), cell="ugrnn.py:ugrnn")
    assert np.all(np.isfinite(losses(files, experiment)))


def test_a_task_of_ones_own_trains(files):
    """One value that it does not take is refused as an experiment's is."""
    values = runpy.run_path(str(files / "average.py"))
    assert np.all(np.isfinite(losses(files, values["experiment"])))
    with pytest.raises(UserError, match=r"task\.length: 0 is not between 1 and 1000"):
        values["Average"](length=0)


def test_a_task_of_ones_own_is_found_again_by_its_file(files, monkeypatch):
    """By a record, and by another process of one program."""
    experiment = runpy.run_path("average.py")["experiment"]
    values = experiment.to_values()
    assert values["task"] == "average.py:Average"
    for again in (Experiment.from_values(values), pickle.loads(pickle.dumps(experiment))):
        assert again == experiment
    (files / "moved.py").write_text((files / "average.py").read_text())
    moved = Experiment.from_values(values | {"task": "moved.py:Average"})
    assert (moved.digest, moved.differences(experiment)) == (experiment.digest, "")
    Record("average", Study(moved)).write(files)
    monkeypatch.setattr("lstm_jax.tasks._kinds_of", lambda task: ())  # as in a new process
    assert read_record(files).study.experiment.digest == experiment.digest
    (files / "moved.py").unlink()
    with pytest.raises(EnvironmentProblem, match=r"'moved\.py:Average': no such file") as error:
        read_record(files)
    assert "damaged" not in str(error.value)


GIVEN = {"images": np.zeros((100, 6, 6), np.uint8), "labels": np.arange(100, dtype=np.int32) % 2}


@pytest.mark.parametrize(
    ("drawn", "says"),
    [
        (lambda task, count: GIVEN | {"labels": GIVEN["labels"] * 5}, "0 to 1"),
        (lambda task, count: GIVEN | {"images": np.zeros((100, 6, 6))}, "uint8"),
        (lambda task, count: {"labels": GIVEN["labels"]}, "needs arrays images and labels"),
        (lambda task, count: {"images": GIVEN["pictures"]}, "its load: KeyError: .*pictures"),
    ],
)
def test_data_of_ones_own_that_is_not_what_is_read_is_one_line(files, monkeypatch, drawn, says):
    experiment = runpy.run_path("bars.py")["experiment"]
    monkeypatch.setattr(type(experiment.task), "drawn", drawn)
    with pytest.raises(UserError, match=says):
        load_data("bars", Study(experiment), False, Console(file=io.StringIO()))


def test_a_data_set_of_ones_own_trains(files):
    experiment = runpy.run_path("bars.py")["experiment"]
    assert np.all(np.isfinite(losses(files, experiment)))


@pytest.mark.usefixtures("other_peoples_code")
def test_the_recurrence_stands_in_models_of_other_frameworks(tmp_path):
    """Each model gives finite outputs of its shape, and the same ones as Flax's own layers where
    the weights are the same.
    """
    models = {}
    for block in blocks("docs/recurrence.md"):
        path = tmp_path / block.split("\n")[0].removeprefix("# ")
        path.write_text(block)
        models[path.stem] = runpy.run_path(str(path))
    x_BTI, lengths_B = np.ones((2, 5, 3), np.float32), np.array([5, 2])
    key = jax.random.key(0)
    model = models["linen"]["Classifier"]()
    params = fast_jit(model.init)(key, x_BTI)
    by_flax = nn.RNN(nn.OptimizedLSTMCell(16)).apply({"params": params["params"]["LSTM_0"]}, x_BTI)
    dense = params["params"]["Dense_0"]
    want = by_flax[:, -1] @ dense["kernel"] + dense["bias"][None]
    np.testing.assert_allclose(model.apply(params, x_BTI), want, atol=1e-5)
    both = models["both"]["Both"]()
    h_BTH, _ = fast_jit(both.init_with_output)(key, x_BTI, lengths_B)
    again_BTH, _ = fast_jit(both.init_with_output)(key, x_BTI[:, :2], np.array([2, 2]))
    np.testing.assert_allclose(h_BTH[1, :2], again_BTH[1], atol=1e-6)  # padding hides nothing
    logits = models["nnx_model"]["Classifier"](3, 4, 7, nnx.Rngs(0))(x_BTI)
    assert logits.shape == (2, 7)
    layer = models["equinox_model"]["Layer"](3, 4, key)
    h_TBH = layer(x_BTI.swapaxes(0, 1))
    assert h_TBH.shape == (5, 2, 4)
    assert np.isfinite(h_TBH).all()


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
