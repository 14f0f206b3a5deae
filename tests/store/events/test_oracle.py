"""A search over a store finds exactly what `matches` finds over the same rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soc.model.clock import FixedClock
from soc.model.query import And, Between, Equals, Exists, InNetwork, MatchAll, Not, Or, Query, Wildcard, Word
from soc.store.events import EventStore
from soc.store.query import matches
from tests.store.events.samples import ALL, START_US, batch, event, upto

LETTERS = "abAB01 .:-*?\\_%\nĐđệỆ"
texts = st.text(LETTERS, max_size=6)
addresses = st.sampled_from(["10.0.0.1", "10.0.1.7", "192.168.1.1", "2001:db8::1", "2001:db8:1::2", "::ffff:10.0.0.1"])
networks = st.sampled_from(["10.0.0.0/24", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/48", "::/0", "192.168.1.1/32"])
numbers = st.integers(-3, 3)
times = st.integers(START_US - 5, START_US + 5)
doubles = st.sampled_from([-1.5, 0.0, 2.25, 1e300])
FIELD_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "user.name": texts, "message": texts, "event.original": texts, "source.ip": addresses, "source.port": numbers,
    "event.risk_score": doubles, "event.start": times, "soc.original_bytes": st.binary(max_size=2),
    "tags": st.lists(texts, max_size=2), "host.ip": st.lists(addresses, max_size=2),
    "winlog.event_data.Id": texts, "winlog.event_data.ID": texts,
}  # fmt: skip
ELEMENT = {**FIELD_VALUES, "tags": texts, "host.ip": addresses}
TEXTUAL = ["user.name", "message", "event.original", "source.ip", "tags", "host.ip", "winlog.event_data.Id"]
ORDERED = ["user.name", "source.port", "event.risk_score", "event.start", "tags", "winlog.event_data.ID"]
ANY = sorted(FIELD_VALUES)
rows = st.lists(st.fixed_dictionaries({}, optional=FIELD_VALUES), min_size=1, max_size=8)
patterns = st.one_of(
    st.text(LETTERS, max_size=4), texts.map(lambda t: f"*{t}*"), texts.map(lambda t: f"{t}*"), texts.map("*".__add__)
)


def comparisons() -> st.SearchStrategy[Query]:
    bound = st.sampled_from(ORDERED).flatmap(
        lambda f: st.builds(
            Between, st.just(f), st.none() | ELEMENT[f], st.none() | ELEMENT[f], st.booleans(), st.booleans()
        )
    )
    return st.one_of(
        st.sampled_from(ANY).flatmap(lambda f: st.builds(Equals, st.just(f), ELEMENT[f])),
        st.builds(Wildcard, st.sampled_from(TEXTUAL), patterns),
        st.builds(InNetwork, st.sampled_from(["source.ip", "host.ip"]), networks),
        bound,
        st.builds(Exists, st.sampled_from(ANY)),
        st.builds(Word, texts.filter(bool)),
        st.just(MatchAll()),
    )


queries = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.lists(inner, max_size=3).map(lambda items: And(tuple(items))),
        st.lists(inner, max_size=3).map(lambda items: Or(tuple(items))),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("oracle")
    return (root / str(i) for i in itertools.count())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=rows, questions=st.lists(queries, min_size=1, max_size=12), cut=st.integers(0, 8))
def test_search_equals_matches(folders: Iterator[Path], rows: list[dict[str, Any]], questions: list[Query], cut: int):
    """Part of the rows sealed, part of them hot: every query finds what the plain evaluator finds."""
    full = []
    for i, row in enumerate(rows):
        full.append({**event(1, i), **row})
        if "event.original" not in row:
            del full[-1]["event.original"]
    store = EventStore(next(folders), FixedClock(START_US * 1000), writer="w")
    if full[:cut]:
        store.append([batch(full[:cut])], upto(1, cut - 1))
        store.roll()
        store.compact()
    if full[cut:]:
        store.append([batch(full[cut:])], upto(1, len(full)))
    whole = batch(full)
    for query in questions:
        expected = {row["event.id"].hex() for row, hit in zip(full, matches(query, whole), strict=True) if hit}
        assert {row["event.id"] for row in store.search(ALL, query).rows} == expected, query
    store.close()
