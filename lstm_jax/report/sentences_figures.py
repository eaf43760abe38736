"""What a decoder writes by itself: how good it is, beside the floors, and where it looked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lstm_jax.data import Arrays, Dataset
from lstm_jax.errors import SurroundingsError
from lstm_jax.report import figures, plots
from lstm_jax.report.figures import Figure, Table
from lstm_jax.report.lines import setting_name
from lstm_jax.statistics import estimate
from lstm_jax.use import decode
from lstm_jax.use.decode import Written
from lstm_jax.use.trained import Trained

SHOWN = 5
BEAM = 5


def of_sentences(
    trained: Trained, dataset: Dataset, who: str, floors: Mapping[str, Sequence[str]]
) -> tuple[Table, Written]:
    """Returns the scores of the sentences written for the test, greedily and by a beam, and of the
    answers of the floors, by name; and what this model writes greedily.

    The scores are means over all finished seeds of its setting; an unfinished model has its own.
    """
    wanted = decode.texts(dataset.test["target"], dataset.facts, "target")
    greedy, beam = list[Written](), list[Written]()
    for model in trained.over_seeds():  # this model comes first
        greedy.append(decode.write_out(model, dataset.test))
        beam.append(decode.write_out(model, dataset.test, BEAM))
    answers: dict[str, list[Sequence[str]]] = {
        "greedy": [written.texts for written in greedy],
        f"beam of {BEAM}": [written.texts for written in beam],
        **{name: [texts] for name, texts in floors.items()},
    }
    if trained.record is not None and len(greedy) > 1:
        who = setting_name(trained.record.study.experiment, trained.member) or "the only setting"
        interval = " and its 95 % interval" if len(greedy) > 2 else ""
        who += f", mean over its {len(greedy)} seeds at hand{interval}"
    caption = f"{dataset.name}, test, n = {len(wanted):,}; {who}; {dataset.facts['split']}"
    rows, missing = [], ""
    for name, several in answers.items():
        scores = [[100 * decode.exact(texts, wanted) for texts in several]]
        try:
            pairs = [decode.bleu_and_chrf(texts, wanted) for texts in several]
            scores += [[bleu for bleu, _ in pairs], [chrf for _, chrf in pairs]]
        except SurroundingsError as error:
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
    trained: Trained, examples: Arrays, written: Written, sources: Sequence[Sequence[str]], who: str
) -> Iterator[Figure]:
    """Yields where a model with attention looked as it wrote the first sentences; `sources` names
    the rows that it read of each.
    """
    if trained.ends.decoder is None or trained.ends.decoder.attention == "none":
        return
    count = len(sources)
    first = {name: array[:count] for name, array in examples.items()}
    shares_NST = decode.where_it_looked(trained, first, written.numbers_NS[:count])
    for index, (source, shares_ST) in enumerate(zip(sources, shares_NST, strict=True)):
        symbols = decode.symbols_of(written.numbers_NS[index], trained.facts, "target")
        drawing = figures.draw(
            plots.alignment,
            np.asarray(shares_ST)[: len(symbols), : len(source)],
            [symbol.strip() for symbol in symbols],
            [symbol.strip() for symbol in source],
            size=(1.6 + 0.22 * len(source), 1.2 + 0.22 * len(symbols)),
        )
        caption = f"test; {who}; each symbol written (downwards) and where attention lay then"
        yield Figure(f"attention_{index}", f"Where it looked: {written.texts[index]}", caption,
                     drawing)  # fmt: skip
