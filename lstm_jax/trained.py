"""A member of a run as a model to use: `lstm_jax.load(run_dir).predict(images)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax import diagnose, store
from lstm_jax.config import AXES, Experiment, Member, SurroundingsError, UserError
from lstm_jax.data import arranged, ignore
from lstm_jax.model import RowLSTM
from lstm_jax.record import read_run
from lstm_jax.statistics import settings
from lstm_jax.train import Params


@dataclass(frozen=True)
class Trained:
    """A member's parameters as they were saved last, and what they belong to."""

    name: str
    experiment: Experiment
    member: Member
    steps: int  # done of `experiment.num_steps`
    image_shape: tuple[int, int]  # of an image before it is arranged for reading
    model: RowLSTM
    params: Params

    def probabilities(self, images_NTI: np.ndarray) -> np.ndarray:
        """Class probabilities, float32 [N,C], of images as in the data set: uint8 [N,T,I]."""
        return self.beliefs(images_NTI)[-1]

    def predict(self, images_NTI: np.ndarray) -> np.ndarray:
        """The most probable class of each image: int [N]."""
        return np.argmax(self.probabilities(images_NTI), axis=-1)

    def beliefs(self, images_NTI: np.ndarray) -> np.ndarray:
        """Class probabilities after each step of reading, float32 [steps,N,C]."""
        images = np.asarray(images_NTI)
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != self.image_shape:
            raise UserError(
                f"images are {images.dtype} {list(images.shape)}; this model reads uint8 "
                f"[N, {self.image_shape[0]}, {self.image_shape[1]}]"
            )
        believe = jax.jit(partial(diagnose.beliefs, self.model))
        block = 1000  # examples at a time, so that any number of them fits
        parts = [
            np.asarray(
                believe(self.params, arranged(images[i : i + block], self.experiment.reading))
            )
            for i in range(0, len(images), block)
        ]
        return np.concatenate(parts, axis=1)


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
    digest = _chosen(record["members"], store.saved_members(directory), member)
    # A member that was taken over has its checkpoint where it was trained.
    result = record["members"].get(digest, {})
    home = directory.parent / (result.get("from") or directory.name)
    found = store.load_members(home, [digest], say)
    if digest not in found:
        raise SurroundingsError(f"{home} has no whole checkpoint of member {digest}")
    rows = [result, *(rung.get(digest, {}) for rung in record["rungs"].values())]
    row = next((row for row in rows if row), None)
    unfinished = {experiment.solo(m).digest: m for m in experiment.members()}
    chosen = Member(*(row[axis] for axis in AXES)) if row else unfinished.get(digest)
    if chosen is None:
        raise UserError(f"member {digest} of a search is not finished: resume the run first")
    params = _tree(found[digest].arrays)
    shape = tuple(record["data"]["image_shape"])
    model = RowLSTM(
        hidden_size=chosen.hidden_size,
        num_features=params["input"]["kernel"].shape[0],
        num_classes=params["output"]["bias"].shape[0],
        forget_bias=experiment.forget_bias,
        kernel_init=experiment.kernel_init,
    )
    step = found[digest].step
    return Trained(record["name"], experiment, chosen, step, (shape[0], shape[1]), model, params)


def _chosen(results: dict[str, dict[str, Any]], saved: set[str], member: str | None) -> str:
    """The digest of the member to load."""
    if member is not None:
        known = sorted({*results, *saved})
        found = [digest for digest in known if digest.startswith(member)]
        if len(found) != 1:
            raise UserError(
                f"member: {len(found)} members begin with {member!r}; there are "
                f"{', '.join(known[:5])}{' ...' if len(known) > 5 else ''}"
            )
        return found[0]
    if results:
        best = settings(results.values())[0]
        mates = [
            (row["validation_accuracy"], digest)
            for digest, row in results.items()
            if (row["hidden_size"], row["learning_rate"]) == best[:2]
        ]
        return max(mates)[1]
    if not saved:
        raise SurroundingsError("nothing was saved in this run yet: train it first")
    return min(saved)


def _tree(arrays: dict[str, np.ndarray]) -> Params:
    """The parameters out of a saved state, whose arrays are named by their path."""
    params: dict[str, Any] = {}
    for name, array in arrays.items():
        first, *path = name.split("/")
        if first == "params":
            layer = params.setdefault(path[0], {})
            layer[path[1]] = jnp.asarray(array)
    return params
