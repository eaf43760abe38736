"""The table of cells: looked up without JAX, open to files from outside; the cells of others."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from fast_compile import fast_jit
from onnx import TensorProto, helper
from textbook import arguments, assert_close, sigmoid, weighted

from lstm_jax.cells import CELLS, get_cell
from lstm_jax.cells.cell import Block, Cell
from lstm_jax.cells.scan import run, stack_kernels
from lstm_jax.errors import UserError

OUTSIDE = '''
"""UGRNN: Collins, Sohl-Dickstein and Sussillo (2016)."""
import jax
import jax.numpy as jnp
from lstm_jax.cells.cell import Cell

def pointwise(z, state, extra):
    g, n = jnp.split(z, 2, axis=1)
    g = jax.nn.sigmoid(g)
    return (g * state[0] + (1 - g) * jnp.tanh(n),)

ugrnn = Cell(name="ugrnn", columns=("g", "n"), pointwise=pointwise, forget="g")
'''


def by_onnx(kind, x, weights, initial, **attributes):
    """Outputs [T,B,H] and the last state of a node of ONNX, its arrays in ONNX's own order."""
    hidden = weights[1].shape[2]
    given = {"X": x, **dict(zip("WRB", weights, strict=True)), **initial}
    order = ["X", "W", "R", "B", "", *initial]
    outputs = ["Y", "Y_h", "Y_c"][: 1 + len(initial)]
    node = helper.make_node(kind, order, outputs, hidden_size=hidden, **attributes)
    infos = [helper.make_tensor_value_info(k, TensorProto.FLOAT, a.shape) for k, a in given.items()]
    results = [helper.make_tensor_value_info(k, TensorProto.FLOAT, None) for k in outputs]
    graph = helper.make_graph([node], kind, infos, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    y, *end = session.run(None, given)
    return y[:, 0], [a[0] for a in end]


# Our columns in ONNX's order, and where each bias belongs: (of the input, of the state).
ONNX = {
    "rnn": ("RNN", "n", [0], [None], {}),
    "gru": ("GRU", "urn", [1, 0, 3], [None, None, 2], {"linear_before_reset": 1}),
    "lstm": ("LSTM", "iofg", [0, 3, 2, 1], [None] * 4, {}),
}


@pytest.mark.parametrize("name", ONNX)
def test_it_is_the_node_of_onnx(name):
    kind, order, *places, attributes = ONNX[name]
    cell, ((*kernels, _), x, state) = get_cell(name), arguments(name)
    outputs, end = run(cell, stack_kernels(cell, *kernels), x, initial=state)
    hidden = state[0].shape[1]

    def rows(kernel):  # [1, G, ...], as ONNX has its weights
        parts = np.split(np.asarray(kernel), len(cell.columns), axis=1)
        return np.concatenate([parts[cell.columns.index(k)].T for k in order])[None]

    zeros, parts = np.zeros(hidden, np.float32), np.split(np.asarray(kernels[2]), len(cell.blocks))
    bias = [zeros if place is None else parts[place] for both in places for place in both]
    weights = rows(kernels[0]), rows(kernels[1]), np.concatenate(bias)[None]
    initial = {f"initial_{k}": np.asarray(a)[None] for k, a in zip(cell.state, state, strict=True)}
    initial = dict(sorted(initial.items(), reverse=True))  # h before c
    y, theirs = by_onnx(kind, np.asarray(x), weights, initial, **attributes)
    assert_close(outputs, y)
    assert_close(list(end[::-1]), theirs)


def test_importing_the_table_does_not_start_jax():
    code = "import sys, lstm_jax.cells as c; print(*c.CELLS); assert 'jax' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(CELLS)


@pytest.mark.parametrize("name", CELLS)
def test_each_name_is_the_cells_own(name):
    cell = get_cell(name)
    assert cell.name == name
    assert get_cell(name) is cell
    assert cell.forget in (None, *cell.columns)


def test_a_cell_from_a_file_outside_runs_and_learns(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(OUTSIDE)
    cell = get_cell(f"{file}:ugrnn")
    rng = np.random.default_rng(0)
    kernels = [jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((3, 8), (4, 8), (8,))]
    x = jnp.asarray(rng.normal(size=(5, 2, 3)), jnp.float32)

    def theirs(kernels, x):
        def step(h, x):
            g, n = jnp.split(x @ kernels[0] + h @ kernels[1] + kernels[2][None], 2, axis=1)
            h = sigmoid(g) * h + (1 - sigmoid(g)) * jnp.tanh(n)
            return h, h

        end, outputs = jax.lax.scan(step, jnp.zeros((2, 4)), x)
        return outputs, (end,)

    def gradient(function):
        return fast_jit(jax.grad(lambda *given: weighted(function(*given)), (0, 1)))(kernels, x)

    ours = gradient(lambda kernels, x: run(cell, stack_kernels(cell, *kernels), x))
    assert_close(ours, gradient(theirs))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lstn", "no cell 'lstn'. Did you mean lstm"),
        ("transformer", "There are lstm, gru"),
        ("nowhere.py:cell", "no such file"),
        ("mine.py", "a cell of your own is path/to/file.py:attribute"),
        ("mine.py:other", "has no cell 'other'; there are ugrnn"),
        ("empty.py:cell", "has no cell 'cell'; there is none"),
        ("broken.py:cell", "ZeroDivisionError: division by zero"),
        ("half.py:cell", "ValueError: cell half: its state has no output h"),
    ],
)
def test_what_is_no_cell_is_one_line(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    half = 'from lstm_jax.cells.cell import Cell\nCell("half", ("n",), print, state=("c",))'
    files = {"mine": OUTSIDE, "empty": "", "broken": "1 / 0", "half": half}
    for stem, text in files.items():
        (tmp_path / f"{stem}.py").write_text(text)
    with pytest.raises(UserError) as error:
        get_cell(name)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"state": ("c",)}, "no output h"),
        ({"read": ("h", "c")}, "reads"),
        ({"blocks": (Block("m"),)}, "blocks are not columns"),
        ({"blocks": (Block("n", "xc"),)}, "takes {'c'}, which is not read back"),
        ({"blocks": (Block("n", "x"), Block("n", "h"))}, "come last"),
        ({"forget": "f"}, "no column 'f'"),
        ({"pointwise_fwd": print}, "half a pair"),
        ({"pointwise_fwd": print, "pointwise_bwd": print, "extra": ("p",)}, "no extra weights"),
    ],
)
def test_a_cell_that_contradicts_itself_is_none(fields, message):
    with pytest.raises(ValueError, match="cell mine") as error:
        partial(Cell, "mine", ("n",), print)(**fields)
    assert message in str(error.value)
