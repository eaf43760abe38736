"""Text that a language model writes after a prompt.

Axes: T bytes of the prompt, L bytes written, V = 256 possible bytes, W features of a layer.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from json import dumps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Say
from lstm_jax.errors import UserError
from lstm_jax.fields import FieldSpec, check_value
from lstm_jax.model import forward
from lstm_jax.model.fused_params import FusedParams
from lstm_jax.predict.answers import Texts
from lstm_jax.predict.predict import PredictOptions, as_texts
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.tasks.task import Inputs


def predict(trained: TrainedModel, options: PredictOptions, say: Say) -> None:
    """Prints each prompt with the text that the model writes after it.

    Raises UserError for an empty prompt.
    """
    for word in options.inputs:
        prompt = sys.stdin.buffer.read() if word == "-" else word.encode()
        written = write(trained, prompt, options.length, options.temperature, options.seed)
        if options.json:
            texts = {"beginning": _text(prompt), "written": _text(written)}
            say(dumps(texts, ensure_ascii=False))
        else:
            say(_text(prompt + written))


def continue_texts(
    trained: TrainedModel,
    beginnings: str | Sequence[str],
    *,
    length: int = 200,
    temperature: float = 1.0,
    seed: int = 0,
) -> Texts:
    """Returns what the model writes after each beginning, `length` bytes; see `write`. Raises
    UserError for a negative length or temperature too.
    """
    starts = as_texts(beginnings)
    length = check_value("length", length, FieldSpec(int, "", low=0))
    temperature = check_value("temperature", temperature, FieldSpec(float, "", low=0))
    written = [write(trained, start.encode(), length, temperature, seed) for start in starts]
    return Texts(starts, [_text(content) for content in written])


def _text(content: bytes) -> str:
    """Returns bytes as text; bytes that are not UTF-8 become the replacement character."""
    return content.decode(errors="replace")


def write(
    trained: TrainedModel, prompt: bytes, length: int, temperature: float, seed: int
) -> bytes:
    """Returns `length` bytes that the model writes after the prompt. Each is sampled at the
    temperature; at temperature 0 the most probable byte is taken.

    The same arguments give the same bytes. Raises UserError for an empty prompt.
    """
    if not prompt:
        raise UserError("predict: give at least one character to write on from")
    if not length:
        return b""
    # The prompt is read as one sequence, padded to a power of two so that few programs compile.
    padded = 1 << (len(prompt) - 1).bit_length()
    tokens_T1 = np.zeros((padded, 1), np.int32)
    tokens_T1[: len(prompt), 0] = np.frombuffer(prompt, np.uint8)
    written = _write(
        length, trained.ready, trained.fused, tokens_T1, np.array([len(prompt)], np.int32),
        np.float32(temperature), jax.random.key(seed),
    )  # fmt: skip
    return np.asarray(written).astype(np.uint8).tobytes()


@partial(jax.jit, static_argnums=0)
def _write(
    length: int,
    member: Experiment,
    fused: FusedParams,
    tokens_T1: jax.Array,
    lengths_1: jax.Array,
    temperature: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """Returns the written bytes, int32 [L]."""

    def sample(h_1W: jax.Array, key: jax.Array) -> jax.Array:
        logits_1V = forward.apply_head(member, fused, h_1W)
        tempered_1V = logits_1V / jnp.where(temperature > 0, temperature, 1)
        sampled_1 = jax.random.categorical(key, tempered_1V)
        greedy_1 = jnp.argmax(logits_1V, axis=-1)
        return jnp.where(temperature > 0, sampled_1, greedy_1).astype(jnp.int32)

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        states, token_1 = carry
        h_1W, states = forward.step_layers(member, fused, token_1, states)
        token_1 = sample(h_1W, key)
        return (states, token_1), token_1[0]

    prompt = forward.run_layers(member, fused, Inputs(tokens_T1, lengths_1), keep_outputs=False)
    keys = jax.random.split(key, length)
    token_1 = sample(prompt.last_BW, keys[0])
    _, rest = jax.lax.scan(step, (prompt.carry, token_1), keys[1:])
    return jnp.concatenate([token_1, rest])
