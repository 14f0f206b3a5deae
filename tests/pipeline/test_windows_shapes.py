"""The same Windows event in every form that people have it in reaches the same rule."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from tests.collectors.evtx_writer import event, evtx
from tests.pipeline.test_files import soc

CHANNEL, PROVIDER, TIME = "Security", "Microsoft-Windows-Security-Auditing", "2026-11-20T02:59:58.000000Z"
# EventData that is called like what routes an event must not overrule it.
DATA = {"NewProcessName": "C:\\Windows\\x.exe", "CommandLine": "x.exe -lies", "Channel": "System", "EventID": "1"}
RULES = """
title: the event
name: event
logsource: {category: process_creation, product: windows}
detection:
  s: {NewProcessName|endswith: '\\x.exe', CommandLine|contains: lies}
  condition: s
---
title: what its data pretend
name: pretended
logsource: {product: windows, service: system}
detection:
  s: {CommandLine|contains: lies}
  condition: s
"""
Json = dict[str, Any]


def tree(data: Json = DATA) -> Json:
    """evtx_dump's."""
    system = {"Provider": {"#attributes": {"Name": PROVIDER}}, "EventID": 4688, "Channel": CHANNEL,
              "Computer": "PC01", "TimeCreated": {"#attributes": {"SystemTime": TIME}}}  # fmt: skip
    return {"Event": {"System": system, "EventData": data}}


def beside() -> Json:
    """evtx_dump's with `--separate-json-attributes`."""
    system = {"Provider_attributes": {"Name": PROVIDER}, "EventID_attributes": {"Qualifiers": ""}, "EventID": 4688,
              "Channel": CHANNEL, "TimeCreated_attributes": {"SystemTime": TIME}}  # fmt: skip
    return {"Event": {"System": system, "EventData": DATA}}


def paths() -> Json:
    """evtx_dump's, flattened."""
    system = {"Provider.#attributes.Name": PROVIDER, "EventID": 4688, "Channel": CHANNEL,
              "TimeCreated.#attributes.SystemTime": TIME}  # fmt: skip
    names: Json = {f"Event.System.{name}": value for name, value in system.items()}
    return names | {f"Event.EventData.{name}": value for name, value in DATA.items()}


def winlogbeat() -> Json:
    """Winlogbeat's."""
    winlog = {"provider_name": PROVIDER, "event_id": "4688", "channel": CHANNEL, "event_data": DATA}
    return {"@timestamp": TIME, "winlog": winlog}


def dotted() -> Json:
    """Winlogbeat's, flattened."""
    names = {"@timestamp": TIME, "winlog.provider_name": PROVIDER, "winlog.event_id": 4688, "winlog.channel": CHANNEL}
    return names | {f"winlog.event_data.{name}": value for name, value in DATA.items()}


def nxlog() -> Json:
    """NXLog's; one object holds both, so that nothing can be called like what routes."""
    flat = {"EventTime": "2026-11-20 02:59:58", "EventID": 4688, "SourceName": PROVIDER, "Channel": CHANNEL,
            "SourceModuleName": "eventlog"}  # fmt: skip
    return {**DATA, **flat}


def xml() -> str:
    """The event viewer's."""
    data = "".join(f"<Data Name={quoteattr(name)}>{value}</Data>" for name, value in DATA.items())
    return (
        '<Event xmlns="http://schemas.microsoft.com/win/2004/08/events/event"><System>'
        f'<Provider Name="{PROVIDER}"/><EventID>4688</EventID><Channel>{CHANNEL}</Channel>'
        f'<TimeCreated SystemTime="{TIME}"/></System><EventData>{data}</EventData></Event>'
    )


def line(document: Json) -> bytes:
    """One JSON line."""
    return json.dumps(document).encode() + b"\n"


SYSLOG = b"<13>Nov 20 10:00:00 PC01 winlog[7]: "
FILES = {
    "a.evtx": evtx([event(4688, DATA, channel=CHANNEL)]),
    "a.xml": xml().encode(),
    "many.xml": f"<?xml version='1.0'?><Events>{xml()}</Events>".encode(),
    "tree.json": line(tree()),
    "array.json": json.dumps([tree()], indent=1).encode(),
    "zipped.json.gz": gzip.compress(line(tree())),
    "beside.json": line(beside()),
    "paths.json": line(paths()),
    "winlogbeat.json": line(winlogbeat()),
    "dotted.json": line(dotted()),
    "nxlog.json": line(nxlog()),
    "syslog.log": SYSLOG + line(tree()),
    "nxlog.log": SYSLOG + line(nxlog()),
}


def hits(*arguments: str) -> list[Json]:
    """What `soc detect` prints."""
    result = soc("detect", "--no-cache", *arguments)
    assert result.returncode == 0, result.stderr.decode()
    return [json.loads(text) for text in result.stdout.splitlines()]


@pytest.fixture
def rules(tmp_path: Path) -> str:
    """The rules as a file."""
    path = tmp_path / "rules.yml"
    path.write_text(RULES)
    return str(path)


def test_every_shape_gives_the_same_hit(tmp_path: Path, rules: str) -> None:
    """EVTX, XML, JSON of each writer, nested, beside or flattened, bare, in an array, in syslog, compressed."""
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    found = hits("--rules", rules, *(str(tmp_path / name) for name in FILES))
    assert [(Path(hit["file"].partition("!")[0]).name, hit["rule"], hit["record"]) for hit in found] == [
        (name, "event", 1) for name in FILES
    ]
    assert len({json.dumps(hit["matched"]) for hit in found}) == 1


def test_syslog_in_a_capture_gives_the_same_hit(tmp_path: Path, rules: str) -> None:
    """As the agent sent it, out of packets."""
    path = tmp_path / "a.pcap"
    packet = Ether() / IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=5000, dport=514) / (SYSLOG + line(tree()))
    wrpcap(str(path), [packet])
    assert [(hit["rule"], hit["record"]) for hit in hits("--rules", rules, "--format", "syslog", str(path))] == [
        ("event", 1)
    ]
