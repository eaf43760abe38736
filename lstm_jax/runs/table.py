"""Tables as columns: a run's metrics and results in Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lstm_jax.errors import EnvironmentProblem


class Columns(Mapping[str, np.ndarray]):
    """Columns of equal length by name, each a NumPy array [rows]."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        names = dict.fromkeys(name for row in rows for name in row)
        self.num_rows = len(rows)
        self._columns = {name: to_array([row.get(name) for row in rows]) for name in names}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"Columns({self.num_rows} rows: {', '.join(self)})"

    def to_pandas(self) -> Any:
        """Returns a pandas.DataFrame. Raises EnvironmentProblem if pandas is not installed."""
        try:
            import pandas
        except ModuleNotFoundError:
            raise EnvironmentProblem("to_pandas() needs pandas: pip install pandas") from None
        return pandas.DataFrame(self._columns)

    def to_polars(self) -> Any:
        """Returns a polars.DataFrame. Raises EnvironmentProblem if Polars is not installed."""
        try:
            import polars
        except ModuleNotFoundError:
            raise EnvironmentProblem("to_polars() needs polars: pip install polars") from None
        return polars.DataFrame({name: list(column) for name, column in self._columns.items()})


def to_array(values: Sequence[Any]) -> np.ndarray:
    """Returns values as an array.

    Integers become int64, booleans bool, text text. Other numbers become float64, with nan for
    None among them. Anything else becomes objects.
    """
    types = {type(value) for value in values}
    if types <= {int}:
        return np.array(values, np.int64)
    if types <= {bool}:
        return np.array(values, bool)
    if types - {type(None)} and types <= {int, float, type(None)}:
        return np.array([np.nan if value is None else value for value in values], np.float64)
    if types == {str}:
        return np.array(values)
    return np.array(values, object)
