"""Peers on JAX, each written as its own documentation writes it, at its best setting.

Every peer is a function from a `Task` to its settings. All share the loss, optax's Adam, and the
three ways that JAX offers to run a step: a Python loop over a jitted, donating step; the loop
inside the jitted call; and this with the batch sharded over one host device per core. Forward
only, the batch may also be taken in smaller chunks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.task import (
    LEARNING_RATE,
    NUM_BATCHES,
    NUM_CLASSES,
    Run,
    Setting,
    Task,
    forget_plus_one,
    gates_in_order,
)

Logits = Callable[[Any, jax.Array], jax.Array]  # (params, images [B,T,I]) to [B,C]


def linen(task: Task) -> dict[str, Setting]:
    """Returns Flax Linen: nn.RNN around nn.OptimizedLSTMCell, nn.GRUCell or nn.SimpleCell."""
    from flax import linen as nn

    case = task.case
    cells: dict[str, Any] = {
        "lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell, "rnn": nn.SimpleCell,
    }  # fmt: skip

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = nn.Dense(case.hidden_size, name="hidden")(x)
            for name in case.cell_names:
                cell = cells[case.cell](case.hidden_size, name=name)
                carry, x = nn.RNN(cell, return_carry=True)(x)
            h = x if case.per_step_outputs else jax.tree.leaves(carry)[-1]
            return nn.Dense(NUM_CLASSES, name="output")(h)

    params = {"hidden": _dense(task, "hidden"), "output": _dense(task, "output")}
    for name in case.cell_names:
        params[name] = _LINEN[case.cell](task.weights[f"{name}_kernel"])

    def logits_of(params: Any, x: jax.Array) -> jax.Array:
        logits: Any = Model().apply({"params": params}, x)
        return logits

    return settings(task, params, logits_of)


def _linen_lstm(kernel: np.ndarray) -> dict[str, Any]:
    inputs, recurrent = np.split(kernel, 2)
    cell: dict[str, Any] = {}
    for gate, name in zip("ijfo", "igfo", strict=True):
        bias = np.full(inputs.shape[0], 1 if gate == "f" else 0, np.float32)
        cell[f"i{name}"] = {"kernel": _gate(inputs, gate)}
        cell[f"h{name}"] = {"kernel": _gate(recurrent, gate), "bias": bias}
    return cell


def _linen_gru(kernel: np.ndarray) -> dict[str, Any]:
    zeros = {"bias": np.zeros(kernel.shape[0] // 2, np.float32)}
    parts = zip("ih", np.split(kernel, 2), strict=True)
    return {
        source + gate: {"kernel": part} | (zeros if source == "i" or gate == "n" else {})
        for source, rows in parts
        for gate, part in zip("rzn", np.split(rows, 3, axis=1), strict=True)
    }


def _linen_rnn(kernel: np.ndarray) -> dict[str, Any]:
    inputs, recurrent = np.split(kernel, 2)
    bias = np.zeros(len(inputs), np.float32)
    return {"i": {"kernel": inputs, "bias": bias}, "h": {"kernel": recurrent}}


_LINEN = {"lstm": _linen_lstm, "gru": _linen_gru, "rnn": _linen_rnn}


def nnx(task: Task) -> dict[str, Setting]:
    """Returns Flax NNX: nnx.RNN(nnx.OptimizedLSTMCell), as a pure function, as in its guide."""
    from flax import nnx

    hidden_size, weights = task.case.hidden_size, task.weights

    class Model(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            self.hidden = nnx.Linear(task.case.features, hidden_size, rngs=rngs)
            cell = nnx.OptimizedLSTMCell(hidden_size, hidden_size, rngs=rngs)
            self.rnn = nnx.RNN(cell, return_carry=True, rngs=False)
            self.output = nnx.Linear(hidden_size, NUM_CLASSES, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            x = self.hidden(x)
            initial = self.rnn.cell.initialize_carry(x[:, 0].shape, rngs=nnx.Rngs(0))
            (_, h), _ = self.rnn(x, initial_carry=initial)
            return self.output(h)

    model = Model(nnx.Rngs(0))
    for name in ("hidden", "output"):
        layer = getattr(model, name)
        layer.kernel[...], layer.bias[...] = _dense(task, name).values()
    inputs, recurrent = np.split(gates_in_order(weights["lstm_kernel"], "ifjo"), 2)
    cell: Any = model.rnn.cell
    cell.dense_i.kernel[...], cell.dense_h.kernel[...] = inputs, recurrent
    cell.dense_h.bias[...] = forget_plus_one(weights["lstm_bias"], "ifjo")
    graph, state = nnx.split(model)
    leaves, tree = jax.tree.flatten(state)  # a Param may not be carried into an inner transform

    def logits_of(params: Any, x: jax.Array) -> jax.Array:
        logits: Any = nnx.merge(graph, jax.tree.unflatten(tree, params))(x)
        return logits

    return settings(task, leaves, logits_of)


def cudnn(task: Task) -> dict[str, Setting]:
    """Returns jax.experimental.rnn: cuDNN's LSTM between two dense layers, as in its docstring."""
    from jax.experimental import rnn

    case, weights = task.case, task.weights
    inputs, recurrent = np.split(gates_in_order(weights["lstm_kernel"], "ifjo"), 2)
    bias = forget_plus_one(weights["lstm_bias"], "ifjo")
    params = {
        "hidden": _dense(task, "hidden"),
        "lstm": [inputs.T, recurrent.T, bias],
        "output": _dense(task, "output"),
    }

    def logits_of(params: Any, x: jax.Array) -> jax.Array:
        x = x @ params["hidden"]["kernel"] + params["hidden"]["bias"]
        # Of the two equal biases one stays zero, or Adam would count it twice.
        flat = [part.ravel() for part in params["lstm"]]
        flat_weights = jnp.concatenate([*flat, jnp.zeros_like(flat[-1])])
        zeros = jnp.zeros((1, len(x), case.hidden_size))
        lengths = jnp.full(len(x), case.rows, jnp.int32)
        _, h, _ = rnn.lstm(
            x, zeros, zeros, flat_weights, lengths, input_size=case.hidden_size,
            hidden_size=case.hidden_size, num_layers=1, dropout=0.0, bidirectional=False,
        )  # fmt: skip
        return h[0] @ params["output"]["kernel"] + params["output"]["bias"]

    return settings(task, params, logits_of)


def haiku(task: Task) -> dict[str, Setting]:
    """Returns Haiku: hk.LSTM under hk.dynamic_unroll, with our gates i, j, f, o and +1 on f."""
    import haiku as hk

    hidden_size, weights = task.case.hidden_size, task.weights

    def model(x: jax.Array) -> jax.Array:
        x = hk.Linear(hidden_size, name="hidden")(x)
        core = hk.LSTM(hidden_size, name="lstm")
        initial = core.initial_state(x.shape[0])
        _, state = hk.dynamic_unroll(core, x, initial, time_major=False)
        return hk.Linear(NUM_CLASSES, name="output")(state.hidden)

    params = {
        name: {"w": weights[f"{part}_kernel"], "b": weights[f"{part}_bias"]}
        for name, part in {"hidden": "hidden", "lstm/linear": "lstm", "output": "output"}.items()
    }
    apply = hk.without_apply_rng(hk.transform(model)).apply
    return settings(task, params, apply)


def equinox(task: Task) -> dict[str, Setting]:
    """Returns Equinox: eqx.nn.LSTMCell under lax.scan for a sequence, under vmap, as it advises."""
    import equinox as eqx

    hidden_size, weights = task.case.hidden_size, task.weights

    class Model(eqx.Module):
        hidden: eqx.nn.Linear
        cell: eqx.nn.LSTMCell
        output: eqx.nn.Linear

        def __call__(self, x: jax.Array) -> jax.Array:
            def row(carry: Any, x: jax.Array) -> Any:
                return self.cell(x, carry), None

            zeros = jnp.zeros(self.cell.hidden_size)
            (h, _), _ = jax.lax.scan(row, (zeros, zeros), jax.vmap(self.hidden)(x))
            return self.output(h)

    key = jax.random.key(0)
    inputs, recurrent = np.split(gates_in_order(weights["lstm_kernel"], "ifjo"), 2)
    bias = forget_plus_one(weights["lstm_bias"], "ifjo")
    model = Model(
        eqx.nn.Linear(task.case.features, hidden_size, key=key),
        eqx.nn.LSTMCell(hidden_size, hidden_size, key=key),
        eqx.nn.Linear(hidden_size, NUM_CLASSES, key=key),
    )
    model = eqx.tree_at(
        lambda m: (m.hidden.weight, m.hidden.bias, m.output.weight, m.output.bias,
                   m.cell.weight_ih, m.cell.weight_hh, m.cell.bias),
        model,
        (weights["hidden_kernel"].T, weights["hidden_bias"], weights["output_kernel"].T,
         weights["output_bias"], inputs.T, recurrent.T, bias),
    )  # fmt: skip
    params, static = eqx.partition(model, eqx.is_array)
    return settings(task, params, lambda params, x: jax.vmap(eqx.combine(params, static))(x))


def _gate(array: np.ndarray, gate: str) -> np.ndarray:
    return np.split(array, 4, axis=-1)["ijfo".index(gate)]


def _dense(task: Task, name: str) -> dict[str, np.ndarray]:
    return {"kernel": task.weights[f"{name}_kernel"], "bias": task.weights[f"{name}_bias"]}


def settings(task: Task, params: Any, logits_of: Logits) -> dict[str, Setting]:
    """Returns the ways to run a model's steps; a sharded one where there are several devices."""
    advance = forward_step(logits_of) if task.case.forward else train_step(logits_of)
    state = (params, () if task.case.forward else optax.adam(LEARNING_RATE).init(params))
    state = jax.tree.map(np.asarray, state)  # on the host: a setting's donations touch no other's
    one = Mesh(np.asarray(jax.devices()[:1]), ("batch",))
    every = Mesh(np.asarray(jax.devices()), ("batch",))
    ways: dict[str, Setting] = {
        "jitted loop": partial(stepper, task, state, advance, one, True),
        "jitted loop, sharded": partial(stepper, task, state, advance, every, True),
        "jitted step": partial(stepper, task, state, advance, one, False),
    }
    if len(jax.devices()) == 1:
        del ways["jitted loop, sharded"]
    if task.case.forward:  # also on one device: smaller chunks stay in the cache
        for chunks in (4, 2):
            step = forward_step(in_chunks(logits_of, chunks, every))
            ways[f"{chunks} chunks a device"] = partial(stepper, task, state, step, every, True)
    return ways


def in_chunks(logits_of: Logits, chunks: int, mesh: Mesh) -> Logits:
    """Returns the model with its batch spread over devices, in chunks that fit the cache."""

    def on_device(params: Any, images: jax.Array) -> jax.Array:
        images = images.reshape(chunks, -1, *images.shape[1:])
        return jax.lax.map(partial(logits_of, params), images).reshape(-1, NUM_CLASSES)

    batch, whole = PartitionSpec("batch"), PartitionSpec()
    # check_vma: the peers' zero states are alike on all devices, what follows is not.
    return jax.shard_map(
        on_device, mesh=mesh, in_specs=(whole, batch), out_specs=batch, check_vma=False
    )


def train_step(logits_of: Logits) -> Callable[..., Any]:
    """Returns a function from (state, images, labels) to the next state and the loss before it."""
    optimizer = optax.adam(LEARNING_RATE)

    def loss_of(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        logits = logits_of(params, images)  # [B,C] or [B,T,C]
        labels = jnp.broadcast_to(labels.reshape(-1, *[1] * (logits.ndim - 2)), logits.shape[:-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def step(state: Any, images: jax.Array, labels: jax.Array) -> Any:
        params, adam = state
        loss, gradient = jax.value_and_grad(loss_of)(params, images, labels)
        updates, adam = optimizer.update(gradient, adam, params)
        return (optax.apply_updates(params, updates), adam), loss

    return step


def forward_step(logits_of: Logits) -> Callable[..., Any]:
    """Returns a function from (state, images, labels) to the same state and the mean |logit|."""

    def step(state: Any, images: jax.Array, _labels: jax.Array) -> Any:
        return state, jnp.abs(logits_of(state[0], images)).mean()

    return step


def stepper(task: Task, state: Any, advance: Callable[..., Any], mesh: Mesh, loop: bool) -> Run:
    """Puts the state and the batches on their devices and returns the compiled steps."""
    whole, spread = PartitionSpec(), PartitionSpec(None, "batch")
    batches = jax.device_put((task.images_SBTI, task.labels_SB), NamedSharding(mesh, spread))
    carry = jax.device_put((state, np.float32(0)), NamedSharding(mesh, whole))

    def body(step: jax.Array, carry: Any, batches: Any) -> Any:
        state, total = carry
        images, labels = (array[step % NUM_BATCHES] for array in batches)
        state, value = advance(state, images, labels)
        return state, total + value

    def span(start: jax.Array, stop: jax.Array, carry: Any, batches: Any) -> Any:
        return jax.lax.fori_loop(start, stop, lambda i, carry: body(i, carry, batches), carry)

    jitted = jax.jit(span if loop else body, donate_argnums=2 if loop else 1)

    def run(start: int, stop: int) -> float:
        nonlocal carry
        carry = (carry[0], jax.device_put(np.float32(0), NamedSharding(mesh, whole)))
        if loop:
            carry = jitted(np.int32(start), np.int32(stop), carry, batches)
        else:
            for step in range(start, stop):
                carry = jitted(np.int32(step), carry, batches)
        return float(carry[1]) / (stop - start)

    return run
