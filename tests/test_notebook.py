"""The notebook of the documents, run as somebody does who opens it."""

import os
from pathlib import Path

import nbclient
import nbformat
import pytest
from fast_compile import OPTIONS

QUICKSTART = Path(__file__).parent.parent / "docs" / "quickstart.ipynb"
# What this process has set for itself: a notebook has none of it.
STRICT = ("JAX_NUMPY_DTYPE_PROMOTION", "JAX_NUMPY_RANK_PROMOTION", "JAX_NUM_CPU_DEVICES")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The cells' outputs, in the order of the cells."""
    notebook = nbformat.read(QUICKSTART, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear its outputs"
    folder = {"metadata": {"path": str(tmp_path_factory.mktemp("quickstart"))}}
    environment = {name: value for name, value in os.environ.items() if name not in STRICT}
    environment["XLA_FLAGS"] = " ".join(f"--{name}={value}" for name, value in OPTIONS.items())
    client = nbclient.NotebookClient(notebook, timeout=120, resources=folder)
    client.execute(env=environment)
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def said(outputs):
    return "".join(output.text for output in outputs if output.output_type == "stream")


def test_nothing_is_complained_about(outputs):
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}
    assert "Warning" not in said(outputs)


def test_it_trains_and_plots(outputs):
    text = said(outputs)
    (right,) = [line for line in text.splitlines() if line.startswith("right on")]
    (record,) = [line for line in text.splitlines() if line.startswith("on record")]
    assert right.split()[2] == record.split()[2]
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_the_recurrence_learns_in_nnx(outputs):
    (line,) = [line for line in said(outputs).splitlines() if line.startswith("loss")]
    first, last = (float(line.split()[place]) for place in (1, 4))
    assert last < 0.5 * first
