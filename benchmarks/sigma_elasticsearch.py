"""The same Sigma rules through pySigma's Elasticsearch backend, run by an Elasticsearch over the same events.

    python -m benchmarks.sigma_elasticsearch http://127.0.0.1:9200 OTHER/bin/python [--rules FOLDER --events FILE.jsonl]

OTHER is an environment of its own with `pysigma-backend-elasticsearch`, which wants an older pySigma than ours.
Three rounds: random shapes, our own rules over all their samples, and with --rules and --events those rules over the
first 10,000 events of a file. What Elasticsearch says otherwise by its nature stands in docs/sigma.md. Prints how many
rules were compared, how many the backend cannot say, and every difference.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from soc import content
from soc.content import Document
from soc.detections import DetectionSet
from soc.detections.sigma.evaluate import Columns
from soc.detections.sigma.rule import Rule, Variant
from soc.model.batch import EventBatch
from soc.model.fields import FIELDS, FieldType
from tests.detections.sigma import random_rules
from tests.detections.sigma.random_rules import RuleMaker
from tests.detections.sigma.test_reference import Hits, quick, read

INDEX = "soc-sigma"
MOST = 10_000
"""Elasticsearch gives so many hits at once."""
CONVERT = """
import json, sys
from sigma.backends.elasticsearch import LuceneBackend
from sigma.collection import SigmaCollection
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import FieldMappingTransformation
from sigma.rule import SigmaRule
def one(data, names):
    try:
        rule = SigmaRule.from_dict(data)
        ProcessingPipeline([ProcessingItem(FieldMappingTransformation(names))]).apply(rule)
        return [str(query) for query in LuceneBackend().convert(SigmaCollection([rule]))]
    except Exception as error:
        return f"{type(error).__name__}: {error}"
json.dump([one(*each) for each in json.load(sys.stdin)], sys.stdout)
"""
Row = Mapping[str, Any]
_WORDS = tuple(word for word in random_rules.WORDS if word.isascii() and "\n" not in word)
_TEXT = tuple(chain for chain in random_rules.TEXT_CHAINS if "cased" not in chain)
_PATTERNS = (".*-b.*", ".*[0-9][0-9].*", ".*%(short|ab)%.*")
_TYPES = {FieldType.IP: "ip", FieldType.LONG: "long", FieldType.ULONG: "long", FieldType.DOUBLE: "double"}


class EsMaker(RuleMaker):
    """Shapes that Lucene can say: `A` holds addresses, `N` numbers, `M` several texts."""

    fields: Mapping[str, str] = {name: f"winlog.event_data.{name}" for name in "FGH"}
    keywords = ("ab", "-ab", "/b", "short")
    keyword_chains = ("contains", "all", "neq", "windash", "contains|all")
    kinds = (
        *((_TEXT, _WORDS),) * 3,
        (tuple(c for c in random_rules.SECRET_CHAINS if c != "wide|contains"), random_rules.SECRETS),
        (("re", "re|all", "re|neq"), _PATTERNS),
        (("exists", "exists|neq"), (True, False)),
        (("", "neq", "all"), (None, "", 1, 4688, True, False)),
    )

    def _item(self) -> tuple[str, Any]:
        draw = self.random.random()
        if draw < 0.1:
            return f"source.ip|{self.random.choice(('cidr', 'cidr|neq'))}", self._some(("10.0.0.0/8", "2001:db8::/32"))
        if draw < 0.2:
            return f"process.pid|{self.random.choice(random_rules.NUMBER_CHAINS)}", self._some((-2, 1, 5, 4688))
        if draw < 0.3:
            return f"related.user|{self.random.choice(('contains', 'startswith|all', 'neq'))}", self._some(_WORDS)
        return super()._item()

    def event(self) -> dict[str, Any]:
        row = super().event()
        if self.random.random() < 0.5:
            row["source.ip"] = self.random.choice(("10.1.2.3", "192.0.2.7", "2001:db8::1", "fe80::7"))
            row["process.pid"] = self.random.choice((-2, 0, 5, 4688, 9999))
            row["related.user"] = tuple(self.random.choices(_WORDS, k=2))
        return row

    words = _WORDS
    addresses = ("10.1.2.3", "192.0.2.7")
    moments = ("2026-11-20",)


class Server:
    """One index of one Elasticsearch, and the converter beside it."""

    def __init__(self, url: str, converter: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=120, trust_env=False)
        self._converter = converter

    def queries(self, asked: Sequence[tuple[Mapping[str, Any], Mapping[str, str]]]) -> list[list[str] | str]:
        """The Lucene queries of each rule with its names; a text where the backend cannot say it."""
        text = json.dumps([(_plain(data), dict(names)) for data, names in asked], default=str)
        done = subprocess.run([self._converter, "-c", CONVERT], input=text, capture_output=True, text=True, check=True)
        made: list[list[str] | str] = json.loads(done.stdout)
        return made

    def fill(self, rows: Sequence[Row]) -> None:
        """The index anew, with these events: texts as lower-case keywords, addresses and numbers as what they are."""
        names = {name for row in rows for name in row}
        typed = {
            name: {"type": _TYPES[field.type]} for name in names if (field := FIELDS.get(name)) and field.type in _TYPES
        }
        keyword = {"type": "keyword", "normalizer": "lowercase", "ignore_above": 30_000}
        others = dict.fromkeys(names - set(typed), keyword)
        self._http.delete(f"/{INDEX}")
        settings = {"index.mapping.total_fields.limit": 5000, "number_of_replicas": 0}
        made = self._http.put(f"/{INDEX}", json={"settings": settings, "mappings": {"properties": typed | others}})
        made.raise_for_status()
        for start in range(0, len(rows), 1000):
            lines = []
            for place, row in enumerate(rows[start : start + 1000], start):
                lines += [json.dumps({"index": {"_id": str(place)}}), json.dumps(row, default=str)]
            answer = self._http.post(
                f"/{INDEX}/_bulk", content="\n".join(lines) + "\n", headers={"content-type": "application/x-ndjson"}
            ).json()
            if answer["errors"]:
                raise SystemExit(next(item for item in answer["items"] if item["index"]["status"] > 299))
        self._http.post(f"/{INDEX}/_refresh").raise_for_status()

    def find(self, query: str) -> set[int] | str:
        """The places of the events that a query finds, or what Elasticsearch says against it."""
        asked = {"query": {"query_string": {"query": query, "analyze_wildcard": True}}, "_source": False, "size": MOST}
        answer = self._http.post(f"/{INDEX}/_search", json=asked)
        if answer.status_code != 200:
            return str(answer.json()["error"]["root_cause"][0]["reason"])[:200]
        return {int(hit["_id"]) for hit in answer.json()["hits"]["hits"]}


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key in ("title", "logsource", "detection")}


def compare(server: Server, name: str, asked: Sequence[tuple[Mapping[str, Any], Variant]], rows: Sequence[Row]) -> None:
    """Print what one round gave."""
    server.fill(rows)
    ours: Hits = quick([variant.node for _, variant in asked], Columns(EventBatch.from_rows("any", rows)))
    unsaid: Counter[str] = Counter()
    compared = hits = different = 0
    for number, queries in enumerate(server.queries([(data, variant.names) for data, variant in asked])):
        if isinstance(queries, str):
            unsaid[queries[:90]] += 1
            continue
        found = [server.find(query) for query in queries]
        failed = [each for each in found if isinstance(each, str)]
        if failed:
            unsaid[f"query: {failed[0][:80]}"] += 1
            continue
        theirs = set().union(*(each for each in found if not isinstance(each, str)))
        takes = {place for place, row in enumerate(rows) if _takes(asked[number][1], row)}
        mine = {place for place, rule in ours if rule == number} & takes
        compared, hits = compared + 1, hits + len(mine)
        different += mine != theirs & takes
        for place in sorted(mine ^ (theirs & takes))[:1]:
            whose = "ours alone" if place in mine else "theirs alone"
            data = asked[number][0]
            print(f"  {whose}: {data.get('title')}: {json.dumps(data['detection'], default=str)[:300]}")
            print(f"     {queries[0][:300]}\n     {json.dumps(rows[place], default=str)[:400]}")
    print(f"{name}: {compared} rules over {len(rows)} events, {hits} hits of ours; {different} rules differ")
    for reason, count in unsaid.most_common():
        print(f"  not said by the backend: {count} × {reason}")


def _takes(variant: Variant, row: Row) -> bool:
    if "winlog.event_data.F" in row or not ({"event.dataset", "winlog.channel"} & row.keys()):
        return True  # the random shapes have no log source
    texts = [str(row.get(name) or "") for name in ("event.dataset", "winlog.channel", "winlog.event_id")]
    return variant.route.takes(texts[0], texts[1].lower(), texts[2])


def _shapes(server: Server) -> None:
    maker = EsMaker(20261130)
    rules, rows = [maker.rule() for _ in range(400)], [maker.event() for _ in range(400)]
    compare(server, "random shapes", [(data, read(data).variants[0]) for data in rules], rows)


def _asked(made: DetectionSet) -> list[tuple[Mapping[str, Any], Variant]]:
    documents: dict[str, Document] = {document.path + str(document.first_line): document for document in made.documents}
    rules: Sequence[Rule] = made.rules
    return [(documents[rule.path + str(rule.line)].data, variant) for rule in rules for variant in rule.variants]


def _shipped(server: Server) -> None:
    made = DetectionSet.load(content.roots("detections"))
    tests = [test for document in made.documents for test in document.data.get("tests", ())]
    rows = [event for test in tests for event in test.get("events") or [test.get("event")] if event]
    compare(server, "our rules over their samples", _asked(made), rows)


def _others(server: Server, rules: Path, events: Path) -> None:
    rows = []
    with events.open() as lines:
        for line in lines:
            event = json.loads(line)
            rows.append({name: value for name, value in event.items() if name.startswith("winlog.")})
            if len(rows) == MOST:
                break
    compare(server, f"{rules.name} over {events.name}", _asked(DetectionSet.load([rules])), rows)


def main(arguments: Sequence[str]) -> None:
    """Run the rounds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sigma_elasticsearch")
    parser.add_argument("url")
    parser.add_argument("converter")
    parser.add_argument("--rules", type=Path)
    parser.add_argument("--events", type=Path, help="one flat ECS document a line, as `soc parse` writes them")
    given = parser.parse_args(arguments)
    server = Server(given.url, given.converter)
    _shapes(server)
    _shipped(server)
    if given.rules and given.events:
        _others(server, given.rules, given.events)


if __name__ == "__main__":
    main(sys.argv[1:])
