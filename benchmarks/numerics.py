"""The error of several ways to compute a linear recurrence in float32, by length.

    python -m benchmarks.numerics             # half a minute; prints a table in Markdown
    python -m benchmarks.numerics --write     # writes docs/comparison/error.csv as well

The recurrence is that of minGRU, h = u h + (1 - u) g, with standard normal pre-activations, and
that of the LRU, whose lambda is complex, of modulus 0.9 to 0.999. The reference is the same formula
on the same float32 numbers, time step by time step in float64. *Plain* is `lstm_jax.linear_scan`,
*tree* the same with `associative=True`, and *log space* the form that the authors of minGRU train
with (Feng et al., 2024, after Heinsen, 2023): a cumulative sum of log u and a log-sum-exp.
These three take 1 - u as sigmoid(-z). *Cell* is plain with 1 - u as a difference, as the cell
`mingru` has it: it loses digits where u is near 1.

Axes: T time steps, H units.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.comparison_tables import TABLES
from lstm_jax.report import tables
from lstm_jax.runs.files import write_csv

LENGTHS = (196, 784, 4_096, 16_384)
UNITS = 64
SEED = 0
WAYS = ("cell", "plain", "tree", "log space")


def reference(a_TH: np.ndarray, b_TH: np.ndarray) -> np.ndarray:
    """Returns h = a h + b from zeros, time step by time step, in the dtype of a and b."""
    h_TH = np.empty_like(b_TH)
    h_H = np.zeros_like(b_TH[0])
    for t, (a_H, b_H) in enumerate(zip(a_TH, b_TH, strict=True)):
        h_TH[t] = h_H = a_H * h_H + b_H
    return h_TH


def error(h_TH: np.ndarray, exact_TH: np.ndarray) -> float:
    """Returns the largest relative error of all states."""
    return float(np.max(np.abs(h_TH - exact_TH) / np.abs(exact_TH)))


def mingru_errors(length: int, gate_bias: float) -> list[float]:
    """Returns the errors of the cell and of the three ways for a minGRU with this gate bias."""
    import jax
    import jax.numpy as jnp

    from lstm_jax import linear_scan

    random = np.random.RandomState(SEED)
    gate_TH = (random.standard_normal((length, UNITS)) + gate_bias).astype(np.float32)
    new_TH = random.standard_normal((length, UNITS)).astype(np.float32)

    def sigmoid(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    gate_64, new_64 = gate_TH.astype(np.float64), new_TH.astype(np.float64)
    g_64 = np.where(new_64 >= 0, new_64 + 0.5, sigmoid(new_64))
    exact_TH = reference(sigmoid(gate_64), sigmoid(-gate_64) * g_64)

    @jax.jit
    def ways(gate: jax.Array, new: jax.Array) -> tuple[jax.Array, ...]:
        u, g = jax.nn.sigmoid(gate), jnp.where(new >= 0, new + 0.5, jax.nn.sigmoid(new))
        rest = jax.nn.sigmoid(-gate)
        log_g = jnp.where(new >= 0, jnp.log(jnp.abs(new) + 0.5), jax.nn.log_sigmoid(new))
        sums = jnp.cumsum(jax.nn.log_sigmoid(gate), axis=0)
        log_b = jax.nn.log_sigmoid(-gate) + log_g
        return (
            linear_scan(u, (1 - u) * g),
            linear_scan(u, rest * g),
            linear_scan(u, rest * g, associative=True),
            jnp.exp(sums + jax.lax.cumlogsumexp(log_b - sums, axis=0)),
        )

    return [error(np.asarray(way), exact_TH) for way in ways(gate_TH, new_TH)]


def lru_errors(length: int) -> list[float]:
    """Returns the errors, relative to the largest state, of plain and tree for an LRU."""
    import jax.numpy as jnp

    from lstm_jax import linear_scan

    random = np.random.RandomState(SEED)
    modulus, phase = random.uniform(0.9, 0.999, UNITS), random.uniform(0, 2 * np.pi, UNITS)
    lambda_H = (modulus * np.exp(1j * phase)).astype(np.complex64)
    b_TH = random.standard_normal((length, UNITS)).astype(np.complex64)
    a_TH = np.broadcast_to(lambda_H.astype(np.complex128), b_TH.shape)
    exact_TH = reference(a_TH, b_TH.astype(np.complex128))
    scale = np.abs(exact_TH).max(axis=0)
    a, b = jnp.asarray(lambda_H), jnp.asarray(b_TH)
    ways = (linear_scan(a, b), linear_scan(a, b, associative=True))
    return [float(np.max(np.abs(np.asarray(way) - exact_TH) / scale)) for way in ways]


def measure() -> list[dict[str, str | int | float]]:
    """Returns for each recurrence and length T the largest error of each way, by its name."""
    rows: list[dict[str, str | int | float]] = []
    for words, bias in {"minGRU, keeps 50 %": 0.0, "minGRU, keeps 95 %": 3.0}.items():
        for length in LENGTHS:
            errors = dict(zip(WAYS, mingru_errors(length, bias), strict=True))
            rows.append({"recurrence": words, "time steps": length, **errors})
    for length in LENGTHS:
        errors = dict(zip(WAYS[1:3], lru_errors(length), strict=True))
        rows.append(
            {"recurrence": "LRU", "time steps": length, **dict.fromkeys(WAYS, ""), **errors}
        )
    return rows


def main() -> None:
    """Prints the largest error of each way at each length, and writes them if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write docs/comparison/error.csv")
    options = parser.parse_args()
    errors = measure()
    rows = [
        [
            f"{v:,}" if isinstance(v, int) else v if isinstance(v, str) else f"{v:.1e}"
            for v in row.values()
        ]
        for row in errors
    ]
    print(tables.markdown(("recurrence", "time steps", *WAYS), rows), end="")
    if options.write:
        write_csv(TABLES / "error.csv", errors)


if __name__ == "__main__":
    main()
