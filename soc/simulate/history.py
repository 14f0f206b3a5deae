"""Months of logs of the past, as the records that were received then, so that retention has something to decide."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from random import Random

from soc.model.clock import Clock, utc
from soc.model.record import RawBlock
from soc.simulate.devices import LISTENER, SECOND_NS, Speaker, speaker
from soc.simulate.province import Device, Province
from soc.simulate.traffic import generator

GAP_SYSTEM = "kontum-vbdh"
"""A system of level 3 whose sources sent nothing for some days: its retention is in breach."""
GAP_DAYS = range(20, 26)
"""How many days ago that was."""
NODE = "history"
"""The node in the positions of these records: their ids never meet those of the live log."""
FORMATS = {"syslog-udp": "syslog", "syslog-tcp": "syslog", "netflow": "netflow", "snmp-trap": "snmp"}
ORIGIN = {"simulated": "true"}
_DAY = dt.timedelta(days=1)
_DELAY_NS = 20_000_000
_MONTH_DAYS = 30.44


def blocks(
    province: Province, *, seed: int, clock: Clock, months: int = 8, per_day: float = 60.0
) -> Iterator[RawBlock]:
    """`days`, one after the other."""
    for several in days(province, seed=seed, clock=clock, months=months, per_day=per_day):
        yield from several


def days(
    province: Province, *, seed: int, clock: Clock, months: int = 8, per_day: float = 60.0
) -> Iterator[list[RawBlock]]:
    """The blocks of each UTC day up to now, oldest first: one a source, in order of receipt, at least one record each.

    `per_day` is about how many records a day has in all. A system begins on the day after it was registered. The same
    arguments on the same day give the same records with the same positions, so that writing them twice adds nothing.
    These are for the event store, not for the detections: a cadence of hours would teach them the wrong habits.
    """
    now_ns = clock.now_ns()
    today = utc(now_ns).date()
    voices = [_Voice(device, generator(seed, f"history {device.hostname}")) for device in province.devices]
    shares = _shares(province, per_day)
    registered = {str(d["id"]): dt.date.fromisoformat(str(d["registered"])) for d in province.documents}
    seq = 0
    for ago in range(round(months * _MONTH_DAYS), -1, -1):
        day = today - ago * _DAY
        found = []
        for voice in voices:
            system = voice.device.system_id
            if day <= registered[system] or (system == GAP_SYSTEM and ago in GAP_DAYS):
                continue
            times = voice.times(day, shares[voice.device.hostname], now_ns)
            if times:
                seq += 1
                found.append(voice.block(province.site, times, seq))
        yield found


def _shares(province: Province, per_day: float) -> dict[str, float]:
    total = sum(device.weight for device in province.devices)
    return {device.hostname: per_day * device.weight / total for device in province.devices}


class _Voice:
    """One device over the months."""

    def __init__(self, device: Device, rng: Random) -> None:
        self.device, self._rng = device, rng
        self._speaker: Speaker = speaker(device, rng)

    def times(self, day: dt.date, share: float, now_ns: int) -> list[int]:
        """When it speaks on this day (ns), at least once; a day that is not over ends now."""
        whole = int(share) + (self._rng.random() < share % 1)
        seconds = sorted(self._rng.sample(range(1, 86_390), max(1, whole)))
        midnight = int(dt.datetime.combine(day, dt.time(), dt.UTC).timestamp()) * SECOND_NS
        return [at for s in seconds if (at := midnight + s * SECOND_NS) < now_ns - SECOND_NS]

    def block(self, site: str, times: list[int], seq: int) -> RawBlock:
        """The records of a day, each received a moment after it was sent."""
        listener = LISTENER[self.device.role]
        return RawBlock.of(
            [self._speaker.say(at_ns) for at_ns in times],
            receipt_ns=[at_ns + _DELAY_NS for at_ns in times],
            site=site,
            listener=listener,
            peer=self.device.address,
            format=FORMATS[listener],
            origin=ORIGIN,
            node=NODE,
            seq=seq,
        )
