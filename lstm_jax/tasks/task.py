"""What a task is: what is read and what is asked, as a frozen dataclass with pure functions.

Axes: N examples, B batch, T rows, I numbers in a row, O outputs, n items that are scored.

A task's fields are declared as an experiment's are (`fields.axis`) and are axes as these. Inside a
compiled program a traced field of `self` is an array. What the functions compute there is written
with JAX, which a task imports where it needs it: the command line reads the fields alone.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from lstm_jax.data.dataset import Arrays, Dataset, Say, gather_examples
from lstm_jax.fields import check_value, field_specs

if TYPE_CHECKING:
    import jax

Batch = dict[str, Any]  # arrays by name, the first axis that of the examples


class DecoderSpec(NamedTuple):
    """What writes a sequence of symbols, one after another, from what the recurrent layers read."""

    num_symbols: int  # the size of its vocabulary
    attention: str  # `none`, or `luong`: see train/decoder.py


class ModelSpec(NamedTuple):
    """What a model begins and ends with."""

    num_features: int  # numbers in an input row; the size of the vocabulary, if rows are symbols
    num_outputs: int  # of the head
    per_step_outputs: bool = False  # the head reads the output of every row; otherwise the last one
    mean_pool: bool = False  # the head reads the mean of the outputs of all rows instead
    token_inputs: bool = False  # a row is one symbol, int32, which is looked up in a table
    bucket_lengths: tuple[
        int, ...
    ] = ()  # of batches, rising: each is cut to the least that holds it
    carry_state: bool = False  # a block of scored examples goes on where the one before it ended
    decoder: DecoderSpec | None = None  # it stands between the recurrent layers and the head


class Inputs(NamedTuple):
    """What the first cell reads."""

    x_TBI: jax.Array  # symbols are [T,B]
    lengths_B: jax.Array | None = None  # int32 rows that count; None: all
    decoder_inputs_SB: jax.Array | None = (
        None  # of a decoder: int32, the symbol before each to be written
    )


class PerExample(NamedTuple):
    """What is scored, one entry for each example (or each row of one), float32 [n] each.

    The sums over them are taken by the training step, in an order that does not depend on the
    device: a batch's loss is the weighted mean of `loss`, its metric that of `metric`.
    """

    loss: jax.Array
    metric: jax.Array
    weight: jax.Array  # 1, or 0 for what does not count


@dataclass(frozen=True)
class Task:
    """The base of all tasks. Raises `UserError` when a field's value is off."""

    name: ClassVar[str]
    metric: ClassVar[str]
    higher_is_better: ClassVar[bool]
    online: ClassVar[bool] = False  # training examples are made anew for each step, by `sample`
    # From which metric on a member's training is called a success; None: nobody says so.
    solved_at: ClassVar[float | None] = None
    causal: ClassVar[bool] = False  # a row's output must not depend on later rows
    metric_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)  # an interval stays in it
    # Functions by name, `package.module:function` or `path/to/file.py:function`, loaded when they
    # are called: what `predict` asks a trained model, and what a report shows of its answers.
    predictor: ClassVar[str | None] = None
    figures: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        for name, spec in field_specs(self).items():
            value = check_value(f"task.{name}", getattr(self, name), spec)
            object.__setattr__(self, name, value)

    @classmethod
    def spec_string(cls) -> str:
        """Returns what a record calls this task: its name, or `path/to/file.py:Class` of a task in
        a user's file.
        """
        if cls.__module__.startswith("lstm_jax."):
            return cls.name
        # The module of a file that was run is none; a function that stands in it knows the file.
        codes = [value.__code__ for value in vars(cls).values() if inspect.isfunction(value)]
        for code in codes:
            file = code.co_filename
            if code.co_qualname.startswith(cls.__qualname__) and file.endswith(".py"):
                return f"{file}:{cls.__name__}"
        return cls.name

    def check(self) -> None:
        """Raises UserError where fields, of one value each, do not fit together."""

    @property
    def data_key(self) -> str:
        """Names the data: the values of the fields that decide what is loaded."""
        decide = [name for name, spec in field_specs(self).items() if spec.data]
        return ", ".join(f"{name} {getattr(self, name)}" for name in decide)

    def load(self, say: Say) -> Dataset:
        """Returns the data, which the fields declared with `data` alone decide.

        `say` hears what takes time, a line at a time.
        Raises UserError for a name that is none, and EnvironmentProblem when the data is damaged or
        not to be had.
        """
        raise NotImplementedError

    def check_data(self, dataset: Dataset) -> None:
        """Raises UserError where a data set that a user made of arrays is not what is read here."""

    def built_in(self) -> Task | None:
        """Returns the same task on data that needs no network; None where there is none."""
        return None

    def trivial_score(self, dataset: Dataset) -> float:
        """Returns what the best answer that ignores the input gets in the metric, on the test."""
        raise NotImplementedError

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        """Returns the ends of a model for data of these metadata (`Dataset.metadata`).

        Raises UserError when the fields do not fit the data.
        """
        raise NotImplementedError

    def sample(self, key: jax.Array, count: int) -> Batch:
        """Returns so many new training examples, a function of the key, if the task is `online`."""
        raise NotImplementedError

    def example_lengths(self, batch: Batch) -> Any:
        """Returns how many rows each example needs, [B], where `ModelSpec.widths` cut batches."""
        raise NotImplementedError

    def truncate(self, batch: Batch, length: int) -> Batch:
        """Returns the batch with so many rows, where `ModelSpec.widths` cut batches."""
        raise NotImplementedError

    def gather(self, examples: Arrays, index_B: jax.Array) -> Batch:
        """Returns the examples of these indices, as arrays by name, without shared arrays."""
        return gather_examples(examples, index_B)

    @property
    def time_step_name(self) -> str:
        """What the model reads at a time."""
        return "row"

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        """Returns the batch as it is trained on; scores are taken without."""
        return batch

    def total_weight(self, batch: Batch) -> Any:
        """Returns the sum of the weights of a whole batch: a number, or an exact float32 []."""
        return len(next(iter(batch.values())))

    def inputs(self, batch: Batch) -> Inputs:
        """Returns the rows that the model reads."""
        raise NotImplementedError

    def per_example(self, outputs: jax.Array, batch: Batch, *, training: bool) -> PerExample:
        """Scores the outputs, [B,O], or [T,B,O] of every row (of a decoder's too), of a batch or of
        a part of one.
        """
        raise NotImplementedError
