"""The quick matcher against the plain evaluator on real data: every event of a folder, every rule that loads.

    .venv/bin/python -m benchmarks.oracle FOLDER

FOLDER holds `sigmahq-rules.zip`, and files of events (.evtx, JSON lines, also packed in .zip or .xz). Each event meets
the rules it is routed to through a `Detector`; one in `EVERY` events also meets all the others. Prints what was
compared and the first differences; ends with 1 when there is any. Some minutes.
"""

from __future__ import annotations

import argparse
import functools
import lzma
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from soc.detections import DetectionSet, Detector
from soc.detections.sigma.bucket import Bucket, Condition
from soc.detections.sigma.evaluate import Columns, Row, compiled
from soc.model.batch import EventBatch
from soc.model.clock import SystemClock
from soc.parsers import ParserSet
from soc.pipeline.files import load_parsers, parse_file

EVERY = 25
SHOWN = 20


def main(folder: Path) -> int:
    """See the module."""
    parsers = load_parsers()
    compared = Comparison(DetectionSet.load([folder / "sigmahq-rules.zip"], fields=parsers.fields))
    with tempfile.TemporaryDirectory() as place:
        for path in _files(folder, Path(place)):
            for batch in _batches(parsers, path):
                compared.look(batch, path)
    print(f"{compared.events:,} events, {compared.rules:,} rules, {compared.pairs:,} pairs,", end=" ")
    print(f"{compared.hits:,} hits, {len(compared.differences):,} differences")
    print(*compared.differences[:SHOWN], sep="\n")
    return 1 if compared.differences or not compared.hits else 0


class Comparison:
    """Counts pairs of events and conditions, and keeps those on which the two do not agree."""

    def __init__(self, detections: DetectionSet) -> None:
        self.rules = len(detections.rules)
        self.events = self.pairs = self.hits = 0
        self.differences: list[str] = []
        self._detector = Detector(detections)
        self._variants = [(rule, variant) for rule in detections.rules for variant in rule.variants]
        self._numbers = {id(variant.node): n for n, (_, variant) in enumerate(self._variants)}
        self._holds = [compiled(variant.node) for _, variant in self._variants]
        self._all = Bucket([Condition(variant.node) for _, variant in self._variants])
        self._taking = functools.cache(self._taking_anew)

    def _taking_anew(self, dataset: str, channel: str, event_id: str) -> list[int]:
        return [n for n, (_, variant) in enumerate(self._variants) if variant.route.takes(dataset, channel, event_id)]

    def look(self, batch: EventBatch, path: Path) -> None:
        """Compare one batch."""
        columns = Columns(batch)
        routes = zip(batch.values("winlog.channel"), batch.values("winlog.event_id"), strict=True)
        routed = {
            (i, n)
            for i, (channel, event_id) in enumerate(routes)
            for n in self._taking(batch.dataset, (channel or "").lower(), event_id or "")
        }
        sampled = [i for i in range(batch.n) if (self.events + i) % EVERY == 0]
        unrouted = {(i, n) for i in sampled for n in range(len(self._variants))}
        rows = [Row(columns, i) for i in range(batch.n)]
        plain = {(i, n) for i, n in routed | unrouted if self._holds[n](rows[i])}
        quick = {(hit.i, self._numbers[id(hit.node)]) for hit in self._detector.hits(batch)}
        everywhere = set(self._all.hits(columns, sampled))
        self._note(batch, path, (plain & routed) ^ quick)
        self._note(batch, path, (plain & unrouted) ^ everywhere)
        self.events += batch.n
        self.pairs += len(routed) + len(unrouted)
        self.hits += len(quick) + len(everywhere)

    def _note(self, batch: EventBatch, path: Path, different: set[tuple[int, int]]) -> None:
        for i, n in sorted(different):
            rule = self._variants[n][0]
            self.differences.append(f"{path.name}, record {batch.values('soc.record')[i]}: {rule.title} ({rule.path})")


def _files(folder: Path, place: Path) -> Iterator[Path]:
    """Files of events in the folder; what is packed is unpacked below `place`."""
    for path in sorted(folder.iterdir()):
        if path.suffix in (".evtx", ".jsonl"):
            yield path
        elif path.suffix == ".xz":
            unpacked = place / path.stem
            unpacked.write_bytes(lzma.decompress(path.read_bytes()))
            yield unpacked
        elif path.suffix == ".zip" and "rules" not in path.name:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(place / path.stem)
            yield from sorted((place / path.stem).rglob("*.evtx"))


def _batches(parsers: ParserSet, path: Path) -> Iterator[EventBatch]:
    for block in parse_file(parsers, path, SystemClock()):
        yield from block


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    sys.exit(main(arguments.parse_args().folder))
