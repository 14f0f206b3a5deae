"""Where every process finds its files below `SOC_HOME`, and the content and registry that all of them load."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from soc import content
from soc.collectors.enrol import Authority
from soc.config import Settings
from soc.detections.choose import chosen
from soc.detections.lists import read_lists
from soc.detections.load import DetectionSet
from soc.model.clock import Clock
from soc.model.fields import FieldDictionary
from soc.model.position import Partition, Position
from soc.model.rule_policy import Choice, RulePolicy, Selector
from soc.parsers import ParserSet
from soc.parsers.mibs.site import SiteMibs
from soc.registry import Registry
from soc.store.queue import DiskLog

if TYPE_CHECKING:
    from soc.detections.saved import SavedFilters

QUEUE, EVENTS, REGISTRY, MIBS = "queue", "events", "registry", "mibs"
DETECTIONS, ROLLED_BACK = "detections", "rolled-back"
PAUSES = "pauses"
"""What workers count as a log: their looks at records that wait for more. Nobody writes it."""
RAW, MATCHED, FINDINGS, DEAD = "raw", "matched", "findings", "dead"

COLLECT = "collect"
"""The node whose log the collector fills."""
CORRELATE = "correlate"
POLL = "poll"
"""The node whose log polled sources fill, and the process that does it."""
POLLS = "polls"
"""Where that process says how each source is doing."""

Cursors = dict[Partition, Position]


def queue(settings: Settings) -> Path:
    """The folder of the disk logs."""
    return settings.path(QUEUE)


def open_log(settings: Settings, log: str, node: str, clock: Clock, *, max_bytes: int | None = None) -> DiskLog:
    """A process's own log. A new one begins at the µs of now, above whatever a wiped one had reached."""
    return DiskLog(queue(settings), log, node, clock, max_bytes=max_bytes, first_seq=clock.now_ns() // 1000)


def events(settings: Settings) -> Path:
    """The folder of the embedded event store."""
    return settings.path(EVENTS)


def counters(settings: Settings) -> Path:
    """The collector's counters."""
    return settings.path("run", "collect.json")


def poll_counters(settings: Settings) -> Path:
    """The counters of the polled sources."""
    return settings.path("run", "poll.json")


def habits(settings: Settings) -> Path:
    """What `correlate` knows of the sources: how often they speak, whether they fell silent, how their clocks go."""
    return settings.path("run", "sources.json")


def correlate_node(index: int) -> str:
    """The node whose log of findings one of the correlating processes fills, and its name."""
    return f"{CORRELATE}{index or ''}"


def correlate_told(settings: Settings, index: int) -> Path:
    """What one of them says of itself: how far it is; the first one also what it knows of the sources."""
    return habits(settings) if index == 0 else settings.path("run", f"{correlate_node(index)}.json")


def correlated(settings: Settings) -> Cursors:
    """How far all of them are, durably, in the log of what matched; nothing until each said so."""
    return least([_correlated(settings, index) for index in range(settings.correlators)])


def least(several: Sequence[Cursors]) -> Cursors:
    """What all of these have passed."""
    common = set.intersection(*map(set, several))
    return {partition: min((cursors[partition] for cursors in several), key=_seq) for partition in common}


def _correlated(settings: Settings, index: int) -> Cursors:
    try:
        told = orjson.loads(correlate_told(settings, index).read_bytes())
        return {Partition.parse(key): Position.parse(text) for key, text in told["cursors"].items()}
    except (OSError, ValueError, KeyError):
        return {}


def _seq(position: Position) -> int:
    return position.seq


def sense_node(name: str) -> str:
    """The node whose log a sensor fills, and the process that does it."""
    return f"sense-{name}"


def sense_counters(settings: Settings, name: str) -> Path:
    """The counters of a sensor."""
    return settings.path("run", "sense", f"{name}.json")


def packet_ring(settings: Settings, name: str) -> Path:
    """The folder of the last packets of a monitoring point."""
    return settings.path("packets", name)


def lookbacks(settings: Settings) -> Path:
    """The folder of backtests, hunts and backfills."""
    return settings.path("lookback")


def own_counters(settings: Settings) -> list[tuple[str, Path]]:
    """The nodes of this machine that fill the raw log, and where each counts: collector, polled sources, sensors."""
    found = sorted(path.stem for path in settings.path("run", "sense").glob("*.json"))
    names = dict.fromkeys((*(sense.name for sense in settings.sense), *found))
    sensors = [(sense_node(name), sense_counters(settings, name)) for name in names]
    return [(COLLECT, counters(settings)), (POLL, poll_counters(settings)), *sensors]


def relay_counters(settings: Settings) -> Path:
    """The hub's counters, one file for each log of each unit."""
    return settings.path("run", "relay")


def relay_health(settings: Settings) -> Path:
    """What units last said of themselves."""
    return settings.path("run", "relay-health")


def packet_asks(settings: Settings) -> Path:
    """What was asked of the rings of units, and what came."""
    return settings.path("relay-asks")


def relay_authority(settings: Settings, clock: Clock) -> Authority:
    """The centre's certificate authority for its units; made at first use."""
    names = ("localhost", "127.0.0.1", socket.gethostname(), *settings.relay_names)
    return Authority(settings.path("keys", "relay"), clock, tuple(dict.fromkeys(names)))


def registry_files(settings: Settings) -> list[Path]:
    """The site's registry files, and those that `soc system add` writes."""
    own = settings.path(REGISTRY)
    return [*settings.registry_files, *([own] if own.is_dir() else [])]


def load_registry(settings: Settings) -> Registry:
    """The information systems of the site; empty where nobody registered any."""
    return Registry.load(*registry_files(settings))


def load_parsers(settings: Settings) -> ParserSet:
    """The shipped parsers and the site's own, with the names of its MIBs."""
    parsers = ParserSet.load(content.roots("parsers", settings.content_roots))
    parsers.use_names(site_mibs(settings).names())
    return parsers


def site_mibs(settings: Settings) -> SiteMibs:
    """The MIB modules that `soc mib add` keeps."""
    return SiteMibs(settings.path(MIBS))


def load_detections(settings: Settings, parsers: ParserSet) -> DetectionSet:
    """The shipped definitions, the site's own, rules loaded from where they lie, and what was put in place through the
    service; without what is off everywhere."""
    return chosen(all_detections(settings, parsers), rule_policy(settings))


def all_detections(settings: Settings, parsers: ParserSet, *, extra: Sequence[Path] = ()) -> DetectionSet:
    """The same with what is off; over it the `extra` files."""
    lists, cache = read_lists(settings.rule_lists), settings.path("run", "rules")
    return DetectionSet.load([*rule_paths(settings), *extra], fields=parsers.fields, lists=lists, cache=cache)


def saved_filters(settings: Settings, fields: FieldDictionary) -> SavedFilters:
    """The named filters beside the detections; a folder that somebody makes later is found."""
    from soc.detections.saved import SavedFilters  # with the search language, which collectors do without

    own = (settings.path(DETECTIONS), settings.path(ROLLED_BACK))
    return SavedFilters([*rule_paths(settings), *own], fields)


def rules_announced(settings: Settings) -> Path:
    """The file that changes when definitions have to be read again."""
    return settings.path("run", "rules", "announced.json")


def rule_paths(settings: Settings) -> list[Path]:
    """Where definitions lie, weakest first."""
    own = (settings.path(DETECTIONS), settings.path(ROLLED_BACK))
    found = [*content.roots("detections", settings.content_roots), *settings.rules]
    return [*found, *(folder for folder in own if folder.is_dir())]


def rule_policy(settings: Settings) -> RulePolicy:
    """Which rules are on, off and in shadow."""
    return RulePolicy(
        Choice.parse(settings.rules_disable, settings.rules_enable),
        tuple(map(Selector.parse, settings.rules_shadow)),
        {unit.name: Choice.parse(unit.disable, unit.enable) for unit in settings.unit_rules},
    )


def passed(cursors: Cursors, *logs: str) -> Cursors:
    """The cursors of these logs."""
    return {partition: position for partition, position in cursors.items() if partition.log in logs}
