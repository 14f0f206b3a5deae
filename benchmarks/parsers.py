"""Events a second of each parser, against the plainest Python that touches the same bytes, in the same run."""

from __future__ import annotations

import json
import re
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

from scapy.layers.snmp import SNMP

from benchmarks.entries import Cost, Entry, cpu, entry
from soc.content import shipped
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState

RECEIPT_NS = 1_795_143_600_000_000_000
RECORDS, BLOCK = 20_000, 2_000

_SSH = "<38>Nov 20 09:59:{:02d} web{:02d} sshd[{}]: Failed password for invalid user u{} from 203.0.113.{} port {} ssh2"
_SUDO = "<86>Nov 20 09:59:{:02d} web{:02d} sudo:   u{} : TTY=pts/{} ; PWD=/home ; USER=root ; COMMAND=/usr/bin/tail {}"
_ASA = (
    "<166>Nov 20 2026 09:59:{:02d} fw{:02d} : %ASA-6-302013: Built inbound TCP connection {} for "
    "outside:203.0.{}.{}/{} (203.0.113.9/443) to inside:10.1.1.9/51000 (203.0.113.1/51000)"
)
_FORTI = (
    '<189>date=2026-11-20 time=09:59:{:02d} devname="F{}" devid="FG1" eventtime=1795143598 logid="0000000013" '
    'type="traffic" subtype="forward" level="notice" vd="root" srcip=10.1.{}.{} srcport={} srcintf="a" '
    'dstip=203.0.113.{} dstport=443 dstintf="b" proto=6 action="close" policyid=1 service="HTTPS" duration=5 '
    "sentbyte=1188 rcvdbyte=1224 sentpkt=17 rcvdpkt=16"
)
_NGINX = '203.0.113.{} - - [20/Nov/2026:09:59:{:02d} +0700] "GET /p/{}?q={} HTTP/1.1" 200 {} "-" "Mozilla/5.{}"'
_AUDIT = (
    "type=SYSCALL msg=audit(1795143598.{0:03d}:{1}): arch=c000003e syscall=59 success=yes exit=0 a0=5592b3874360 "
    "a1=5592b3870700 a2=5592b3874580 a3=6c1e7dc16f9608fb items=2 ppid={2} pid={1} auid=1000 uid=33 gid=33 euid=33 "
    'suid=33 fsuid=33 egid=33 sgid=33 fsgid=33 tty=(none) ses=4 comm="cat" exe="/usr/bin/cat" key="proc"\n'
    'type=EXECVE msg=audit(1795143598.{0:03d}:{1}): argc=3 a0="/bin/cat" a1="/srv/{1}" a2=74776F20776F726473\n'
    'type=CWD msg=audit(1795143598.{0:03d}:{1}): cwd="/srv/www"\n'
    'type=PATH msg=audit(1795143598.{0:03d}:{1}): item=0 name="/bin/cat" inode={2} dev=fe:00 mode=0100755 '
    "ouid=0 ogid=0 rdev=00:00 nametype=NORMAL cap_fp=0 cap_fi=0 cap_fe=0\n"
    "type=PROCTITLE msg=audit(1795143598.{0:03d}:{1}): proctitle=2F62696E2F636174002F7372762F"
)
_HEADER = re.compile(r"<(\d+)>(\w+ +\d+ (?:\d{4} )?\S+) (\S+) ([^:\[]+)(?:\[(\d+)\])?: (.*)")
_ASA_LINE = re.compile(
    r"<(\d+)>(\w+ +\d+ \d{4} \S+) (\S+) : %ASA-(\d)-(\d+): Built (\w+) (\w+) connection (\d+) for "
    r"(\S+):(\S+)/(\d+) \((\S+)/(\d+)\) to (\S+):(\S+)/(\d+) \((\S+)/(\d+)\)"
)
_PAIR = re.compile(r'(\w+)=(?:"([^"]*)"|(\S+))')
_ACCESS = re.compile(r'(\S+) \S+ (\S+) \[([^\]]+)\] "(\S+) (\S+) ([^"]+)" (\d+) (\d+) "([^"]*)" "([^"]*)"')


def run(quick: bool = False) -> list[Entry]:
    """Two rows for each parser: events per CPU-second and CPU-µs an event."""
    parsers = ParserSet.load([shipped("parsers")])
    records = RECORDS // 10 if quick else RECORDS
    return [row for case in _cases(records) for row in _rows(parsers, *case)]


Case = tuple[str, str, Sequence[bytes], str, Callable[[Sequence[bytes]], int]]


def _cases(records: int) -> list[Case]:
    n = range(records)
    sixty, byte = 60, 250
    ssh = [_SSH.format(i % sixty, i % 20, i, i % 99, i % byte, 1024 + i).encode() for i in n]
    sudo = [_SUDO.format(i % sixty, i % 20, i % 99, i % 9, i).encode() for i in n]
    asa = [_ASA.format(i % sixty, i % 9, i, i % byte, i % 99, 1024 + i).encode() for i in n]
    forti = [_FORTI.format(i % sixty, i % 9, i % byte, i % 99, 1024 + i, i % byte).encode() for i in n]
    nginx = [_NGINX.format(i % byte, i % sixty, i % 999, i, i, i % 9).encode() for i in n]
    audit = [_AUDIT.format(i % 1000, i, i % 99).encode().splitlines() for i in range(records // 5)]
    return [
        (
            "linux.auditd",
            "lines",
            [record for event in audit for record in event],
            "a plain regex loop",
            _loop(_PAIR.findall),
        ),
        ("zeek.conn", "json", [_zeek(i) for i in n], "json.loads", _loads),
        ("linux.sudo", "syslog", sudo, "a plain regex loop", _loop(_HEADER.match)),
        ("linux.sshd", "syslog", ssh, "a plain regex loop", _loop(_HEADER.match)),
        ("cisco.asa", "syslog", asa, "a plain regex loop", _loop(_ASA_LINE.match)),
        ("fortinet.fortigate", "syslog", forti, "a plain regex loop", _loop(_PAIR.findall)),
        ("nginx.access", "lines", nginx, "a plain regex loop", _loop(_ACCESS.match)),
        ("windows.security", "json", [_logon(i) for i in n], "json.loads", _loads),
        ("windows.sysmon", "json", [_sysmon(i) for i in n], "json.loads", _loads),
        ("netflow.v5", "netflow", [_flows(i) for i in range(records // 10)], "struct.unpack a record", _unpack),
        ("snmp.trap", "snmp", [_TRAP] * (records // 4), "scapy", _scapy),
    ]


def _zeek(i: int) -> bytes:
    return json.dumps({
        "ts": 1795143598.5 + i, "uid": f"C{i}", "id.orig_h": f"10.1.{i % 99}.{i % 250}", "id.orig_p": 1024 + i % 60000,
        "id.resp_h": f"203.0.113.{i % 250}", "id.resp_p": 443, "proto": "tcp", "service": "ssl", "duration": 1.5,
        "orig_bytes": i, "resp_bytes": 9 * i, "conn_state": "SF", "local_orig": True, "local_resp": False,
        "missed_bytes": 0, "history": "ShADadfF", "orig_pkts": 10, "orig_ip_bytes": i + 400, "resp_pkts": 9,
        "resp_ip_bytes": 9 * i + 360,
    }).encode()  # fmt: skip


def _rows(
    parsers: ParserSet,
    product: str,
    form: str,
    records: Sequence[bytes],
    words: str,
    plain: Callable[[Sequence[bytes]], int],
) -> list[Entry]:
    blocks = [
        RawBlock.of(records[i : i + BLOCK], receipt_ns=RECEIPT_NS, format=form, seq=i)
        for i in range(0, len(records), BLOCK)
    ]
    events, seconds = 0, 0.0
    for block in blocks:
        start = time.process_time()
        batches, _ = parsers.parse(block, ParserState(), RECEIPT_NS)
        events += sum(batch.n for batch in batches if len(batch.columns))  # which makes all of them
        seconds += time.process_time() - start
        assert {batch.dataset.removesuffix(".execve") for batch in batches} == {product}
    start = time.process_time()
    plain_events = plain(records)
    reference = time.process_time() - start
    own, other = Cost(events, seconds, seconds), Cost(plain_events, reference, reference)
    name = f"parse.{product}"
    return [entry(name, own.rate, "events/CPU-second", words, other.rate), cpu(name, own, words, other)]


def _loop(function: Callable[[str], Any]) -> Callable[[Sequence[bytes]], int]:
    return lambda records: sum(bool(function(record.decode())) for record in records)


def _loads(records: Sequence[bytes]) -> int:
    return sum(bool(json.loads(record)) for record in records)


def _windows(i: int, provider: str, channel: str, event_id: int, data: dict[str, str]) -> bytes:
    system = {
        "Provider": {"#attributes": {"Name": provider}}, "EventID": event_id, "Computer": f"PC{i % 50}",
        "Channel": channel, "EventRecordID": i,
        "TimeCreated": {"#attributes": {"SystemTime": f"2026-11-20T02:{i % 60:02d}:57.559Z"}},
    }  # fmt: skip
    return json.dumps({"Event": {"System": system, "EventData": data}}).encode()


def _logon(i: int) -> bytes:
    data = {
        "SubjectUserSid": "S-1-5-18", "SubjectUserName": "-", "TargetUserSid": "S-1-5-21-1-2-3-1104",
        "TargetUserName": f"u{i % 99}", "TargetDomainName": "EX", "TargetLogonId": hex(i), "LogonType": "3",
        "AuthenticationPackageName": "NTLM", "WorkstationName": f"WS{i % 9}", "IpAddress": f"203.0.113.{i % 250}",
        "IpPort": str(1024 + i),
    }  # fmt: skip
    return _windows(i, "Microsoft-Windows-Security-Auditing", "Security", 4624, data)


def _sysmon(i: int) -> bytes:
    data = {
        "SourceProcessId": str(i), "SourceImage": "C:\\windows\\system32\\svchost.exe", "TargetProcessId": "2512",
        "TargetImage": "C:\\windows\\System32\\lsass.exe", "GrantedAccess": "0x1000", "SourceUser": "EX\\u",
        "CallTrace": "C:\\windows\\SYSTEM32\\ntdll.dll+9c534|" * 8, "UtcTime": "2026-11-20 02:50:57.113",
    }  # fmt: skip
    return _windows(i, "Microsoft-Windows-Sysmon", "Microsoft-Windows-Sysmon/Operational", 10, data)


_RECORD = struct.Struct(">IIIHHIIIIHHBBBBHHBBH")


def _flows(i: int) -> bytes:
    head = struct.pack(">HHIIIIBBH", 5, 30, 100_000, 1_795_143_598, 0, i, 0, 1, 0)
    records = (
        _RECORD.pack(
            0x0A010000 + i + k, 0xCB007109, 0, 1, 2, 10, 4096, 85_000, 95_000, 1024 + k, 443, 0, 18, 6, 0, 0, 0, 0, 0, 0
        )
        for k in range(30)
    )
    return head + b"".join(records)


def _unpack(records: Sequence[bytes]) -> int:
    return sum(bool(_RECORD.unpack_from(data, at)) for data in records for at in range(24, len(data), 48))


_TRAP = bytes.fromhex(
    "304b02010104067075626c6963a73e0201010201000201003033300d06082b060102010103004301643017060a2b060106030101040100"
    "06092b0601060301010503300906042b060102020102"
)


def _scapy(records: Sequence[bytes]) -> int:
    return sum(SNMP(data).version.val == 1 for data in records[:500])


if __name__ == "__main__":
    for entry in run():
        print(json.dumps(entry))
