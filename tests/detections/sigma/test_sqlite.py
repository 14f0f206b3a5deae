"""The same rules as SQL by pySigma's SQLite backend, run by SQLite over the same events: the same hits.

What SQL says otherwise by its nature is left out here and stands in the table of docs/sigma.md.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import pytest
from sigma.backends.sqlite import sqliteBackend
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import FieldMappingTransformation
from sigma.rule import SigmaRule

from soc import content
from soc.detections import DetectionSet
from soc.detections.sigma.evaluate import Columns
from soc.detections.sigma.rule import Route, Rule
from soc.model.batch import EventBatch
from tests.detections.sigma import random_rules
from tests.detections.sigma.random_rules import Kinds, RuleMaker
from tests.detections.sigma.test_reference import EXPANDING, Hits, quick, read

ASCII = tuple(word for word in random_rules.WORDS if word.isascii())
SHIPPED = DetectionSet.load(content.roots("detections"))
ROUTING = ("event.dataset", "winlog.channel", "winlog.event_id")
SQL_FIELDS: Mapping[str, str] = {name: f"winlog.event_data.{name}" for name in "FGH"}
BACKEND = sqliteBackend(collate_nocase=True, fulltext_field="fulltext")
Row = Mapping[str, Any]


KINDS: Kinds = (
    *((random_rules.TEXT_CHAINS, ASCII),) * 3,
    (tuple(chain for chain in random_rules.SECRET_CHAINS if chain != "wide|contains"), random_rules.SECRETS),
    (random_rules.REGEX_CHAINS, random_rules.PATTERNS),
    (("cidr", "cidr|neq"), ("10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "fe80::/10")),
    (("exists", "exists|neq"), (True, False)),
    (("minute", "hour", "day", "month", "year", "hour|neq"), (3, 15, 20, 1, 2026)),
    (random_rules.REFERENCE_CHAINS, tuple(SQL_FIELDS)),
    (("", "neq", "all"), (None, "", 1, 4688, 5.5)),
    (("expand", "expand|contains", "expand|neq"), ("%short%", "x%dashes%*", "50%")),
)


class SqlMaker(RuleMaker):
    """Words of ASCII in fields of one value each; keywords without what could reach over two values."""

    fields = SQL_FIELDS
    words = ASCII
    keywords = (*(word for word in ASCII if word and not {"*", "?", "\n"} & set(word)), 1)
    keyword_chains = ("contains", "all", "cased", "neq", "windash", "contains|all")
    kinds = KINDS
    addresses = ("10.1.2.3", "192.0.2.7", "2001:db8::1", "fe80::7", "11.0.0.1")
    moments = ("2026-11-20T03:15:00", "2025-01-01 23:59:01.5", "2026-13-01")


def found_by_sqlite(rules: Sequence[SigmaRule], rows: Sequence[Row]) -> Hits:
    """(row, rule) that SQLite finds in a table with a column for each field of the events, and one for keywords."""
    database = sqlite3.connect(":memory:")
    database.create_function("REGEXP", 2, lambda p, t: t is not None and re.search(p, str(t)) is not None)
    asked = {name for rule in rules for name in BACKEND.required_fields(rule)}
    names = sorted(asked.union(*rows) - {"fulltext"})
    quoted = ", ".join(f'"{name}" TEXT' for name in names)
    database.execute(f"CREATE TABLE logs (place INTEGER, fulltext TEXT, {quoted})")
    marks = ", ".join("?" * (len(names) + 2))
    for place, row in enumerate(rows):
        lists = [value if isinstance(value := row.get(name), list) else [value] for name in names]
        for values in product(*lists):  # SQL knows no lists: a row for each value
            texts = [None if value is None else str(value) for value in values]
            fulltext = "\n".join(text for text in texts if text is not None)
            database.execute(f"INSERT INTO logs VALUES ({marks})", [place, fulltext, *texts])
    hits: Hits = set()
    for number, rule in enumerate(rules):
        for query in BACKEND.convert_rule(rule):
            where = str(query).split(" WHERE ", 1)[1]
            hits.update((place, number) for (place,) in database.execute(f"SELECT place FROM logs WHERE {where}"))
    return hits


def as_sigma(data: dict[str, Any], names: Mapping[str, str]) -> SigmaRule:
    """pySigma's rule with the events' names of its fields."""
    rule = SigmaRule.from_dict(data)
    EXPANDING.apply(rule)
    ProcessingPipeline([ProcessingItem(FieldMappingTransformation(dict(names)))]).apply(rule)
    return rule


def test_random_rules_find_the_same() -> None:
    """300 rules of nearly every modifier over 300 events."""
    maker = SqlMaker(20261130)
    rules, rows = [maker.rule() for _ in range(300)], [maker.event() for _ in range(300)]
    ours = quick([read(data).variants[0].node for data in rules], Columns(EventBatch.from_rows("windows.x", rows)))
    theirs = found_by_sqlite([as_sigma(data, maker.fields) for data in rules], rows)
    assert [(rows[i], rules[n]["detection"], (i, n) in ours) for i, n in sorted(ours ^ theirs)][:5] == []
    assert len(ours) > 10_000


def samples() -> list[Row]:
    """Every event of every test that our definitions carry."""
    tests = [test for document in SHIPPED.documents for test in document.data.get("tests", ())]
    return [event for test in tests for event in test.get("events") or [test.get("event")] if event]


def takes(route: Route, row: Row) -> bool:
    """Whether the event goes to the rule."""
    dataset, channel, event_id = (str(row.get(name, "")) for name in ROUTING)
    return route.takes(dataset, channel.lower(), event_id)


@pytest.mark.parametrize("rule", SHIPPED.rules, ids=lambda rule: rule.title)
def test_a_shipped_rule_finds_the_same(rule: Rule) -> None:
    """Over the samples of all our definitions, those its log source means."""
    [data] = [document.data for document in SHIPPED.documents if document.data.get("id") == rule.id]
    found = 0
    for variant in rule.variants:
        rows = [row for row in samples() if takes(variant.route, row)]
        if rows:
            ours = quick([variant.node], Columns(EventBatch.from_rows("any", rows)))
            assert ours == found_by_sqlite([as_sigma(data, variant.names)], rows)
            found += len(ours)
    assert found
