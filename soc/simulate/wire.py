"""The real wire bytes of each source: syslog as devices write it, NetFlow v5 datagrams and SNMP v2c traps."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from soc.model.clock import VIETNAM, utc

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def local(at_ns: int) -> dt.datetime:
    """The device's own clock: Vietnam time, as machines of a Vietnamese province are set."""
    return utc(at_ns).astimezone(VIETNAM)


def rfc3164(at_ns: int, priority: int, host: str, tag: str, text: str) -> bytes:
    """A BSD syslog message (RFC 3164 section 4.1): no year, no zone, the day padded with a blank."""
    t = local(at_ns)
    stamp = f"{_MONTHS[t.month - 1]} {t.day:2d} {t:%H:%M:%S}"
    return f"<{priority}>{stamp} {host} {tag}: {text}".encode()


def rfc5424(at_ns: int, priority: int, host: str, app: str, text: str, *, process: str = "-") -> bytes:
    """A syslog message of RFC 5424 section 6, without structured data."""
    stamp = local(at_ns).isoformat(timespec="microseconds")
    return f"<{priority}>1 {stamp} {host} {app} {process} - - {text}".encode()


def asa(at_ns: int, host: str, severity: int, message_id: int, text: str) -> bytes:
    """A Cisco ASA message as `logging timestamp` and `logging device-id hostname` write it (facility local4)."""
    t = local(at_ns)
    stamp = f"{_MONTHS[t.month - 1]} {t.day:02d} {t.year} {t:%H:%M:%S}"
    return f"<{20 * 8 + severity}>{stamp} {host} : %ASA-{severity}-{message_id}: {text}".encode()


def fortigate(at_ns: int, fields: Mapping[str, str | int]) -> bytes:
    """A FortiOS log line: date, time, eventtime (ns) and zone, then the fields; texts quoted, numbers and IPs bare."""
    t = local(at_ns)
    head = f"<189>date={t:%Y-%m-%d} time={t:%H:%M:%S} "
    head += f'eventtime={at_ns} tz="{t:%z}" '
    return (head + " ".join(f"{k}={v}" for k, v in fields.items())).encode()


def nginx_line(at_ns: int, client: str, request: str, status: int, *, size: int, referer: str, agent: str) -> str:
    """One line of nginx's predefined `combined` access format."""
    t = local(at_ns)
    stamp = f"{t.day:02d}/{_MONTHS[t.month - 1]}/{t.year}:{t:%H:%M:%S} +0700"
    return f'{client} - - [{stamp}] "{request}" {status} {size} "{referer}" "{agent}"'


def windows(at_ns: int, host: str, channel: str, *, provider: str, event_id: int, data: Mapping[str, Any]) -> bytes:
    """One event flattened to JSON as NXLog's im_msvistalog with to_json writes it, in an RFC 5424 message."""
    document = {
        "EventTime": local(at_ns).isoformat(timespec="microseconds"),
        "Hostname": host,
        "EventType": "AUDIT_FAILURE" if event_id == 4625 else "INFO",
        "SeverityValue": 2,
        "EventID": event_id,
        "SourceName": provider,
        "Channel": channel,
        "RecordNumber": at_ns // 1_000_000 % 10_000_000,
        **data,
    }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return rfc5424(at_ns, 14, host, provider.replace(" ", "-"), text)


def octet_counted(message: bytes) -> bytes:
    """RFC 6587 section 3.4.1 framing."""
    return b"%d %s" % (len(message), message)


def lf_framed(message: bytes) -> bytes:
    """RFC 6587 section 3.4.2 framing: the message may hold no line feed of its own."""
    return message.replace(b"\n", b" ") + b"\n"


Flow = tuple[str, str, int, int, int, int, int, int, int]
"""source, destination, source port, destination port, protocol, packets, octets, duration ms, TCP flags."""

_V5_HEADER = struct.Struct(">HHIIIIBBH")
_V5_RECORD = struct.Struct(">4s4s4sHHIIIIHHBBBBHHBBH")


def netflow_v5(at_ns: int, boot_ns: int, sequence: int, flows: Sequence[Flow]) -> bytes:
    """One export datagram of at most 30 flows (Cisco NetFlow v5 export format: 24 + 48 n bytes).

    `sequence` counts flows exported before this datagram.
    """
    uptime = (at_ns - boot_ns) // 1_000_000 & 0xFFFF_FFFF
    head = _V5_HEADER.pack(
        5, len(flows), uptime, at_ns // 1_000_000_000, at_ns % 1_000_000_000, sequence & 0xFFFF_FFFF, 0, 0, 0
    )
    return head + b"".join(_v5_record(flow, uptime) for flow in flows)


def _v5_record(flow: Flow, uptime: int) -> bytes:
    source, destination, sport, dport, protocol, packets, octets, duration, flags = flow
    first = max(uptime - duration, 0)
    pack = [ipaddress.IPv4Address(a).packed for a in (source, destination, "0.0.0.0")]  # noqa: S104 - no next hop
    return _V5_RECORD.pack(
        *pack, 1, 2, packets, octets, first, uptime, sport, dport, 0, flags, protocol, 0, 0, 0, 24, 24, 0
    )


def ber(tag: int, body: bytes) -> bytes:
    """A BER element with a definite length (X.690 section 8.1)."""
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + body


def ber_integer(value: int, tag: int = 0x02) -> bytes:
    """A two's complement integer in the fewest octets (X.690 section 8.3); TimeTicks are tag 0x43."""
    return ber(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def ber_oid(text: str) -> bytes:
    """An object identifier (X.690 section 8.19)."""
    first, second, *rest = map(int, text.split("."))
    return ber(0x06, bytes((first * 40 + second,)) + b"".join(map(_base128, rest)))


def _base128(value: int) -> bytes:
    octets = [value & 0x7F]
    while value := value >> 7:
        octets.append(0x80 | value & 0x7F)
    return bytes(reversed(octets))


TRAPS = {"coldStart": 1, "linkDown": 3, "linkUp": 4}
"""RFC 3418 section 2: the last arc of 1.3.6.1.6.3.1.1.5.x."""


def snmp_trap(trap: str, request_id: int, uptime_ticks: int, interface: int, community: str = "public") -> bytes:
    """An SNMPv2c trap (RFC 3416 section 4.2.6): sysUpTime.0, snmpTrapOID.0, then the objects of the notification."""
    pairs = [
        ("1.3.6.1.2.1.1.3.0", ber_integer(uptime_ticks, 0x43)),
        ("1.3.6.1.6.3.1.1.4.1.0", ber_oid(f"1.3.6.1.6.3.1.1.5.{TRAPS[trap]}")),
    ]
    if trap != "coldStart":
        status = 2 if trap == "linkDown" else 1
        pairs += [
            (f"1.3.6.1.2.1.2.2.1.1.{interface}", ber_integer(interface)),
            (f"1.3.6.1.2.1.2.2.1.7.{interface}", ber_integer(1)),
            (f"1.3.6.1.2.1.2.2.1.8.{interface}", ber_integer(status)),
        ]
    bindings = ber(0x30, b"".join(ber(0x30, ber_oid(name) + value) for name, value in pairs))
    pdu = ber(0xA7, ber_integer(request_id) + ber_integer(0) + ber_integer(0) + bindings)
    return ber(0x30, ber_integer(1) + ber(0x04, community.encode()) + pdu)
