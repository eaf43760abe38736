"""The table of tasks: a new task is a file and a line here."""

from __future__ import annotations

from lstm_jax.components import Table
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

TASKS = Table[Task](
    Task,
    *(Images, Text, Language, Forecast, Translation, Captions, Adding, Copying),
    *(StateTracking, AssociativeRecall, SelectiveCopying, Induction),
)


def get_task(name: object) -> type[Task]:
    """Returns the task with a name in the table, or the class of `path/to/file.py:Class`.

    Raises UserError for an unknown name.
    """
    return TASKS.find(name)
