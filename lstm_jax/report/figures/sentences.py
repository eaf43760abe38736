"""What a decoder writes by itself: how good it is, beside the floors, and where it looked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lstm_jax.data.dataset import Arrays, Dataset, gather_examples
from lstm_jax.errors import EnvironmentProblem
from lstm_jax.predict import decode
from lstm_jax.predict.decode import Generated
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report import drawing, plots
from lstm_jax.report.curves import setting_name
from lstm_jax.report.drawing import Figure, Table
from lstm_jax.runs.statistics import estimate

SHOWN = 5
BEAM = 5


def of_sentences(
    trained: TrainedModel, dataset: Dataset, who: str, floors: Mapping[str, Sequence[str]]
) -> tuple[Table, Generated]:
    """Returns the scores of the sentences written for the test, greedily and by a beam, and of the
    answers of the floors, by name; and what this model writes greedily.

    The scores are means over all finished seeds of its setting; an unfinished model has its own.
    """
    wanted = decode.texts(dataset.test["target"], dataset.metadata, "target")
    greedy, beam = list[Generated](), list[Generated]()
    for model in trained.over_seeds():  # this model comes first
        greedy.append(decode.generate(model, dataset.test))
        beam.append(decode.generate(model, dataset.test, BEAM))
    answers: dict[str, list[Sequence[str]]] = {
        "greedy": [written.texts for written in greedy],
        f"beam of {BEAM}": [written.texts for written in beam],
        **{name: [texts] for name, texts in floors.items()},
    }
    if trained.record is not None and len(greedy) > 1:
        who = setting_name(trained.record.study.experiment, trained.member) or "the only setting"
        interval = " and its 95 % interval" if len(greedy) > 2 else ""
        who += f", mean over its {len(greedy)} seeds at hand{interval}"
    caption = f"{dataset.name}, test, n = {len(wanted):,}; {who}; {dataset.metadata['split']}"
    rows, missing = [], ""
    for name, several in answers.items():
        scores = [[100 * decode.exact_share(texts, wanted) for texts in several]]
        try:
            pairs = [decode.bleu_and_chrf(texts, wanted) for texts in several]
            scores += [[bleu for bleu, _ in pairs], [chrf for _, chrf in pairs]]
        except EnvironmentProblem as error:
            scores += [[], []]
            missing = f"; {error}"
        rows.append((name, *map(_over_seeds, scores)))
    table = Table(
        "quality", "What it writes by itself", caption + missing,
        ("", "exact, %", "BLEU", "chrF"), rows,
    )  # fmt: skip
    return table, greedy[0]


def _over_seeds(scores: Sequence[float]) -> str:
    """Returns the mean of scores from 0 to 100 with its 95 % interval, where it has one."""
    if not scores:
        return ""
    found = estimate(scores, (0, 100))
    return f"{found.mean:.1f}" + (f" ({found.low:.1f} to {found.high:.1f})" if found.n > 2 else "")


def of_attention(
    trained: TrainedModel,
    examples: Arrays,
    written: Generated,
    sources: Sequence[Sequence[str]],
    who: str,
) -> Iterator[Figure]:
    """Yields where a model with attention looked as it wrote the first sentences; `sources` names
    the rows that it read of each.
    """
    if trained.spec.decoder is None or trained.spec.decoder.attention == "none":
        return
    count = len(sources)
    first = gather_examples(examples, slice(count))
    shares_NST = decode.attention_weights(trained, first, written.tokens_NS[:count])
    for index, (source, shares_ST) in enumerate(zip(sources, shares_NST, strict=True)):
        symbols = decode.words(written.tokens_NS[index], trained.metadata, "target")
        alignment = drawing.draw(
            plots.alignment,
            np.asarray(shares_ST)[: len(symbols), : len(source)],
            [symbol.strip() for symbol in symbols],
            [symbol.strip() for symbol in source],
            size=(1.6 + 0.22 * len(source), 1.2 + 0.22 * len(symbols)),
        )
        caption = f"test; {who}; each symbol written (downwards) and where attention lay then"
        yield Figure(f"attention_{index}", f"Where it looked: {written.texts[index]}", caption,
                     alignment)  # fmt: skip
