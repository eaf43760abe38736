"""What a user's own task does outside of JAX is a part of the identity, comments are not."""

from pathlib import Path

import jax
import pytest

from lstm_jax import Experiment, Images
from lstm_jax.data.dataset import say_nothing
from lstm_jax.plugins import load_attribute
from lstm_jax.runs import code
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


@pytest.mark.parametrize(("old", "new"), NO_EDITS.values(), ids=NO_EDITS)
def test_comments_and_figures_of_a_task_are_no_part_of_its_program(folder, host_program, old, new):
    assert HOST.count(old) == 1
    assert host_program(HOST) == host_program(HOST.replace(old, new))
