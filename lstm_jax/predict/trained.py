"""A member of a run as a model to use: `lstm_jax.load(run_dir).predict(images)`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Arrays, Dataset, say_nothing
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.model.forward import FusedParams
from lstm_jax.model.init import Params
from lstm_jax.predict import inference
from lstm_jax.runs import checkpoints
from lstm_jax.runs.evaluation import result_parameters
from lstm_jax.runs.files import refusal
from lstm_jax.runs.record import Record, digest_with_prefix, find_member, read_run
from lstm_jax.runs.results import Result
from lstm_jax.runs.statistics import summarise
from lstm_jax.tasks.images import Images, steps
from lstm_jax.tasks.task import Batch, ModelSpec
from lstm_jax.train.sweep import named_leaves


@dataclass(frozen=True)
class TrainedModel:
    """A member's parameters as they were saved last, and what they belong to."""

    name: str
    member: Experiment
    steps: int  # done of `member.num_steps`
    diverged_at: int | None  # frozen since that step
    metadata: dict[str, Any] = field(repr=False)  # of its data: `Dataset.metadata`
    params: Params = field(repr=False)
    result: Result | None = field(default=None, repr=False)  # on record, once it is finished
    record: Record | None = field(default=None, repr=False)  # of the run that it is of
    directory: Path | None = field(default=None, repr=False)  # of that run

    @cached_property
    def ready(self) -> Experiment:
        """The member as compiled functions take it."""
        return inference.ready(self.member)

    @cached_property
    def fused(self) -> FusedParams:
        """The model ready to run."""
        return inference.fuse_kernels(self.member, self.params)

    @cached_property
    def spec(self) -> ModelSpec:
        """The ends of the model."""
        return self.member.task.model_spec(self.metadata)

    def data(self, say: Callable[[str], None] = say_nothing) -> Dataset:
        """Returns the data set it was trained on. Raises what `Task.load` does, and
        EnvironmentProblem where the set has changed since.
        """
        return self.expect(self.member.task.load(say))

    def expect(self, dataset: Dataset) -> Dataset:
        """Returns the data set. Raises EnvironmentProblem where it is not that of the run."""
        if self.record is not None:
            self.record.expect_data(dataset)
        return dataset

    def over_seeds(self) -> Iterator[TrainedModel]:
        """Yields this model and, once it is finished, those of its run that differ from it in the
        seed alone; one whose checkpoint is lost, damaged or not what is on record is left out.
        """
        yield self
        if self.result is None or self.record is None or self.directory is None:
            return
        for result in self.record.results.values():
            if result.member.setting == self.member.setting and result.member != self.member:
                with suppress(EnvironmentProblem):
                    yield load_of(self.record, self.directory, result.member.digest, say_nothing)

    @property
    def class_names(self) -> list[str]:
        """The names of the classes: their numbers, where the data has no others."""
        return self.metadata.get("classes") or [str(i) for i in range(self.spec.num_outputs)]

    @property
    def own_channels(self) -> int | None:
        """The channels of an image of the user's own files, which is read as it is; None where
        the data set is one by its name.
        """
        return self.metadata.get("channels")

    @property
    def images_task(self) -> Images:
        """The task. Raises UserError when it reads no images."""
        if not isinstance(self.member.task, Images):
            raise UserError(f"a model of the task {self.member.task.name} reads no images")
        return self.member.task

    @property
    def image_shape(self) -> tuple[int, int]:
        """The rows and features of an image as in the data set, however it is read."""
        rows, features = self.metadata["shapes"]["images"] if self.images_task else (0, 0)
        return rows, features

    def outputs(self, batch: Batch) -> np.ndarray:
        """Returns the head's outputs for examples as in the data set: [N,O], or [T,N,O]."""
        return np.asarray(inference.outputs(self.spec, self.ready, self.fused, batch))

    def probabilities(self, images_NTI: np.ndarray) -> np.ndarray:
        """Returns class probabilities, float32 [N,C], of images as in the data set: uint8 [N,T,I].

        Raises UserError for other images, and when the task reads none.
        """
        none = np.zeros((0, self.spec.num_outputs), np.float32)
        blocks = self._blocks(images_NTI, 1000)
        answers = [inference.answer(self.spec, self.ready, self.fused, batch) for batch in blocks]
        return np.concatenate([none, *answers])

    def predict(self, images_NTI: np.ndarray) -> np.ndarray:
        """Returns the most probable class of each image, int [N]."""
        return np.argmax(self.probabilities(images_NTI), axis=-1)

    def beliefs(self, images_NTI: np.ndarray) -> np.ndarray:
        """Returns class probabilities after each step of reading, float32 [steps,N,C]."""
        count = steps(self.metadata, self.images_task.reading)
        none = np.zeros((count, 0, self.spec.num_outputs), np.float32)
        blocks = self._blocks(images_NTI, max(1, 28_000 // count))
        found = [inference.answer_by_row(self.ready, self.fused, batch) for batch in blocks]
        return np.concatenate([none, *found], axis=1)

    def _blocks(self, images_NTI: np.ndarray, size: int) -> Iterator[Batch]:
        """So that any number of images fits into memory."""
        images, shape = np.asarray(images_NTI), self.image_shape
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != shape:
            raise UserError(
                f"images are {images.dtype} {list(images.shape)}; this model reads uint8 "
                f"[N, {shape[0]}, {shape[1]}]"
            )
        for first in range(0, len(images), size):
            yield {"images": images[first : first + size]}


def load(
    run_dir: str | Path, member: str | None = None, say: Callable[[str], None] = say_nothing
) -> TrainedModel:
    """Returns the chosen member of a run, finished or not, or the one whose digest begins so.

    Chosen is, of the setting that is best on validation, the member that is best on validation; in
    an unfinished run the one that got furthest. Raises UserError when the directory is no run or
    there is no such member, EnvironmentProblem when nothing was saved, or when what was saved is
    damaged or not what is on record.
    """
    directory = Path(run_dir)
    return load_of(read_run(directory), directory, member, say)


def load_of(
    record: Record, directory: Path, member: str | None, say: Callable[[str], None]
) -> TrainedModel:
    """Returns what `load` does, of a record that was read: that of a large sweep takes seconds."""
    saved = checkpoints.saved_members(directory)
    if member is not None:
        digest = digest_with_prefix(member, {*record.results, *saved})
    else:
        digest = _chosen(record, saved)
    result = record.results.get(digest)
    home = _home(directory, result)
    who = find_member(record, digest)
    state = checkpoints.load(home, [digest], say).get(digest)
    if state is None:
        raise refusal(f"{home} has no whole checkpoint of member {digest}")
    metadata = record.metadata_of(who)
    params = _params(who, who.task.model_spec(metadata), state.arrays, home)
    if result is not None and checkpoints.fingerprint(_named(params)) != result.parameters_sha256:
        raise refusal(
            f"{home} holds other parameters of member {digest}, at step {state.step}, than those "
            "on record; put back its checkpoint, or move the run away and train it again"
        )
    bad = int(state.arrays.get("diverged_at", -1))
    described = record.study.experiment.label(who)
    if state.step < who.num_steps:
        say(f"note: {described} is unfinished: step {state.step} of {who.num_steps}")
    if bad >= 0:
        say(f"note: {described} diverged at step {bad} and is frozen there: it knows little")
    diverged_at = None if bad < 0 else bad
    known = metadata, params, result, record, directory.resolve()
    return TrainedModel(record.name, who, state.step, diverged_at, *known)


def _chosen(record: Record, saved: dict[str, int]) -> str:
    """The digest of the member to load."""
    if record.results:
        sign = 1 if record.study.experiment.task.higher_is_better else -1
        best = summarise(record.results.values())[0]
        return max(best.results, key=lambda result: sign * result.rank).member.digest
    if not saved:
        raise EnvironmentProblem("nothing was saved in this run yet: train it first")
    return max(saved, key=lambda digest: (saved[digest], digest))


def _home(directory: Path, result: Result | None) -> Path:
    """Where the member was trained: here, or in the sibling directory it was taken over from."""
    if result is None or result.reused_from is None:
        return directory
    home = directory.resolve().parent / result.reused_from
    if not checkpoints.FOLDER.fullmatch(result.reused_from) or home.is_symlink():
        raise refusal(
            f"{directory}: its record says that a member was trained in {result.reused_from!r}, "
            "which is no directory beside it; move the run directory away to start anew"
        )
    return home


def _params(member: Experiment, spec: ModelSpec, arrays: Arrays, home: Path) -> Params:
    """The parameters out of a saved state, whose arrays are named by their path."""
    like = inference.shapes(member, spec)
    own = result_parameters(arrays)
    wanted = {name: (leaf.shape, leaf.dtype) for name, leaf in named_leaves(like).items()}
    if {name: (array.shape, array.dtype) for name, array in own.items()} != wanted:
        raise refusal(f"{home} holds checkpoints of another version; train it again")
    leaves = [jnp.asarray(own[name]) for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _named(params: Params) -> Arrays:
    return {name: np.asarray(leaf) for name, leaf in named_leaves(params).items()}
