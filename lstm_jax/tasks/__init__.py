"""The table of tasks: a new task is a file and a line here."""

from __future__ import annotations

from collections.abc import Iterator

from lstm_jax.errors import UserError
from lstm_jax.plugins import FILE_ATTRIBUTE, is_file_attribute, load_attribute
from lstm_jax.tasks.captions import Captions
from lstm_jax.tasks.forecast import Forecast
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.language import Language
from lstm_jax.tasks.memory import Adding, Copying
from lstm_jax.tasks.recall import AssociativeRecall, Induction, SelectiveCopying
from lstm_jax.tasks.state_tracking import StateTracking
from lstm_jax.tasks.task import Task
from lstm_jax.tasks.text import Text
from lstm_jax.tasks.translation import Translation

_ALL = (
    *(Images, Text, Language, Forecast, Translation, Captions, Adding, Copying),
    *(StateTracking, AssociativeRecall, SelectiveCopying, Induction),
)
TASKS: dict[str, type[Task]] = {task.name: task for task in _ALL}


def get_task(name: object) -> type[Task]:
    """Returns the task with a name in the table, or the class of `path/to/file.py:Class`.

    A file is not run again when its class is already defined: the latest one is returned. Raises
    UserError for an unknown name.
    """
    if not isinstance(name, str):
        raise UserError(f"task: {name!r} is not one of {', '.join(TASKS)}")
    if name in TASKS:
        return TASKS[name]
    defined = [task for task in _subclasses(Task) if task.spec_string() == name]
    if defined:
        return defined[-1]
    if not is_file_attribute(name):
        raise UserError(f"task: {name!r} is not one of {', '.join(TASKS)}, nor {FILE_ATTRIBUTE}")

    def is_task(value: object) -> bool:
        return isinstance(value, type) and issubclass(value, Task) and value is not Task

    task: type[Task] = load_attribute("task", name, is_task)
    return task


def _subclasses(base: type[Task]) -> Iterator[type[Task]]:
    for task in base.__subclasses__():
        if hasattr(task, "name"):  # others are base classes
            yield task
        yield from _subclasses(task)
