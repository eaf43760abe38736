"""Sentences translated, with where the model looked as it wrote each symbol if one wants to see it.

Axes: S symbols written, T symbols of the source.
"""

from __future__ import annotations

import sys
from json import dumps

import numpy as np

from lstm_jax.data.dataset import Arrays, Say
from lstm_jax.data.sentences import numbered, split_up
from lstm_jax.errors import UserError
from lstm_jax.predict import decode
from lstm_jax.predict.options import PredictOptions
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.tasks.translation import Translation


def predict(trained: TrainedModel, options: PredictOptions, tell: Say) -> None:
    """Prints a line for each sentence: what it is in the other language, and how certain that is.

    Raises UserError for a sentence that is empty or longer than all that the model was made for.
    """
    for given in options.inputs:
        for sentence in sys.stdin.read().splitlines() if given == "-" else [given]:
            examples = source_of(trained, sentence)
            found = decode.write_out(trained, examples, options.beam)
            certainty = float(found.certainty_N[0])
            if options.json:
                answer = {"source": sentence, "target": found.texts[0]}
                tell(dumps({**answer, "certainty": round(certainty, 6)}, ensure_ascii=False))
                continue
            tell(f"{found.texts[0]}  ({certainty:.1%} a {trained.member.task.time_step_name})")
            if options.rows:
                _show_attention(trained, examples, found, tell)


def source_of(trained: TrainedModel, sentence: str) -> Arrays:
    """Returns one example, its target empty."""
    task, metadata = trained.member.task, trained.metadata
    assert isinstance(task, Translation)
    symbols = split_up(sentence.lower() if task.lowercase else sentence, task.units)
    width = metadata["shapes"]["source"][0]
    if not 0 < len(symbols) <= width:
        raise UserError(
            f"predict: {len(symbols)} {task.time_step_name}s; this model reads 1 to {width}"
        )
    side = metadata["source_vocabulary"], metadata["source_others"]
    return {
        "source": numbered([symbols], *side, width, end=False),
        "source_lengths": np.array([len(symbols)], np.int32),
        "target": np.zeros((1, metadata["shapes"]["target"][0]), np.int32),
        "target_lengths": np.ones(1, np.int32),
    }


def _show_attention(
    trained: TrainedModel, examples: Arrays, found: decode.Written, tell: Say
) -> None:
    """Prints each symbol beside those of the source that the model looked at most."""
    if trained.spec.decoder is None or trained.spec.decoder.attention == "none":
        raise UserError("predict: --rows shows attention, and this model has none")
    source = decode.symbols_of(examples["source"][0], trained.metadata, "source")
    written = decode.symbols_of(found.numbers_NS[0], trained.metadata, "target")
    shares_ST = decode.attention_weights(trained, examples, found.numbers_NS)[0]
    for symbol, share_T in zip(written, shares_ST, strict=False):
        most = np.argsort(-share_T[: len(source)])[:3]
        looked = ", ".join(f"{source[t].strip()} {share_T[t]:.0%}" for t in most)
        tell(f"  {symbol.strip():20} {looked}")
