"""The table of tasks: a new one is a file and a line here."""

from __future__ import annotations

from lstm_jax.tasks.captions import Captions
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.task import Task
from lstm_jax.tasks.translation import Translation

TASKS: dict[str, type[Task]] = {task.name: task for task in (Images, Translation, Captions)}
