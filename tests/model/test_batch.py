"""The event batch: any split and concat is the identity, and every form of a column gives the same values."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from soc.model.batch import Column, EventBatch, arrow_type
from soc.model.fields import FieldType
from soc.model.lazy import LazyMapping

ROW = st.fixed_dictionaries(
    {},
    optional={
        "user.name": st.text(max_size=8),
        "source.port": st.integers(-(2**63), 2**63 - 1),
        "source.ip": st.sampled_from(["10.0.0.1", "2001:db8::1"]),
        "event.category": st.lists(st.text(max_size=4), min_size=1, max_size=3),
        "soc.rest": st.dictionaries(st.text(max_size=3), st.text(max_size=3), min_size=1, max_size=2),
        "event.risk_score": st.floats(allow_nan=False, allow_infinity=False),
    },
)


@given(st.lists(ROW, max_size=12), st.lists(st.integers(0, 12), max_size=4))
def test_split_and_concat_is_the_identity(rows: list[dict[str, object]], cuts: list[int]) -> None:
    """Cut a batch anywhere, join the pieces: the same batch."""
    batch = EventBatch.from_rows("test", rows)
    bounds = [0, *sorted(min(c, batch.n) for c in cuts), batch.n]
    pieces = [batch.slice(a, b) for a, b in itertools.pairwise(bounds)]
    assert EventBatch.concat(pieces) == batch


@given(st.lists(ROW, max_size=12))
def test_a_table_there_and_back_is_the_identity(rows: list[dict[str, object]]) -> None:
    """Arrow keeps every value of every type."""
    batch = EventBatch.from_rows("test", rows)
    if batch.columns:
        assert EventBatch.from_table("test", batch.to_table()) == batch


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_every_form_gives_the_same_values(values: list[int]) -> None:
    """List, numpy and Arrow are one column."""
    listed = Column.of(FieldType.LONG, values)
    assert Column.numpy(FieldType.LONG, np.asarray(values, np.int64)) == listed
    assert Column.arrow(FieldType.LONG, pa.array(values, arrow_type(FieldType.LONG))) == listed


def test_what_does_not_convert_is_kept_and_flagged() -> None:
    """A port that is no number goes to `soc.rest` as text; nothing vanishes."""
    batch = EventBatch.from_rows("test", [{"source.port": "many", "nonsense": 1}])
    assert batch.row(0) == {
        "soc.rest": {"source.port": "many", "nonsense": "1"},
        "soc.flags": ("type_mismatch", "unknown_field"),
    }


class Odd(LazyMapping[Column]):
    """One column of two rows, under a name of its own."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.asked = name, list[str]()

    def names(self) -> Iterable[str]:
        return (self.name,)

    def make(self, name: str) -> Column | None:
        self.asked.append(name)
        return Column.of(FieldType.KEYWORD, ["a", None]) if name == self.name else None


def test_many_small_batches_are_put_together_as_lists() -> None:
    """An array for each of them took most of a worker's time when every frame had six events of five kinds."""
    parts = [
        EventBatch("x", 2, {"process.name": Column.of(FieldType.KEYWORD, ["a", "b"])}),
        EventBatch("x", 1, {"process.name": Column.constant(FieldType.KEYWORD, "c", 1)}),
        EventBatch("x", 1, {}),
    ]
    column = EventBatch.concat(parts).columns["process.name"]
    assert (column.form, column.to_list()) == ("list", ["a", "b", "c", None])


def test_lazy_columns_are_asked_only_for_what_they_have() -> None:
    """Each other name would be looked for in vain, once a batch."""
    lazy = [Odd("process.name"), Odd("user.name")]
    whole = EventBatch.concat([EventBatch("x", 2, each) for each in lazy])
    assert {name: column.to_list() for name, column in whole.columns.items()} == {
        "process.name": ["a", None, None, None],
        "user.name": [None, None, "a", None],
    }
    assert [each.asked for each in lazy] == [["process.name"], ["user.name"]]


def test_a_column_of_lists_and_one_without_are_joined() -> None:
    """One Windows event may hold a list where another holds a text: then both are lists."""
    name, text = "winlog.event_data.F", Column.of(FieldType.KEYWORD, ["a", None])
    lists = Column.of(FieldType.KEYWORD, [("b", "c")], many=True)
    made = [EventBatch("w", column.n, {name: column}) for column in (text, lists)]
    assert EventBatch.concat([*made, EventBatch("w", 1, {})]).values(name) == [("a",), None, ("b", "c"), None]
