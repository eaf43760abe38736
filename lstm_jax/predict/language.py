"""Beginnings of a text, written on by a model of language.

Axes: S bytes of the beginning, L bytes written, V = 256 bytes there are.
"""

from __future__ import annotations

import sys
from functools import partial
from json import dumps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Say
from lstm_jax.errors import UserError
from lstm_jax.model import forward
from lstm_jax.model.forward import FusedParams
from lstm_jax.predict.options import PredictOptions
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.tasks.task import Inputs


def predict(trained: TrainedModel, options: PredictOptions, tell: Say) -> None:
    """Prints each beginning with what the model writes behind it.

    Raises UserError for a beginning without a character.
    """
    for beginning in options.inputs:
        given = sys.stdin.buffer.read() if beginning == "-" else beginning.encode()
        written = write(trained, given, options.length, options.temperature, options.seed)
        if options.json:
            texts = {"beginning": _text(given), "written": _text(written)}
            tell(dumps(texts, ensure_ascii=False))
        else:
            tell(_text(given + written))


def write(trained: TrainedModel, given: bytes, length: int, temperature: float, seed: int) -> bytes:
    """Returns `length` bytes that the model writes behind the given ones, each drawn from what it
    holds probable, or the most probable one where the temperature is zero.

    The same arguments give the same bytes. Raises UserError where nothing is given.
    """
    if not given:
        raise UserError("predict: give at least one character to write on from")
    if not length:
        return b""
    # The state after the beginning: it is read as one sequence, padded so that few are compiled.
    rows = 1 << (len(given) - 1).bit_length()
    symbols_T1 = np.zeros((rows, 1), np.int32)
    symbols_T1[: len(given), 0] = np.frombuffer(given, np.uint8)
    written = _write(
        length, trained.ready, trained.fused, symbols_T1, np.array([len(given)], np.int32),
        np.float32(temperature), jax.random.key(seed),
    )  # fmt: skip
    return np.asarray(written).astype(np.uint8).tobytes()


@partial(jax.jit, static_argnums=0)
def _write(
    length: int,
    member: Experiment,
    fused: FusedParams,
    symbols_T1: jax.Array,
    lengths_1: jax.Array,
    temperature: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """Returns the bytes, int32 [L]."""

    def draw(h_1W: jax.Array, key: jax.Array) -> jax.Array:
        logits_1V = forward.read_out(fused, h_1W)
        tempered_1V = logits_1V / jnp.where(temperature > 0, temperature, 1)
        drawn_1 = jax.random.categorical(key, tempered_1V)
        likeliest_1 = jnp.argmax(logits_1V, axis=-1)
        return jnp.where(temperature > 0, drawn_1, likeliest_1).astype(jnp.int32)

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        states, symbol_1 = carry
        found = forward.run_layers(
            member, fused, Inputs(symbol_1[None]), keep_outputs=False, initial=states
        )
        symbol_1 = draw(found.last_BW, key)
        return (found.states, symbol_1), symbol_1[0]

    first = forward.run_layers(member, fused, Inputs(symbols_T1, lengths_1), keep_outputs=False)
    keys = jax.random.split(key, length)
    symbol_1 = draw(first.last_BW, keys[0])
    _, rest = jax.lax.scan(step, (first.states, symbol_1), keys[1:])
    return jnp.concatenate([symbol_1, rest])


def _text(written: bytes) -> str:
    """Bytes as text; those that are no UTF-8 show as such."""
    return written.decode(errors="replace")
