"""lstm_jax: recurrent networks in JAX, from one layer to sweeps that reproduce bit for bit.

A layer, used like `flax.linen.RNN(cell)` (it needs JAX and Flax alone):

    import jax
    from lstm_jax import LSTM, GRU, RNN
    layer = LSTM(128)
    params = layer.init(jax.random.key(0), x)    # x: float32 [batch, time, features]
    outputs = layer.apply(params, x)             # [batch, time, 128]

The same layers as Flax NNX modules are in `lstm_jax.nnx`. The recurrence alone, for any framework
(`help(lstm_jax.lstm)` lists the shapes):

    from lstm_jax import lstm, gru, rnn
    h_TBH, (c_BH, h_BH) = lstm(x_TBI, input_kernel_IG, recurrent_kernel_HG, bias_G)

An experiment (pip install 'lstm_jax[experiments]'). A field with several values makes a grid, whose
members train together:

    import lstm_jax
    from lstm_jax import Experiment, Images
    digits = Images(dataset="digits")
    outcome = lstm_jax.run(Experiment(task=digits, hidden_size=(16, 32), total_examples=20_000))
    outcome.results.to_pandas()                  # one row for each member
    outcome.metrics["loss"]                      # at every logged step, a NumPy array
    outcome.report()                             # writes one page with figures
    outcome.load().predict(images)               # by the member chosen on validation

Your own data, uint8 images [N, rows, columns] and int32 labels [N]:

    train = {"images": images, "labels": labels}
    mine = lstm_jax.make_dataset("mine", train, validation, test, num_classes=10)
    lstm_jax.run(Experiment(batch_size=64), data=mine)

Later: `lstm_jax.read("latest")`, `lstm_jax.load("digits")`, and the commands `lstm-jax list` and
`lstm-jax compare`. A mistake raises a `UserError` of one line.
"""

import os
import sys

# Names are imported when they are used, so `import lstm_jax` itself is quick. `__main__` hears
# signals only after this file, and until then Ctrl-C would end in a traceback. For the same reason
# `typing` is not imported.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from lstm_jax.api import Outcome, load, read, run
    from lstm_jax.cells.gru import gru
    from lstm_jax.cells.linear_scan import linear_scan
    from lstm_jax.cells.linen import GRU, LRU, LSTM, RNN, SLSTM, MinGRU
    from lstm_jax.cells.linen_matrices import MLSTM, GatedDeltaNet
    from lstm_jax.cells.lstm import lstm
    from lstm_jax.cells.rnn import rnn
    from lstm_jax.config.experiment import Experiment
    from lstm_jax.config.search import Search, Study
    from lstm_jax.data.dataset import Dataset, make_dataset
    from lstm_jax.errors import DivergedError, EnvironmentProblem, Interrupted, UserError
    from lstm_jax.runs.loggers.logger import Logger
    from lstm_jax.runs.results import Result, Segment
    from lstm_jax.tasks import (
        Adding,
        AssociativeRecall,
        Captions,
        Copying,
        Forecast,
        Images,
        Induction,
        Language,
        SelectiveCopying,
        StateTracking,
        Text,
        Translation,
    )

__all__ = [
    "GRU",
    "LRU",
    "LSTM",
    "MLSTM",
    "RNN",
    "SLSTM",
    "Adding",
    "AssociativeRecall",
    "Captions",
    "Copying",
    "Dataset",
    "DivergedError",
    "EnvironmentProblem",
    "Experiment",
    "Forecast",
    "GatedDeltaNet",
    "Images",
    "Induction",
    "Interrupted",
    "Language",
    "Logger",
    "MinGRU",
    "Outcome",
    "Result",
    "Search",
    "Segment",
    "SelectiveCopying",
    "StateTracking",
    "Study",
    "Text",
    "Translation",
    "UserError",
    "gru",
    "linear_scan",
    "load",
    "lstm",
    "make_dataset",
    "read",
    "rnn",
    "run",
]
__version__ = "0.2.0"

jax_had_started = False  # when this process was forked: then JAX would wait for ever in it


def _after_fork() -> None:
    """Notes in a forked child whether JAX had started: its threads are not in the child."""
    global jax_had_started
    bridge = sys.modules.get("jax._src.xla_bridge")
    jax_had_started = jax_had_started or bool(getattr(bridge, "_backends", None))


os.register_at_fork(after_in_child=_after_fork)

# The names of each module, imported when they are first used.
_MODULES = {
    "lstm_jax.api": ("Outcome", "load", "read", "run"),
    "lstm_jax.cells.gru": ("gru",),
    "lstm_jax.cells.linear_scan": ("linear_scan",),
    "lstm_jax.cells.linen": ("GRU", "LRU", "LSTM", "RNN", "SLSTM", "MinGRU"),
    "lstm_jax.cells.linen_matrices": ("MLSTM", "GatedDeltaNet"),
    "lstm_jax.cells.lstm": ("lstm",),
    "lstm_jax.cells.rnn": ("rnn",),
    "lstm_jax.data.dataset": ("Dataset", "make_dataset"),
    "lstm_jax.errors": ("DivergedError", "Interrupted", "EnvironmentProblem", "UserError"),
    "lstm_jax.config.experiment": ("Experiment",),
    "lstm_jax.runs.loggers.logger": ("Logger",),
    "lstm_jax.runs.results": ("Result", "Segment"),
    "lstm_jax.config.search": ("Search", "Study"),
    "lstm_jax.tasks": (
        *("Adding", "AssociativeRecall", "Captions", "Copying", "Forecast", "Images", "Induction"),
        *("Language", "SelectiveCopying", "StateTracking", "Text", "Translation"),
    ),
}


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used. Raises AttributeError for any other name."""
    from importlib import import_module

    if name == "nnx":
        return import_module("lstm_jax.nnx")
    for module, names in _MODULES.items():
        if name in names:
            value: object = getattr(import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'lstm_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Returns all names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
