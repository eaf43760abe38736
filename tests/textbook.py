"""Every cell of the table as its paper has it, and the plain scan over it: what autodiff derives.

A formula takes x[column], the product of the input; r[part][column], that of each part of the
state that is read back; b[block], the biases in the order of the cell's blocks; the extra weights;
and the state before.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.cells import get_cell

sigmoid, tanh = jax.nn.sigmoid, jnp.tanh


def summed(x, r, b):
    """One sum for each column, where each block takes from x and h."""
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


def textbook(name, params, x_TBI, state=None, lengths_B=None, reverse=False):
    """All outputs and the state at the end of each sequence."""
    cell, (input_kernel, recurrent_kernel, bias, extra) = get_cell(name), params
    rows, batch, _ = x_TBI.shape
    hidden = len(recurrent_kernel) // cell.num_read
    lengths = jnp.full(batch, rows, jnp.int32) if lengths_B is None else lengths_B
    t_T = jnp.arange(rows, dtype=jnp.int32)
    if reverse:
        order = (t_T[::-1, None] + lengths[None]) % rows
        x_TBI = x_TBI[order, jnp.arange(batch, dtype=jnp.int32)[None]]
    if state is None:
        state = (jnp.zeros((batch, hidden), x_TBI.dtype),) * len(cell.state)

    def columns(product):
        parts = jnp.split(product, len(cell.columns), axis=1)
        return dict(zip(cell.columns, parts, strict=True))

    def step(carry, row):
        before, end = carry
        t, x = row
        r = {
            part: columns(before[cell.state.index(part)] @ kernel)
            for part, kernel in zip(
                cell.read, jnp.split(recurrent_kernel, cell.num_read), strict=True
            )
        }
        b = [part[None] for part in jnp.split(bias, len(cell.blocks))]
        new = FORMULAS[name](columns(x @ input_kernel), r, b, extra, before)
        end = jax.tree.map(partial(jnp.where, (t < lengths)[:, None]), new, end)
        return (new, end), new[cell.state.index("h")]

    (_, end), outputs = jax.lax.scan(step, (state, state), (t_T, x_TBI))
    return outputs, end


def arguments(name, shape=(5, 4, 3, 6), seed=0, dtype="float32"):
    """(Input kernel, recurrent kernel, bias, extra), x, state; of standard normal numbers."""
    cell, (rows, batch, features, hidden) = get_cell(name), shape
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), dtype)

    width = len(cell.columns) * hidden
    kernels = normal(features, width), normal(cell.num_read * hidden, width) / hidden**0.5
    params = *kernels, normal(len(cell.blocks) * hidden), {e: normal(hidden) for e in cell.extra}
    state = tuple(normal(batch, hidden) for _ in cell.state)
    return params, normal(rows, batch, features), state


def weighted(result, seed=1):
    """A scalar that depends on every number of a result."""
    rng = np.random.default_rng(seed)
    leaves = jax.tree.leaves(result)
    return sum(jnp.vdot(a, jnp.asarray(rng.normal(size=a.shape), a.dtype)) for a in leaves)


def assert_close(actual, expected, tolerance=1e-5):
    """Each array to `tolerance` of its largest number."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=0, atol=tolerance * max(1.0, np.max(np.abs(b)))
        ),
        actual,
        expected,
    )


def assert_equal(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
