"""The packets of a flow out of the rings of the monitoring points that saw it, for somebody who may see its events.

The rings of a distant unit stay there: it is asked, and answers when it calls.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soc.collectors.packet_asks import HERE
from soc.collectors.packet_ring import between
from soc.collectors.relay import Packets
from soc.config import Settings
from soc.errors import NotFound
from soc.model.query import And, Equals, Exists
from soc.model.scope import Scope
from soc.model.values import micros
from soc.parsers.decoders import packet_file
from soc.parsers.decoders.flow_community import packed
from soc.parsers.decoders.packet_file import Packet
from soc.parsers.decoders.packet_match import FlowMatch, Vlans
from soc.pipeline import places

if TYPE_CHECKING:
    from soc.store.events import EventStore  # a unit that answers has no store

MAX_BYTES = 64 << 20
"""Octets of packets in one answer; what lies behind is left out, and said."""
MAX_EVENTS = 1000
"""Events of a flow that are looked at, the newest, for where and when it was seen."""
SLACK_US = 1_000_000


@dataclass
class Seen:
    """What the events of one monitoring point say of a flow."""

    ends: tuple[str, str]
    since_us: int
    until_us: int
    vlans: set[Vlans] = field(default_factory=set)

    def match(self, flow: str) -> FlowMatch:
        """What tells the packets of the flow with this community id."""
        return FlowMatch(flow, (packed(self.ends[0]), packed(self.ends[1])), self.vlans)


@dataclass(frozen=True)
class FlowPackets:
    """A pcapng file with an interface for each monitoring point, and what is in it."""

    data: bytes
    packets: int
    points: tuple[str, ...]
    since_us: int
    until_us: int
    is_cut: bool


def retrieve(
    settings: Settings,
    store: EventStore,
    scope: Scope,
    flow: str,
    since_us: int | None = None,
    until_us: int | None = None,
) -> FlowPackets:
    """The packets of the flow with this community id out of the rings of this machine, within the times of its events
    that the scope shows.

    Raises NotFound when the scope shows none, and when the rings have none of its packets any more.
    """
    found = gather(settings, flow, look(store, scope, flow, since_us, until_us).get(HERE, {}))
    if not found.packets:
        raise NotFound(
            f"the packets of flow '{flow}' have been overwritten", hint="ring_max_bytes sets how many are kept"
        )
    return found


def look(
    store: EventStore, scope: Scope, flow: str, since_us: int | None = None, until_us: int | None = None
) -> dict[str, dict[str, Seen]]:
    """Where the flow was seen: by distant unit (`HERE`: by this machine), by monitoring point. Raises NotFound."""
    asked = And((Equals("network.community_id", flow), Exists("packet.file")))
    rows = store.search(scope, asked, limit=MAX_EVENTS, since_us=since_us, until_us=until_us).rows
    found: dict[str, dict[str, Seen]] = {}
    for row in rows:
        name, unit = str(row.get("soc.listener") or ""), _unit(str(row.get("soc.position") or ""))
        first, last = _us(row.get("event.start") or row["@timestamp"]), _us(row.get("event.end") or row["@timestamp"])
        place = found.setdefault(unit, {}).setdefault(
            name, Seen((row["source.ip"], row["destination.ip"]), first, last)
        )
        place.since_us = max(min(place.since_us, first), since_us or 0)
        place.until_us = max(place.until_us, last) if until_us is None else min(max(place.until_us, last), until_us)
        place.vlans.add(tuple(int(tag) for tag in row.get("packet.vlans") or ()))
    if not found:
        raise NotFound(
            f"no flow '{flow}' with captured packets in this time", hint="soc search shows flows: packet.flow"
        )
    return found


def _unit(position: str) -> str:
    """The distant unit whose log an event comes from: the hub puts its name, which has no dot, before the node's."""
    node = position.partition(":")[0]
    return node.partition(".")[0] if "." in node else HERE


def gather(settings: Settings, flow: str, seen: Mapping[str, Seen]) -> FlowPackets:
    """What the rings of this machine have of a flow that these monitoring points saw; perhaps nothing."""
    file = _Pcapng()
    for name, place in sorted(seen.items()):
        if not _is_name(settings, name):
            continue
        match = place.match(flow)
        for packet in _packets(places.packet_ring(settings, name), match, place):
            if not file.add(name, packet):
                break
        file.is_cut |= match.is_full
    return FlowPackets(
        b"".join(file.parts), file.packets, tuple(file.points), min((s.since_us for s in seen.values()), default=0),
        max((s.until_us for s in seen.values()), default=0), file.is_cut,
    )  # fmt: skip


def request(flow: str, seen: Mapping[str, Seen]) -> dict[str, Any]:
    """What is asked of a unit, as JSON has it; `answer` reads it there."""
    return {"flow": flow, "points": [
        {"name": name, "ends": place.ends, "since_us": place.since_us, "until_us": place.until_us,
         "vlans": sorted(place.vlans)}
        for name, place in sorted(seen.items())
    ]}  # fmt: skip


def answer(settings: Settings, asked: Mapping[str, Any]) -> Packets:
    """At the unit: the packets that the centre asked for. What asks for nothing that can be read has no packets."""
    try:
        seen = {
            str(point["name"]): Seen(
                (str(ipaddress.ip_address(point["ends"][0])), str(ipaddress.ip_address(point["ends"][1]))),
                int(point["since_us"]), int(point["until_us"]), {tuple(map(int, tags)) for tags in point["vlans"]},
            )
            for point in asked["points"][:MAX_EVENTS]
        }  # fmt: skip
        found = gather(settings, str(asked["flow"]), seen)
    except (KeyError, TypeError, ValueError, IndexError):
        return Packets(b"", 0, False)
    return Packets(found.data if found.packets else b"", found.packets, found.is_cut)


def _is_name(settings: Settings, name: str) -> bool:
    root = settings.path("packets")
    return bool(name) and name in {path.name for path in root.glob("*")}


def _us(text: Any) -> int:
    return micros(dt.datetime.fromisoformat(text))


def _packets(folder: Path, match: FlowMatch, place: Seen) -> Iterator[Packet]:
    since_ns, until_ns = (place.since_us - SLACK_US) * 1000, (place.until_us + SLACK_US) * 1000
    for path in between(folder, since_ns, until_ns):
        # It may be overwritten at any moment; the file that is written may end within a packet.
        with suppress(FileNotFoundError), path.open("rb") as stream:
            for packet in packet_file.read(stream):
                if isinstance(packet, Packet) and since_ns <= packet.ns <= until_ns and match.matches(packet):
                    yield packet


class _Pcapng:
    """Blocks of a capture file (draft-ietf-opsawg-pcapng), times in ns."""

    def __init__(self) -> None:
        self.parts: list[bytes] = [_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))]
        self.points: dict[str, int] = {}
        self.packets = self._size = 0
        self.is_cut = False

    def add(self, point: str, packet: Packet) -> bool:
        """Whether there was room."""
        self._size += len(packet.data) + 44
        if self._size > MAX_BYTES:
            self.is_cut = True
            return False
        if point not in self.points:
            self.points[point] = len(self.points)
            name = point.encode()[:255]
            options = struct.pack("<HH", 2, len(name)) + _padded(name) + struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)
            self.parts.append(_block(1, struct.pack("<HHI", packet.link, 0, packet_file.MAX_PACKET) + options))
        head = struct.pack(
            "<5I", self.points[point], packet.ns >> 32, packet.ns & 0xFFFFFFFF, len(packet.data), packet.length
        )
        self.parts.append(_block(6, head + _padded(packet.data)))
        self.packets += 1
        return True


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size


__all__: Sequence[str] = ("MAX_BYTES", "FlowPackets", "answer", "gather", "look", "request", "retrieve")
