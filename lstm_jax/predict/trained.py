"""A trained member of a run, ready to use: `lstm_jax.load(run).predict(inputs)`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Dataset, Say, say_nothing
from lstm_jax.errors import EnvironmentProblem, UserError, one_line
from lstm_jax.model import forward
from lstm_jax.model.fused_params import FusedParams
from lstm_jax.model.init import Params
from lstm_jax.plugins import load_attribute
from lstm_jax.predict import inference
from lstm_jax.runs import checkpoints
from lstm_jax.runs.devices import refuse_after_fork
from lstm_jax.runs.evaluation import result_parameters
from lstm_jax.runs.files import problem
from lstm_jax.runs.record import RUN, Record, digest_with_prefix
from lstm_jax.runs.results import Result
from lstm_jax.runs.session import check_code
from lstm_jax.runs.statistics import chosen, summarise
from lstm_jax.runs.trust import read_trusted
from lstm_jax.tasks.images import Images, num_channels
from lstm_jax.tasks.task import Batch, ModelSpec
from lstm_jax.train.placement import named_leaves

if TYPE_CHECKING:
    from lstm_jax.predict.stream import Stream

# Sets of characters drawn by hand, light on dark, each cut out, centred and scaled.
DRAWN_SETS = ("mnist", "digits", "emnist", "kmnist")


@dataclass(frozen=True)
class TrainedModel:
    """The saved parameters of one member, and the run that they belong to.

    Axes: N images, T rows, I features of a row, S time steps of reading, C classes, O outputs of
    the head.
    """

    name: str  # of the experiment
    member: Experiment
    steps: int  # done, of `member.num_steps`; fewer where it is unfinished, or was stopped
    diverged_at: int | None  # the step after which the parameters are frozen
    metadata: dict[str, Any] = field(repr=False)  # of its data set: `Dataset.metadata`
    params: Params = field(repr=False)
    result: Result | None = field(default=None, repr=False)  # None until the member is finished
    record: Record | None = field(default=None, repr=False)  # of its run
    directory: Path | None = field(default=None, repr=False)  # of its run

    @cached_property
    def ready(self) -> Experiment:
        """The member as the compiled functions of `inference` take it."""
        return inference.ready(self.member)

    @cached_property
    def fused(self) -> FusedParams:
        """The parameters in the form that the forward functions take."""
        return inference.fuse_kernels(self.member, self.params)

    @cached_property
    def spec(self) -> ModelSpec:
        """The specification of the model that the task asks for."""
        return self.member.task.model_spec(self.metadata)

    def data(self, say: Say = say_nothing, dataset: Dataset | None = None) -> Dataset:
        """Returns the data set that the model was trained on: `dataset`, or the one that its task
        loads.

        Raises what `Task.load` raises, and EnvironmentProblem where the data set is not that of
        the run.
        """
        task = self.member.task
        dataset = task.load(say) if dataset is None else task.convert_data(dataset)
        if self.record is not None:
            self.record.check_data(dataset)
        return dataset

    def over_seeds(self) -> Iterator[TrainedModel]:
        """Yields this model, and then the finished models of its run that differ from it in the
        seed alone. Leaves out those whose checkpoint is lost, damaged or not the one on record.
        """
        yield self
        if self.result is None or self.record is None or self.directory is None:
            return
        for result in self.record.results.values():
            if result.member.setting == self.member.setting and result.member != self.member:
                with suppress(EnvironmentProblem):
                    yield load_member(
                        self.record,
                        self.directory,
                        result.member.digest,
                        say_nothing,
                        other_code=True,
                    )

    @property
    def class_names(self) -> list[str]:
        """The names of the classes; their numbers where the data set names none."""
        return self.metadata.get("classes") or [str(i) for i in range(self.spec.num_outputs)]

    @property
    def reads_drawings(self) -> bool:
        """Whether the data set is one of drawn characters, cut out, centred and scaled as those of
        MNIST: only there is a picture prepared alike. Size, place and shade mean nothing in such a
        set. In any other set, a user's own arrays and files among them, they may be the answer.
        """
        (rows, features), task = self.image_shape, self.images_task
        is_drawn = task.dataset.split("/")[0] in DRAWN_SETS and type(task).load is Images.load
        return is_drawn and rows == features

    @property
    def picture_channels(self) -> int:
        """The channels of an image as the data set says, or as its shape tells. Raises UserError
        where neither does.
        """
        rows, features = self.image_shape
        if "channels" not in self.metadata and features not in (rows, 3 * rows):
            raise UserError(
                f"this model reads images of {rows} x {features}, which may be grey or not: hand "
                "them in as an array, or train with make_dataset(..., channels=1)"
            )
        return num_channels(self.metadata)

    @property
    def images_task(self) -> Images:
        """The task. Raises UserError where the model reads no images."""
        if not isinstance(self.member.task, Images):
            raise UserError(f"a model of the task {self.member.task.name} reads no images")
        return self.member.task

    @property
    def image_shape(self) -> tuple[int, int]:
        """The rows and features of an image in the data set, in whatever order they are read."""
        rows, features = self.metadata["shapes"]["images"] if self.images_task else (0, 0)
        return rows, features

    def outputs(self, batch: Batch) -> np.ndarray:
        """Returns the outputs of the head for a batch of the data set: float32 [N,O] or [T,N,O]."""
        refuse_after_fork()
        return np.asarray(inference.compiled_outputs(self.spec, self.ready, self.fused, batch))

    def answers(self, batch: Batch) -> np.ndarray:
        """Returns the answers for a batch of the data set: class probabilities, float32 [N,C], of a
        classifier, or else the outputs of the head, [N,O] or [N,T,O].
        """
        refuse_after_fork()
        return np.asarray(inference.compiled_answers(self.spec, self.ready, self.fused, batch))

    def probabilities(self, images_NTI: np.ndarray) -> np.ndarray:
        """Returns the class probabilities of images, float32 [N,C].

        `images_NTI` is uint8 [N,T,I] as in the data set. Raises UserError for other arrays, and
        where the model reads no images.
        """
        empty = np.zeros((0, self.spec.num_outputs), np.float32)
        return np.concatenate([empty, *map(self.answers, self._batches(images_NTI, 1000))])

    def predict(self, inputs: Any, **options: Any) -> Any:
        """Returns the answers to a user's inputs, as the command `predict` gives them.

        Images, texts, rows of a series, sentences, scenes and beginnings of texts are read as the
        function says that the task names in `answers`; it has the `options`. A task that names none
        reads a batch, a dict of arrays as in its data set, and the answers are an array: see
        `TrainedModel.answers`. Raises UserError for inputs that the task cannot read.
        """
        refuse_after_fork()
        if name := self.member.task.answers:
            return load_attribute("answers", name)(self, inputs, **options)
        if not isinstance(inputs, dict):
            raise UserError(
                f"predict: a model of the task {self.member.task.name} reads a dict of the arrays "
                f"of its data set, not {type(inputs).__name__}"
            )
        try:
            return self.answers(self.check_arrays("predict", inputs), **options)
        except (KeyError, TypeError, ValueError) as error:
            raise self.unreadable("predict", error) from error

    def check_arrays(self, caller: str, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
        """Returns the inputs of a user as arrays by name, of the types that they have.

        `caller` stands at the beginning of an error. Raises UserError for fractions where the data
        set has whole numbers, and for a symbol that the task does not have: a compiled program
        would answer them.
        """
        arrays = {name: np.asarray(array) for name, array in inputs.items()}
        types = self.metadata.get("examples", {}).get("arrays", {})
        for name, array in arrays.items():
            count = self.member.task.symbol_counts().get(name)
            is_whole = count or (name in types and np.dtype(types[name][1]).kind in "iu")
            if is_whole and array.dtype.kind not in "iub":
                raise UserError(
                    f"{caller}: {name} is {array.dtype}; this model reads whole numbers"
                )
            if count and array.size and not 0 <= array.min() <= array.max() < count:
                raise UserError(
                    f"{caller}: {name} has numbers from {array.min()} to {array.max()}; this model "
                    f"reads 0 to {count - 1}"
                )
        return arrays

    def unreadable(self, caller: str, error: Exception) -> UserError:
        """Returns the error of arrays that the task cannot read, with the names and shapes of those
        that it can.
        """
        shapes = self.metadata.get("shapes", {}).items()
        known = ", ".join(f"{name} {['N', *shape]}".replace("'", "") for name, shape in shapes)
        return UserError(
            f"{caller}: the task {self.member.task.name} cannot read these inputs: "
            f"{one_line(error)}; its data set has {known}"
        )

    def stream(self, series: str = "") -> Stream:
        """Returns a reader of one sequence, time step by time step: `stream().step(x)`.

        `series` names one of several series of a forecast. Raises UserError for a model that must
        know the whole sequence first.
        """
        from lstm_jax.predict.stream import Stream

        return Stream(self, series)

    def beliefs(self, images_NTI: np.ndarray) -> np.ndarray:
        """Returns the class probabilities after each time step of reading, float32 [S,N,C].

        Takes and raises what `probabilities` does. Also raises UserError for a model whose last
        layer does not read forwards into the head.
        """
        refuse_after_fork()
        count = self.images_task.num_time_steps(self.metadata)
        if why := forward.why_not_traced(self.member, self.spec):
            raise UserError(
                f"the answer after each time step is not shown of this model: {why}. "
                "`lstm_jax.load(run).stream()` reads any model of forward layers time step by step"
            )
        batches = self._batches(images_NTI, max(1, 28_000 // count))
        return np.concatenate(
            [
                np.zeros((count, 0, self.spec.num_outputs), np.float32),
                *(inference.compiled_beliefs(self.ready, self.fused, batch) for batch in batches),
            ],
            axis=1,
        )

    def _batches(self, images_NTI: np.ndarray, size: int) -> Iterator[Batch]:
        """Yields batches of at most `size` images, so that any number of them fits into memory."""
        images, shape = np.asarray(images_NTI), self.image_shape
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != shape:
            raise UserError(
                f"images are {images.dtype} {list(images.shape)}; this model reads uint8 "
                f"[N, {shape[0]}, {shape[1]}]"
            )
        for first in range(0, len(images), size):
            yield {"images": images[first : first + size]}


def load(
    run_dir: str | Path,
    member: str | None = None,
    say: Say = say_nothing,
    *,
    other_code: bool = False,
    trust_code: bool = False,
) -> TrainedModel:
    """Returns one member of a run, finished or not.

    `member` is the beginning of its digest. Without it, the best setting on validation is chosen,
    of the first condition where there are several, and the member of this setting that is best on
    validation; in a run without a finished member, the one with the most steps.

    Raises UserError where the directory is no run or has no such member, and EnvironmentProblem
    where nothing was saved, where a checkpoint is damaged or not the one on record, and, without
    `other_code`, where the code of the member has changed since it was trained, or, without
    `trust_code`, where the run names code in a file that is not the user's own (`runs/trust.py`).
    """
    directory = Path(run_dir)
    record = read_trusted(directory, trust_code, say)
    return load_member(record, directory, member, say, other_code=other_code)


def load_member(
    record: Record, directory: Path, member: str | None, say: Say, *, other_code: bool = False
) -> TrainedModel:
    """Returns what `load` returns, of a record that has been read. Reading the record of a large
    sweep takes seconds.
    """
    saved = checkpoints.saved_members(directory)
    digest = (
        _chosen_digest(record, saved, say)
        if member is None
        else digest_with_prefix(member, {*record.results, *saved})
    )
    result = record.results.get(digest)
    home = _home(directory, result)
    experiment = record.find_member(digest)
    state = checkpoints.load(home, [digest], say).get(digest)
    if state is None:
        raise problem(f"{home} has no whole checkpoint of member {digest}")
    check_code(record, experiment, state.identity, other_code, say)
    metadata = record.metadata_of(experiment)
    # The parameters in the checkpoint are named by their path in the tree.
    like = inference.param_shapes(experiment, experiment.task.model_spec(metadata))
    arrays = result_parameters(state.arrays)
    expected = {name: (leaf.shape, leaf.dtype) for name, leaf in named_leaves(like).items()}
    if {name: (array.shape, array.dtype) for name, array in arrays.items()} != expected:
        raise problem(f"{home} holds checkpoints of another version; train it again")
    if result is not None and checkpoints.fingerprint(arrays) != result.parameters_sha256:
        raise problem(
            f"{home} holds other parameters of member {digest}, at step {state.step}, than those "
            "on record; put back its checkpoint, or move the run away and train it again"
        )
    leaves = [jnp.asarray(arrays[name]) for name in expected]
    params = jax.tree.unflatten(jax.tree.structure(like), leaves)
    label = record.study.experiment.label(experiment)
    steps = state.step if result is None else result.steps
    if result is None and steps < experiment.num_steps:
        say(f"note: {label} is unfinished: step {steps} of {experiment.num_steps}")
    bad_step = int(state.arrays.get("diverged_at", -1))
    if bad_step >= 0:
        say(f"note: {label} diverged at step {bad_step} and is frozen there: it knows little")
    diverged_at = bad_step if bad_step >= 0 else None
    return TrainedModel(
        record.name, experiment, steps, diverged_at, metadata, params, result, record,
        directory.resolve(),
    )  # fmt: skip


def _chosen_digest(record: Record, saved: dict[str, int], say: Say) -> str:
    """Returns the digest of the member to load where the user names none.

    Of several conditions it is that of the first one, and a line names the members of the others.
    """
    if record.results:
        experiment = record.study.experiment
        sign = 1 if experiment.task.higher_is_better else -1
        first, *others = [
            max(best.results, key=lambda result: sign * result.rank).member
            for best in chosen(summarise(record.results.values()))
        ]
        if others:
            named = ", ".join(f"{m.digest} ({experiment.condition_label(m)})" for m in others[:8])
            say(
                f"note: this is the chosen member of {experiment.condition_label(first)}; give "
                f"--member for another condition: {named}"
            )
        return first.digest
    if not saved:
        raise EnvironmentProblem("nothing was saved in this run yet: train it first")
    return max(saved, key=lambda digest: (saved[digest], digest))


def _home(directory: Path, result: Result | None) -> Path:
    """Returns the directory in which the member was trained: this one, or the one beside it whose
    finished result was reused.
    """
    if result is None or result.reused_from is None:
        return directory
    home = directory.resolve().parent / result.reused_from
    if not RUN.fullmatch(result.reused_from) or home.is_symlink():
        raise problem(
            f"{directory}: its record says that a member was trained in {result.reused_from!r}, "
            "which is no directory beside it; move the run directory away to start anew"
        )
    return home
