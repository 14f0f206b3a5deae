"""Generated traffic of a small province, in the bytes that its devices would send; nothing is read from outside."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from soc.model.record import RawBlock
from soc.simulate import wire
from soc.simulate.province import Device, Province

FLOWS = 10
"""Flows in one NetFlow datagram, each an event of its own."""
_LISTENERS = {"netflow": ("netflow", "netflow"), "snmp": ("snmp-trap", "snmp")}
_SERVICES = ((443, "HTTPS"), (53, "DNS"), (25, "SMTP"), (22, "SSH"))
_AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0 Safari/537.36"


@dataclass(frozen=True)
class Sent:
    """One datagram or message, and how many events it holds."""

    device: Device
    data: bytes
    events: int = 1


def traffic(province: Province, rng: random.Random, now_ns: Callable[[], int]) -> Iterator[Sent]:
    """Messages of the devices by their weight, for ever."""
    devices = [d for d in province.devices if d.weight > 0]
    weights = [d.weight for d in devices]
    number = 0
    while True:
        for device in rng.choices(devices, weights, k=256):
            number += 1
            data = SPEAK[device.role](device, number, now_ns(), rng)
            yield Sent(device, data, FLOWS if device.role == "netflow" else 1)


def blocks(sent: Sequence[Sent], site: str, receipt_ns: int) -> list[RawBlock]:
    """One block a device, as a collector's group commit makes them."""
    by_device: dict[Device, list[bytes]] = {}
    for message in sent:
        by_device.setdefault(message.device, []).append(message.data)
    made = []
    for device, records in by_device.items():
        listener, form = _LISTENERS.get(device.role, ("syslog-udp", "syslog"))
        made.append(
            RawBlock.of(records, receipt_ns=receipt_ns, site=site, listener=listener, peer=device.address, format=form)
        )
    return made


def _public(rng: random.Random) -> str:
    return f"{rng.choice(('203.0.113', '198.51.100', '192.0.2'))}.{rng.randrange(1, 255)}"


def _sshd(device: Device, n: int, at_ns: int, rng: random.Random) -> bytes:
    user, host, port = f"u{rng.randrange(300)}", _public(rng), rng.randrange(1024, 65536)
    text = rng.choice(
        (
            f"Accepted publickey for {user} from {host} port {port} ssh2: RSA SHA256:{n:043d}",
            f"Failed password for {user} from {host} port {port} ssh2",
            f"Connection closed by {host} port {port} [preauth]",
            f"pam_unix(sshd:session): session opened for user {user}(uid={n % 999}) by (uid=0)",
        )
    )
    return wire.rfc3164(at_ns, 38, device.hostname, f"sshd[{n % 30000}]", text)


def _nginx(device: Device, n: int, at_ns: int, rng: random.Random) -> bytes:
    request = f"GET /thu-tuc/{rng.randrange(5000)}?trang={n % 40} HTTP/1.1"
    status = rng.choice((200, 200, 200, 304, 404))
    line = wire.nginx_line(at_ns, _public(rng), request, status, size=rng.randrange(90_000), referer="-", agent=_AGENT)
    return wire.rfc3164(at_ns, 190, device.hostname, "nginx", line)


def _asa(device: Device, n: int, at_ns: int, rng: random.Random) -> bytes:
    outside, port, inside = _public(rng), rng.randrange(1024, 65536), f"10.40.2.{rng.randrange(1, 255)}"
    text = (
        f"Built inbound TCP connection {n} for outside:{outside}/{port} ({outside}/{port}) "
        f"to inside:{inside}/443 ({inside}/443)"
    )
    return wire.asa(at_ns, device.hostname, 6, 302013, text)


def _fortigate(device: Device, n: int, at_ns: int, rng: random.Random) -> bytes:
    port, service = rng.choice(_SERVICES)
    fields: dict[str, str | int] = {
        "devname": f'"{device.hostname}"', "devid": '"FGT60F0000000001"', "eventtime": at_ns, "tz": '"+0700"',
        "logid": '"0000000013"', "type": '"traffic"', "subtype": '"forward"', "level": '"notice"', "vd": '"root"',
        "srcip": f"10.40.6.{rng.randrange(1, 255)}", "srcport": rng.randrange(1024, 65536), "srcintf": '"lan"',
        "dstip": _public(rng), "dstport": port, "dstintf": '"wan1"', "sessionid": n, "proto": 6, "action": '"close"',
        "policyid": 1, "service": f'"{service}"', "duration": rng.randrange(90), "sentbyte": rng.randrange(90_000),
        "rcvdbyte": rng.randrange(900_000), "sentpkt": rng.randrange(90), "rcvdpkt": rng.randrange(900),
    }  # fmt: skip
    return wire.fortigate(at_ns, fields)


def _windows(device: Device, n: int, at_ns: int, rng: random.Random) -> bytes:
    data = {
        "TargetUserName": f"u{rng.randrange(300)}", "TargetDomainName": "KONTUM", "TargetLogonId": hex(n),
        "LogonType": "3", "AuthenticationPackageName": "Kerberos", "WorkstationName": f"WS{rng.randrange(90)}",
        "IpAddress": f"10.40.3.{rng.randrange(1, 255)}", "IpPort": str(rng.randrange(1024, 65536)),
    }  # fmt: skip
    provider = "Microsoft-Windows-Security-Auditing"
    return wire.windows(at_ns, device.hostname, "Security", provider=provider, event_id=4624, data=data)


def _netflow(_device: Device, n: int, at_ns: int, rng: random.Random) -> bytes:
    flows = [
        (_public(rng), f"10.40.2.{rng.randrange(1, 255)}", rng.randrange(1024, 65536), 443, 6, 9, 4096, 900, 0x1B)
        for _ in range(FLOWS)
    ]
    return wire.netflow_v5(at_ns, at_ns - 3_600_000_000_000, n * FLOWS, flows)


def _snmp(_device: Device, n: int, _at_ns: int, rng: random.Random) -> bytes:
    return wire.snmp_trap(rng.choice(("linkDown", "linkUp")), n, n * 100, rng.randrange(1, 48))


SPEAK: dict[str, Callable[[Device, int, int, random.Random], bytes]] = {
    "sshd": _sshd, "nginx": _nginx, "asa": _asa, "fortigate": _fortigate, "windows": _windows,
    "netflow": _netflow, "snmp": _snmp,
}  # fmt: skip
