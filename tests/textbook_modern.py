"""The formula of each cell since 2016, in NumPy and float64, as its paper writes it.

Each takes z[column], the sums that the paper's gates and candidates read; h[column], the product
of the state alone, where a formula needs it apart; w, the extra weights; s, the states before, by
name. It returns the states after. That of a `StagedCell` takes x[column], the sums of the input
alone, and times(column, v), the product of v with the column's recurrent kernel. Where a public
code of the authors exists, it was read beside the paper: the names of the repositories stand here.
"""

import numpy as np
from scipy import linalg

from lstm_jax.cells import get_cell
from lstm_jax.cells.staged_cell import StagedCell

tanh, exp, log = np.tanh, np.exp, np.log


def sigmoid(v):
    return 1 / (1 + exp(-v))


def relu(v):
    return np.maximum(v, 0)


def softplus(v):
    return np.logaddexp(0, v)


def janet(z, h, w, s):  # JosvanderWesthuizen/janet
    c = sigmoid(z["f"]) * s["h"] + (1 - sigmoid(z["f"] - 1)) * tanh(z["j"])
    return {"h": c}


def mgu(z, h, w, s):  # flax.linen.MGUCell
    f = sigmoid(z["f"])
    return {"h": (1 - f) * tanh(z["n"] + f * h["n"]) + f * s["h"]}


def brc(z, h, w, s):  # nvecoven/BRC
    a = 1 + tanh(z["a"] + w["w_a"] * s["h"])
    c = sigmoid(z["c"] + w["w_c"] * s["h"])
    return {"h": c * s["h"] + (1 - c) * tanh(z["n"] + a * s["h"])}


def nbrc(z, h, w, s):  # nvecoven/BRC
    a, c = 1 + tanh(z["a"]), sigmoid(z["c"])
    return {"h": c * s["h"] + (1 - c) * tanh(z["n"] + a * s["h"])}


def indrnn(z, h, w, s):  # Sunnydreamrain/IndRNN_pytorch
    return {"h": relu(z["n"] + w["u"] * s["h"])}


def sru(z, h, w, s):  # asappresearch/sru
    f = sigmoid(z["f"] + w["v_f"] * s["c"])
    r = sigmoid(z["r"] + w["v_r"] * s["c"])
    c = f * s["c"] + (1 - f) * z["n"]
    return {"c": c, "h": r * c + (1 - r) * np.sqrt(3) * z["s"]}


def paragru(z, h, w, s):  # apple/ml-pararnn, gru_diag_mh.py; its z is 1 - u
    update = 1 - sigmoid(z["u"] + w["a_u"] * s["h"])
    r = sigmoid(z["r"] + w["a_r"] * s["h"])
    n = tanh(z["n"] + w["a_n"] * (s["h"] * r))
    return {"h": (1 - update) * s["h"] + update * n}


def paralstm(z, h, w, s):  # apple/ml-pararnn, lstm_cifg_diag_mh.py
    f = sigmoid(z["f"] + w["a_f"] * s["h"] + w["p_f"] * s["c"])
    c = f * s["c"] + (1 - f) * tanh(z["n"] + w["a_n"] * s["h"])
    o = sigmoid(z["o"] + w["a_o"] * s["h"] + w["p_o"] * c)
    return {"c": c, "h": o * tanh(c)}


def cornn(z, h, w, s):  # tk-rusch/coRNN, sMNIST
    dt, gamma, epsilon = 0.042, 2.7, 4.7
    velocity = s["z"] + dt * (tanh(z["n"]) - gamma * s["h"] - epsilon * s["z"])
    return {"z": velocity, "h": s["h"] + dt * velocity}


def unicornn(z, h, w, s):  # tk-rusch/unicornn
    dt, alpha = 0.19, 30.65
    velocity = s["z"] - dt * sigmoid(w["c"]) * (tanh(w["w"] * s["h"] + z["n"]) + alpha * s["h"])
    return {"z": velocity, "h": s["h"] + dt * sigmoid(w["c"]) * velocity}


def slstm(z, h, w, s):
    """Equations 8 to 17 of the paper without its m: c and n are here c exp(m) and n exp(m)."""
    i, f = exp(z["i"]), sigmoid(z["f"])
    scale = exp(s["m"])
    c = f * s["c"] * scale + i * tanh(z["z"])
    n = f * s["n"] * scale + i
    m = np.where(s["n"] == 0, z["i"], np.maximum(log(f) + s["m"], z["i"]))
    return {"c": c / exp(m), "n": n / exp(m), "m": m, "h": sigmoid(z["o"]) * c / n}


def lem(x, times, w, s):  # tk-rusch/LEM, sMNIST
    dt = 0.21
    t1, t2 = (dt * sigmoid(x[k] + times(k, s["h"])) for k in "ts")
    memory = (1 - t2) * s["z"] + t2 * tanh(x["n"] + times("n", s["h"]))
    return {"z": memory, "h": (1 - t1) * s["h"] + t1 * tanh(x["y"] + times("y", memory))}


def gru_reset_before(x, times, w, s):  # equations 5 to 8 of the paper
    r, u = (sigmoid(x[k] + times(k, s["h"])) for k in "ru")
    return {"h": u * s["h"] + (1 - u) * tanh(x["n"] + times("n", r * s["h"]))}


def mgu_gate_before(x, times, w, s):  # equation 8 of the paper
    f = sigmoid(x["f"] + times("f", s["h"]))
    return {"h": (1 - f) * s["h"] + f * tanh(x["n"] + times("n", f * s["h"]))}


def lstm_layernorm(x, times, w, s):  # the supplement of the paper, equations 20 to 22
    def norm(v):
        return (v - v.mean()) / np.sqrt(v.var() + 1e-6)

    def gains(source):
        return np.concatenate([w[f"gain_{source}{k}"] for k in "igfo"])

    bias = np.concatenate([w[f"bias_{k}"] for k in "igfo"])
    of_x = np.concatenate([x[k] for k in "igfo"], axis=1)
    of_h = np.concatenate([times(k, s["h"]) for k in "igfo"], axis=1)
    z = gains("x") * norm(of_x) + gains("h") * norm(of_h) + bias
    i, g, f, o = np.split(z, 4, axis=1)
    c = sigmoid(f) * s["c"] + sigmoid(i) * tanh(g)
    return {"c": c, "h": sigmoid(o) * tanh(w["gain_c"] * norm(c) + w["bias_c"])}


def scornn(z, h, w, s):  # SpartinStuff/scoRNN; its kernel is that of `orthogonal`
    return {"h": np.sign(z["n"]) * relu(np.abs(z["n"]) + w["b"])}


def orthogonal(p, scale=20):
    """The scaled Cayley transform, with -1 at a tenth of the units."""
    a, one = (p - p.T) / scale, np.eye(len(p))
    signs = np.where(np.arange(len(p)) < len(p) - round(len(p) / 10), 1, -1)
    return np.linalg.solve(one + a, one - a) @ np.diag(signs)


def positive(v):
    return np.where(v >= 0, v + 0.5, sigmoid(v))


def mingru(z, h, w, s):  # BorealisAI/minRNNs; its z is 1 - u
    update = 1 - sigmoid(z["u"])
    return {"h": (1 - update) * s["h"] + update * positive(z["n"])}


def minlstm(z, h, w, s):  # BorealisAI/minRNNs
    f, i = sigmoid(z["f"]), sigmoid(z["i"])
    return {"h": f / (f + i) * s["h"] + i / (f + i) * positive(z["n"])}


def qrnn(z, h, w, s):  # the paper's fo-pooling; salesforce/pytorch-qrnn calls 1 - f its f
    f = sigmoid(z["f"])
    c = f * s["c"] + (1 - f) * tanh(z["n"])
    return {"c": c, "h": sigmoid(z["o"]) * c}


def hgrn(z, h, w, s):  # fla-org/flash-linear-attention, layers/hgrn.py and ops/hgrn/naive.py
    f = sigmoid(z["f"])
    return {"h": f * s["h"] + (1 - f) * z["n"] * sigmoid(z["n"])}


def rglru(z, h, w, s):  # google-deepmind/recurrentgemma
    a = exp(-8 * sigmoid(z["r"]) * softplus(w["d"]))
    return {"h": a * s["h"] + np.sqrt(1 - a**2) * sigmoid(z["i"]) * z["n"]}


def lru(z, h, w, s):  # NicolasZucchet/minimal-LRU
    lam = exp(-exp(w["nu"]) + 1j * exp(w["theta"]))
    gamma = exp(w["gamma"]) * np.sqrt(1 - np.abs(lam) ** 2)
    state = lam * (s["r"] + 1j * s["i"]) + gamma * (z["r"] + 1j * z["i"])
    y = (state @ (w["c_re"] + 1j * w["c_im"])).real + z["d"]
    return {"r": state.real, "i": state.imag, "h": y}


def s5(z, h, w, s):  # lindermanlab/S5
    lam, dt = -exp(w["r"]) + 1j * w["omega"], exp(w["log_dt"])
    state = exp(lam * dt) * (s["r"] + 1j * s["i"])
    state = state + (exp(lam * dt) - 1) / lam * (z["r"] + 1j * z["i"])
    y = 2 * (state @ (w["c_re"] + 1j * w["c_im"])).real + z["d"]
    return {"r": state.real, "i": state.imag, "h": y}


def linoss(z, h, w, s):
    """The implicit step of the paper, solved as a system of two equations for each oscillator."""
    stiffness, dt = relu(w["a"]), sigmoid(w["s"])
    one = np.ones_like(dt)
    system = np.array([[one, dt * stiffness], [-dt, one]]).transpose(2, 0, 1)
    right = np.stack([s["z"] + dt * z["b"], s["y"]], axis=-1)
    new = np.linalg.solve(system[None], right[..., None])[..., 0]
    return {"z": new[..., 0], "y": new[..., 1], "h": new[..., 1] @ w["c"] + z["d"]}


MODERN = {
    f.__name__: f
    for f in (
        janet, mgu, brc, nbrc, indrnn, sru, paragru, paralstm, cornn, unicornn, slstm,
        mingru, minlstm, qrnn, hgrn, rglru, lru, s5, linoss, lem, gru_reset_before,
        mgu_gate_before, lstm_layernorm, scornn,
    )
}  # fmt: skip
MODERN |= {"slstm_heads": slstm, "paragru_heads": paragru}
# The heads of the input kernel, and of the recurrent one.
HEADS = {"slstm_heads": (1, 4), "paragru_heads": (2, 1)}


def textbook_numpy(name, params, x_TBI, state, lengths, reverse):
    """Returns all outputs [T,B,H] and the final state of each sequence, in the cell's order."""
    cell, (kernel_IW, recurrent_RW, bias_G, weights) = get_cell(name), params
    input_heads, recurrent_heads = HEADS.get(name, (1, 1))
    kernel_IW = block_diagonal(kernel_IW, input_heads, len(cell.columns))
    recurrent_RW = block_diagonal(recurrent_RW, recurrent_heads, len(cell.columns))
    if name == "scornn":
        recurrent_RW = orthogonal(recurrent_RW)
    num_steps, batch, _ = x_TBI.shape
    kernels = np.split(kernel_IW, len(cell.columns), axis=1)
    biases = np.split(bias_G, len(cell.blocks))
    hidden = len(biases[0])

    def times(column, v):
        return v @ np.split(recurrent_RW, len(cell.columns), axis=1)[cell.columns.index(column)]

    outputs = np.zeros((num_steps, batch, hidden))
    final = [np.array(array) for array in state]
    for b in range(batch):
        rows = x_TBI[:, b : b + 1]
        if reverse:
            rows = np.concatenate([rows[: lengths[b]][::-1], rows[lengths[b] :][::-1]])
        states = {k: array[b : b + 1] for k, array in zip(cell.state, state, strict=True)}
        for t, x in enumerate(rows):
            z = {column: x @ kernel for column, kernel in zip(cell.columns, kernels, strict=True)}
            if isinstance(cell, StagedCell):
                x = {k: z[k] + bias for k, bias in zip(cell.columns, biases, strict=True)}
                states = MODERN[name](x, times, weights, states)
            else:
                z, h = sums_of_blocks(cell, z, recurrent_RW, biases, states)
                states = MODERN[name](z, h, weights, states)
            outputs[t, b] = states["h"]
            if t < lengths[b]:
                for array, k in zip(final, cell.state, strict=True):
                    array[b] = states[k][0]
    return outputs, tuple(final)


def sums_of_blocks(cell, z, recurrent_RW, biases, states):
    """Returns the sums that the gates read, and the products of the state, by column."""
    z, h = {**z}, {column: np.zeros_like(z[column]) for column in cell.columns}
    for index, source in enumerate(cell.read):
        square = np.split(recurrent_RW, cell.num_read)[index]
        for column, of in zip(
            cell.columns, np.split(square, len(cell.columns), axis=1), strict=True
        ):
            h[column] = h[column] + states[source] @ of
    for block, bias in zip(cell.blocks, biases, strict=True):
        apart = "x" not in block.sources  # the product of the state stays by itself
        (h if apart else z)[block.column] = (h if apart else z)[block.column] + bias
        if not apart and len(block.sources) > 1:
            z[block.column] = z[block.column] + h[block.column]
    return z, h


def block_diagonal(kernel, heads, columns):
    """Returns the kernel of each column with its heads on the diagonal."""
    if heads == 1:
        return kernel
    squares = (
        linalg.block_diag(*np.split(column, heads, axis=1))
        for column in np.split(kernel, columns, axis=1)
    )
    return np.concatenate(list(squares), axis=1)
