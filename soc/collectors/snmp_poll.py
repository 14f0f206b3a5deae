"""`SnmpPoll`: a device is asked for its interfaces, load, memory, storage and what else soc.toml names, as metrics.

Objects: SNMPv2-MIB (RFC 3418), IF-MIB (RFC 2863), HOST-RESOURCES-MIB (RFC 2790), UCD-SNMP-MIB of Net-SNMP.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import orjson

from soc.collectors.poll.page import Cursor, Page
from soc.collectors.poll.secrets import Secrets
from soc.collectors.snmp_agent import Agent, Oid, Row, Value, number, text
from soc.collectors.snmp_rates import Look, deltas, elapsed
from soc.errors import PermissionRefused, TryAgain
from soc.model.clock import Clock
from soc.model.poll import Poll

FORMAT = "snmp-poll"
_SYSTEM = (1, 3, 6, 1, 2, 1, 1)
_UPTIME, _NAME = (*_SYSTEM, 3, 0), (*_SYSTEM, 5, 0)
_DESCRIPTION, _OBJECT_ID = (*_SYSTEM, 1, 0), (*_SYSTEM, 2, 0)
_IF, _IFX = (1, 3, 6, 1, 2, 1, 2, 2, 1), (1, 3, 6, 1, 2, 1, 31, 1, 1, 1)
_STORAGE, _PROCESSOR = (1, 3, 6, 1, 2, 1, 25, 2, 3, 1), (1, 3, 6, 1, 2, 1, 25, 3, 3, 1)
_STORAGE_TYPES = (1, 3, 6, 1, 2, 1, 25, 2, 1)
_UCD_MEMORY, _UCD_LOAD = (1, 3, 6, 1, 4, 1, 2021, 4), (1, 3, 6, 1, 4, 1, 2021, 10, 1, 5)
_STATUS = {1: "up", 2: "down", 3: "testing", 4: "unknown", 5: "dormant", 6: "notPresent", 7: "lowerLayerDown"}
_KINDS = {1: "other", 2: "ram", 3: "virtual_memory", 4: "fixed_disk", 5: "removable_disk", 7: "compact_disc",
          8: "ram_disk", 9: "flash", 10: "network_disk"}  # fmt: skip
# Counter: column and bits in ifXTable, else in ifTable.
_COUNTERS: Mapping[str, tuple[int | None, int]] = {
    "ingress.bytes": (6, 10), "ingress.packets": (7, 11), "egress.bytes": (10, 16), "egress.packets": (11, 17),
    "ingress.dropped": (None, 13), "ingress.errors": (None, 14), "egress.dropped": (None, 19),
    "egress.errors": (None, 20),
}  # fmt: skip
_MOST_SPEED = 0xFFFF_FFFF
Event = dict[str, Any]


class SnmpPoll:
    """The driver, see `poll.page.Driver`. Rates need two looks: the first one after a start has none."""

    format = FORMAT

    def __init__(self, poll: Poll, secrets: Secrets, clock: Clock) -> None:
        self.source = f"snmp {poll['host']}:{poll['port']} {poll['version']}"
        self.peer, self.dataset = poll["host"], ""
        self._poll, self._clock = poll, clock
        self._agent = Agent(poll, secrets)
        self._before: dict[str, Look] = {}
        self._ticks: tuple[int, float] | None = None
        self._is_told = False

    def fetch(self, cursor: Cursor) -> Page:
        """One look. The cursor says since when the agent is silent: the first silence is an event, then an error."""
        down_us = (cursor or {}).get("down_us")
        now_us = self._clock.now_ns() // 1000
        left_out = self._agent.rows_left_out
        try:
            events = self._agent.ask(self._look)
        except (TryAgain, PermissionRefused) as error:
            self._agent.close()
            if down_us is not None:
                raise
            event = {"event.action": "snmp_unreachable", "event.kind": "event", "error.message": str(error)[:1000]}
            return self._page([event], {"down_us": now_us}, 0.0, {"unreachable": 1})
        if down_us is not None:
            silent = {
                "event.action": "snmp_reachable",
                "event.kind": "event",
                "event.duration": (now_us - down_us) * 1000,
            }
            events.insert(0, silent)
        counts = {"rows_left_out": self._agent.rows_left_out - left_out} if self._agent.rows_left_out > left_out else {}
        return self._page(events, {"at_us": now_us}, self._poll["every_s"], counts)

    def _page(self, events: list[Event], cursor: Cursor, wait_s: float, counts: dict[str, int]) -> Page:
        at = dt.datetime.fromtimestamp(self._clock.now_ns() / 1e9, dt.UTC).isoformat()
        records = [orjson.dumps({"@timestamp": at, **event}) for event in events]
        # Each look is of its own time: no record of it can come again.
        return Page(records, cursor, wait_s=wait_s, counts=counts)

    def durable(self, cursor: Cursor) -> None:
        """Nobody is told."""

    def close(self) -> None:
        """Let the socket go."""
        self._agent.close()

    # one look -------------------------------------------------------------------------------------------------------

    async def _look(self) -> list[Event]:
        poll, agent = self._poll, self._agent
        extra = {name: tuple(map(int, oid.split("."))) for name, oid in poll["values"].items()}
        system = await agent.values((_UPTIME, _NAME, _DESCRIPTION, _OBJECT_ID, *extra.values()))
        ticks = system.get(_UPTIME)
        if not isinstance(ticks, int):
            raise TryAgain(f"{poll['host']} has no sysUpTime")
        events: list[Event] = []
        whole: Event = _told(
            "snmp_system", {
                "host.name": _text(system.get(_NAME)), "host.uptime": ticks // 100,
                "snmp.system.description": _text(system.get(_DESCRIPTION)),
                "snmp.system.object_id": _text(system.get(_OBJECT_ID)),
            },
        )  # fmt: skip
        seconds = self._passed(ticks, events)
        if "interfaces" in poll["ask"]:
            found = await self._interfaces(ticks, seconds)
            whole |= _sums(found)
            events += found
        if "system" in poll["ask"]:
            whole |= await self._load()
        if "storage" in poll["ask"]:
            events += await self._storage(whole)
        events += [_value(name, oid, system.get(oid)) for name, oid in extra.items()]
        if seconds is not None:
            whole["event.duration"] = int(seconds * 1e9)
        return [whole, *events]

    def _passed(self, ticks: int, events: list[Event]) -> float | None:
        """Seconds since the last look, None when there was none or the agent started again, which is an event."""
        now_s = self._clock.monotonic_ns() / 1e9
        before, self._ticks = self._ticks, (ticks, now_s)
        if before is None:
            return None
        seconds = elapsed(Look(*before, {}, {}), Look(ticks, now_s, {}, {}))
        if seconds is None:
            self._before = {}
            events.append({"event.action": "snmp_restarted", "event.kind": "event", "host.uptime": ticks // 100})
        return seconds

    async def _interfaces(self, ticks: int, seconds: float | None) -> list[Event]:
        agent = self._agent
        extended = await agent.table(_IFX, (1, 6, 7, 10, 11, 15, 18, 19))
        plain = await agent.table(_IF, (2, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20))
        now_s = self._clock.monotonic_ns() / 1e9
        looks: dict[str, Look] = {}
        events = []
        for index, row in plain.items():
            name = ".".join(map(str, index))
            more = extended.get(index, {})
            look = looks[name] = _interface_look(row, more, ticks, now_s)
            before = self._before.get(name)
            rise = deltas(before, look, seconds) if before is not None and seconds is not None else {}
            events.append(_interface(index, row, more, look, rise, seconds))
        self._before = looks
        return events

    async def _load(self) -> Event:
        """Processors of HOST-RESOURCES-MIB, memory and load of UCD-SNMP-MIB."""
        agent = self._agent
        loads = [n for row in (await agent.table(_PROCESSOR, (2,))).values() if (n := number(row, 2)) is not None]
        total, free, buffers, cached = ((*_UCD_MEMORY, part, 0) for part in (5, 6, 14, 15))
        averages = [(*_UCD_LOAD, i) for i in (1, 2, 3)]
        found = await agent.values((total, free, buffers, cached, *averages))
        event: Event = {}
        if loads:
            event["host.cpu.usage"] = round(sum(loads) / len(loads) / 100, 4)
            event["snmp.cpu.count"] = len(loads)
        if isinstance(size := found.get(total), int) and isinstance(left := found.get(free), int):
            spare = sum(int(kib) for part in (buffers, cached) if isinstance(kib := found.get(part), int))
            event["snmp.memory.total"] = size * 1024
            event["snmp.memory.used"] = max(size - left - spare, 0) * 1024
        for minutes, oid in zip((1, 5, 15), averages, strict=True):
            if isinstance(hundredths := found.get(oid), int):
                event[f"snmp.load.{minutes}"] = hundredths / 100
        return event

    async def _storage(self, whole: Event) -> list[Event]:
        events = []
        for row in (await self._agent.table(_STORAGE, (2, 3, 4, 5, 6))).values():
            unit, size, used = (number(row, column) for column in (4, 5, 6))
            if not unit or size is None or used is None or size <= 0:
                continue
            kind = _kind(row.get(2))
            if kind == "ram" and "snmp.memory.total" not in whole:
                whole |= {"snmp.memory.total": size * unit, "snmp.memory.used": used * unit}
            shown = {"snmp.storage.name": text(row, 3), "snmp.storage.type": kind,
                     "snmp.storage.total": size * unit, "snmp.storage.used": used * unit}  # fmt: skip
            events.append(_told("snmp_storage", shown))
        return events


def _told(action: str, event: Mapping[str, Any]) -> Event:
    return {"event.action": action, **{name: value for name, value in event.items() if value is not None}}


def _text(value: Value | None) -> str | None:
    return text({0: value}, 0) if value is not None else None


def _kind(value: Value | None) -> str | None:
    """hrStorageType is an identifier below hrStorageTypes."""
    parts = tuple(map(int, value.split("."))) if isinstance(value, str) else ()
    return _KINDS.get(parts[-1]) if parts[:-1] == _STORAGE_TYPES else None


def _value(name: str, oid: Oid, value: Value | None) -> Event:
    shown: Event = {"snmp.value.name": name, "snmp.value.oid": ".".join(map(str, oid))}
    if isinstance(value, int):
        shown["snmp.value.number"] = value
    elif value is not None:
        shown["snmp.value.text"] = _text(value)
    else:
        shown["error.message"] = "the agent has no such object"
    return _told("snmp_value", shown)


def _interface_look(row: Row, more: Row, ticks: int, now_s: float) -> Look:
    counters: dict[str, int] = {}
    bits: dict[str, int] = {}
    for name, (wide, narrow) in _COUNTERS.items():
        value = number(more, wide) if wide is not None else None
        if value is not None:
            counters[name], bits[name] = value, 64
        elif (value := number(row, narrow)) is not None:
            counters[name], bits[name] = value, 32
    speed = (number(more, 15) or 0) * 1_000_000 or number(row, 5) or 0
    return Look(ticks, now_s, counters, bits, 0 if speed == _MOST_SPEED else speed, number(more, 19) or 0)


def _interface(index: Oid, row: Row, more: Row, look: Look, rise: Mapping[str, int], seconds: float | None) -> Event:
    shown: Event = {
        "snmp.interface.index": index[0] if len(index) == 1 else None,
        "snmp.interface.name": text(more, 1) or text(row, 2),
        "snmp.interface.description": text(row, 2),
        "snmp.interface.alias": text(more, 18),
        "snmp.interface.admin_status": _STATUS.get(number(row, 7) or 0),
        "snmp.interface.oper_status": _STATUS.get(number(row, 8) or 0),
        "snmp.interface.speed": look.speed or None,
        **{f"snmp.interface.{name}": value for name, value in rise.items()},
    }
    if rise and seconds:
        shown["event.duration"] = int(seconds * 1e9)
        for way in ("ingress", "egress"):
            if (octets := rise.get(f"{way}.bytes")) is not None:
                shown[f"snmp.interface.{way}.bytes_per_s"] = round(octets / seconds, 3)
    return _told("snmp_interface", shown)


def _sums(events: list[Event]) -> Event:
    """What all interfaces carried (ECS: `host.network.*` is since the last collection)."""
    found: Event = {}
    for way in ("ingress", "egress"):
        for what in ("bytes", "packets"):
            rises = [event.get(f"snmp.interface.{way}.{what}") for event in events]
            known = [rise for rise in rises if rise is not None]
            if known:
                found[f"host.network.{way}.{what}"] = sum(known)
    return found
