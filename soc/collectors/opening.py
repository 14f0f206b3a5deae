"""Receivers for listeners: which class hears what; one may serve several listeners."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import quote

from soc.collectors.counters import Counters
from soc.collectors.datagrams import DatagramReceiver
from soc.collectors.intake import Intake
from soc.collectors.listeners import ListenerSpec
from soc.collectors.roles import Receiver
from soc.collectors.streams import StreamReceiver
from soc.model.clock import Clock
from soc.model.record import RawBlock

TAILS = "tail"


def receivers_of(
    opened: Sequence[tuple[ListenerSpec, socket.socket]], intake: Intake, counters: Counters, clock: Clock
) -> dict[str, Receiver]:
    """Around bound sockets, by the listener's name. Raises ConfigError for a file of a listener that is unfit."""
    shared = (intake, counters, clock)
    of: dict[str, list[tuple[ListenerSpec, socket.socket]]] = {}
    for spec, sock in opened:
        of.setdefault("stream" if spec.kind == "relp" else spec.kind, []).append((spec, sock))
    made: dict[str, Receiver] = {
        spec.name: DatagramReceiver(spec, sock, *shared) for spec, sock in of.get("datagram", ())
    }
    if "stream" in of:
        made |= dict.fromkeys((spec.name for spec, _ in of["stream"]), StreamReceiver(of["stream"], *shared))
    if "http" in of:
        from soc.collectors.http import HttpReceiver

        made |= dict.fromkeys((spec.name for spec, _ in of["http"]), HttpReceiver(of["http"], *shared))
    if "gelf" in of:
        from soc.collectors.gelf import GelfReceiver

        made |= {spec.name: GelfReceiver(spec, sock, *shared) for spec, sock in of["gelf"]}
    if "snmp" in of:
        from soc.collectors.snmp import SnmpReceiver

        made |= dict.fromkeys((spec.name for spec, _ in of["snmp"]), SnmpReceiver(of["snmp"], *shared))
    return made


def follower(
    spec: ListenerSpec,
    intake: Intake,
    counters: Counters,
    clock: Clock,
    frames_after: Callable[[int], Iterable[RawBlock]] | None,
) -> Receiver:
    """Of the files of one listener; their places lie beside the counters. `frames_after` tells what is durable."""
    from soc.collectors.tail import TailReceiver
    from soc.collectors.tail_streams import Book

    book = Book(counters.path.parent / TAILS / f"{quote(spec.name, safe='')}.json")
    return TailReceiver(spec, intake, counters, clock, book, frames_after)
