"""A decoder never writes the unknown symbol, the beginning, or padding inside a sentence."""

from functools import partial

import jax
import numpy as np
import pytest

from lstm_jax import Experiment, Translation
from lstm_jax.data import tokens
from lstm_jax.predict import decode
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.train.step import init_state

pytestmark = pytest.mark.usefixtures("fast_compile")

LENGTH, SENTENCES = 6, 16
METADATA = {
    "source_vocabulary": list("abcdefgh"), "source_others": [],
    "target_vocabulary": list("abcdefgh"), "target_others": ["z"], "widths": [LENGTH],
    "shapes": {"source": [LENGTH], "source_lengths": [], "target": [LENGTH], "target_lengths": []},
}  # fmt: skip
FORBIDDEN = (tokens.PADDING, tokens.BEGIN, tokens.UNKNOWN)


@pytest.fixture(scope="module")
def model():
    """An untrained model whose favourite symbols are the three that it must never write."""
    member = Experiment(task=Translation(), cell="rnn", hidden_size=8)
    spec = member.task.model_spec(METADATA)
    shapes = jax.eval_shape(partial(init_state, spec), member).params
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    for symbol in FORBIDDEN:
        params["output"]["bias"][symbol] = 30
    return TrainedModel("untrained", member, 0, None, METADATA, params)


@pytest.mark.parametrize("beam", [1, 5])
def test_padding_the_beginning_and_the_unknown_symbol_are_never_written(model, beam):
    rng = np.random.default_rng(1)
    examples = {
        "source": rng.integers(4, 12, (SENTENCES, LENGTH)).astype(np.int32),
        "source_lengths": np.full(SENTENCES, LENGTH, np.int32),
        "target": np.zeros((SENTENCES, LENGTH), np.int32),
        "target_lengths": np.full(SENTENCES, LENGTH, np.int32),
    }
    written_NS = decode.generate(model, examples, beam=beam).tokens_NS
    is_end_NS = written_NS == tokens.END
    has_ended_NS = np.cumsum(is_end_NS, axis=1) - is_end_NS > 0
    assert not np.isin(written_NS[~has_ended_NS], FORBIDDEN).any()
    assert (written_NS[has_ended_NS] == tokens.PADDING).all()
    assert len(np.unique(written_NS)) > 3  # it writes, and not one symbol alone
