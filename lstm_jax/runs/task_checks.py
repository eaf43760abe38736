"""Checks of a user's own task and layer before anything is trained: mistakes that would give wrong
numbers and raise no error.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.cells.layer import FlaxLayer, Params
from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Dataset, num_examples
from lstm_jax.errors import UserError
from lstm_jax.fields import field_specs
from lstm_jax.model import forward
from lstm_jax.model.block import make_blocks
from lstm_jax.model.custom_layer import CustomLayer
from lstm_jax.model.fused_params import fuse_kernels
from lstm_jax.tasks.task import Batch, ModelSpec, Task
from lstm_jax.train.step import init_state

STEP_TOLERANCE = 1e-4  # of the largest number: `apply` and `step` may round differently


def with_data_fields(task: Task) -> Task:
    """Returns the task as one that raises UserError where its `load` reads a field that is not
    declared with `data`.

    Data are loaded once for all values of such a field, so a sweep or a score over its values would
    show numbers of one and the same data.
    """
    hidden = {name for name, spec in field_specs(task).items() if not spec.data}

    def read(self: Any, name: str) -> Any:
        if name in hidden:
            raise UserError(
                f"{task.spec_string()}: its load reads the field {name}, which is not declared as "
                f"one that decides the data: write {name} = axis(..., data=True)"
            )
        return object.__getattribute__(self, name)

    base = type(task)
    watched: Task = object.__new__(type(base.__name__, (base,), {"__getattribute__": read}))
    vars(watched).update(vars(task))
    return watched


def check_items(member: Experiment, spec: ModelSpec, dataset: Dataset) -> None:
    """Raises UserError where the items of a batch have no common shape [n], or where their weights
    do not add up to `total_weight`, by which the loss is divided.
    """
    task, key = member.task, jax.random.key(0)
    if task.online:
        batch = task.sample(key, member.batch_size)
    else:
        index_B = jnp.arange(member.batch_size) % num_examples(dataset.train)
        batch = task.gather(dataset.train, index_B)
    batch = task.augment(batch, key)
    if spec.bucket_lengths:
        batch = task.truncate(batch, spec.bucket_lengths[-1])

    def outputs_of(batch: Batch) -> jax.Array:
        fused = fuse_kernels(member, init_state(spec, member).params)
        return forward.apply_model(member, spec, fused, task.inputs(batch))

    shape = jax.eval_shape(outputs_of, batch)
    scored = task.score_items(jnp.zeros(shape.shape, shape.dtype), batch, training=True)
    shapes = {name: jnp.shape(array) for name, array in scored._asdict().items()}
    if len({*shapes.values()}) > 1 or len(shapes["loss"]) != 1:
        got = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise UserError(
            f"{task.spec_string()}: score_items returned {got}; expected three arrays of one shape "
            "[n], a number for each item (of time steps: x_TB.ravel())"
        )
    weight, total = float(jnp.sum(scored.weight)), float(task.total_weight(batch))
    if abs(weight - total) > 1e-3 * max(1.0, abs(total)):
        raise UserError(
            f"{task.spec_string()}: the weights of a batch of {member.batch_size} add up to "
            f"{weight:g}, but its total_weight is {total:g}; define total_weight(self, batch), "
            "which is the number of examples without it"
        )


def check_step(member: Experiment) -> None:
    """Raises UserError where the `step` of a user's own layer computes other values than its
    `apply`: a stream would then answer otherwise than the trained model.

    Compares them over a few time steps of random numbers. The initial parameters are moved a
    little: a bias that `step` forgets is zero at first.
    """
    layer = make_blocks(member)[0].layers[0]
    if not isinstance(layer, CustomLayer) or isinstance(layer.layer, FlaxLayer):
        return
    custom, key = layer.layer, jax.random.key(0)
    x_TBI = jax.random.normal(key, (4, 2, layer.num_inputs), jnp.float32)

    def run_both(params: Params) -> tuple[Any, Any]:
        leaves, tree = jax.tree.flatten(params)
        keys = jax.random.split(key, len(leaves))
        noise = (jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True))
        moved = [a + 0.1 * n for a, n in zip(leaves, noise, strict=True)]
        params = jax.tree.unflatten(tree, moved)
        h_TBW, carry = [], layer.initial_carry(2)
        for x_BI in x_TBI:
            h_BW, carry = custom.step(params, x_BI, carry)
            h_TBW.append(h_BW)
        return custom.apply(params, x_TBI, None, None), (jnp.stack(h_TBW), carry)

    with jax.default_matmul_precision("float32"):  # which an accelerator does not have by itself
        whole, stepped = jax.jit(run_both)(layer.init(key))
    for name, one, other in zip(("output", "carry"), whole, stepped, strict=True):
        for pair in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            a, b = (np.asarray(leaf).astype(complex) for leaf in pair)  # real, complex, bool, ...
            largest = float(np.max(np.abs(a), initial=0))
            if not np.allclose(a, b, 0, STEP_TOLERANCE * (largest or 1.0), equal_nan=True):
                raise UserError(
                    f"cell: {member.cell}.step computes another {name} than its apply: on the same "
                    f"4 time steps they differ by up to {np.max(np.abs(a - b)):.2g}, in numbers of "
                    f"up to {largest:.2g}; a stream would not answer as the trained model"
                )
