"""The fields of an experiment: their defaults, ranges and help."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from lstm_jax.cells import CELLS, LAYERS, check_cell
from lstm_jax.components import ComponentAxis, component_axis
from lstm_jax.config.blocks import BLOCKS, Block, Plain
from lstm_jax.errors import UserError
from lstm_jax.fields import Axis, axis, check_value, field_specs
from lstm_jax.optim import OPTIMIZERS, SCHEDULES
from lstm_jax.optim.optimizer import Adam, Optimizer
from lstm_jax.optim.schedule import Constant, Schedule
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.task import Task

MAX_HIDDEN_SIZE = 8192
SIZES = ("data_sizes", "widths")  # what is known of an experiment after its data are loaded
BUDGETS = ("total_examples", "total_steps", "total_epochs")  # an experiment has one of them

# Above zero: the device flushes anything below the smallest normal float32 to zero.
SMALLEST = 2.0**-126


def check_run_name(name: str) -> str:
    """Returns the name of a run with its digest, or the beginning of it. Raises UserError."""
    if not re.fullmatch(r"[^\0]*[^/\0.][^/\0]*/[0-9a-f]{1,12}(-\S+)?/?", name):
        raise UserError(
            f"begin_with: {name!r} names no run with its digest; give NAME/DIGEST, or its "
            "beginning: the latest run of a name is another one later"
        )
    return name


@dataclass(frozen=True, repr=False)
class ExperimentFields:
    """All values that decide the numbers of a run.

    `lstm-jax run --help` prints the help of each field.
    """

    task: Task = dataclasses.field(default_factory=Images)
    cell: Axis[str] = axis(
        "lstm", f"recurrent cell: {', '.join([*CELLS, *LAYERS])}, or FILE.py:NAME", check=check_cell
    )
    layers: Axis[int] = axis(1, "number of recurrent layers", low=1, high=64)
    hidden_size: Axis[int] = axis(128, "units H of each layer", low=1, high=MAX_HIDDEN_SIZE)
    parameters: Axis[int | None] = axis(
        None,
        "number of parameters, instead of hidden_size: each model gets the hidden_size that comes "
        "closest, within 2 %; none: hidden_size decides",
        low=1, high=10**10,
    )  # fmt: skip
    bidirectional: Axis[bool] = axis(
        False, "read the sequence in both directions, each with its own weights"
    )
    block: ComponentAxis[Block] = component_axis(
        Plain(), BLOCKS, "what stands around each recurrent layer"
    )
    read_out: Axis[str] = axis(
        "last",
        "what the head reads of each sequence: the outputs at the last time step, or their mean; "
        "a task may take the mean by itself",
        choices=lambda: ("last", "mean"),
    )
    dropout: Axis[float | None] = axis(
        None,
        "dropout probability of outputs between layers (of what a residual block adds) and before "
        "the head; none: no dropout",
        low=0.0, high=0.999, traced=True,
    )  # fmt: skip
    variational_dropout: Axis[bool] = axis(
        False, "one dropout mask for all time steps of a sequence (Gal and Ghahramani, 2016)"
    )
    zoneout: Axis[float | None] = axis(
        None,
        "probability that a unit of a state keeps its value over a time step of training (Krueger "
        "et al., 2017); evaluation takes the expectation; none: no zoneout",
        low=0.0, high=0.999, traced=True,
    )  # fmt: skip
    learning_rate: Axis[float] = axis(
        1e-3, "learning rate of the optimizer", low=SMALLEST, high=1e30, traced=True, log=True
    )
    seed: Axis[int] = axis(
        0,
        "random seed of the initial weights and of the order of examples; members with the same "
        "seed see the same order",
        low=0, high=2**32 - 1, traced=True,
    )  # fmt: skip
    forget_bias: Axis[float] = axis(
        1.0, "added to the forget gate before its sigmoid, in cells that have one",
        low=-100.0, high=100.0, traced=True,
    )  # fmt: skip
    chrono_steps: Axis[int] = axis(
        0,
        "longest dependency in time steps: gates, decay rates and time steps of a cell start so "
        "that the time scales of its units are uniform from 1 to chrono_steps - 1 (chrono "
        "initialisation; Tallec and Ollivier, 2018); the run says which cells cannot; 0: off",
        low=0, high=10**6,
    )  # fmt: skip
    kernel_init: Axis[str] = axis(
        "notebook",
        "initialisation of kernels: `notebook` (dense and embeddings N(0, 1), recurrent Glorot "
        "uniform) or `orthogonal` (dense and input LeCun normal, recurrent orthogonal for each "
        "gate, embeddings N(0, 0.1^2))",
        choices=lambda: ("notebook", "orthogonal"),
    )
    optimizer: ComponentAxis[Optimizer] = component_axis(
        Adam(), OPTIMIZERS, "optimizer of the parameters, or FILE.py:NAME"
    )
    schedule: ComponentAxis[Schedule] = component_axis(
        Constant(), SCHEDULES, "learning rate schedule, with a warm-up before it, or FILE.py:NAME"
    )
    clip_norm: Axis[float | None] = axis(
        None,
        "maximum global norm of a gradient; a longer gradient is scaled down; none: no clipping",
        low=SMALLEST, high=1e30, traced=True, log=True,
    )  # fmt: skip
    batch_size: Axis[int] = axis(128, "examples per training step", low=1, high=65_536)
    microbatches: Axis[int] = axis(
        8, "number of equal parts of a batch whose gradients are summed in a fixed order; another "
        "number gives other bits, another number of cores or devices does not",
        low=1, high=1024,
    )  # fmt: skip
    total_examples: Axis[int] = axis(
        100_000,
        "training budget in examples: training goes on while step * batch_size < total_examples",
        low=1, high=10**10,
    )  # fmt: skip
    total_steps: Axis[int | None] = axis(
        None, "training budget in steps, instead of total_examples", low=1, high=10**9
    )
    total_epochs: Axis[float | None] = axis(
        None, "training budget in passes over the training data, instead of total_examples",
        low=1e-6, high=1e6,
    )  # fmt: skip
    backend: Axis[str] = axis(
        "scan",
        "implementation of the recurrence in training: `scan`; `associative`, all time steps "
        "together, of linear cells and matrix memories, for a GPU or TPU; or NVIDIA's `cudnn` on a "
        "GPU (LSTM only, best with microbatches 1); evaluation always uses `scan`",
        choices=lambda: ("scan", "associative", "cudnn"),
    )
    precision: Axis[str] = axis(
        "float32",
        "precision of the operands of matrix products, in training and evaluation: `float32`, or "
        "`bfloat16` for a GPU or TPU; sums, states, parameters and the loss are float32 in both; a "
        "layer of your own does its own products",
        choices=lambda: ("float32", "bfloat16"),
    )
    log_every: Axis[int] = axis(
        20, "number of steps between two rows of metrics", low=1, high=10**6
    )
    num_evals: Axis[int] = axis(
        4,
        "number of evaluations on validation, evenly spaced; the last one is at the end, on all "
        "examples, and those before it, during training, are on the first 2,000; training itself "
        "does not depend on them",
        low=1, high=10_000,
    )  # fmt: skip
    restore_best: Axis[bool] = axis(
        False, "return the parameters of the best evaluation on validation instead of the last ones"
    )
    patience: Axis[int | None] = axis(
        None,
        "stop a member at the evaluation that is the last of so many, one after the other, without "
        "a better metric on validation; none: train to the end of the budget",
        low=1, high=10_000,
    )  # fmt: skip
    begin_with: Axis[str | None] = axis(
        None,
        "a finished run, NAME/DIGEST, with the same model: its members' parameters start those of "
        "this run, seed by seed, with a fresh optimizer and from step 0; none: new parameters",
        check=check_run_name,
    )
    # Training examples of each data set, by the data key of its task. It is known after the data
    # are loaded and is needed only for a budget in epochs, so it is no part of the digest.
    data_sizes: tuple[tuple[str, int], ...] = ()
    # The hidden_size of each model whose number of `parameters` is given, by `model_key`. It is
    # known after the data are loaded, so it is no part of the digest either. A member has its own,
    # with an empty key.
    widths: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.task, Task):
            raise UserError(f"task: expected a task such as Images(), got {self.task!r}")
        for name, spec in field_specs(self).items():
            object.__setattr__(self, name, check_value(name, getattr(self, name), spec))
        for name in SIZES:
            object.__setattr__(self, name, _check_sizes(name, getattr(self, name)))


def _check_sizes(name: str, sizes: Any) -> tuple[tuple[str, int], ...]:
    try:
        pairs = tuple((key, size) for key, size in sizes)
    except (TypeError, ValueError):
        pairs = ((None, 0),)
    for key, size in pairs:
        if not isinstance(key, str) or type(size) is not int or not 0 < size < 2**63:
            raise UserError(f"{name}: expected pairs of a name and a number")
    return pairs
