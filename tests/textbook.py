"""The formula of every cell in the table, as its paper writes it, and a plain scan over it.

A formula takes x[column], the product of the input; r[state][column], the product of each state
that is read; b[block], the biases in the order of the cell's blocks; the extra weights; and the
state before.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.cells import get_cell
from lstm_jax.cells.kernel_form import kernel_rows

sigmoid, tanh = jax.nn.sigmoid, jnp.tanh


def summed(x, r, b):
    """Returns one sum for each column, of a cell whose blocks all read x and h."""
    return [x[k] + r["h"][k] + b[n] for n, k in enumerate(x)]


def lstm(x, r, b, extra, state):
    i, g, f, o = summed(x, r, b)
    c = sigmoid(f) * state[0] + sigmoid(i) * tanh(g)
    return c, sigmoid(o) * tanh(c)


def gru(x, r, b, extra, state):
    reset = sigmoid(x["r"] + r["h"]["r"] + b[0])
    update = sigmoid(x["u"] + r["h"]["u"] + b[1])
    n = tanh(x["n"] + b[3] + reset * (r["h"]["n"] + b[2]))
    return ((1 - update) * n + update * state[0],)


def rnn(x, r, b, extra, state):
    return (tanh(summed(x, r, b)[0]),)


def irnn(x, r, b, extra, state):
    return (jax.nn.relu(summed(x, r, b)[0]),)


def peephole(x, r, b, extra, state):
    i, g, f, o = summed(x, r, b)
    p_i, p_f, p_o = (extra[name][None] for name in ("p_i", "p_f", "p_o"))
    c = sigmoid(f + p_f * state[0]) * state[0] + sigmoid(i + p_i * state[0]) * tanh(g)
    return c, sigmoid(o + p_o * c) * tanh(c)


def cifg(x, r, b, extra, state):
    g, f, o = summed(x, r, b)
    c = sigmoid(f) * state[0] + (1 - sigmoid(f)) * tanh(g)
    return c, sigmoid(o) * tanh(c)


def nig(x, r, b, extra, state):
    g, f, o = summed(x, r, b)
    c = sigmoid(f) * state[0] + tanh(g)
    return c, sigmoid(o) * tanh(c)


def nfg(x, r, b, extra, state):
    i, g, o = summed(x, r, b)
    c = state[0] + sigmoid(i) * tanh(g)
    return c, sigmoid(o) * tanh(c)


def nog(x, r, b, extra, state):
    i, g, f = summed(x, r, b)
    c = sigmoid(f) * state[0] + sigmoid(i) * tanh(g)
    return c, tanh(c)


def niaf(x, r, b, extra, state):
    i, g, f, o = summed(x, r, b)
    c = sigmoid(f) * state[0] + sigmoid(i) * g
    return c, sigmoid(o) * tanh(c)


def noaf(x, r, b, extra, state):
    i, g, f, o = summed(x, r, b)
    c = sigmoid(f) * state[0] + sigmoid(i) * tanh(g)
    return c, sigmoid(o) * c


def fgr(x, r, b, extra, state):
    gates = {}
    for n, k in enumerate("igfo"):
        gates[k] = x[k] + r["h"][k] + b[n]
        if k != "g":
            gates[k] = sigmoid(gates[k] + r["i"][k] + r["f"][k] + r["o"][k])
    c = gates["f"] * state[0] + gates["i"] * tanh(gates["g"])
    return c, gates["o"] * tanh(c), gates["i"], gates["f"], gates["o"]


FORMULAS = {"lstm": lstm, "gru": gru, "rnn": rnn, "irnn": irnn} | {
    f"lstm_{f.__name__}": f for f in (peephole, cifg, nig, nfg, nog, niaf, noaf, fgr)
}


def textbook(name, params, x_TBI, state=None, lengths=None, reverse=False):
    """Returns all outputs [T,B,H] and the final state of each sequence, [B,H] each."""
    cell, (input_kernel, recurrent_kernel, bias, extra) = get_cell(name), params
    num_steps, batch, _ = x_TBI.shape
    hidden = len(recurrent_kernel) // cell.num_read
    lengths = jnp.full(batch, num_steps, jnp.int32) if lengths is None else lengths
    t_T = jnp.arange(num_steps, dtype=jnp.int32)
    if reverse:
        order = (t_T[::-1, None] + lengths[None]) % num_steps
        x_TBI = x_TBI[order, jnp.arange(batch, dtype=jnp.int32)[None]]
    if state is None:
        state = (jnp.zeros((batch, hidden), x_TBI.dtype),) * len(cell.state)

    def columns(product):
        sums = jnp.split(product, len(cell.columns), axis=1)
        return dict(zip(cell.columns, sums, strict=True))

    kernels = dict(zip(cell.read, jnp.split(recurrent_kernel, cell.num_read), strict=True))
    b = [block_H[None] for block_H in jnp.split(bias, len(cell.blocks))]

    def time_step(carry, inputs):
        (before, final), (t, x) = carry, inputs
        r = {s: columns(before[cell.state.index(s)] @ kernel) for s, kernel in kernels.items()}
        new = FORMULAS[name](columns(x @ input_kernel), r, b, extra, before)
        final = jax.tree.map(partial(jnp.where, (t < lengths)[:, None]), new, final)
        return (new, final), new[cell.state.index("h")]

    (_, final), outputs = jax.lax.scan(time_step, (state, state), (t_T, x_TBI))
    return outputs, final


def arguments(name, shape=(5, 4, 3, 6), seed=0, dtype="float32"):
    """Returns (input kernel, recurrent kernel, bias, extra), x, state: random normal numbers.

    The shape is (T, B, I, H).
    """
    cell, (num_steps, batch, num_inputs, hidden) = get_cell(name), shape
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), dtype)

    width = len(cell.columns) * hidden
    input_rows, recurrent_rows = kernel_rows(cell, num_inputs, hidden)
    kernels = normal(input_rows, width), normal(recurrent_rows, width) / hidden**0.5
    extra = {name: normal(*weight.shape(hidden)) for name, weight in cell.extra.items()}
    params = *kernels, normal(len(cell.blocks) * hidden), extra
    state = tuple(normal(batch, hidden) for _ in cell.state)
    return params, normal(num_steps, batch, num_inputs), state


def weighted(result, seed=1):
    """Returns a scalar that depends on every number of a result."""
    rng = np.random.default_rng(seed)
    leaves = jax.tree.leaves(result)
    return sum(jnp.vdot(a, jnp.asarray(rng.normal(size=a.shape), a.dtype)) for a in leaves)


def assert_close(actual, expected, tolerance=1e-5):
    """Asserts that arrays are equal up to `tolerance` times their largest number."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=0, atol=tolerance * max(1.0, np.max(np.abs(b), initial=0))
        ),
        actual,
        expected,
    )


def assert_equal(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
