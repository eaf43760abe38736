"""docs/quickstart.ipynb runs as for a user who opens it."""

import os
from pathlib import Path

import nbclient
import nbformat
import pytest
from fast_compile import OPTIONS

pytestmark = pytest.mark.slow

QUICKSTART = Path(__file__).parent.parent / "docs" / "quickstart.ipynb"
# Settings of this process that the notebook of a user does not have.
STRICT = ("JAX_NUMPY_DTYPE_PROMOTION", "JAX_NUMPY_RANK_PROMOTION", "JAX_NUM_CPU_DEVICES")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The outputs of all cells, in their order."""
    notebook = nbformat.read(QUICKSTART, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear its outputs"
    folder = {"metadata": {"path": str(tmp_path_factory.mktemp("quickstart"))}}
    environment = {name: value for name, value in os.environ.items() if name not in STRICT}
    environment["XLA_FLAGS"] = " ".join(f"--{name}={value}" for name, value in OPTIONS.items())
    client = nbclient.NotebookClient(notebook, timeout=120, resources=folder)
    client.execute(env=environment)
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def printed_text(outputs):
    """Returns all that the cells printed."""
    return "".join(output.text for output in outputs if output.output_type == "stream")


def test_there_are_no_warnings(outputs):
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}
    assert "Warning" not in printed_text(outputs)


def test_it_trains_and_plots(outputs):
    """The accuracy of the predictions is the one on record."""
    text = printed_text(outputs)
    (right,) = [line for line in text.splitlines() if line.startswith("right on")]
    (record,) = [line for line in text.splitlines() if line.startswith("on record")]
    assert right.split()[2] == record.split()[2]
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_the_recurrence_learns_in_nnx(outputs):
    (line,) = [line for line in printed_text(outputs).splitlines() if line.startswith("loss")]
    first, last = (float(line.split()[index]) for index in (1, 4))
    assert last < 0.5 * first
