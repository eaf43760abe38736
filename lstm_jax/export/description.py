"""What an exported model needs to be used without this package, as JSON values."""

from __future__ import annotations

from typing import Any

from lstm_jax.fields import field_specs
from lstm_jax.predict import inference
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.tasks.forecast import Forecast

# In the metadata of a data set; the card shows examples of training.
NOT_OF_THE_MODEL = ("examples", "trivial_score", "shapes", "notes", "card", "file_stamp")


def describe_model(trained: TrainedModel) -> dict[str, Any]:
    """Returns what the numbers of an exported model mean.

    It holds the metadata of the data set (classes, vocabulary, columns, scales, time step, as far
    as the task has them), the fields of the task, what the model answers, and which member of which
    run it is.
    """
    member, result = trained.member, trained.result
    known = {k: v for k, v in trained.metadata.items() if k not in NOT_OF_THE_MODEL}
    answers = "outputs of the head"
    if inference.is_classifier(member):
        known |= {"classes": trained.class_names}
        answers = "the probability of each class"
    if isinstance(member.task, Forecast):
        answers = f"the next {member.task.horizon} values of the target, in the unit of the data"
    return known | {
        "task": member.task.name,
        "task_fields": {name: getattr(member.task, name) for name in field_specs(member.task)},
        "answers": answers,
        "run": trained.name,
        "member": member.digest,
        "steps": trained.steps,
        "identity": result.identity if result else None,
        "parameters_sha256": result.parameters_sha256 if result else None,
    }
