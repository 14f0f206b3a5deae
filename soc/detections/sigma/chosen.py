"""Some rows of a batch, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from soc.detections.sigma.evaluate import Columns
from soc.detections.sigma.values import text_of
from soc.model.fields import FieldType


class ChosenRows(dict[str, Sequence[Any]]):
    """Name of a field → its values in these rows, made when something asks. Objects are their JSON text."""

    def __init__(self, columns: Columns, rows: Sequence[int]) -> None:
        """The rows are in order, each once."""
        super().__init__()
        self.columns = columns
        self.rows = rows
        self._missing = [None] * len(rows)

    def __missing__(self, name: str) -> Sequence[Any]:
        values = self[name] = self._values(name)
        return values

    def _values(self, name: str) -> Sequence[Any]:
        values = self.columns.of(name)
        if values is None:
            return self._missing
        column = self.columns.batch.columns.get(name)
        if column is not None and column.type is FieldType.OBJECT:
            values = list(map(_hashable, values))
        rows = self.rows
        if len(rows) == len(values):
            return values
        return itemgetter(*rows)(values) if len(rows) > 1 else [values[i] for i in rows]


def _hashable(value: Any) -> Any:
    if value is None or isinstance(value, tuple):
        return value and tuple(map(text_of, value))
    return text_of(value)
