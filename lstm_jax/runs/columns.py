"""Tables as columns: what a run's metrics and results are in Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lstm_jax.errors import EnvironmentProblem


class Columns(Mapping[str, np.ndarray]):
    """Columns of one length by name, each a NumPy array [rows]."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        names = dict.fromkeys(name for row in rows for name in row)
        self.num_rows = len(rows)
        self._columns = {name: column([row.get(name) for row in rows]) for name in names}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"Columns({self.num_rows} rows: {', '.join(self)})"

    def to_pandas(self) -> Any:
        """Returns a pandas.DataFrame. EnvironmentProblem where pandas is not installed."""
        try:
            import pandas
        except ModuleNotFoundError:
            raise _missing("to_pandas()", "pandas") from None
        return pandas.DataFrame(self._columns)

    def to_polars(self) -> Any:
        """Returns a polars.DataFrame. EnvironmentProblem where Polars is not installed."""
        try:
            import polars
        except ModuleNotFoundError:
            raise _missing("to_polars()", "polars") from None
        return polars.DataFrame({name: list(column) for name, column in self._columns.items()})


def column(values: Sequence[Any]) -> np.ndarray:
    """Returns values as an array: numbers as such, with nan for None among them; text as text;
    anything else as objects.
    """
    kinds = {type(value) for value in values}
    if kinds <= {int}:
        return np.array(values, np.int64)
    if kinds <= {bool}:
        return np.array(values, bool)
    if kinds - {type(None)} and kinds <= {int, float, type(None)}:
        return np.array([np.nan if value is None else value for value in values], np.float64)
    if kinds == {str}:
        return np.array(values)
    return np.array(values, object)


def _missing(what: str, package: str) -> EnvironmentProblem:
    return EnvironmentProblem(f"{what} needs {package}: pip install {package}")
