"""Figures of models that write sequences (translations, captions): examples, scores, attention.

Axes: N examples, W symbols of a source, S symbols written, T time steps read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lstm_jax.data.dataset import Arrays, Dataset, gather_examples, num_examples
from lstm_jax.errors import EnvironmentProblem
from lstm_jax.predict import decode
from lstm_jax.predict.answers import Sentences
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report import drawing, plots
from lstm_jax.report.curves import setting_name
from lstm_jax.report.drawing import Figure, TextTable
from lstm_jax.runs.statistics import estimate

NUM_EXAMPLES = 5
NUM_ATTENTION = 2  # examples whose attention is drawn
BEAM = 5


def translation_figures(
    trained: TrainedModel, dataset: Dataset, member_label: str
) -> Iterator[Figure | TextTable]:
    """Yields five translations, the scores of all beside trivial answers, and the attention."""
    test, metadata = dataset.test, dataset.metadata
    sources = decode.texts(test["source"], metadata, "source")
    nearest = decode.texts(dataset.train["target"][nearest_sources(dataset)], metadata, "target")
    trivial = {
        "trivial: copy of the source": sources,
        "trivial: nearest neighbour by words": nearest,
    }
    quality, written = score_table(trained, dataset, member_label, trivial)
    correct = decode.texts(test["target"], metadata, "target")
    yield TextTable(
        "sentences", "Five sentences", "the first of the test set; decoded greedily",
        ("source", "written", "correct"),
        list(zip(sources, written.texts, correct))[:NUM_EXAMPLES],  # noqa: B905
    )  # fmt: skip
    yield quality
    first = [decode.words(row, metadata, "source") for row in test["source"][:NUM_ATTENTION]]
    yield from attention_figures(trained, test, written, first, member_label)


def nearest_sources(dataset: Dataset) -> np.ndarray:
    """Returns for each test example the index of the training example with the most similar source.

    The similarity is the cosine of symbol counts, weighted by inverse document frequency: int [N].
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    def symbols(row_W: np.ndarray) -> list[str]:
        return decode.words(row_W, dataset.metadata, "source")

    vectorizer = TfidfVectorizer(analyzer=symbols, sublinear_tf=True)
    train = vectorizer.fit_transform(dataset.train["source"])
    similarity = vectorizer.transform(dataset.test["source"]) @ train.T
    return np.asarray(similarity.argmax(axis=1)).ravel()


def caption_figures(
    trained: TrainedModel, dataset: Dataset, member_label: str
) -> Iterator[Figure | TextTable]:
    """Yields five captions and their scenes, the scores of all beside a trivial answer, and the
    attention. The captions of the page say that scenes and sentences are artificial.
    """
    test, metadata = dataset.test, dataset.metadata
    train_texts = Counter(decode.texts(dataset.train["target"], metadata, "target"))
    commonest = train_texts.most_common(1)[0][0]
    trivial = {f"trivial: always `{commonest}`": [commonest] * num_examples(test)}
    quality, written = score_table(trained, dataset, member_label, trivial)
    correct = decode.texts(test["target"][:NUM_EXAMPLES], metadata, "target")
    yield TextTable(
        "captions", "Five captions",
        "the first scenes of the test set, in the order of the figure from left to right",
        ("written", "correct"), list(zip(written.texts, correct, strict=False)),
    )  # fmt: skip
    yield quality
    yield Figure(
        "scenes",
        "Five scenes",
        f"{dataset.name}, test; scenes and sentences are artificial, their pictures are from the "
        "image data set",
        drawing.draw(
            plots.pictures, test["scenes"][:NUM_EXAMPLES], correct, grid=(1, NUM_EXAMPLES),
            size=(2.4, 1.7),
        ),
    )  # fmt: skip
    num_steps = test["scenes"][0].size // trained.spec.num_features  # rows or columns
    time_steps = [str(t + 1) for t in range(num_steps)]
    yield from attention_figures(trained, test, written, [time_steps] * NUM_ATTENTION, member_label)


def score_table(
    trained: TrainedModel, dataset: Dataset, member_label: str, trivial: Mapping[str, Sequence[str]]
) -> tuple[TextTable, Sentences]:
    """Returns a table of scores on the test set, and the sentences that this model writes greedily.

    The table scores greedy decoding, a beam, and each of the trivial answers by their names. A
    finished model has the mean over all finished seeds of its setting, an unfinished one its own.
    """
    correct = decode.texts(dataset.test["target"], dataset.metadata, "target")
    greedy, beam = list[Sentences](), list[Sentences]()
    for model in trained.over_seeds():  # this model comes first
        greedy.append(decode.generate(model, dataset.test))
        beam.append(decode.generate(model, dataset.test, BEAM))
    answers: dict[str, list[Sequence[str]]] = {
        "greedy": [written.texts for written in greedy],
        f"beam of {BEAM}": [written.texts for written in beam],
        **{name: [texts] for name, texts in trivial.items()},
    }
    models = member_label
    if trained.record is not None and len(greedy) > 1:
        models = setting_name(trained.record.study.experiment, trained.member) or "the only setting"
        interval = " with its 95 % interval" if len(greedy) > 2 else ""
        models += f"; mean over {len(greedy)} seeds{interval}"
    caption = f"{dataset.name}, test, n = {len(correct):,}; {models}; {dataset.metadata['split']}"

    def mean_over_seeds(scores: Sequence[float]) -> str:
        if not scores:
            return ""
        mean = estimate(scores, (0, 100))
        interval = f" ({mean.low:.1f} to {mean.high:.1f})" if mean.n > 2 else ""
        return f"{mean.mean:.1f}{interval}"

    rows, problem = [], ""
    for name, texts_by_seed in answers.items():
        scores = [[100 * decode.exact_share(texts, correct) for texts in texts_by_seed]]
        try:
            pairs = [decode.bleu_and_chrf(texts, correct) for texts in texts_by_seed]
            scores += [[bleu for bleu, _ in pairs], [chrf for _, chrf in pairs]]
        except EnvironmentProblem as error:
            scores += [[], []]
            problem = f"; {error}"
        rows.append((name, *map(mean_over_seeds, scores)))
    header = ("answers", "exactly correct, %", "BLEU", "chrF")
    return TextTable(
        "quality", "Scores of whole sentences", caption + problem, header, rows
    ), greedy[0]


def attention_figures(
    trained: TrainedModel,
    examples: Arrays,
    written: Sentences,
    sources: Sequence[Sequence[str]],
    member_label: str,
) -> Iterator[Figure]:
    """Yields the attention weights for the first sentences written; nothing without attention.

    `sources` names the time steps read, for each of these sentences.
    """
    if trained.spec.decoder is None or trained.spec.decoder.attention == "none":
        return
    count = len(sources)
    first = gather_examples(examples, slice(count))
    weights_NST = decode.attention_weights(trained, first, written.tokens_NS[:count])
    for index, (source, weights_ST) in enumerate(zip(sources, weights_NST, strict=True)):
        symbols = decode.words(written.tokens_NS[index], trained.metadata, "target")
        if not symbols:  # an empty sentence was written: there is nothing to draw
            continue
        yield Figure(
            f"attention_{index}",
            f"Attention while writing: {written.texts[index]}",
            f"test; {member_label}; downwards: the symbols that were written, across: the "
            f"{trained.member.task.time_step_name}s that were read; brighter means more attention",
            drawing.draw(
                plots.attention,
                np.asarray(weights_ST)[: len(symbols), : len(source)],
                [symbol.strip() for symbol in symbols],
                [symbol.strip() for symbol in source],
                size=(1.6 + 0.22 * len(source), 1.2 + 0.22 * len(symbols)),
            ),
        )
