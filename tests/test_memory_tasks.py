"""The memory tasks: targets by hand, fixed held-out sets, trivial scores, learning, the report."""

import math
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from fast_compile import fast_jit
from trained_runs import quiet, train, zero_model

from lstm_jax import Adding, Copying, Experiment
from lstm_jax.data.dataset import say_nothing
from lstm_jax.errors import UserError
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report.figures.gradients import where_cells_differ
from lstm_jax.report.figures.memory import copying_figures
from lstm_jax.report.page import report
from lstm_jax.runs.statistics import summarise
from lstm_jax.tasks.memory import BLANK
from lstm_jax.train.batches import next_batch

pytestmark = pytest.mark.usefixtures("fast_compile")

TASKS = (Adding(length=9), Copying(delay=3))
TINY = Experiment(
    task=Adding(length=3), cell=("rnn", "gru"), hidden_size=8, seed=(0, 1), learning_rate=1e-2,
    batch_size=64, total_examples=64 * 300, microbatches=1, kernel_init="orthogonal",
)  # fmt: skip


@partial(fast_jit, static_argnums=0)
def training_batch(task, seed, step):
    """What a member of this seed is trained on at a step."""
    member = Experiment(task=task, batch_size=200).replace_unchecked({"seed": seed})
    none = jnp.zeros(2, jnp.int32)
    return next_batch(task.model_spec({}), member, {}, step, none, jnp.int32(-1))[0]


@partial(fast_jit, static_argnums=0)
def loss_and_metric(task, outputs, batch):
    """Of each example."""
    return task.score_items(outputs, batch, training=True)[:2]


def test_the_sum_is_that_of_one_marked_number_in_each_half():
    task = TASKS[0]
    batch = {name: np.asarray(array) for name, array in training_batch(task, 0, 7).items()}
    x_TBI = np.asarray(task.inputs(batch).x_TBI)
    numbers, marked = x_TBI[..., 0], x_TBI[..., 1]
    assert set(np.unique(marked)) == {0, 1}
    assert (marked[:4].sum(axis=0) == 1).all()  # the first half of nine rows
    assert (marked[4:].sum(axis=0) == 1).all()
    assert (marked.sum(axis=1) > 0).all()  # every row, now and then
    np.testing.assert_allclose((numbers * marked).sum(axis=0), batch["sums"], rtol=1e-6)
    assert 0 <= numbers.min() < 0.01
    assert 0.99 < numbers.max() < 1
    for off in (0, 0.5):
        for error in loss_and_metric(task, batch["sums"][:, None] - np.float32(off), batch):
            np.testing.assert_allclose(error, off**2, rtol=1e-5)


def test_two_rows_are_both_marked():
    batch = training_batch(Adding(length=2), 0, 0)
    np.testing.assert_allclose(batch["sums"], batch["numbers"].sum(axis=1), rtol=1e-6)


def test_symbols_then_blanks_a_delimiter_and_room_to_recall():
    batch = {"symbols": jnp.array([[3, 1, 4, 1, 5, 2, 6, 5, 3, 7]], jnp.int32)}
    read = np.asarray(fast_jit(TASKS[1].inputs)(batch).x_TBI).argmax(axis=-1)[:, 0]
    assert read.tolist() == [3, 1, 4, 1, 5, 2, 6, 5, 3, 7, 8, 8, 9] + [8] * 10


def test_to_copy_without_a_memory_costs_ten_logarithms_of_eight():
    task, rows = TASKS[1], 3 + 20
    batch = {"symbols": np.asarray(training_batch(task, 0, 7)["symbols"])}
    unknown = np.full((rows, 200, 9), -1e9, np.float32)
    unknown[:-10, :, 8] = 0
    unknown[-10:, :, :8] = 0  # any symbol is as probable as any other
    loss, recall = loss_and_metric(task, unknown, batch)
    np.testing.assert_allclose(loss, 10 * math.log(8) / rows, rtol=1e-5)
    assert abs(float(recall.mean()) - 1 / 8) < 0.02
    right = unknown.copy()
    right[-10:] = np.where(np.eye(9)[batch["symbols"].T] > 0, 0, -1e9)
    loss, recall = loss_and_metric(task, right, batch)
    np.testing.assert_allclose(recall, 1, rtol=1e-6)
    np.testing.assert_allclose(loss, 0, atol=1e-6)
    right[-3:] = right[0]  # blanks
    np.testing.assert_allclose(loss_and_metric(task, right, batch)[1], 0.7, rtol=1e-5)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_held_out_examples_are_fixed_and_never_trained_on(task):
    first, again = task.load(say_nothing), task.load(say_nothing)
    assert first.fingerprint == again.fingerprint
    name = next(iter(first.test))  # the array that tells examples apart

    def examples(batch):
        return {np.asarray(row).tobytes() for row in batch[name]}

    test, validation = examples(first.test), examples(first.validation)
    trained = [training_batch(task, seed, step) for seed in (0, 1, 1997) for step in (0, 1)]
    trained = [examples(batch) for batch in trained]
    assert len(test) == len(validation) == 1000
    together = set().union(test, validation, *trained)
    assert len(together) == 2000 + 6 * 200  # not one twice: each seed and step has its own
    assert examples(training_batch(task, 0, 1)) == trained[1]


def test_the_trivial_score_is_that_of_the_best_constant_answer():
    adding, copying = (task.load(say_nothing) for task in TASKS)
    assert abs(TASKS[0].trivial_score(adding) - 1 / 6) < 0.015
    assert abs(TASKS[1].trivial_score(copying) - 1 / 8) < 0.01
    assert Adding(length=30).load(say_nothing).fingerprint != adding.fingerprint


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adding(length=1), r"^task\.length: 1 is not between 2 and 100000$"),
        (lambda: Adding(length=(50, 2.5)), r"^task\.length: expected a whole number, got 2\.5$"),
        (lambda: Copying(delay=1), r"^task\.delay: 1 is not between 2 and 100000$"),
        (lambda: Experiment(task=Copying(), bidirectional=True), r"^bidirectional: the task cop"),
        (lambda: Experiment(task=Adding(), dropout=1), r"^dropout: 1 is not between 0 and 0\.999"),
        (lambda: Experiment.from_values({"task": "add"}), r"^task: 'add' is not one of .*adding"),
    ],
)
def test_bad_input_is_one_line(make, message):
    with pytest.raises(UserError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def trained(records, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "adding" / TINY.digest
    records[directory] = train(directory, TINY, name="adding")
    return directory, records[directory]


def test_a_tiny_adding_task_is_learned_by_both_cells(trained):
    for result in trained[1].results.values():
        assert result.test_metric < 0.01 < TINY.task.trivial_score(TINY.task.load(say_nothing)) / 10


@pytest.mark.slow
def test_its_report_has_the_cells_side_by_side_and_its_answers(trained, monkeypatch):
    directory, _ = trained
    # test_report.py has them
    monkeypatch.setattr("lstm_jax.report.page.INSIDE", ())
    monkeypatch.setattr("lstm_jax.report.page.gradient_figures", lambda *_: ())
    page = report(directory, quiet()).read_text()
    assert "some figures are missing" not in page
    flow = (directory / "report" / "gradient_flow_cells.svg").read_text()
    for text in ("at initialisation", "after 50 steps", "after 300 steps", "cell gru", "cell rnn"):
        assert text in flow
    assert "Example answers" in page
    assert "The best cell compared with the others" in page
    assert "n 2)" in page


def test_the_cells_are_shown_where_they_differ_the_most(trained):
    record = trained[1]
    summaries = summarise(record.results.values())
    assert [r.member.cell for r in where_cells_differ(summaries)] == ["gru", "rnn"]
    assert [r.member.seed for r in where_cells_differ(summaries)] == [0, 0]
    assert where_cells_differ(summaries[:1]) == []


def test_the_report_of_copying_shows_the_symbols_and_what_is_recalled(monkeypatch):
    task = TASKS[1]
    dataset = task.load(say_nothing)
    symbols = dataset.validation["symbols"][:5]
    # A model that answers with blanks, and at the end with all symbols but the last.
    answers = np.full((task.num_time_steps, 5), BLANK)
    answers[-10:-1] = symbols.T[:-1]
    monkeypatch.setattr(TrainedModel, "outputs", lambda *_: np.eye(9)[answers])
    model = zero_model(Experiment(task=task, hidden_size=4), dataset.metadata)
    (table,) = copying_figures(model, dataset, "seed 0")
    letters = ["".join("ABCDEFGH"[symbol] for symbol in row) for row in symbols]
    assert [list(row) for row in table.rows] == [[row, row[:-1] + "."] for row in letters]
