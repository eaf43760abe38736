"""One knob for time scales, and the figures that show them: histograms and Lyapunov exponents."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_compile import fast_jit
from trained_runs import SWEEP, TINY, tiny_dataset

from lstm_jax.cells import CELLS, get_cell_or_layer
from lstm_jax.cells.decay import MAX_TIME_SCALE, decay_factors, time_scale
from lstm_jax.cells.layer import as_layer
from lstm_jax.cells.linear_cell import LinearCell
from lstm_jax.config.experiment import Experiment
from lstm_jax.config.search import Study
from lstm_jax.model.block import sets_time_scales
from lstm_jax.model.custom_layer import CustomLayer
from lstm_jax.model.directions import DrivenLayer, make_directions
from lstm_jax.model.layer import CellParams
from lstm_jax.report.figures import lyapunov
from lstm_jax.runs.datasets import check_members

CANNOT = {"rnn", "irnn", "lstm_nfg", "cornn", "scornn"}


def cell_layer(cell, hidden, **fields):
    member = Experiment(cell=cell, forget_bias=0.0, **fields)
    (layer,) = make_directions(member, 0, 3, hidden, both=False).layers
    return layer


def initial_weights(layer):
    """Returns the fused weights of a layer, with recurrent kernels of zeros."""
    params = CellParams(layer.member, layer.cell, 3, layer.hidden_size).init(jax.random.key(0))
    params = {layer.name: params["params"]}
    return layer.fuse(layer.enlarge_recurrent(params, 0.0))


def test_every_cell_of_the_table_sets_its_time_scales_or_is_named_here():
    cells = {name: get_cell_or_layer(name) for name in CELLS}
    silent = {name for name in CELLS if not sets_time_scales(Experiment(cell=name))}
    assert silent == CANNOT
    measured = {
        name
        for name, cell in cells.items()
        if isinstance(cell, LinearCell) or hasattr(cell, "decay_factors") or cell.decay is not None
    }
    # One weight of IndRNN is its rate, where its relu passes; UnICORNN loses nothing.
    assert measured == cells.keys() - CANNOT - {"indrnn", "unicornn"}


@pytest.mark.parametrize("cell", ["lstm", "rglru", "lru", "s5", "linoss"])
def test_time_scales_start_uniform_up_to_the_longest_dependency(cell):
    """They are measured as the report does, on inputs of zeros."""
    layer = cell_layer(cell, 200, chrono_steps=201)

    @fast_jit
    def measure(x_TBI):
        return time_scale(layer.decay_factors(initial_weights(layer), x_TBI))

    scale_H = np.asarray(measure(np.zeros((1, 1, 3), np.float32))).ravel()
    assert 0.9 < scale_H.min() < 10 < 190 < scale_H.max() < 201
    assert abs(scale_H.mean() - 100.5) < 12


@pytest.mark.parametrize("layer", ["mlstm", "gated_deltanet"])
def test_a_layer_sets_the_time_scales_of_its_heads(layer):
    @fast_jit
    def measure(key, x_TBI):
        layer_of = cell_layer(layer, 8, chrono_steps=50)
        return time_scale(layer_of.decay_factors((layer_of.init(key), None), x_TBI))

    scale_N = np.asarray(measure(jax.random.key(0), np.zeros((1, 1, 3), np.float32))).ravel()
    assert scale_N.shape == (4,)
    assert ((scale_N > 0.9) & (scale_N < 50.5)).all()
    assert np.ptp(scale_N) > 5


def test_a_cell_without_a_time_scale_is_named_once_and_all_others_are_silent():
    lines = []
    experiment = SWEEP.replace({"cell": ("rnn", "lru"), "chrono_steps": (0, 10), **TINY})
    datasets = {experiment.task.data_key: tiny_dataset()}
    check_members(Study(experiment.replace({"chrono_steps": 0})), datasets, lines.append)
    assert not lines
    check_members(Study(experiment), datasets, lines.append)
    (line,) = lines
    assert line.startswith("warning: chrono_steps: rnn has no gate, decay rate or time step")


def test_a_time_scale_is_the_number_of_time_steps_until_1_over_e_is_left():
    factor = np.array([*np.exp(-1 / np.array([0.5, 1, 40])), 1, 0], np.float32)
    *scales, longest, shortest = np.asarray(fast_jit(time_scale)(factor))
    np.testing.assert_allclose(scales, [0.5, 1, 40], rtol=1e-4)
    assert longest == pytest.approx(MAX_TIME_SCALE)
    assert 0 < shortest < 0.1


def test_the_factor_of_a_cell_of_two_states_is_the_largest_eigenvalue():
    """Of a pair of complex ones in the first unit, and of two real ones in the second."""
    matrices = np.array([[[0.9, -0.5], [0.5, 0.9]], [[0.5, 0.3], [0.1, -0.9]]], np.float32)
    a = tuple(tuple(matrices[:, i, j] for j in range(2)) for i in range(2))
    cell = LinearCell(
        name="two", columns=("n",), state=("r", "h"),
        coefficients=lambda z_TBG, extra: (a, (z_TBG, z_TBG)),
    )  # fmt: skip
    inputs = np.ones((4, 2), np.float32), np.ones((2, 1, 3), np.float32), {}
    factor = fast_jit(partial(decay_factors, cell))(*inputs)
    expected_H = np.abs(np.linalg.eigvals(matrices)).max(axis=1)
    np.testing.assert_allclose(factor, expected_H[None, None], rtol=1e-5)


class Rotation:
    """h = 0.9 R h + x, with R a rotation, beside a unit that grows by 1.1 and a counter."""

    matrix = np.array([[0.54, -0.72, 0], [0.72, 0.54, 0], [0, 0, 1.1]], np.float32)

    def init(self, key, num_inputs, hidden_size):
        return {"matrix": jnp.asarray(self.matrix)}

    def apply(self, params, x_TBI, lengths_B, carry):
        h_BH = jnp.zeros(x_TBI.shape[1:]) if carry is None else carry["h"]
        outputs = []
        for x_BI in x_TBI:
            h_BH = h_BH @ params["matrix"] + x_BI
            outputs.append(h_BH)
        return jnp.stack(outputs), {"h": h_BH, "t": jnp.zeros(len(h_BH), jnp.int32)}

    def step(self, params, x_BI, carry):
        h_BH = carry["h"] @ params["matrix"] + x_BI
        return h_BH, {"h": h_BH, "t": carry["t"] + 1}


@pytest.mark.parametrize(("grows", "largest"), [(1.1, np.log(1.1)), (0.1, np.log(0.9))])
def test_the_exponent_of_a_layer_of_ones_own_with_a_known_one(grows, largest):
    layer = CustomLayer(Experiment(), as_layer(Rotation, 3), "layer", 3, 3)
    matrix = Rotation.matrix.copy()
    matrix[2, 2] = grows
    driven = DrivenLayer(layer, ({"matrix": jnp.asarray(matrix)}, None), jnp.ones((60, 4, 3)))
    growth_TB = np.array(lyapunov.growth(driven, jax.random.key(0)))
    assert growth_TB.shape == (60, 4)
    weight_TB = np.ones((60, 4))
    weight_TB[30:, 1] = 0  # a shorter sequence: its padding is not counted
    growth_TB[30:, 1] = 1e9
    mean, deviation = lyapunov.exponent(growth_TB, weight_TB)
    assert mean == pytest.approx(largest, abs=0.01)
    assert deviation < 0.02
    time_steps, log_size_T = lyapunov.mean_size(growth_TB[:, [0, 2, 3]], weight_TB[:, [0, 2, 3]])
    assert (time_steps[0], time_steps[-1]) == (1, 60)
    assert np.polyfit(time_steps[20:], log_size_T[20:], 1)[0] == pytest.approx(
        largest / np.log(10), abs=0.01
    )


def test_a_change_of_the_state_of_a_cell_grows_as_differences_say():
    layer = cell_layer("lstm", 4)
    params = {layer.name: {"kernel": jax.random.normal(jax.random.key(1), (7, 16)),
                           "bias": jnp.zeros(16)}}  # fmt: skip
    x_TBI = jax.random.normal(jax.random.key(2), (5, 2, 3))
    key, weights = jax.random.key(0), layer.fuse(params)
    growth_TB = fast_jit(lambda: lyapunov.growth(DrivenLayer(layer, weights, x_TBI), key))()
    keys = jax.random.split(key, 2)
    v = [np.asarray(jax.random.normal(k, (2, 4))) for k in keys]
    small = 1e-3 / np.sqrt(sum(np.square(each).sum(axis=1) for each in v))[:, None]

    def final(carry):
        return jax.tree.map(np.asarray, fast_jit(layer.run)(weights, x_TBI, None, carry).carry)

    plus, minus = (final(tuple(jnp.asarray(s * small * each) for each in v)) for s in (1, -1))
    squares = [np.square(p - m).sum(axis=1) for p, m in zip(plus, minus, strict=True)]
    grown_B = np.log(np.sqrt(sum(squares)) / 2e-3)
    np.testing.assert_allclose(np.asarray(growth_TB).sum(axis=0), grown_B, rtol=2e-2)
