"""A run directory made without the runner: trained members, their checkpoints and metrics."""

import numpy as np

from lstm_jax import Experiment
from lstm_jax.config.search import Study
from lstm_jax.errors import UserError
from lstm_jax.runs import checkpoints
from lstm_jax.runs.metrics_file import append_metrics
from lstm_jax.runs.record import Record
from lstm_jax.runs.results import Result
from lstm_jax.tasks.images import Images
from lstm_jax.train.sweep import build_programs, make_placements, named_leaves

# One microbatch: half the time to compile.
SWEEP = Experiment(
    task=Images(dataset="digits"),
    hidden_size=8,
    learning_rate=(3e-3, 1e-2),
    seed=(0, 1),
    total_examples=16_000,
    microbatches=1,
)


def train(directory, experiment, *, steps=None, name="digits"):
    """Returns the record of the members trained for so many steps; finished where that is all."""
    directory.mkdir(parents=True)
    dataset, study, results = experiment.task.load(print), Study(experiment), {}
    for placement in make_placements(study.members(), 1, lambda _: 1):
        until = steps or placement.static_key.num_steps
        programs = build_programs(placement, dataset, placement.static_key.num_steps)
        state, metrics = programs.segment(programs.init(), 0, until)
        digests = tuple(member.digest for member in placement.members)
        arrays = {n: np.asarray(leaf)[: len(digests)] for n, leaf in named_leaves(state).items()}
        seconds = [0.5] * len(digests)
        checkpoints.save(directory, digests, checkpoints.Saved(until, arrays, "i", seconds))
        append_metrics(directory, metric_rows(placement, metrics, until))
        if steps is None:
            splits = (dataset.validation, dataset.test)
            scores = [programs.score(state.params, split) for split in splits]
            for row, member in enumerate(placement.members):
                validation, test = (score(member, sums, row) for sums in scores)
                own = {
                    n.removeprefix("params/"): array[row]
                    for n, array in arrays.items()
                    if n.startswith("params/")
                }
                bad = int(arrays["diverged_at"][row])
                results[member.digest] = Result(
                    member, until, validation, test, None if bad < 0 else bad, 0.5, "i",
                    checkpoints.fingerprint(own), "2026-01-01",
                )  # fmt: skip
    session = {"command": ["run", name], "started": "2026-01-01", "commit": "0" * 40}
    identities = {"i": {"jax": "0", "data": dataset.fingerprint}}
    return Record(
        name=name, study=study, metadata={experiment.task.data_key: dataset.metadata},
        identities=identities, sessions=[session], results=results, rungs={},
    )  # fmt: skip


def metric_rows(placement, metrics, until):
    task = placement.static_key.task
    columns = dict(zip(("loss", task.metric, "gradient_norm", "update_norm"), metrics, strict=True))
    for row, member in enumerate(placement.members):
        for step in range(0, until, member.log_every):
            numbers = {name: finite(np.asarray(c)[row, step]) for name, c in columns.items()}
            yield {"member": member.digest, "step": step} | numbers


def score(member, sums, row):
    loss, metric, weight = (np.asarray(total)[row] for total in sums)
    return {"loss": finite(loss / weight), member.task.metric: finite(metric / weight)}


def finite(value):
    return float(value) if np.isfinite(value) else None


def reading(records):
    """Returns what stands in for `read_run`: records by directory."""

    def read_run(directory):
        if directory not in records:
            raise UserError(f"{directory} is not a run")
        return records[directory]

    return read_run
