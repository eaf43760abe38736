"""What `predict` is options: the inputs as they were typed, and how to answer."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class PredictOptions(NamedTuple):
    """The options of `predict`; each task takes those that mean something to it."""

    inputs: tuple[str, ...] = ()  # files, sentences, or - for stdin
    json: bool = False  # a JSON object a line
    rows: bool = False  # step by step
    length: int = 200  # of what is written, in symbols
    temperature: float = 1.0  # of what is drawn; 0: always the most probable
    seed: int = 0  # of what is drawn
    beam: int = 1  # sentences kept at a time; 1: greedy
    last: Path | None = None  # a file whose end a forecast goes on from
