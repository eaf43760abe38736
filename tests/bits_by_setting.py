"""`python bits_by_setting.py SETTINGS [loops]`: prints the bits and the identity under each one.

SETTINGS is JSON: for each name, variables of the environment and options of JAX. Each is tried in a
fork of this process, in which JAX is imported and not started yet. That takes a second or less.
With `loops` the numbers include those of the functions of all families of cells.
"""

import hashlib
import json
import os
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.runs import provenance

LOOPS = "loops" in sys.argv


def loop(x_TBH):
    """Returns what the functions of the families of cells give, in a loop over time steps: decays,
    real and complex, as in minGRU, RG-LRU and the LRU, an oscillator, exponential gates.
    """

    def time_step(state, x_BH):
        h, re, im, y, m = state
        log_a = -8 * jax.nn.softplus(x_BH) * jax.nn.sigmoid(x_BH)
        h = jnp.exp(log_a) * h + jnp.sqrt(-jnp.expm1(2 * log_a)) * x_BH
        re, im = jnp.cos(x_BH) * re - jnp.sin(x_BH) * im + x_BH, jnp.sin(x_BH) * re
        y = y + 0.1 * (jnp.tanh(x_BH + y) - y) / (1 + x_BH * x_BH)
        m = jnp.maximum(m + jax.nn.log_sigmoid(x_BH), x_BH)
        return (h, re, im, y, m), jnp.exp(x_BH - m)

    return jax.lax.scan(time_step, (jnp.zeros_like(x_TBH[0]),) * 5, x_TBH)


@jax.jit
def numbers():
    """Returns products as in an LSTM of the baseline's size, and results of other operations."""
    keys = jax.random.split(jax.random.key(0), 3)
    x_BI = jax.random.uniform(keys[0], (128, 257))
    kernel_IG = jax.random.uniform(keys[1], (257, 512), minval=-0.1, maxval=0.1)
    z_BG, back = jax.vjp(jnp.matmul, x_BI, kernel_IG)
    return (
        *back(jnp.tanh(z_BG)),
        jax.nn.logsumexp(jnp.tanh(z_BG), axis=1),
        jnp.linalg.qr(jax.random.uniform(keys[2], (256, 64)))[0],  # an orthogonal kernel
        *(jax.tree.leaves(loop(jax.random.normal(keys[0], (4, 8, 32)))) if LOOPS else ()),
    )


def bits():
    """Returns the SHA-256 of the numbers."""
    digest = hashlib.sha256()
    for array in numbers():
        digest.update(np.asarray(array).tobytes())
    return digest.hexdigest()


def fork(variables, options):
    """Forks, and returns the end of a pipe from which the fork's bits and identity can be read."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.environ |= variables
        for name, value in options.items():
            jax.config.update(name, value)
        outcome = {"bits": bits(), "identity": provenance.digest(provenance.identity("", ""))}
        os.write(writing, json.dumps(outcome).encode())
        os._exit(0)
    os.close(writing)
    return reading


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # JAX warns of forks; it has no threads yet
    settings, outcomes = json.loads(sys.argv[1]), {}
    while settings:  # two at a time
        pair = [settings.popitem() for _ in range(min(2, len(settings)))]
        pipes = {name: fork(*setting) for name, setting in pair}
        for name, pipe in pipes.items():
            with open(pipe) as file:
                outcomes[name] = json.loads(file.read() or "null")
    print(json.dumps(outcomes))
