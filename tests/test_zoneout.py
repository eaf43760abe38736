"""Zoneout equals its formula, time step by time step, in training and in evaluation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_compile import fast_jit

from lstm_jax import Experiment
from lstm_jax.cells import get_cell, scan
from lstm_jax.cells.zoneout import KEEP, draw_masks, run_with_masks, with_zoneout
from lstm_jax.errors import UserError
from lstm_jax.model.block import make_blocks
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.task import ModelSpec
from lstm_jax.train.step import init_state, train_step

NUM_STEPS, BATCH, INPUTS, HIDDEN = 3, 3, 2, 5
LENGTHS = jnp.array([3, 1, 0], jnp.int32)


near = partial(np.testing.assert_allclose, atol=1e-6)


def normal(*shape, seed=0):
    return 0.5 * jax.random.normal(jax.random.key(seed), shape, jnp.float32)


def arguments(cell):
    """Returns kernel, inputs, further weights, the initial state, and masks."""
    width = len(cell.columns) * HIDDEN
    kernels = normal(INPUTS, width), normal(cell.num_read * HIDDEN, width, seed=7)
    kernel = scan.stack_kernels(cell, *kernels, normal(len(cell.blocks) * HIDDEN, seed=8))
    extra = {n: normal(*w.shape(HIDDEN), seed=1) for n, w in cell.extra.items()}
    initial = tuple(normal(BATCH, HIDDEN, seed=3 + i) for i in range(len(cell.state)))
    masks = draw_masks(cell, jax.random.key(9), 0.4, (NUM_STEPS, BATCH, HIDDEN))
    return kernel, normal(NUM_STEPS, BATCH, INPUTS, seed=2), extra, initial, masks


def in_training(cell, kernel, x_TBI, extra, initial, masks, **options):
    options = {"lengths_B": None, "reverse": False, **options}
    return run_with_masks(
        with_zoneout(cell), kernel, x_TBI, extra, masks, initial=initial, keep_outputs=True,
        associative=False, **options,
    )  # fmt: skip


def looped(cell, kernel, x_TBI, extra, initial, masks):
    """Runs the cell without zoneout for each time step, and keeps what the masks say."""
    state, states = initial, []
    for t, x_BI in enumerate(x_TBI):
        _, new = scan.run(cell, kernel, x_BI[None], extra, initial=state)
        keep = masks[t] if masks[t].ndim == 3 else masks[t][None]
        state = tuple(jnp.where(k, a, b) for k, a, b in zip(keep, state, new, strict=True))
        states.append(state)
    return states


@pytest.mark.parametrize("name", ["lstm", "mingru", "lem"])
def test_units_keep_their_states_where_the_masks_say(name):
    cell = get_cell(name)
    *given, initial, masks = arguments(cell)

    @fast_jit
    def both(initial, masks):
        whole = in_training(cell, *given, initial, masks)
        cut = in_training(cell, *given, initial, masks, lengths_B=LENGTHS)
        return whole, cut, looped(cell, *given, initial, masks)

    (h_TBH, final), (_, cut), states = both(initial, masks)
    want = np.array([state[cell.output_index] for state in states])
    near(h_TBH, want)
    for i, each in enumerate(final):
        near(each, states[-1][i])
        at_end = [states[2][i][0], states[0][i][1], initial[i][2]]
        near(cut[i], np.stack(at_end))


@pytest.mark.parametrize("name", ["indrnn", "lru"])
def test_no_mask_is_no_zoneout_and_all_masks_keep_the_beginning(name):
    """Also read backwards; and a probability of 0 or 1 is the same."""
    cell = get_cell(name)
    kernel, x_TBI, extra, initial, masks = arguments(cell)

    @fast_jit
    def run(keep):
        options = {"reverse": True, "lengths_B": LENGTHS}
        trained = in_training(cell, kernel, x_TBI, extra, initial, masks & keep | keep, **options)
        evaluated = scan.run(
            with_zoneout(cell), kernel, x_TBI,
            extra | {KEEP: jnp.full(HIDDEN, keep, jnp.float32)}, initial=initial, **options,
        )  # fmt: skip
        return trained, evaluated, scan.run(cell, kernel, x_TBI, extra, initial=initial, **options)

    (trained, evaluated, plain) = run(False)
    for ours in (trained, evaluated):
        jax.tree.map(near, ours, plain)
    trained, evaluated, _ = run(True)
    scanned = 2 if name == "lru" else 1  # the output of an LRU is read out of its states
    for _, final in (trained, evaluated):
        jax.tree.map(near, final[:scanned], initial[:scanned])


def test_evaluation_is_the_mean_of_training():
    """Of a linear cell, whose masks are independent: exactly."""
    cell, batch = get_cell("mingru"), 4000
    kernel, x_TBI, extra, _, _ = arguments(cell)
    x_TBI = jnp.broadcast_to(x_TBI[:, :1], (NUM_STEPS, batch, INPUTS))
    initial = (jnp.ones((batch, HIDDEN), jnp.float32),)

    @fast_jit
    def run(p):
        masks = draw_masks(cell, jax.random.key(0), p, (NUM_STEPS, batch, HIDDEN))
        (h_TBH, _) = in_training(cell, kernel, x_TBI, extra, initial, masks)
        keep = {KEEP: jnp.full(HIDDEN, p, jnp.float32)}
        mean_TBH, _ = scan.run(with_zoneout(cell), kernel, x_TBI, extra | keep, initial=initial)
        return h_TBH.mean(axis=1), mean_TBH[:, 0], h_TBH.std(axis=1)

    mean, evaluated, std = run(jnp.float32(0.3))
    assert std.min() > 0.005
    np.testing.assert_allclose(mean, evaluated, atol=5 * float(std.max()) / np.sqrt(batch))


@pytest.mark.parametrize("zoneout", [None, 0.1])
def test_a_training_step_draws_masks_with_zoneout_alone(digits, zoneout):
    member = Experiment(task=Images(dataset="digits"), hidden_size=3, zoneout=zoneout)
    spec, batch = ModelSpec(8, 10), {name: array[:128] for name, array in digits.train.items()}
    state = jax.eval_shape(partial(init_state, spec), member)
    program = jax.make_jaxpr(partial(train_step, spec, member))(state, batch, jnp.int32(0))
    assert ("random_bits" in str(program)) == (zoneout is not None)


def test_what_does_not_fit_zoneout_is_refused_in_one_line(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import flax.linen as nn\nlayer = nn.SimpleCell\n")
    for cell, says in (("slstm", "scales"), (f"{path}:layer", "a layer"), ("mlstm", "a layer")):
        with pytest.raises(UserError, match=f"zoneout: .*{says}") as caught:
            make_blocks(Experiment(cell=cell, zoneout=0.1))
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="zoneout: cudnn"):
        Experiment(backend="cudnn", zoneout=0.1)
