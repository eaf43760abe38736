"""The interface of a task: a frozen dataclass of fields, and pure functions on batches.

Axes: N examples, B batch, T time steps, I input features, O outputs, S time steps of the decoder,
n scored items.

The fields of a task are declared as those of an experiment (`fields.axis`), and each of them may be
an axis of the grid. Inside a compiled program a traced field of `self` is an array. The functions
that run there are written with JAX, which a task imports where it needs it: the command line reads
only the fields.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from lstm_jax.components import Component
from lstm_jax.data.dataset import Arrays, Dataset, Say, gather_examples
from lstm_jax.errors import UserError
from lstm_jax.fields import field_specs

if TYPE_CHECKING:
    import jax

# The metadata that say what a number of the arrays means.
MEANINGS = (
    *("vocabulary", "source_vocabulary", "target_vocabulary", "classes", "num_classes"),
    *("channels", "columns", "target", "series", "means", "scales", "target_mean", "target_scale"),
)

Batch = dict[str, Any]  # arrays by name; the first axis counts examples


class DecoderSpec(NamedTuple):
    """The decoder, which writes a sequence of tokens from what the recurrent layers read."""

    num_symbols: int  # size of its vocabulary
    attention: str  # `none`, or `luong`: see model/attention.py


class ModelSpec(NamedTuple):
    """The inputs and outputs of a model, which a task decides."""

    num_features: int  # of the input at a time step; the size of the vocabulary, if it is a token
    num_outputs: int  # of the head
    per_step_outputs: bool = False  # the head reads the output of every time step, not of the last
    mean_pool: bool = False  # the head reads the mean of the outputs of all time steps instead
    token_inputs: bool = False  # a time step is one token, int32, which is embedded
    # Rising sequence lengths: each batch is truncated to the smallest that holds its examples.
    bucket_lengths: tuple[int, ...] = ()
    carry_state: bool = False  # in evaluation a block starts from the state of the block before it
    decoder: DecoderSpec | None = None  # it stands between the recurrent layers and the head


class Inputs(NamedTuple):
    """The inputs of a model for a batch."""

    x_TBI: jax.Array  # float32, or tokens, int32 [T,B]
    lengths_B: jax.Array | None = None  # valid time steps, int32; None: all
    decoder_inputs_SB: jax.Array | None = None  # int32, the token before each one to be predicted


class ItemScores(NamedTuple):
    """Loss and metric of each scored item, float32 [n] each: an example, or a time step of one.

    The training step sums them in an order that does not depend on the device. The loss of a batch
    is the weighted mean of `loss`, and its metric is that of `metric`.
    """

    loss: jax.Array
    metric: jax.Array
    weight: jax.Array  # 1, or 0 for an item that does not count


# The declaration of the field `encoding` of a task that reads files: `axis(None, **ENCODING)`.
ENCODING: dict[str, Any] = {
    "help": "the encoding of a file of text, such as cp1252; none: UTF-8, or as a byte order mark "
    "says",
    "data": True,
}


@dataclass(frozen=True)
class Task(Component):
    """The base class of all tasks. Raises `UserError` when the value of a field is invalid."""

    role: ClassVar[str] = "task"
    # The names of all metrics. The first one decides: it chooses settings, and `score_items` gives
    # it. `metric` is its name; a class with one metric may name it by `metric` alone.
    metrics: ClassVar[tuple[str, ...]]
    metric: ClassVar[str]
    higher_is_better: ClassVar[bool]  # of the first metric
    online: ClassVar[bool] = False  # `sample` makes new training examples for each step
    # A member is called successful from this value of the metric on; None: not defined.
    solved_at: ClassVar[float | None] = None
    causal: ClassVar[bool] = False  # an output must not depend on later time steps
    metric_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)  # bounds of an interval
    # Functions by name, `package.module:function` or `path/to/file.py:function`, which are loaded
    # when they are called: for the command `predict`, for `load(run).predict(...)`, and for the
    # answers that a report shows.
    predictor: ClassVar[str | None] = None
    answers: ClassVar[str | None] = None
    figures: ClassVar[str | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Raises UserError for a metric whose name is taken."""
        super().__init_subclass__(**options)
        if "metrics" in vars(cls):
            cls.metric = cls.metrics[0]
        elif "metric" in vars(cls):
            cls.metrics = (cls.metric,)
        if taken := {*getattr(cls, "metrics", ())} & {"loss", "weight", "member", "step"}:
            raise UserError(f"task: a metric cannot be called {', '.join(sorted(taken))}")

    @property
    def data_key(self) -> str:
        """Names the data: the values of the fields that decide what is loaded."""
        names = [name for name, spec in field_specs(self).items() if spec.data]
        return ", ".join(f"{name} {getattr(self, name)}" for name in names)

    def load(self, say: Say) -> Dataset:
        """Returns the data, which depend only on the fields that are declared with `data`.

        `say` prints a line about a step that takes time. Raises UserError for an unknown name, and
        EnvironmentProblem when the data are damaged or cannot be had.
        """
        raise NotImplementedError

    def convert_data(self, dataset: Dataset) -> Dataset:
        """Returns a data set that a user made of arrays, with the types that this task reads."""
        return dataset

    def check_data(self, dataset: Dataset) -> None:
        """Raises UserError where a data set that a user made of arrays does not fit this task."""

    def adapt_data(self, dataset: Dataset, metadata: dict[str, Any]) -> Dataset:
        """Returns a data set as a model reads it that was trained on data with these metadata.

        Raises UserError where a number in it would mean something else to the model.
        """
        for name in MEANINGS:
            if (here := dataset.metadata.get(name)) != (there := metadata.get(name)):
                sizes = [len(value) for value in (here, there) if isinstance(value, list)]
                count = f" ({sizes[0]}, there {sizes[1]})" if len(sizes) == 2 else ""
                raise UserError(
                    f"{dataset.name}: {name.replace('_', ' ')}{count}: not as in the data of "
                    "training, so the model would misread them"
                )
        return dataset

    def built_in(self) -> Task | None:
        """Returns the same task on data that need no network; None where there are none."""
        return None

    def trivial_score(self, dataset: Dataset) -> float:
        """Returns the test metric of the best answer that does not read the input."""
        raise NotImplementedError

    def trivial_scores(self, dataset: Dataset) -> dict[str, float]:
        """Returns the test metrics of answers that need no model, by the answer in words.

        The first one is that of `trivial_score`.
        """
        return {"the best answer that ignores the input": self.trivial_score(dataset)}

    def describe_data(self, dataset: Dataset) -> list[str]:
        """Returns what is worth knowing of how the data were read, in a line each."""
        return []

    def describe_example(self, example: Arrays, metadata: dict[str, Any]) -> str:
        """Returns an example of a split as it was read, in a line; empty where there is no form.

        `example` holds the arrays of one example by name, as `gather` returns them.
        """
        return ""

    def doubts(self, dataset: Dataset) -> list[str]:
        """Returns what is doubtful in how the data were read, in a line each."""
        return []

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        """Returns the inputs and outputs of a model for data with these `Dataset.metadata`.

        Raises UserError when the fields do not fit the data.
        """
        raise NotImplementedError

    def sample(self, key: jax.Array, count: int) -> Batch:
        """Returns `count` new training examples, a function of the key. `online` tasks only."""
        raise NotImplementedError

    def example_lengths(self, batch: Batch) -> Any:
        """Returns the sequence length of each example, int32 [B]. Needed for `bucket_lengths`."""
        raise NotImplementedError

    def truncate(self, batch: Batch, length: int) -> Batch:
        """Returns the batch cut to `length` time steps. Needed for `bucket_lengths`."""
        raise NotImplementedError

    def gather(self, examples: Arrays, index_B: jax.Array) -> Batch:
        """Returns the examples at these indices, as arrays by name, without shared arrays."""
        return gather_examples(examples, index_B)

    def symbol_counts(self) -> dict[str, int]:
        """Returns the number of symbols by the name of the array that holds them.

        Symbols are whole numbers from 0 on. `predict` refuses other numbers in these arrays.
        """
        return {}

    @property
    def time_step_name(self) -> str:
        """What the model reads at a time step, in a word."""
        return "row"

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        """Returns the batch that is trained on; evaluation does not augment."""
        return batch

    def total_weight(self, batch: Batch) -> Any:
        """Returns the sum of all weights of a batch: an int, or an exact float32 []."""
        return len(next(iter(batch.values())))

    def inputs(self, batch: Batch) -> Inputs:
        """Returns the inputs of the model."""
        raise NotImplementedError

    def score_items(self, outputs: jax.Array, batch: Batch, *, training: bool) -> ItemScores:
        """Returns the scores of the outputs of a batch, or of a microbatch.

        The outputs are [B,O], or [T,B,O] of every time step, or [S,B,O] of a decoder.
        """
        raise NotImplementedError

    def evaluation_items(self, outputs: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Returns what `finalise` needs beside loss and metric, by name: float32 [n] or [n,K].

        Each has a row for each scored item, in the order of `score_items`, and is summed with the
        weights of the items. Evaluation calls it, and training does not.
        """
        return {}

    def finalise(self, sums: Mapping[str, Any], dataset: Dataset) -> dict[str, float]:
        """Returns the metrics of a member on a split, by name, from sums over its items.

        `sums` holds `loss`, the first metric and `weight`, float64 numbers, and what
        `evaluation_items` returns, numbers or float64 [K]. A metric that the data do not have is
        left out. Without a method of its own, a metric is its sum divided by the weight.
        """
        return {name: sums[name] / sums["weight"] for name in self.metrics if name in sums}
