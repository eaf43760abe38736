"""Windows of a text, scores that carry the state, causality, a text learnt, the same bytes twice.

One size for all: a model of 8 units in two layers, windows of 6 bytes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trained_runs import train_in_memory

from lstm_jax.config.experiment import Experiment
from lstm_jax.data import language
from lstm_jax.data.dataset import say_nothing
from lstm_jax.errors import UserError
from lstm_jax.model import forward, fused_params
from lstm_jax.model.init import init_params
from lstm_jax.predict.language import write
from lstm_jax.report.figures.language import answer_figures
from lstm_jax.tasks.language import Language
from lstm_jax.tasks.task import Inputs
from lstm_jax.train.placement import Placement, build_programs
from lstm_jax.train.step import EVALUATION_BLOCK

pytestmark = pytest.mark.usefixtures("fast_compile")

LENGTH = 6
TEXT = b"abcd" * 2000  # whoever has read one byte knows the next


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("language") / "letters.txt"
    path.write_bytes(TEXT)
    return path


@pytest.fixture(scope="module")
def member(file):
    return Experiment(
        task=Language(dataset=str(file), length=LENGTH), hidden_size=8, layers=2, batch_size=16,
        microbatches=2, learning_rate=0.03, kernel_init="orthogonal", total_examples=16 * 300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def dataset(member):
    return member.task.load(say_nothing)


@pytest.fixture(scope="module")
def trained(member, dataset):
    """A model that was trained on the file, and its score on the test."""
    model, state, programs = train_in_memory(member, dataset)
    return model, programs.score(state.params, dataset.test)


def test_a_stream_knows_the_next_byte_and_goes_on_as_the_whole_text(trained):
    model, _ = trained
    stream, text = model.stream(), b"abcdab"
    next_TV = np.array([stream.step(byte) for byte in text])
    assert bytes(next_TV.argmax(axis=1).tolist()) == b"bcdabc"
    outputs_TV = model.outputs({"symbols": np.frombuffer(text + b"c", np.uint8)[None]})[:, 0]
    np.testing.assert_allclose(next_TV, jax.nn.softmax(outputs_TV), atol=1e-6)
    answer = model.predict(["abc", "c"], length=5, temperature=0)
    assert answer.texts == ["dabcd", "dabcd"]
    assert repr(answer) == "Texts('abc' -> 'dabcd', 'c' -> 'dabcd')"
    with pytest.raises(UserError, match="expected a byte"):
        stream.step("a")
    for option in ("length", "temperature"):
        with pytest.raises(UserError, match=f"^{option}: -1 is not at least 0$"):
            model.predict("abc", **{option: -1})


def test_a_block_goes_on_from_the_block_before_it_on_several_devices_too(member, dataset, trained):
    model, sums = trained
    programs = build_programs(Placement((member,), 1, 2), dataset, member.num_steps)
    params = programs.put(jax.tree.map(lambda leaf: np.asarray(leaf)[None], model.params))
    jax.tree.map(np.testing.assert_array_equal, programs.score(params, dataset.test), sums)


@pytest.mark.parametrize("count", [51, 52, 350, 1003])
def test_windows_hold_the_text_and_each_byte_is_predicted_once(count):
    text = np.random.RandomState(count).bytes(count)
    scored = language.stream_windows(text, LENGTH)
    assert language.streams_text(scored) == text
    assert scored["lengths"].sum() == count - 1
    assert len(scored["lengths"]) % EVALUATION_BLOCK == 0
    assert language.NUM_STREAMS == EVALUATION_BLOCK
    learnt = language.train_windows(text, LENGTH)
    assert text.startswith(language.windows_text(learnt))
    assert 0 <= count - 1 - learnt["lengths"].sum() < LENGTH


def test_the_splits_follow_each_other_and_modules_stay_whole(dataset):
    lengths = [len(language.streams_text(s)) for s in (dataset.validation, dataset.test)]
    assert lengths == [len(TEXT) // 20] * 2
    assert dataset.metadata["split"].startswith("by place")
    python = Language(length=128).load(say_nothing)
    test = language.streams_text(python.test)
    assert len(test) > 20_000
    assert test[-1000:] not in language.windows_text(python.train)
    assert python.fingerprint == Language(length=128).load(say_nothing).fingerprint


def test_a_text_too_short_is_refused_in_one_line(tmp_path):
    path = tmp_path / "short.txt"
    path.write_bytes(b"x" * 200)
    with pytest.raises(UserError, match=r"short.txt has 10 bytes for validation; windows of 6"):
        Language(dataset=str(path), length=6).load(say_nothing)
    with pytest.raises(UserError, match="expected a file, or a name"):
        Language(dataset="no name").load(say_nothing)
    with pytest.raises(UserError, match=r"^bidirectional: the task language must not read"):
        Experiment(task=Language(), bidirectional=True)


@pytest.mark.parametrize(
    ("name", "doubts"), [("lines.jsonl", 1), ("CELLS.CSV", 1), ("book.txt", 0)]
)
def test_a_table_that_is_read_as_a_text_is_said_to_be_one(tmp_path, name, doubts):
    (tmp_path / name).write_text('{"text": "one line"}\n' * 400)
    heard = []
    language.load_language(str(tmp_path / name), 16, heard.append)
    assert sum("is a table, and is read as it stands" in line for line in heard) == doubts


def test_a_text_is_learnt_and_counting_bytes_is_the_trivial_score(dataset, trained):
    _, sums = trained
    bits = sums.metric[0] / sums.weight[0]
    assert bits < 0.2
    assert sums.weight[0] == len(TEXT) // 20 - 1
    assert Language().trivial_score(dataset) == pytest.approx(2, abs=0.01)


def test_a_carried_score_is_that_of_the_long_text(member, dataset, trained):
    model, sums = trained
    fused = fused_params.fuse_kernels(member, model.params)
    split = dataset.test
    windows = split["symbols"].reshape(-1, EVALUATION_BLOCK, LENGTH + 1)
    long_TB = np.concatenate([window[:, :-1] for window in windows], axis=1).T.astype(np.int32)
    inside_BT = np.concatenate(
        [np.arange(LENGTH) < lengths[:, None] for lengths in split["lengths"].reshape(-1, 50)], 1
    )
    asked_TB = np.concatenate([window[:, 1:] for window in windows], axis=1).T
    h_TBW = forward.run_layers(member, fused, Inputs(jnp.asarray(long_TB)), keep_outputs=True).h_TBW
    log_TBV = np.asarray(jax.nn.log_softmax(forward.apply_head(member, fused, h_TBW)))
    loss_TB = -np.take_along_axis(log_TBV, asked_TB[..., None].astype(int), axis=2)[..., 0]
    assert len(windows) > 1  # or nothing would be carried
    np.testing.assert_allclose(sums.loss[0], np.sum(loss_TB * inside_BT.T), rtol=1e-4)


def test_no_byte_is_predicted_from_a_later_one(member, dataset):
    params = init_params(member, member.task.model_spec({}), jax.random.key(0))
    fused = fused_params.fuse_kernels(member, params)
    tokens_TB = jnp.asarray(dataset.train["symbols"][:2, :-1].T, jnp.int32)
    x_TBI = forward.embed_inputs(fused, Inputs(tokens_TB))

    @jax.jacrev
    def by_time_step(x_TBI):
        plain = fused._replace(embedding_VH=None)
        outputs = forward.apply_model(member, member.task.model_spec({}), plain, Inputs(x_TBI))
        return jnp.sum(outputs, axis=(1, 2))

    # Of the outputs of each time step by the input of each.
    moved = np.abs(np.asarray(by_time_step(x_TBI))).max(axis=(2, 3))
    assert (moved[np.tril_indices(LENGTH)] > 0).all()
    assert (moved[np.triu_indices(LENGTH, 1)] == 0).all()


def test_what_is_written_is_the_same_each_time_and_follows_the_model(trained):
    model, _ = trained
    assert write(model, b"abca", 8, 0.0, 0) == b"bcdabcda"
    drawn = write(model, b"ab", 8, 5.0, 1)
    assert drawn == write(model, b"ab", 8, 5.0, 1) != write(model, b"ab", 8, 5.0, 2)
    assert len(drawn) == 8
    assert write(model, b"ab", 0, 1.0, 0) == b""
    with pytest.raises(UserError, match="give at least one character"):
        write(model, b"", 8, 1.0, 0)


def test_ngram_probabilities_sum_to_one_and_longer_contexts_predict_better():
    train = (b"the cat sat on the mat, " * 40)[:900]
    before = 2 * language.ngram_bits_per_byte(train, b"th", 3)[2]
    after = [3 * language.ngram_bits_per_byte(train, b"th" + bytes([c]), 3)[2] for c in range(256)]
    assert sum(2 ** (before - bits) for bits in after) == pytest.approx(1, abs=1e-9)
    bits = language.ngram_bits_per_byte(train, train, 4)
    assert bits == sorted(bits, reverse=True)
    shares = np.bincount(np.frombuffer(train, np.uint8)) / len(train)
    entropy = -np.sum(shares[shares > 0] * np.log2(shares[shares > 0]))
    assert entropy < bits[0] < entropy + 0.1


def test_the_report_shows_texts_continued_and_bits_by_position(trained, dataset):
    model, _ = trained
    written, counting, bits = answer_figures(model, dataset, "seed 0")
    assert (written.name, counting.name, bits.name) == ("written", "counting", "bits_by_position")
    for beginning, _, original in written.rows:
        assert beginning + original in TEXT.decode()
    single, pairs, *_ = (float(row[2]) for row in counting.rows)
    assert single == pytest.approx(2, abs=0.01)  # four letters, equally frequent
    assert pairs < 0.1
    points = [line.split(",") for line in bits.drawing.csv.splitlines()[1:]]
    assert [float(point[2]) for point in points] == [*range(1, LENGTH + 1)]
    assert all(float(point[3]) < 0.5 for point in points)  # each byte decides the next
