"""A member of a run as a model to use: `lstm_jax.load(run_dir).predict(images)`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.data.load import arranged, ignore
from lstm_jax.errors import SurroundingsError, UserError
from lstm_jax.experiment import AXES, Experiment, Member
from lstm_jax.report import diagnose
from lstm_jax.runs import checkpoints
from lstm_jax.runs.record import beginning_with, read_run
from lstm_jax.search import first_round
from lstm_jax.statistics import settings
from lstm_jax.train.model import FoldedRowLSTM, RowLSTM
from lstm_jax.train.step import Params, fold


@dataclass(frozen=True)
class Trained:
    """A member's parameters as they were saved last, and what they belong to."""

    name: str
    experiment: Experiment
    member: Member
    steps: int  # done of `experiment.num_steps`
    diverged_at: int | None  # frozen since that step
    image_shape: tuple[int, int]  # of an image before it is arranged for reading
    model: RowLSTM
    params: Params

    @cached_property
    def folded(self) -> FoldedRowLSTM:
        """The model ready to run, for `diagnose`."""
        return fold_jitted(self.model, self.params)

    def probabilities(self, images_NTI: np.ndarray) -> np.ndarray:
        """Class probabilities, float32 [N,C], of images as in the data set: uint8 [N,T,I]."""
        blocks = [_probabilities(self.folded, x) for x in self._read(images_NTI, 1000)]
        return np.concatenate([np.zeros((0, self.model.num_classes), np.float32), *blocks])

    def predict(self, images_NTI: np.ndarray) -> np.ndarray:
        """The most probable class of each image: int [N]."""
        return np.argmax(self.probabilities(images_NTI), axis=-1)

    def beliefs(self, images_NTI: np.ndarray) -> np.ndarray:
        """Class probabilities after each step of reading, float32 [steps,N,C]."""
        rows, features = self.image_shape
        steps = rows * features // self.model.num_features
        blocks = [_beliefs(self.folded, x) for x in self._read(images_NTI, max(1, 28_000 // steps))]
        none = np.zeros((steps, 0, self.model.num_classes), np.float32)
        return np.concatenate([none, *blocks], axis=1)

    def _read(self, images_NTI: np.ndarray, block: int) -> Iterator[np.ndarray]:
        """Blocks of images as they are read, so that any number of them fits into memory."""
        images = np.asarray(images_NTI)
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != self.image_shape:
            raise UserError(
                f"images are {images.dtype} {list(images.shape)}; this model reads uint8 "
                f"[N, {self.image_shape[0]}, {self.image_shape[1]}]"
            )
        for first in range(0, len(images), block):
            yield arranged(images[first : first + block], self.experiment.reading)


# Compiled once for each model and shape, however often they are called.
fold_jitted = jax.jit(fold, static_argnums=0)
_beliefs = jax.jit(diagnose.beliefs)
_probabilities = jax.jit(diagnose.probabilities)


def load(
    run_dir: str | Path, member: str | None = None, say: Callable[[str], None] = ignore
) -> Trained:
    """The chosen member of a run, finished or not, or the one whose digest begins so.

    Chosen is, of the setting that is best on validation, the member that is best on validation; in
    an unfinished run the one that got furthest. Raises UserError when the directory is no run or
    there is no such member, SurroundingsError when nothing was saved or it was damaged.
    """
    directory = Path(run_dir)
    experiment, record = read_run(directory)
    saved = checkpoints.saved_members(directory)
    if member is not None:
        digest = beginning_with(member, {*record["members"], *saved})
    else:
        digest = _chosen(record["members"], saved)
    # A member that was taken over has its checkpoint where it was trained.
    result = record["members"].get(digest, {})
    home = directory.parent / (result.get("from") or directory.name)
    found = checkpoints.load(home, [digest], say)
    if digest not in found:
        raise SurroundingsError(f"{home} has no whole checkpoint of member {digest}")
    if "image_shape" not in record["data"]:
        raise SurroundingsError(f"{directory} was made by an older version: train it again")
    who = _who(experiment, record, digest)
    params = _tree(found[digest].arrays)
    rows, features = record["data"]["image_shape"]
    model = RowLSTM(
        hidden_size=who.hidden_size,
        num_features=params["input"]["kernel"].shape[0],
        num_classes=params["output"]["bias"].shape[0],
        forget_bias=experiment.forget_bias,
        kernel_init=experiment.kernel_init,
        chrono_steps=experiment.chrono_steps,
    )
    saved_state = found[digest]
    bad = int(saved_state.arrays["diverged_at"])
    if saved_state.step < experiment.num_steps:
        say(f"note: {who} is unfinished: step {saved_state.step} of {experiment.num_steps}")
    if bad >= 0:
        say(f"note: {who} diverged at step {bad} and is frozen there: its answers mean little")
    return Trained(
        record["name"], experiment, who, saved_state.step, None if bad < 0 else bad,
        (rows, features), model, params,
    )  # fmt: skip


def _who(experiment: Experiment, record: dict[str, Any], digest: str) -> Member:
    """The member of this digest, finished or not."""
    for rows in (record["members"], *record["rungs"].values()):
        if digest in rows:
            return Member(*(rows[digest][axis] for axis in AXES))
    started = {experiment.solo(m).digest: m for m in first_round(experiment).members}
    if digest not in started:
        raise UserError(f"member {digest} of a search is not finished: resume the run first")
    return started[digest]


def _chosen(results: dict[str, dict[str, Any]], saved: dict[str, int]) -> str:
    """The digest of the member to load."""
    if results:
        best = settings(results.values())[0]
        mates = [
            (row["diverged_at"] is None, row["validation_accuracy"], digest)
            for digest, row in results.items()
            if (row["hidden_size"], row["learning_rate"]) == best[:2]
        ]
        return max(mates)[2]
    if not saved:
        raise SurroundingsError("nothing was saved in this run yet: train it first")
    return max(saved, key=lambda digest: (saved[digest], digest))


def _tree(arrays: dict[str, np.ndarray]) -> Params:
    """The parameters out of a saved state, whose arrays are named by their path."""
    params: dict[str, Any] = {}
    for name, array in arrays.items():
        first, *path = name.split("/")
        if first == "params":
            layer = params.setdefault(path[0], {})
            layer[path[1]] = jnp.asarray(array)
    return params
