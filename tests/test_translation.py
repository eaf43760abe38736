"""Encoder, decoder and attention; sentences that a model writes by itself; pairs and their splits.

One size for all: sentences of one to three of eight letters, to be copied.
"""

import io
import itertools
import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_compile import fast_jit
from PIL import Image
from trained_runs import zero_model

from lstm_jax import Captions, Experiment, Translation
from lstm_jax.cells import get_cell, scan
from lstm_jax.data import dates, pairs, tokens
from lstm_jax.data.dataset import say_nothing
from lstm_jax.errors import UserError
from lstm_jax.model import forward
from lstm_jax.model.fused_params import fuse_kernels
from lstm_jax.model.init import init_params
from lstm_jax.predict import decode, sequence
from lstm_jax.predict.answers import Sentences
from lstm_jax.predict.predict import PredictOptions
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report.figures import sequences
from lstm_jax.report.page import answer_figures
from lstm_jax.tasks.task import Inputs
from lstm_jax.train.placement import Placement, build_programs
from lstm_jax.train.step import init_state

pytestmark = pytest.mark.usefixtures("fast_compile")

STEPS, BATCH = 1500, 8


@pytest.fixture(scope="module")
def member(tmp_path_factory):
    lines = [" ".join(s) for n in (1, 2, 3) for s in itertools.product("abcdefgh", repeat=n)]
    order = np.random.RandomState(0).permutation(len(lines))
    path = tmp_path_factory.mktemp("pairs") / "copy.tsv"
    path.write_text("".join(f"{lines[i]}\t{lines[i].upper()}\n" for i in order))
    return Experiment(
        task=Translation(dataset=str(path)), cell="rnn", hidden_size=24, learning_rate=2e-2,
        schedule="cosine", clip_norm=1.0, batch_size=16, microbatches=2,
        total_examples=16 * STEPS,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(member):
    return member.task.load(say_nothing)


@pytest.fixture(scope="module")
def start(member, data):
    """A first state made without a compiled program."""
    random = np.random.RandomState(0)
    like = jax.eval_shape(partial(init_state, member.task.model_spec(data.metadata)), member)
    params = jax.tree.map(
        lambda leaf: (0.3 * random.randn(*leaf.shape)).astype(np.float32), like.params
    )
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like.optimizer)
    return like._replace(params=params, optimizer=zeros, diverged_at=np.int32(-1))


@pytest.fixture(scope="module")
def state(member, data, start):
    programs = build_programs(Placement((member,), 1, 1), data, STEPS)
    return programs.segment(programs.put(jax.tree.map(lambda leaf: leaf[None], start)), 0, STEPS)[0]


@pytest.fixture(scope="module")
def trained(member, data, state):
    params = jax.tree.map(lambda leaf: leaf[0], state.params)
    return TrainedModel("copy", member, STEPS, None, data.metadata, params)


@pytest.fixture(scope="module")
def batch(data):
    return {name: jnp.asarray(array[:BATCH]) for name, array in data.train.items()}


@partial(fast_jit, static_argnums=0)
def _logits(spec, member, fused, batch):
    return forward.apply_model(member, spec, fused, member.task.inputs(batch))


def logits(trained, batch):
    return np.asarray(_logits(trained.spec, trained.ready, trained.fused, batch))


def test_a_copying_task_is_solved_on_sentences_never_seen(trained, data):
    wanted = decode.texts(data.test["target"], data.metadata, "target")
    assert len(wanted) >= 12
    assert not set(wanted) & set(decode.texts(data.train["target"], data.metadata, "target"))
    assert decode.exact_share(decode.generate(trained, data.test).texts, wanted) > 0.95


def test_the_decoder_is_kept_from_symbols_that_it_must_still_write(member, batch):
    """They are hidden at random, in training alone; the targets do not change."""
    task = replace(member.task, target_dropout=0.5)
    many = {**batch, "target": jnp.tile(batch["target"], (50, 1))}
    augmented = [task.augment(many, jax.random.key(n)) for n in (0, 1)]
    hidden = [np.asarray(task.decoder_inputs(each)) == tokens.UNKNOWN for each in augmented]
    assert not np.array_equal(*hidden)
    for each, is_hidden in zip(augmented, hidden, strict=True):
        assert not is_hidden[0].any()  # the begin token is always shown
        assert abs(is_hidden[1:].mean() - 0.5) < 0.05
        np.testing.assert_array_equal(each["target"][:BATCH], batch["target"])
        assert task.truncate(each, 2)["shown"].shape == (50 * BATCH, 2)
    assert member.task.augment(batch, jax.random.key(0)).keys() == batch.keys()


def test_greedy_is_a_beam_of_one_and_takes_the_most_probable_symbol_each_time(trained, batch):
    actual = decode.generate(trained, batch)
    steps = batch["target"].shape[1]
    target_BS = np.zeros((BATCH, steps), np.int32)
    log_B, length_B = np.zeros(BATCH), np.zeros(BATCH)
    for step in range(steps):
        probable = jax.nn.log_softmax(logits(trained, {**batch, "target": target_BS})[step])
        going = (target_BS[:, :step] != tokens.END).all(axis=1)
        # Padding, the beginning and the unknown symbol are never written.
        allowed = np.asarray(probable).copy()
        allowed[:, [tokens.PADDING, tokens.BEGIN, tokens.UNKNOWN]] = -np.inf
        target_BS[:, step] = np.where(going, allowed.argmax(axis=1), tokens.PADDING)
        log_B += np.where(going, allowed.max(axis=1), 0)
        length_B += going
    np.testing.assert_array_equal(actual.tokens_NS, target_BS)
    np.testing.assert_allclose(actual.certainty_N, np.exp(log_B / length_B), rtol=1e-5)


def test_a_beam_says_how_probable_its_sentence_is(trained, start, batch):
    untrained = TrainedModel("copy", trained.member, 0, None, trained.metadata, start.params)
    actual = decode.generate(untrained, batch, beam=5)
    written = np.asarray(actual.tokens_NS)
    log_SBV = jax.nn.log_softmax(logits(untrained, {**batch, "target": written}))
    log_BS = np.take_along_axis(np.asarray(log_SBV), written.T[:, :, None], axis=2)[:, :, 0].T
    inside = written != tokens.PADDING
    mean_B = (log_BS * inside).sum(axis=1) / inside.sum(axis=1)
    np.testing.assert_allclose(actual.certainty_N, np.exp(mean_B), rtol=1e-5)
    greedy = decode.generate(untrained, batch)
    assert (actual.tokens_NS != greedy.tokens_NS).any()


def test_padding_moves_nothing(trained, batch):
    short = np.asarray(batch["source_lengths"]) < 3
    assert short.any()
    inside = np.arange(batch["source"].shape[1]) < np.asarray(batch["source_lengths"])[:, None]
    other = np.where(inside, batch["source"], 7)
    actual = logits(trained, {**batch, "source": other})
    np.testing.assert_array_equal(actual, logits(trained, batch))
    items = [
        trained.member.task.score_items(
            jnp.asarray(actual), {**batch, "target": target}, training=True
        )
        for target in (batch["target"], jnp.where(batch["target"] == 0, 4, batch["target"]))
    ]
    of_weight = [np.asarray(each.loss * each.weight) for each in items]
    np.testing.assert_array_equal(*of_weight)
    assert items[0].weight.sum() == trained.member.task.total_weight(batch)


def test_a_later_symbol_moves_no_earlier_logit_and_the_source_moves_all(trained, batch):
    """Takes the gradient of each time step's logits by the table: each symbol occurs once."""
    decoder_inputs_SB = jnp.tile(jnp.array([1, 4, 5, 6], jnp.int32)[:, None], (1, BATCH))
    inputs = trained.member.task.inputs(batch)._replace(decoder_inputs_SB=decoder_inputs_SB)

    @fast_jit
    @jax.jacrev
    def gradients(tables, fused):
        decoder = fused.decoder._replace(embedding_VH=tables[1])
        model = fused._replace(embedding_VH=tables[0], decoder=decoder)
        out_SBV = forward.apply_model(trained.ready, trained.spec, model, inputs)
        return jnp.einsum("sbv->s", out_SBV**2)

    fused = trained.fused
    tables = fused.embedding_VH, fused.decoder.embedding_VH
    source_SVH, target_SVH = gradients(tables, fused)
    size = np.abs(np.asarray(target_SVH)).max(axis=2)[:, decoder_inputs_SB[:, 0]]
    assert (size[np.triu_indices(4, 1)] == 0).all()
    assert (size[np.tril_indices(4)] > 0).all()
    assert (np.abs(np.asarray(source_SVH)).max(axis=(1, 2)) > 0).all()


def test_without_attention_a_decoder_is_a_recurrence_that_begins_where_the_encoder_ended():
    member = Experiment(task=Translation(attention="none"), hidden_size=3, bidirectional=True)
    metadata = {"source_vocabulary": "abcd", "target_vocabulary": "abcdef", "widths": [4]}
    spec = member.task.model_spec(metadata)
    params = fast_jit(partial(init_params, member, spec))(jax.random.key(0))
    weights = params["decoder"]
    assert set(weights) == {"embedding", "lstm", "lstm_begin_c", "lstm_begin_h"}
    fused = fast_jit(partial(fuse_kernels, member))(params)
    x_TB = jnp.array([[0, 1], [2, 3], [1, 0]], jnp.int32)
    decoder_inputs_SB = jnp.array([[1, 1], [4, 5]], jnp.int32)
    inputs = Inputs(x_TB, jnp.array([3, 2], jnp.int32), decoder_inputs_SB)
    run = fast_jit(scan.run, static_argnums=0, static_argnames="reverse")
    cell, x_TBH = get_cell("lstm"), params["embedding"][x_TB]
    finals = [
        run(cell, layer.kernel_KG, x_TBH, lengths_B=inputs.lengths_B, reverse=reverse)[1]
        for layer, reverse in zip(fused.layers[0], (False, True), strict=True)
    ]
    initial = tuple(
        jnp.concatenate(sides, axis=1) @ weights[f"lstm_begin_{name}"]["kernel"]
        for name, sides in zip("ch", zip(*finals, strict=True), strict=True)
    )
    kernel_KG = fused.decoder.layers[0][0].kernel_KG
    h_SBH, _ = run(cell, kernel_KG, weights["embedding"][decoder_inputs_SB], initial=initial)
    want = h_SBH @ params["output"]["kernel"] + params["output"]["bias"][None, None]
    actual = fast_jit(partial(forward.apply_model, member, spec))(fused, inputs)
    np.testing.assert_allclose(actual, want, atol=1e-6)


def test_what_a_report_shows_and_predict_says(trained, start, data, monkeypatch):
    shown = {each.name: each for each in answer_figures(trained, data, "seed 0")}
    assert {"sentences", "quality", "attention_0", "attention_1"} == set(shown)
    assert all(written == correct for _, written, correct in shown["sentences"].rows)
    scores = {row[0]: row[1] for row in shown["quality"].rows}
    assert scores["greedy"] == scores["beam of 5"]
    assert float(scores["greedy"]) > 95
    assert scores["trivial: copy of the source"] == "0.0"
    assert scores["trivial: nearest neighbour by words"] == "0.0"
    seeds = [replace(trained, params=params) for params in (trained.params, start.params)]
    monkeypatch.setattr(TrainedModel, "over_seeds", lambda self: [self, *seeds])
    shown = {each.name: each for each in answer_figures(trained, data, "seed 0")}
    mean, *bounds = dict(row[:2] for row in shown["quality"].rows)["greedy"].split(maxsplit=1)
    assert float(mean) == pytest.approx(2 / 3 * float(scores["greedy"]), abs=0.1)
    assert bounds == ["(0.0 to 100.0)"]
    printed = []
    options = PredictOptions(("b e", "d"), show_each_time_step=True)
    sequence.translate(trained, options, printed.append)
    lines = [line.split()[0] for line in printed]
    assert lines == ["B", "B", "E", "D", "D"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("a c d\n\na\u2028c".encode())))
    with pytest.raises(UserError, match=r"^1 of 3 texts could not be read"):
        sequence.translate(trained, PredictOptions(("-",), json=True), printed.append)
    assert printed[-3].startswith('{"source": "a c d", "target": "A C D", "certainty": 0.')
    assert json.loads(printed[-2])["error"] == "line 2 of stdin: 0 words; this model reads 1 to 4"
    assert json.loads(printed[-1])["target"] == "A C"
    for sentence in ("", "a b c d e"):
        with pytest.raises(UserError, match=r"^predict: \d words; this model reads 1 to 4$"):
            sequence.translate(trained, PredictOptions((sentence,)), printed.append)
    answers = trained.predict(["b e", "d"])
    assert answers.texts == ["B E", "D"]
    assert repr(answers).startswith("Sentences('B E' ")
    assert trained.predict("d", beam=2).texts == ["D"]
    with pytest.raises(UserError, match=r"^beam: 0 is not at least 1$"):
        trained.predict("d", beam=0)
    with pytest.raises(UserError, match="writes a sentence when it has read the whole source"):
        trained.stream()


@pytest.mark.parametrize("text", ["¿Quién, yo?  No: don\u2019t.", "12 of 1905, a_b"])
@pytest.mark.parametrize("units", ["words", "characters"])
def test_joined_tokens_give_the_text_back(text, units):
    symbols = tokens.tokenize_sentence(text, units)
    assert tokens.join_sentence(symbols) == " ".join(text.split())
    known, others = tokens.sentence_vocabulary({"train": [symbols], "test": [[" new"], symbols]}, 5)
    assert len(known) == 4 + 5
    assert " new" in others
    numbers = tokens.encode_sentences([symbols, [" new"]], known, others, 40, end=True)
    for row, want in zip(numbers.tolist(), (symbols, [" new"]), strict=True):
        assert tokens.decode_sentence(row, known, others) == want
        assert row[len(want)] == tokens.END


def test_a_date_is_in_one_split_and_each_side_determines_the_other():
    splits = dates.make_dates()
    for side in (0, 1):
        actual = [{pair[side] for pair in split} for split in splits]
        assert [len(each) for each in actual] == [len(split) for split in splits]
        assert sum(map(len, actual)) == len(set.union(*actual))
    known = dict(pair[::-1] for split in splits for pair in split)
    numbers = {n.replace(",", ""): words for n, words in known.items()}
    assert all(dates.number_in_words(int(n)) == w for n, w in numbers.items() if n.isdigit())
    assert dates.number_in_words(1_041) == "one thousand and forty-one"
    assert dates.number_in_words(120_300) == "one hundred and twenty thousand three hundred"
    assert dates.year_in_words(1905) == "nineteen oh five"
    assert dates.year_in_words(2010) == "two thousand and ten"
    assert [dates.ordinal_in_words(n) for n in (1, 12, 20, 31)] == [
        "first", "twelfth", "twentieth", "thirty-first",
    ]  # fmt: skip


def options_of(**fields):
    task = Translation(**fields)
    return pairs.PairOptions(*(getattr(task, name) for name in pairs.PairOptions._fields))


def test_a_file_is_split_by_position_and_neighbours_and_known_sources_are_left_out(tmp_path):
    path = tmp_path / "lines.tsv"
    path.write_text("".join(f"w{i}\tx{i}\n" for i in range(400)) + "w1\tother\n")
    messages = []
    data = pairs.load_pairs(
        str(path), options_of(validation="101-140", test="201-220,401-401"), messages.append
    )
    assert any("1 pairs are taken out of test" in line for line in messages)
    splits = {"train": data.train, "validation": data.validation, "test": data.test}

    def numbers(split):
        texts = decode.texts(split["source"], data.metadata, "source")
        return {int("".join(text.split())[1:]) for text in texts}

    positions = {name: numbers(split) for name, split in splits.items()}
    assert positions["validation"] == set(range(100, 140))
    assert positions["test"] == set(range(200, 220))
    assert positions["train"] == set(range(399)) - set(range(99, 141)) - set(range(199, 221))
    assert data.metadata["split"].startswith("by place: pairs 101-140 for validation")
    by_rule = pairs.load_pairs(str(path), options_of(swapped=True), say_nothing)
    first = decode.texts(by_rule.test["source"], by_rule.metadata, "source")[0]
    assert "".join(first.split()) == "x90"
    unknown = pairs.load_pairs(str(path), options_of(max_vocabulary=3), say_nothing)
    assert len(unknown.metadata["source_vocabulary"]) == 7
    assert decode.texts(unknown.test["source"], unknown.metadata, "source")[0] == "w90"


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"test": "5-2"}, "task.test: '5-2' is not a range of positions from 1 to 60, such"),
        ({"validation": "1-9", "test": "61-70"}, "task.test: '61-70' is not a range"),
        ({"validation": "1-9", "test": "9-12"}, "task.validation, task.test: give both, of diff"),
        ({"test": "9-12"}, "task.validation, task.test: give both"),
        ({"max_words": 1}, "task.max_words: no pair of .* has at most 1 words on each side"),
    ],
)
def test_options_that_do_not_fit_a_file_are_one_line(tmp_path, fields, complaint):
    path = tmp_path / "lines.tsv"
    path.write_text("".join(f"a w{i}\tb\n" for i in range(60)))
    with pytest.raises(UserError, match=f"^{complaint}") as caught:
        pairs.load_pairs(str(path), options_of(**fields), say_nothing)
    assert "\n" not in str(caught.value)


def test_a_set_of_tfds_is_read_by_the_languages_in_its_name(monkeypatch):
    options = []

    def stand_in(name, wanted, say):
        options.append(wanted)
        return {split: [(f"um {split}", f"one {split}")] for split in pairs.SPLITS}

    monkeypatch.setattr(pairs, "load_text_set", stand_in)
    actual = pairs._from_tfds("ted_hrlr_translate/pt_to_en", say_nothing)
    assert options == [(("pt",), ("en",))]
    assert actual["test"] == [("um test", "one test")]
    for name in ("nothing", "imdb_reviews/plain_text"):
        with pytest.raises(UserError, match="names two languages"):
            pairs._from_tfds(name, say_nothing)
    monkeypatch.setattr(pairs, "load_text_set", lambda *_: {"train": []})
    with pytest.raises(UserError, match="has no validation split"):
        pairs._from_tfds("wmt/cs-en", say_nothing)


def test_a_scene_is_a_picture_in_either_colour_or_an_array_on_stdin(tmp_path, monkeypatch):
    """What the decoder is given: one scene of a file, all scenes of an array."""
    scenes_read, lines = [], []

    def generate(trained, examples, beam):
        scenes_read.append(examples["scenes"])
        count = len(examples["scenes"])
        return Sentences(["a seven"] * count, np.zeros((count, 4)), np.full(count, 0.5))

    monkeypatch.setattr(decode, "generate", generate)
    trained = SimpleNamespace(metadata={"shapes": {"scenes": [6, 8], "target": [4]}})
    scene = np.zeros((6, 8), np.uint8)
    scene[2:4, 3:5] = 255
    for name, pixels in (("light", scene), ("dark", 255 - scene)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    paths = str(tmp_path / "light.png"), str(tmp_path / "dark.png")
    sequence.caption(trained, PredictOptions(paths), lines.append)
    for scenes in scenes_read:
        np.testing.assert_array_equal(scenes, scene[None])
    assert lines == [f"{path}: a seven  (50.0% a word)" for path in paths]

    def feed(save, *arrays):
        content = io.BytesIO()
        save(content, *arrays)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.getvalue())))
        sequence.caption(trained, PredictOptions(("-",), json=True), lines.append)

    feed(np.save, np.stack([scene] * 3))
    assert lines[2:] == ['{"image": "-", "caption": "a seven", "certainty": 0.5}'] * 3
    with pytest.raises(UserError, match=r"this model reads uint8 \[N, 6, 8\]"):
        feed(np.save, scene[1:])
    with pytest.raises(UserError, match="stdin is an archive of arrays"):
        feed(np.savez, scene)


def test_a_scene_is_read_by_rows_or_by_columns():
    of_rows, of_columns = (Captions(num_scenes=8, reading=name) for name in ("rows", "columns"))
    assert of_rows.data_key == of_columns.data_key  # one data set serves a sweep over both
    data = of_rows.load(say_nothing)
    rows, columns = data.train["scenes"].shape[1:]
    assert rows != columns
    batch = data.train
    for task, array in ((of_rows, batch["scenes"]), (of_columns, batch["scenes"].swapaxes(1, 2))):
        assert task.model_spec(data.metadata).num_features == array.shape[2]
        x_TBI = np.asarray(task.inputs(batch).x_TBI)
        np.testing.assert_array_equal(x_TBI, array.swapaxes(0, 1).astype(np.float32) / 255)


def test_the_report_of_captions_shows_scenes_and_scores_also_of_empty_sentences(monkeypatch):
    task = Captions(num_scenes=50, reading="columns")
    dataset, sources, draw = task.load(say_nothing), [], sequences.attention_figures

    def noted(trained, examples, written, time_steps, label):
        sources.extend(time_steps)
        return draw(trained, examples, written, time_steps, label)

    monkeypatch.setattr(sequences, "attention_figures", noted)
    few = dataset._replace(test={name: array[:8] for name, array in dataset.test.items()})
    model = zero_model(Experiment(task=task, hidden_size=4), dataset.metadata)
    shown = {each.name: each for each in answer_figures(model, few, "seed 0")}
    assert list(shown) == ["captions", "quality", "scenes"]  # no attention of an empty sentence
    assert {len(source) for source in sources} == {few.test["scenes"].shape[2]}
    assert {row[0] for row in shown["captions"].rows} == {""}
    correct = decode.texts(few.test["target"], dataset.metadata, "target")
    assert [row[1] for row in shown["captions"].rows] == correct[:5]
    names = [row[0] for row in shown["quality"].rows]
    assert names[:2] == ["greedy", "beam of 5"]
    assert names[2].startswith("trivial: always `")


@pytest.mark.parametrize(
    ("first", "is_header"),
    [
        ("source\ttarget", True), ("English\tGerman", True), ("en\tde", True), ("src\ttgt", True),
        ("it\tes", False), ("English\tEnglisch", False), ("hello\thallo", False),
    ],
)  # fmt: skip
def test_the_names_of_two_columns_are_no_pair(tmp_path, first, is_header):
    path, messages = tmp_path / "head.tsv", []
    body = "".join(f"w{i}\tx{i}\n" for i in range(400))
    path.write_text(body)
    without = pairs.load_pairs(str(path), options_of(), say_nothing).fingerprint
    path.write_text(f"{first}\n{body}")
    assert (
        pairs.load_pairs(str(path), options_of(), messages.append).fingerprint == without
    ) == is_header
    assert any("the first line names the columns" in message for message in messages) == is_header


def test_the_ending_of_a_file_of_pairs_is_read_in_any_case(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fingerprints = set()
    for name in ("two.tsv", "two.TSV", "two.doc"):
        (tmp_path / name).write_text("".join(f"w{i}\tx{i}\n" for i in range(400)))
    for name in ("two.tsv", "two.TSV"):
        data = pairs.load_pairs(str(tmp_path / name), options_of(), say_nothing)
        fingerprints.add(data.fingerprint)
    assert len(fingerprints) == 1
    with pytest.raises(UserError, match=r"two\.doc is a file of another kind: .* a \.tsv, \.csv"):
        pairs.load_pairs("two.doc", options_of(), say_nothing)
