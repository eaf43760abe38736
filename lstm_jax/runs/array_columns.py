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
        return _import("pandas").DataFrame(self._columns)

    def to_polars(self) -> Any:
        """Returns a polars.DataFrame. Raises EnvironmentProblem if Polars is not installed."""
        columns = {name: list(column) for name, column in self._columns.items()}
        return _import("polars").DataFrame(columns)


def _import(package: str) -> Any:
    try:
        return __import__(package)
    except ModuleNotFoundError:
        message = f"to_{package}() needs {package}: pip install {package}"
        raise EnvironmentProblem(message) from None


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
