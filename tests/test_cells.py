"""The table of cells, cells from other files, contradictory cells, and cells against ONNX."""

from functools import partial
from itertools import chain

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from fast_compile import fast_jit
from onnx import TensorProto, helper
from textbook import arguments, assert_close, sigmoid, weighted

from lstm_jax.cells import CELLS, get_cell
from lstm_jax.cells.cell import Block, Cell, Weight
from lstm_jax.cells.scan import run, stack_kernels
from lstm_jax.errors import UserError

UGRNN = '''
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


def by_onnx(operator, x, weights, initial, **attributes):
    """Returns the outputs [T,B,H] and the final state of an ONNX operator, in ONNX's order."""
    hidden = weights[1].shape[2]
    inputs = {"X": x, **dict(zip("WRB", weights, strict=True)), **initial}
    names = ["X", "W", "R", "B", "", *initial]
    outputs = ["Y", "Y_h", "Y_c"][: 1 + len(initial)]
    node = helper.make_node(operator, names, outputs, hidden_size=hidden, **attributes)
    float_info = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    infos = [float_info(name, shape=array.shape) for name, array in inputs.items()]
    results = [float_info(name, shape=None) for name in outputs]
    graph = helper.make_graph([node], operator, infos, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    y, *final = session.run(None, inputs)
    return y[:, 0], [a[0] for a in final]


# The operator, our columns in its order, the block of each of its biases (of the input's product,
# then of the state's; None: zeros), and its attributes.
ONNX = {
    "rnn": ("RNN", "n", [0], [None], {}),
    "gru": ("GRU", "urn", [1, 0, 3], [None, None, 2], {"linear_before_reset": 1}),
    "gru_reset_before": ("GRU", "urn", [1, 0, 2], [None] * 3, {"linear_before_reset": 0}),
    "lstm": ("LSTM", "iofg", [0, 3, 2, 1], [None] * 4, {}),
}


@pytest.mark.parametrize("name", ONNX)
def test_a_cell_equals_the_operator_of_onnx(name):
    operator, order, *block_indices, attributes = ONNX[name]
    cell, ((*kernels, _), x, state) = get_cell(name), arguments(name)
    outputs, final = run(cell, stack_kernels(cell, *kernels), x, initial=state)

    def reorder(kernel):  # to [1, G, ...], ONNX's layout
        gates = dict(zip(cell.columns, np.split(kernel, len(cell.columns), axis=1), strict=True))
        return np.concatenate([gates[column].T for column in order])[None]

    biases = np.split(np.asarray(kernels[2]), len(cell.blocks))
    bias = [np.zeros_like(biases[0]) if i is None else biases[i] for i in chain(*block_indices)]
    weights = *(reorder(np.asarray(kernel)) for kernel in kernels[:2]), np.concatenate(bias)[None]
    initial = {f"initial_{k}": np.asarray(a)[None] for k, a in zip(cell.state, state, strict=True)}
    initial = dict(sorted(initial.items(), reverse=True))  # h before c
    y, final_onnx = by_onnx(operator, np.asarray(x), weights, initial, **attributes)
    assert_close(outputs, y)
    assert_close(list(final[::-1]), final_onnx)


@pytest.mark.parametrize("name", CELLS)
def test_each_name_in_the_table_is_that_of_its_cell(name):
    cell = get_cell(name)
    assert cell.name == name
    assert get_cell(name) is cell
    assert cell.forget in (None, *cell.columns)


def test_a_cell_from_a_file_has_the_outputs_and_gradients_of_its_formula(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(UGRNN)
    cell = get_cell(f"{file}:ugrnn")
    rng = np.random.default_rng(0)
    kernels = [jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((3, 8), (4, 8), (8,))]
    x = jnp.asarray(rng.normal(size=(5, 2, 3)), jnp.float32)

    def formula(kernels, x):
        def time_step(h, x):
            g, n = jnp.split(x @ kernels[0] + h @ kernels[1] + kernels[2][None], 2, axis=1)
            h = sigmoid(g) * h + (1 - sigmoid(g)) * jnp.tanh(n)
            return h, h

        final, outputs = jax.lax.scan(time_step, jnp.zeros((2, 4)), x)
        return outputs, (final,)

    def value_and_gradient(function):
        scalar = jax.value_and_grad(lambda *inputs: weighted(function(*inputs)), (0, 1))
        return fast_jit(scalar)(kernels, x)

    ours = value_and_gradient(lambda kernels, x: run(cell, stack_kernels(cell, *kernels), x))
    assert_close(ours, value_and_gradient(formula))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lstn", "no cell 'lstn'. Did you mean lstm"),
        ("transformer", "There are lstm, gru"),
        ("nowhere.py:cell", "no such file"),
        ("mine.py", "mine.py has ugrnn; write mine.py:ugrnn"),
        ("mine.py:other", "has no cell 'other'; there are ugrnn"),
        ("empty.py:cell", "has no cell 'cell'; there is none"),
        ("broken.py:cell", "ZeroDivisionError: division by zero"),
        ("half.py:cell", "ValueError: cell half: its state ('c',) has no output h"),
    ],
)
def test_an_unknown_or_broken_cell_is_an_error_of_one_line(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    half = 'from lstm_jax.cells.cell import Cell\nCell("half", ("n",), print, state=("c",))'
    files = {"mine": UGRNN, "empty": "", "broken": "1 / 0", "half": half}
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
        ({"state": ("h", "memory")}, "one letter other than x, the input; got ['memory']"),
        ({"state": ("h", "x")}, "one letter other than x, the input; got ['x']"),
        ({"state": ("h", "")}, "one letter other than x, the input; got ['']"),
        ({"state": ("h", "h")}, "a name occurs twice in state ('h', 'h')"),
        ({"read": ("h", "c")}, "reads ('h', 'c'), its state is ('h',)"),
        ({"blocks": (Block("m"),)}, "blocks of {'m'}, columns ('n',)"),
        ({"blocks": (Block("n", "xc"),)}, "reads {'c'}, which is not in `read`, ('h',)"),
        ({"blocks": (Block("n", "x"), Block("n", "h"))}, "come last"),
        ({"forget": "f"}, "got {'f'}, not in ['n']"),
        ({"pointwise": None}, "it has no pointwise formula"),
        ({"extra": {"p": Weight(print, rank=2)}}, "extra weights are vectors; got ['p']"),
        ({"pointwise_fwd": print}, "pointwise_fwd and pointwise_bwd need each other"),
        (
            {"pointwise_fwd": print, "pointwise_bwd": print, "extra": {"p": Weight(print)}},
            "allows no extra weights",
        ),
    ],
)
def test_a_contradictory_cell_is_an_error(fields, message):
    with pytest.raises(ValueError, match="cell mine") as error:
        Cell(**{"name": "mine", "columns": ("n",), "pointwise": print} | fields)
    assert message in str(error.value)
