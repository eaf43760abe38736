"""A run that begins with the parameters of another one: which members start which, and whether
they fit.

`Experiment.begin_with` names the run. A new member starts from the parameters of a finished member
of it, with a fresh optimiser and from step 0. The record says which member that was, and its
parameters are a part of the new member's identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.experiment_fields import BUDGETS
from lstm_jax.config.search import Study
from lstm_jax.data.dataset import Say
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.runs import checkpoints
from lstm_jax.runs.directory import find_run
from lstm_jax.runs.evaluation import result_parameters
from lstm_jax.runs.record import RUN, Record, read_record, read_run
from lstm_jax.runs.results import Result
from lstm_jax.runs.session import changed_sources, check_code
from lstm_jax.runs.statistics import Summary, by_condition, summarise
from lstm_jax.train.placement import Datasets, named_leaves, stack_fields
from lstm_jax.train.step import init_state

# Fields that are the same in both models, and metadata that give inputs and outputs their meaning.
MODEL = "cell", "layers", "hidden_size", "bidirectional", "block", "read_out"
MEANING = (
    *("vocabulary", "source_vocabulary", "target_vocabulary", "classes", "num_classes"),
    *("columns", "target"),
)


def resolve_begin_with(study: Study, runs_dir: Path) -> Study:
    """Returns the study in which each run to begin with is named NAME/DIGEST.

    Raises UserError where there is no such run in `runs_dir`.
    """
    values = study.experiment.values_of("begin_with")
    if values == (None,):
        return study
    named = tuple(None if value is None else _named(value, runs_dir) for value in values)
    return replace(study, experiment=study.experiment.replace({"begin_with": named}))


def _named(run: str, runs_dir: Path) -> str:
    path = Path(run)
    folder, name, digest = path.parent.parent, path.parent.name, path.name
    if folder != Path() and folder.resolve() != runs_dir.resolve():
        raise UserError(f"begin_with: {run} does not lie in {runs_dir}; move it there")
    if RUN.fullmatch(digest):  # a finished run is read although the other one is gone
        return f"{name}/{digest}"
    return f"{name}/{find_run(f'{name}/{digest}', runs_dir).name}"


def find_origins(
    members: Iterable[Experiment], runs_dir: Path, datasets: Datasets, say: Say
) -> dict[str, dict[str, Any]]:
    """Returns what the record keeps of the member that starts each of these members, by digest.

    It is the finished member with the same model and the same fields but for the budget; else one
    of the setting that was chosen on validation; seed by seed where there are several. Raises
    UserError where no member fits, and EnvironmentProblem where its code has changed since.
    """
    origins, records = dict[str, dict[str, Any]](), dict[str, Record]()
    notes: dict[str, None] = {}
    fitting: dict[tuple[Experiment, str], list[Summary]] = {}
    for member in members:
        if member.begin_with is None:
            continue
        if (run := member.begin_with) not in records:
            records[run] = read_run(runs_dir / run, member)  # runs no code but the user's own
        record, key = records[run], (member.static_key, member.task.data_key)
        if key not in fitting:
            metadata = datasets[member.task.data_key].metadata
            fitting[key] = _fitting(member, metadata, record)
        result = _starting(member, fitting[key], notes.setdefault)
        _refuse_other_code(record, result, run)
        origins[member.digest] = {
            "run": run,
            "member": result.member.digest,
            "identity": result.identity,
            "parameters_sha256": result.parameters_sha256,
        }
    for line in notes:
        say(line)
    return origins


def _refuse_other_code(record: Record, result: Result, run: str) -> None:
    """Raises EnvironmentProblem where the code of a member of a run has changed since."""
    changes = list[str]()
    check_code(record, result.member, result.identity, True, changes.append)
    if changes:
        raise EnvironmentProblem(
            f"begin_with: {changed_sources(record)} changed since {run} was trained; put the old "
            f"code back, or train {run.partition('/')[0]} again and begin with that"
        )


def _fitting(member: Experiment, metadata: dict[str, Any], record: Record) -> list[Summary]:
    """Returns the settings of a run whose finished members have the model of this member."""
    misfits: dict[tuple[Experiment, str], str] = {}
    fitting, reasons = [], ["it has no finished member"]
    for result in record.results.values():
        key = result.member.static_key, result.member.task.data_key
        if key not in misfits:
            misfits[key] = _misfit(member, metadata, result.member, record)
        reason = misfits[key] or ("it diverged" if result.diverged_at is not None else "")
        if reason:
            reasons.append(reason)
        else:
            fitting.append(result)
    if not fitting:
        raise UserError(
            f"begin_with: no member of {member.begin_with} can start this model: {reasons[-1]}"
        )
    return summarise(fitting)


def _misfit(
    member: Experiment, metadata: dict[str, Any], source: Experiment, record: Record
) -> str:
    """Returns why the parameters of `source` do not fit this member's model; empty if they do."""
    if source.task.name != member.task.name:
        return f"its task is {source.task.name}, not {member.task.name}"
    for path, value in member.values.items():
        if path.partition(".")[0] in MODEL and source.values.get(path) != value:
            return f"its {path} is {source.values.get(path)}, not {value}"
    before = record.metadata_of(source)
    for name in MEANING:
        if before.get(name) != metadata.get(name):
            return f"its data have other {name.replace('_', ' ')}"
    if _shapes(source, before) != _shapes(member, metadata):
        return "its parameters have other shapes"
    return ""


def _shapes(member: Experiment, metadata: dict[str, Any]) -> dict[str, Any]:
    fields = jax.tree.map(lambda a: jax.ShapeDtypeStruct((), a.dtype), stack_fields([member]))
    spec = member.task.model_spec(metadata)
    params = jax.eval_shape(partial(init_state, spec), fields).params
    return {name: (leaf.shape, leaf.dtype) for name, leaf in named_leaves(params).items()}


def _starting(member: Experiment, fitting: list[Summary], note: Callable[[str], object]) -> Result:
    """Returns the result whose parameters start a member."""

    def apart_from_budget(each: Experiment) -> Experiment:
        return each.setting.replace_unchecked(dict.fromkeys((*BUDGETS, "begin_with")))

    same = [s for s in fitting if apart_from_budget(s.setting) == apart_from_budget(member)]
    asked = [s for s in fitting if s.setting.condition == member.condition]
    if not asked and len(by_condition(fitting)) > 1:
        raise UserError(
            f"begin_with: {member.begin_with} has several conditions, and none of them is that of "
            "this run; begin with a run that has one"
        )
    choice = (same or asked or fitting)[0]
    if not same and len(fitting) > 1:
        note(
            f"begin_with: of the settings of {member.begin_with}, the one chosen on validation "
            "starts the members"
        )
    by_seed = {result.member.seed: result for result in choice.results}
    if len(by_seed) > 1 and member.seed not in by_seed:
        raise UserError(
            f"begin_with: {member.begin_with} has seeds {', '.join(map(str, by_seed))} of this "
            f"model, and not {member.seed}"
        )
    return by_seed[member.seed] if len(by_seed) > 1 else choice.results[0]


def begin_states(
    record: Record, runs_dir: Path, digests: Iterable[str], say: Say
) -> dict[str, checkpoints.Saved]:
    """Returns states at step 0 of those of these members that begin with another run, by digest.

    They hold parameters alone. Raises EnvironmentProblem where a checkpoint does not hold the
    parameters that are on record.
    """
    states = {}
    for digest in digests:
        origin = record.begin_with.get(digest)
        if origin is None:
            continue
        home = runs_dir / origin["run"]
        if (source := read_record(home)) is None:
            raise EnvironmentProblem(
                f"{origin['run']} is gone, and this run begins with its parameters; put it back "
                f"into {runs_dir}"
            )
        result = source.results.get(origin["member"])
        if result is not None and result.reused_from is not None:
            home = home.parent / result.reused_from
        state = checkpoints.load(home, [origin["member"]], say).get(origin["member"])
        arrays = {} if state is None else result_parameters(state.arrays)
        if checkpoints.fingerprint(arrays) != origin["parameters_sha256"]:
            raise EnvironmentProblem(
                f"{home} does not hold the parameters of member {origin['member']} any more, which "
                "this run begins with; put its checkpoint back, or move this run away"
            )
        params = {f"params/{name}": array for name, array in arrays.items()}
        states[digest] = checkpoints.Saved(0, params, origin["parameters_sha256"], 0.0)
    return states
