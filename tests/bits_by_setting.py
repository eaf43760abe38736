"""`python bits_by_setting.py KNOBS`: how the bits and the identity come out under each knob.

KNOBS is JSON: for each name, variables of the environment and options of JAX. Each is tried in a
fork of this process, in which JAX is imported and not yet started: a second or less a knob.
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


@jax.jit
def numbers():
    """An LSTM's products at the sizes of the baseline, and what else makes numbers."""
    keys = jax.random.split(jax.random.key(0), 3)
    x_BI = jax.random.uniform(keys[0], (128, 257))
    kernel_IG = jax.random.uniform(keys[1], (257, 512), minval=-0.1, maxval=0.1)
    z_BG, back = jax.vjp(jnp.matmul, x_BI, kernel_IG)
    return (
        *back(jnp.tanh(z_BG)),
        jax.nn.logsumexp(jnp.tanh(z_BG), axis=1),
        jnp.linalg.qr(jax.random.uniform(keys[2], (256, 64)))[0],  # an orthogonal kernel
    )


def bits():
    digest = hashlib.sha256()
    for array in numbers():
        digest.update(np.asarray(array).tobytes())
    return digest.hexdigest()


def fork(variables, options):
    """The end of a pipe on which the fork says how it came out."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.environ |= variables
        for name, value in options.items():
            jax.config.update(name, value)
        found = {"bits": bits(), "identity": provenance.digest(provenance.identity(""))}
        os.write(writing, json.dumps(found).encode())
        os._exit(0)
    os.close(writing)
    return reading


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # JAX warns of forks; it has no threads yet
    knobs, found = json.loads(sys.argv[1]), {}
    while knobs:  # two at a time
        pair = [knobs.popitem() for _ in range(min(2, len(knobs)))]
        pipes = {name: fork(*knob) for name, knob in pair}
        for name, pipe in pipes.items():
            with open(pipe) as file:
                found[name] = json.loads(file.read() or "null")
    print(json.dumps(found))
