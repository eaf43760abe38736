"""`plan` prints members, rungs and minutes, and trains nothing."""

import re

import pytest
from fast_compile import fast_programs
from run_commands import ENDLESS, SHORT

from lstm_jax.cli.main import main


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
    with fast_programs():
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
