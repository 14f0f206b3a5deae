"""The same rules find the same live, whatever else is in the batch, and of stored events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from soc.detections import DetectionSet, Detector
from soc.detections.backtest import columns_of
from soc.model.batch import EventBatch
from soc.model.clock import FixedClock
from soc.model.query import MatchAll
from soc.model.record import RawBlock
from soc.parsers import ParserState
from soc.parsers.ecs import MAX_COLUMNS
from soc.pipeline import places
from soc.store.events import EventStore
from tests.detections.sigma.random_rules import LISTS, RuleMaker
from tests.pipeline.world import EVERYTHING, NOW_NS, failures, settings_of

SYSMON = "Microsoft-Windows-Sysmon/Operational"
NAMES = ("F", "G", "a.b", "c d", "è", "Nested.Object (x)")
EVENTS, RULES, BATCHES = 90, 200, 7
Hits = set[tuple[str, str]]


class Maker(RuleMaker):
    """Rules over event data with names of every kind, and events that hold lists."""

    fields = {name: name for name in NAMES}  # noqa: RUF012

    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in NAMES:
            kind = self.random.random()
            if kind < 0.3:
                found[name] = [self._text() for _ in range(self.random.randrange(4))]
            elif kind < 0.75:
                found[name.replace(" ", self.random.choice((" ", "")))] = self._text()
        return found


def parsed(events: list[dict[str, Any]], start: int = 0) -> list[EventBatch]:
    """The batches of events with their places as ids, in evtx_dump's shape."""
    lines = [
        json.dumps({"Event": {"System": {"EventID": 1, "Channel": SYSMON}, "EventData": data}}).encode()
        for data in events
    ]
    raw = RawBlock.of(lines, receipt_ns=NOW_NS + start * 1000, format="json", node="n", seq=start + 1)
    batches: list[EventBatch] = places.load_parsers(settings_of(Path())).parse(raw, ParserState(), NOW_NS)[0]
    return batches


def hits(loaded: DetectionSet, batches: Iterable[EventBatch]) -> Hits:
    """Rule and event of everything that is found."""
    detector = Detector(loaded)
    return {(finding.rule_id, finding.event_ids[0]) for batch in batches for finding in detector.match(batch)}


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> DetectionSet:
    maker, path = Maker(4), tmp_path_factory.mktemp("rules") / "rules.yml"
    made = ({**maker.rule(), "name": f"r{n}", "title": f"r{n}"} for n in range(RULES))
    path.write_text("\n---\n".join(map(json.dumps, made)))
    return DetectionSet.load([path], lists=LISTS)


def stored(folder: Path, batches: list[EventBatch], columns: tuple[str, ...] | None) -> Iterator[list[EventBatch]]:
    """What a scan gives while they are hot, and when they are sealed."""
    store = EventStore(folder, FixedClock(NOW_NS), places.load_parsers(settings_of(folder)).fields, writer="w")
    store.append(batches, {})
    yield list(store.scan(EVERYTHING, MatchAll(), columns))
    store.roll()
    store.compact()
    yield list(store.scan(EVERYTHING, MatchAll(), columns))
    store.close()


def test_stored_events_give_the_hits_that_they_gave_live(rules: DetectionSet, tmp_path: Path) -> None:
    """Lists, names with dots and blanks, keywords: alone, together, with columns made on demand or all, hot, sealed."""
    maker = Maker(5)
    events = [maker.data() for _ in range(EVENTS)]
    assert len(rules.rules) > RULES / 2
    batches = [batch for n in range(0, EVENTS, BATCHES) for batch in parsed(events[n : n + BATCHES], n)]
    live = hits(rules, batches)
    assert len({rule for rule, _ in live}) > RULES / 4
    whole = [batch.with_columns({}) for batch in batches]
    assert hits(rules, whole) == live
    assert hits(rules, [EventBatch.concat(batches)]) == live
    assert hits(rules, [batch.slice(i, i + 1) for batch in whole for i in range(batch.n)]) == live
    for n, columns in enumerate((None, columns_of(rules))):
        for found in stored(tmp_path / str(n), whole, columns):
            assert hits(rules, found) == live


def test_each_rule_alone_reads_what_it_needs_of_the_store(rules: DetectionSet, tmp_path: Path) -> None:
    """The columns that a backtest asks for are enough, without any keyword rule that asks for all."""
    maker = Maker(6)
    batches = parsed([maker.data() for _ in range(60)])
    live = hits(rules, batches)
    store = EventStore(tmp_path, FixedClock(NOW_NS), places.load_parsers(settings_of(tmp_path)).fields, writer="w")
    store.append(batches, {})
    for rule in rules.rules[:60]:
        alone = DetectionSet(rules=(rule,))
        found = hits(alone, store.scan(EVERYTHING, MatchAll(), columns_of(alone)))
        assert found == {hit for hit in live if hit[0] == rule.id}, rule.id
    store.close()


@pytest.mark.parametrize("name", ["Hashes", "a.b", "New Value"])
def test_a_list_is_shown_as_text_and_kept_as_a_list(tmp_path: Path, name: str) -> None:
    """People search and see an element a line; frames of before, which had the text alone, are read as they were."""
    [batch] = parsed([{name: ["x", "y"]}, {name: "z"}])
    store = EventStore(tmp_path, FixedClock(NOW_NS), places.load_parsers(settings_of(tmp_path)).fields, writer="w")
    store.append([batch], {})
    rows = store.search(EVERYTHING, MatchAll(), limit=9, order="asc").rows
    field = f"winlog.event_data.{name.replace(' ', '')}"
    kept = field if name != "a.b" else f"winlog.event_data.{name}"
    found = sorted(((row.get("soc.rest", {}).get(kept), row.get(field)) for row in rows), key=str)
    is_left = name == "a.b"
    assert found == ([("z", None), (["x", "y"], None)] if is_left else [(None, "z"), (["x", "y"], "x\ny")])
    store.close()


READING = """
title: {0}
name: {0}
logsource: {{product: windows, service: sysmon}}
detection: {{s: {1}, condition: s}}
"""


@pytest.mark.parametrize(
    ("selection", "data"),
    [
        ("{a.b: x}", {"a.b": "x"}),
        ("{a.b|endswith: y}", {"a.b": ["x", "zy"]}),
        ("{'File (old)': x}", {"File (old)": "x"}),
        ("{è: x}", {"è": "x"}),
        ("{New Value: x}", {"New Value": "x"}),
        ("{NewValue: x}", {"New Value": "x", "a.b": "y"}),
        ("[keyword]", {"a.b": "a keyword"}),
        ("[keyword]", {"è": ["x", "keyword"]}),
    ],
)
def test_data_under_any_name_is_read(tmp_path: Path, selection: str, data: dict[str, Any]) -> None:
    """Names that no column can have: their values are kept beside, and rules and keywords find them there."""
    path = tmp_path / "rules.yml"
    path.write_text(READING.format("r", selection))
    loaded = DetectionSet.load([path])
    assert not loaded.refused
    for others in ([], [{"NewValue": "q", "a.c": "q"}]):  # whatever stands beside it
        batches = parsed([data, *others])
        assert len(hits(loaded, batches)) == 1
        assert len(hits(loaded, [batch.with_columns({}) for batch in batches])) == 1


def test_a_flood_of_names_makes_no_rule_deaf(tmp_path: Path) -> None:
    """More names than a batch may have columns: those left over are still read, and a rule of one of them hits."""
    path = tmp_path / "rules.yml"
    path.write_text(READING.format("r", "{Zz: x}"))
    flood = {f"A{n}": "1" for n in range(MAX_COLUMNS)}
    batches = parsed([{**flood, "Zz": "x"}])
    assert "winlog.event_data.Zz" not in batches[0].with_columns({}).columns
    assert len(hits(DetectionSet.load([path]), batches)) == 1


def test_keywords_search_what_an_event_is_whatever_is_stored_beside_it(tmp_path: Path) -> None:
    """The raw line of a login is searched, also where the store has Windows events, of which it is not."""
    path = tmp_path / "rules.yml"
    path.write_text("""
title: line
name: line
logsource: {product: linux, service: sshd}
detection: {s: ['h1 sshd'], condition: s}
""")
    loaded = DetectionSet.load([path])
    line = RawBlock.of(failures(1), receipt_ns=NOW_NS, format="lines", node="n", seq=9)
    logins = places.load_parsers(settings_of(tmp_path)).parse(line, ParserState(), NOW_NS)[0]
    live = hits(loaded, logins)
    assert len(live) == 1
    for found in stored(tmp_path / "store", [*logins, *parsed([{"F": "x"}])], columns_of(loaded)):
        assert hits(loaded, found) == live
