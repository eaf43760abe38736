"""lstm_jax: recurrent networks in JAX, from one layer to sweeps that can be had again to the bit.

A layer, where `flax.linen.RNN(cell)` stands (needs JAX and Flax alone):

    from lstm_jax import LSTM, GRU, RNN
    layer = LSTM(128)
    params = layer.init(jax.random.key(0), x)    # x: float32 [batch, time, features]
    outputs = layer.apply(params, x)             # [batch, time, 128]

The recurrence alone, for any framework (see `help(lstm_jax.lstm)` for the shapes):

    from lstm_jax import lstm
    h_TBH, (c_BH, h_BH) = lstm(x_TBI, input_kernel_IG, recurrent_kernel_HG, bias_G)

An experiment (pip install 'lstm_jax[experiments]'); several values in a field make a grid:

    import lstm_jax
    from lstm_jax import Experiment, Images
    digits = Images(dataset="digits")
    outcome = lstm_jax.run(Experiment(task=digits, hidden_size=(16, 32), total_examples=20_000))
    outcome.results.to_pandas()                  # a row for each member
    outcome.metrics["loss"]                      # every logged step, a NumPy array
    outcome.report()                             # one page with figures
    outcome.load().predict(images)               # the member chosen on validation

With data of your own, uint8 images [N, rows, columns] and int32 labels [N]:

    train = {"images": images, "labels": labels}
    mine = lstm_jax.make_dataset("mine", train, validation, test, num_classes=10)
    lstm_jax.run(Experiment(batch_size=64), data=mine)

Later: `lstm_jax.read("latest")`, `lstm_jax.load("digits")`, and the commands `lstm-jax list` and
`lstm-jax compare`. A mistake is a `UserError` of one line.
"""

# What is named here is imported when it is asked for: until `__main__` hears signals, which comes
# after this file, a Ctrl-C would end in a traceback. That is also why `typing` is not asked.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from lstm_jax.api import Outcome, load, read, run
    from lstm_jax.cells.linen import GRU, LSTM, RNN
    from lstm_jax.cells.lstm import lstm
    from lstm_jax.config.experiment import Experiment
    from lstm_jax.config.search import Search, Study
    from lstm_jax.data.dataset import Dataset, make_dataset
    from lstm_jax.errors import DivergedError, EnvironmentProblem, Interrupted, UserError
    from lstm_jax.runs.results import Result, Segment
    from lstm_jax.tasks import (
        Adding,
        Captions,
        Copying,
        Forecast,
        Images,
        Language,
        Text,
        Translation,
    )

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Adding",
    "Captions",
    "Copying",
    "Dataset",
    "DivergedError",
    "EnvironmentProblem",
    "Experiment",
    "Forecast",
    "Images",
    "Interrupted",
    "Language",
    "Outcome",
    "Result",
    "Search",
    "Segment",
    "Study",
    "Text",
    "Translation",
    "UserError",
    "load",
    "lstm",
    "make_dataset",
    "read",
    "run",
]
__version__ = "0.2.0"

# Where each name is found once it is asked for: `import lstm_jax` itself loads nothing.
_HOMES = {
    "lstm_jax.api": ("Outcome", "load", "read", "run"),
    "lstm_jax.cells.linen": ("GRU", "LSTM", "RNN"),
    "lstm_jax.cells.lstm": ("lstm",),
    "lstm_jax.data.dataset": ("Dataset", "make_dataset"),
    "lstm_jax.errors": ("DivergedError", "Interrupted", "EnvironmentProblem", "UserError"),
    "lstm_jax.config.experiment": ("Experiment",),
    "lstm_jax.runs.results": ("Result", "Segment"),
    "lstm_jax.config.search": ("Search", "Study"),
    "lstm_jax.tasks": (
        *("Adding", "Captions", "Copying", "Forecast"),
        *("Images", "Language", "Text", "Translation"),
    ),
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            value: object = getattr(import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'lstm_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
