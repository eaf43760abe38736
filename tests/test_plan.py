"""`plan` prints members, rungs and minutes, and trains nothing."""

import math
import re

import jax
import pytest
from fast_compile import fast_jit, programs_by
from run_commands import ENDLESS, SHORT

from lstm_jax.cells import CELLS, get_cell_or_layer
from lstm_jax.cells.cell import Cell
from lstm_jax.cli.main import main
from lstm_jax.config.blocks import Residual
from lstm_jax.config.experiment import Experiment
from lstm_jax.model.init import init_params
from lstm_jax.model.size import num_parameters
from lstm_jax.tasks.task import ModelSpec

SPEC = ModelSpec(num_features=3, num_outputs=2)
DENSE = 4 * 5 + 6 * 2  # 3 -> 5 before the layer and 5 -> 2 behind it, with their biases
BY_HAND = {  # of one layer of H = 5 units, which reads 5 numbers, by the formulas in docs/cells.md
    "lstm": 4 * (5 * 5 + 5 * 5 + 5),
    "gru": 3 * (5 * 5 + 5 * 5 + 5) + 5,  # two biases of the candidate
    "rnn": 5 * 5 + 5 * 5 + 5,
    "lstm_peephole": 4 * (5 * 5 + 5 * 5 + 5) + 3 * 5,
    "mingru": 2 * (5 * 5 + 5),
    "paragru": 3 * (5 * 5 + 5) + 3 * 5,
    "slstm": 4 * (5 * 5 + 5 * 5 + 5),
    "lru": 3 * (5 * 5 + 5) + 2 * 5 * 5 + 3 * 5,  # B, D; C; nu, theta, gamma
    "lem": 4 * (5 * 5 + 5 * 5 + 5),
    "mlstm": (5 + 1) * (4 * 8 + 2 * 4) + (8 - 5) * 2,  # 4 heads of two numbers: the head reads 8
}


def test_plan_prints_the_members_and_trains_nothing(run_command, tmp_path, capsys):
    argv = ["--hidden-size", "4", "6", "--cell", "lstm", "rnn", "--seed", "0", "1"]
    main(["plan", "digits", "--runs-dir", str(tmp_path), *argv])
    output = capsys.readouterr().out
    assert "8 members, 8 to train" in output
    assert len(re.findall(r"^ +2 +(lstm|rnn) +[46] ", output, re.MULTILINE)) == 4
    assert not list(tmp_path.iterdir())


def test_plan_measures_minutes_and_counts_finished_members(finished_runs, capsys):
    main(["plan", "digits", "--runs-dir", str(finished_runs), *SHORT, "--measure"])
    assert re.search(r"about 0\.0 minutes", output := capsys.readouterr().out)
    assert "1 member, 0 to train, 125 steps" in output


def test_plan_leaves_out_the_work_that_a_halving_drops(tmp_path, capsys):
    """Of four settings the first quarter is trained of all, the second of two, the rest of one."""
    argv = ["plan", "digits", "--runs-dir", str(tmp_path), *ENDLESS, "--measure"]
    argv += ["--learning-rate", "1e-4", "1e-3", "1e-2", "1e-1", "--halving", "2"]
    with programs_by(fast_jit):
        main(argv)
    output = capsys.readouterr().out
    (rate,) = re.findall(r"^ *4 .* ([\d,]+) *$", output, re.MULTILINE)
    (minutes,) = re.findall(r"about ([\d.]+) minutes", output)
    grid = 4 * 1e10 / float(rate.replace(",", "")) / 60
    assert float(minutes) == pytest.approx(grid / 2, rel=1e-2)
    (steps,) = re.findall(r"4 to train, (\d+) steps", output)
    rungs = re.findall(r"rung at step (\d+): the best (\d) settings go on", output)
    quarter = int(steps) // 4
    assert rungs == [(str(quarter), "2"), (str(2 * quarter), "1")]


@pytest.mark.parametrize("name", BY_HAND)
def test_the_number_of_parameters_is_that_of_the_formula(name):
    assert num_parameters(Experiment(cell=name, hidden_size=5), SPEC) == DENSE + BY_HAND[name]


def test_every_cell_is_counted_with_its_kernel_biases_and_further_weights():
    for name in CELLS:
        cell = get_cell_or_layer(name)
        if not isinstance(cell, Cell):  # a layer has the parameters that its `init` returns
            continue
        rows = 4 // cell.input_heads + cell.num_read * (4 // cell.recurrent_heads)
        kernel = 4 * rows * len(cell.columns)
        biases = 4 * sum(block.bias for block in cell.blocks)
        further = sum(math.prod(weight.shape(4)) for weight in cell.extra.values())
        counted = num_parameters(Experiment(cell=name, hidden_size=4), SPEC)
        assert counted == 4 * 4 + 5 * 2 + kernel + biases + further, name


def test_the_number_that_is_planned_is_that_of_the_initial_parameters():
    block = Residual(norm="rms", gate="silu", conv=4, mlp=4 / 3)
    member = Experiment(cell="lru", hidden_size=5, block=block)
    params = fast_jit(lambda key: init_params(member, SPEC, key))(jax.random.key(0))
    around = 6 * 5 + 6 * 5 + 4 * 5 + 6 * 14 + 8 * 5  # in, gate, conv, two kernels of the MLP
    expected = DENSE + around + BY_HAND["lru"]
    assert num_parameters(member, SPEC) == expected
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected
