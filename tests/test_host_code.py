"""What a user's own task does outside of JAX is a part of the identity, comments are not."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest

from lstm_jax import Experiment, Forecast, Images
from lstm_jax.data.dataset import say_nothing
from lstm_jax.plugins import load_attribute
from lstm_jax.runs import code
from lstm_jax.runs.datasets import file_stamp
from lstm_jax.train.placement import model_spec_of

SMALL = {"hidden_size": 4, "total_steps": 4, "batch_size": 8, "microbatches": 1}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


HOST = '''"""A task that reads and scores in its own way."""
from dataclasses import dataclass
import jax, numpy as np
from lstm_jax import Experiment
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.task import ItemScores

FACTOR, OTHER = 2.0, 3.0
TABLE = np.ones(3, np.float32)


@jax.jit
def inner(x):
    return x * TABLE.sum() * TABLE[:1]


def helper(x):
    # A comment.
    return x * FACTOR


def figures(trained, dataset, label):
    return OTHER


@dataclass(frozen=True)
class Host(Images):
    name = "host"

    def load(self, say):
        """Returns the data."""
        return super().load(say)._replace(name="host")

    def finalise(self, sums, dataset):
        return {k: helper(v) for k, v in super().finalise(sums, dataset).items()}

    def score_items(self, outputs, batch, *, training):
        scored = super().score_items(outputs, batch, training=training)
        return ItemScores(inner(scored.loss), scored.metric, scored.weight)
'''


@pytest.fixture(scope="module")
def host_program():
    """A function that returns the program of a member whose task's file holds a text."""
    dataset = Images(dataset="digits").load(say_nothing)

    def program(text):
        jax.clear_caches()
        Path("host.py").write_text(text)
        task = load_attribute("task", "host.py:Host")(dataset="digits")
        member = Experiment(task=task, **SMALL)
        spec = model_spec_of(member, dataset)
        return code.program_digest(member, spec, code.example_shapes(dataset))

    return program


EDITS = {
    "a value of a helper": ("FACTOR, OTHER = 2.0", "FACTOR, OTHER = 2.5"),
    "a helper": ("return x * FACTOR", "return x + FACTOR"),
    "reading": ('_replace(name="host")', '_replace(name="other")'),
    "scores": ("{k: helper(v)", "{k: 5 * helper(v)"),
    "a constant of an inner program": ("np.ones(3, np.float32)", "np.arange(3, dtype=np.float32)"),
}
NO_EDITS = {
    "a comment": ("# A comment.", "# Another."),
    "a docstring": ("Returns the data.", "Returns all the data."),
    "a figure": ("return OTHER", "return 2 * OTHER"),
}


@pytest.mark.parametrize(("old", "new"), EDITS.values(), ids=EDITS)
def test_what_a_task_does_outside_of_jax_is_a_part_of_its_program(folder, host_program, old, new):
    assert HOST.count(old) == 1
    assert host_program(HOST) != host_program(HOST.replace(old, new))


def test_a_function_that_jax_calls_back_is_a_part_of_the_program(folder, host_program):
    called = "jax.pure_callback(lambda x: np.float32(7) * x, scored.metric, scored.metric)"
    text = HOST.replace("scored.metric, scored.weight", f"{called}, scored.weight")
    assert host_program(text) != host_program(text.replace("(7)", "(8)"))
    assert host_program(text) == host_program(text.replace("# A comment.", "# Another."))
    assert host_program(text) == host_program(text.replace("Returns the data", "Reads the data"))


def test_the_constants_of_inner_programs_are_found_at_any_depth():
    table = np.arange(3, dtype=np.float32)

    def body(x, _):
        return jax.jit(lambda x: x * table)(x), None

    traced = jax.make_jaxpr(lambda x: jax.lax.scan(body, x, None, 2)[0] + 1)(table)
    assert any(np.array_equal(each, table) for each in code.constants(traced))


def test_the_stamp_of_data_tells_which_files_were_touched(folder):
    Path("a").mkdir()
    for path in ("one.csv", "a/0.png"):
        Path(path).write_text("12")
    tasks = {"file": Forecast(file="one.csv"), "folder": Images(dataset="./a")}
    stamps = {name: file_stamp(task) for name, task in tasks.items()}
    assert file_stamp(Images(dataset="digits")) == ""
    for name, path in (("file", "one.csv"), ("folder", "a/0.png")):
        status = Path(path).stat()
        Path(path).write_text("34")  # as long as before
        if name == "file":  # its content decides
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert file_stamp(tasks[name]) != stamps[name]
    Path("a/1.png").write_text("")
    assert file_stamp(tasks["folder"]) != stamps["folder"]


@pytest.mark.parametrize(("old", "new"), NO_EDITS.values(), ids=NO_EDITS)
def test_comments_and_figures_of_a_task_are_no_part_of_its_program(folder, host_program, old, new):
    assert HOST.count(old) == 1
    assert host_program(HOST) == host_program(HOST.replace(old, new))
