"""The table of tasks: a new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Iterator

from lstm_jax.errors import UserError
from lstm_jax.plugins import FILE_ATTRIBUTE, is_file_attribute, load_attribute
from lstm_jax.tasks.captions import Captions
from lstm_jax.tasks.forecast import Forecast
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.language import Language
from lstm_jax.tasks.memory import Adding, Copying
from lstm_jax.tasks.task import Task
from lstm_jax.tasks.text import Text
from lstm_jax.tasks.translation import Translation

_ALL = (Images, Text, Language, Forecast, Translation, Captions, Adding, Copying)
TASKS: dict[str, type[Task]] = {task.name: task for task in _ALL}


def get_task(name: object) -> type[Task]:
    """Returns the task of a name in the table, or of `path/to/file.py:Class`.

    A file is not run where its class is there: the one that was defined last. Raises UserError.
    """
    if not isinstance(name, str):
        raise UserError(f"task: {name!r} is not one of {', '.join(TASKS)}")
    if name in TASKS:
        return TASKS[name]
    there = [kind for kind in _kinds_of(Task) if kind.spec_string() == name]
    if there:
        return there[-1]
    if not is_file_attribute(name):
        raise UserError(f"task: {name!r} is not one of {', '.join(TASKS)}, nor {FILE_ATTRIBUTE}")
    found: type[Task] = load_attribute("task", name, _is_task)
    return found


def _is_task(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Task) and value is not Task


def _kinds_of(task: type[Task]) -> Iterator[type[Task]]:
    for kind in task.__subclasses__():
        if hasattr(kind, "name"):  # others are bases
            yield kind
        yield from _kinds_of(kind)
