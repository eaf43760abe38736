"""The table of tasks: a new one is a file and a line here."""

from __future__ import annotations

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
