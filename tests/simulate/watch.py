"""Runs simulated traffic through our own parsers, registry and rules, as the processes do, but in one place."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from soc import content
from soc.alerts.grouping import dedup_key, joined, opened
from soc.detections.correlator import Correlator
from soc.detections.detector import Detector
from soc.detections.load import DetectionSet
from soc.model.alert import Alert, uuid7
from soc.model.batch import EventBatch
from soc.model.clock import FixedClock
from soc.model.finding import Finding
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from soc.registry.registry import Registry
from soc.simulate.history import FORMATS
from soc.simulate.province import Province, build
from soc.simulate.traffic import Mark, Packet, Step, stream
from soc.simulate.truth import Truth

START_NS = 1_795_143_600 * 1_000_000_000
"""2026-11-20 03:00:00 UTC."""
SECOND_NS = 1_000_000_000


def a_province(seed: int = 7) -> Province:
    """The province of a seed on the day of `START_NS`."""
    return build(seed, FixedClock(START_NS))


def until(steps: Iterable[Step], seconds: float) -> Iterator[Step]:
    """The steps of the first so many seconds."""
    for step in steps:
        if step.at_ns >= START_NS + seconds * SECOND_NS:
            return
        yield step


def played(seed: int, seconds: float, rate: float = 20.0) -> tuple[list[Packet], list[Truth]]:
    """The packets and the attacks begun in so many seconds from `START_NS`."""
    packets: list[Packet] = []
    attacks: list[Truth] = []
    for step in until(stream(a_province(seed), seed, START_NS, rate), seconds):
        if isinstance(step, Packet):
            packets.append(step)
        elif isinstance(step, Mark) and not step.is_over:
            attacks.append(step.truth)
    return packets, attacks


def collected(packets: Iterable[Packet], site: str, tick_s: float) -> Iterator[tuple[int, list[RawBlock]]]:
    """What a collector makes of packets: at each tick (its end in ns) one block a source."""
    waiting: dict[tuple[str, str], list[Packet]] = {}
    edge, seq = START_NS + int(tick_s * SECOND_NS), 0
    for packet in packets:
        while packet.at_ns >= edge:
            blocks = []
            for (listener, peer), several in waiting.items():
                seq += 1
                times = [p.at_ns for p in several]
                blocks.append(
                    RawBlock.of([p.payload for p in several], receipt_ns=times, site=site, listener=listener,
                                peer=peer, format=FORMATS[listener], seq=seq)
                )  # fmt: skip
            yield edge, blocks
            waiting = {}
            edge += int(tick_s * SECOND_NS)
        waiting.setdefault((packet.listener, packet.device.address), []).append(packet)


class Watch:
    """Our parsers and every shipped rule over the traffic of a province."""

    def __init__(self, province: Province) -> None:
        self.parsers = ParserSet.load(content.roots("parsers"))
        detections = DetectionSet.load(content.roots("detections"), fields=self.parsers.fields)
        self.registry = Registry.load(*province.documents)
        self.site = province.site
        self.detector, self.correlator = Detector(detections), Correlator(detections)
        self.alerts: dict[str, Alert] = {}
        self.unparsed = self.unregistered = self.events = 0
        self.datasets: set[str] = set()

    def batches(self, block: RawBlock, now_ns: int) -> list[EventBatch]:
        """The events of a block, told whose they are."""
        parsed, _ = self.parsers.parse(block, ParserState(), now_ns)
        return [self.registry.enrich(batch) for batch in parsed]

    def see(self, packets: Iterable[Packet], tick_s: float = 2.0) -> list[Finding]:
        """The findings over these packets; `alerts` has what they come to."""
        found: list[Finding] = []
        for now_ns, blocks in collected(packets, self.site, tick_s):
            for block in blocks:
                for batch in self.batches(block, now_ns):
                    self._count(batch)
                    new = self.detector.match(batch)
                    new += self.correlator.feed(self.detector.project(batch, new), now_ns // 1000)
                    found += self._raise(new, now_ns)
            found += self._raise(self.correlator.tick(now_ns // 1000), now_ns)
        return found

    def _count(self, batch: EventBatch) -> None:
        self.events += batch.n
        self.datasets.add(batch.dataset)
        self.unparsed += sum("unparsed" in (f or ()) for f in batch.values("soc.flags"))
        self.unregistered += sum(system is None for system in batch.values("soc.system.id"))

    def _raise(self, findings: Sequence[Finding], now_ns: int) -> Sequence[Finding]:
        for finding in findings:
            key, now_us = dedup_key(finding), now_ns // 1000
            known = self.alerts.get(key)
            if known is not None:
                self.alerts[key] = joined(known, finding, now_us)
                continue
            id = uuid7(now_ns, random.Random(len(self.alerts)).randbytes(10))
            system = self.registry.get(finding.system_id) if finding.system_id else None
            alert = opened(finding, id=id, now_us=now_us, system=system, system_level=None, previous_id=None)
            self.alerts[key] = replace(alert, count=1)
        return findings


def rule_names(folders: Sequence[str] = ("sigma", "correlation", "anomaly")) -> dict[str, str]:
    """Rule id → name of the shipped detections."""
    found = content.documents([Path("detections", name) for name in folders])
    return {str(document.data["id"]): str(document.data.get("name")) for document in found.values()}
