"""What a decoder writes by itself: how good it is, beside the floors, and where it looked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lstm_jax.data import Arrays, Dataset
from lstm_jax.errors import SurroundingsError
from lstm_jax.report import figures, plots
from lstm_jax.report.figures import Figure, Table
from lstm_jax.use import decode
from lstm_jax.use.decode import Written
from lstm_jax.use.trained import Trained

SHOWN = 5
BEAM = 5


def of_sentences(
    trained: Trained, dataset: Dataset, who: str, floors: Mapping[str, Sequence[str]]
) -> tuple[Table, Written]:
    """Returns the scores of the sentences written for the test, greedily and by a beam, and of the
    answers of the floors, by name; and what is written greedily.
    """
    wanted = decode.texts(dataset.test["target"], dataset.facts, "target")
    greedy = decode.write_out(trained, dataset.test)
    found = {"greedy": greedy.texts, f"beam of {BEAM}": decode.write_out(
        trained, dataset.test, BEAM).texts}  # fmt: skip
    rows, missing = [], ""
    for name, texts in {**found, **floors}.items():
        try:
            bleu, chrf = (f"{score:.1f}" for score in decode.bleu_and_chrf(texts, wanted))
        except SurroundingsError as error:
            bleu, chrf, missing = "", "", f"; {error}"
        rows.append([name, f"{decode.exact(texts, wanted):.1%}", bleu, chrf])
    caption = f"{dataset.name}, test, n = {len(wanted):,}; {who}; {dataset.facts['split']}{missing}"
    table = Table(
        "quality", "What it writes by itself", caption, ("", "exact", "BLEU", "chrF"), rows
    )
    return table, greedy


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
