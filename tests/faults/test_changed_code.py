"""A cell that is edited between a kill and the resume: results of two codes are never mixed."""

import json
import signal

from test_faults import command, finish, finished, start

CELL = """
import jax.numpy as jnp
from lstm_jax.cells.cell import Cell


def pointwise(z_BG, state, extra):
    return (jnp.tanh(z_BG),)


cell = Cell(name="own", columns=("n",), pointwise=pointwise)
"""
EDITED = CELL.replace("jnp.tanh(z_BG)", "0.5 * jnp.tanh(z_BG)")
COMMENT = CELL.replace("def pointwise", "# A comment.\ndef pointwise")


def test_a_cell_that_is_edited_between_kill_and_resume_is_trained_anew(tmp_path, tally):
    file, tries, survived, lost = tmp_path / "cell.py", 0, 0, 0
    argv = (
        *("--cell", f"{file}:cell", "--hidden-size", "8", "--seed", "0", "1"),
        *("--microbatches", "1", "--total-examples", "64000", "--checkpoint-every", "10"),
        "--no-report",
    )
    file.write_text(EDITED)
    code, lines = finish(start(command(tmp_path / "edited", *argv)))
    assert code == 0, lines[-3:]
    file.write_text(CELL)
    assert finish(start(command(tmp_path / "whole", *argv)))[0] == 0
    wanted = {EDITED: finished(tmp_path / "edited"), COMMENT: finished(tmp_path / "whole")}
    for number, text in enumerate((EDITED, COMMENT)):
        runs = tmp_path / str(number)
        file.write_text(CELL)
        process = start(command(runs, *argv))
        while "loss" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        finish(process)
        file.write_text(text)
        code, lines = finish(start(command(runs, *argv)))
        (new,) = [path for path in (runs / "digits").iterdir() if "-old-" not in path.name]
        is_anew = any("changed since" in line for line in lines)
        tries += 1
        survived += (code, finished_in(new), is_anew) == (0, wanted[text], text is EDITED)
        lost += is_anew and not list((runs / "digits").glob("*-old-1/checkpoints/*/*.json"))
    tally("a cell edited between kill and resume, and a comment", tries, survived, lost)
    assert (survived, lost) == (tries, 0)


def finished_in(directory):
    """Returns the SHA-256 of the parameters of a run's finished members, by digest."""
    members = json.loads((directory / "record.json").read_text())["members"]
    return {digest: member["parameters_sha256"] for digest, member in members.items()}
