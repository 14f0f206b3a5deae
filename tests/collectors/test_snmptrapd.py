"""snmptrapd as a second reader of the same notifications: net-snmp's own and made ones, compared field by field.

It writes numbers only: no names, strings in hexadecimal, ticks as they are. For each notification it also hands a
program the v2 form (RFC 3584 section 3.1), which says what a v1 trap is called.
"""

import contextlib
import os
import random
import re
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from soc.collectors import snmp_keys as keys
from soc.model.ber import tlv, write_integer, write_oid
from soc.model.snmp_record import unpack
from soc.parsers.decoders.snmp import text
from tests import programs
from tests.collectors.running import MemoryQueue, running, total, until
from tests.collectors.test_snmp import client, events, security, spec, users_file
from tests.ports import free_port

UPTIME, TRAP_OID = "1.3.6.1.2.1.1.3.0", "1.3.6.1.6.3.1.1.4.1.0"
ENTERPRISE = "1.3.6.1.6.3.1.1.4.3.0"
ENGINE = "0x8000000001020304"
COUNTER32, GAUGE32, TICKS, OPAQUE, COUNTER64 = 0x41, 0x42, 0x43, 0x44, 0x46
FIELDS = ("words", "agent_address", "enterprise", "generic_trap", "specific_trap", "uptime", "binds")
TYPES = {
    "INTEGER": "integer", "Counter32": "counter32", "Gauge32": "gauge32", "Counter64": "counter64", "OID": "oid",
    "IpAddress": "ip", "Hex-STRING": "octets", "Opaque: Float": "float", "Opaque: Int64": "int64",
    "Opaque: UInt64": "uint64", "Opaque: Counter64": "counter64", "OPAQUE": "0x44",
}  # fmt: skip
BOTH = {"double": "float", "uinteger32": "timeticks"}
"""Types that snmptrapd writes alike."""


class Snmptrapd:
    """A running snmptrapd, and what it wrote."""

    def __init__(self, folder, users=()):
        self._log, self._handled = folder / "traps.log", folder / "handled"
        handler = folder / "handler.sh"
        handler.write_text(f'#!/bin/sh\n{{ cat; echo ---; }} >> "{self._handled}"\n')
        handler.chmod(0o700)
        self.port = free_port(socket.SOCK_DGRAM)
        line = r"\n|%P|%A|%N|%w|%q|%T|%v|$\n"
        lines = ["disableAuthorization yes", f"format1 1{line}", f"format2 2{line}", f"traphandle default {handler}"]
        config = folder / "snmptrapd.conf"
        config.write_text("\n".join([*lines, *users, ""]))
        path = programs.program("snmptrapd")
        command = [path, "-f", "-C", "-c", config, "-n", "-m", "", "-OneUt", "-Ox", "-Lf", self._log]
        environment = {"PATH": os.environ["PATH"], "SNMP_PERSISTENT_DIR": f"{folder}/trapd", "SNMPCONFPATH": "/-"}
        self.process = subprocess.Popen([*command, f"udp:127.0.0.1:{self.port}"], env=environment)
        assert until(lambda: f":{self.port:04X}" in Path("/proc/net/udp").read_text())

    def wait_for(self, n):
        """What it made of so many notifications, in order."""
        assert until(lambda: self._handled.exists() and self._handled.read_text().count("\n---\n") >= n), self.seen()
        return self.seen()

    def seen(self):
        told = re.findall(r"^([12])\n\|(.*?)\|\$$", self._log.read_text(), re.MULTILINE | re.DOTALL)
        handled = self._handled.read_text().split("\n---\n")[:-1] if self._handled.exists() else []
        found = zip(told, handled, strict=False)
        return [
            reading(version, dict(zip(FIELDS, line.split("|"), strict=True)), form) for (version, line), form in found
        ]


@contextlib.contextmanager
def snmptrapd(folder, users=()):
    daemon = Snmptrapd(folder, users)
    try:
        yield daemon
    finally:
        daemon.process.terminate()
        daemon.process.wait(60)


# one form for both ---------------------------------------------------------------------------------------------------


def reading(version, told, form):
    """What snmptrapd says of a notification, in our words; `form` is the v2 form that its handler got."""
    pairs = [line.partition(" ")[::2] for line in form.splitlines() if line.startswith(".")]
    v2 = {oid.lstrip("."): value for oid, value in reversed(pairs)}
    found = {"trap_oid": v2.get(TRAP_OID, "").lstrip(".") or None, "uptime": v2.get(UPTIME)}
    binds = [bind(*one.split(" = ", 1)) for one in told["binds"].split("\t") if one]
    if version == "1":
        found |= {key: told[key].lstrip(".") for key in FIELDS[1:5]} | {"uptime": told["uptime"]}
    else:
        found |= {
            "agent_address": v2.get("1.3.6.1.6.3.18.1.3.0"),
            "enterprise": v2.get(ENTERPRISE, "").lstrip(".") or None,
        }
        first = {key: next((i for i, one in enumerate(binds) if one[0] == key), -1) for key in (UPTIME, TRAP_OID)}
        binds = [one for i, one in enumerate(binds) if i not in first.values()]
    return found | {"words": words(told["words"]), "binds": binds}


def words(said):
    """`INFORM, SNMP v3, user noc, context x` as (pdu, version, who, context)."""
    kind, version, who, *context = said.split(", ")
    kind = {"TRAP": "trap", "TRAP2": "trap", "INFORM": "inform"}[kind]
    return kind, version.removeprefix("SNMP v"), who.split(" ", 1)[1], "".join(context).removeprefix("context ") or None


def bind(oid, value):
    """(oid, type, value); a number without a type is TimeTicks or UInteger32."""
    oid = oid.lstrip(".")
    if value.isdigit():
        return oid, "timeticks", int(value)
    if value in ("NULL", '""'):
        return (oid, "null", None) if value == "NULL" else (oid, "octets", "")
    if value.startswith("No "):
        return oid, "noSuch" + value.split(" ")[2], None
    name, _, rest = value.rpartition(": ")
    kind = TYPES[name]
    if kind in ("octets", "0x44"):
        octets = bytes.fromhex(rest)
        return oid, kind, text(octets) if kind == "octets" else octets.hex()
    if kind in ("oid", "ip"):
        return oid, kind, rest.lstrip(".")
    return oid, kind, rounded(rest) if kind == "float" else int(rest)


def rounded(number):
    """Snmptrapd writes six places."""
    return str(round(float(number), 5))


def ours(event):
    """The same of an event of ours."""
    who = event["user"] if event["version"] == "3" else event["community"]
    found = {key: event.get(key) for key in ("trap_oid", "agent_address", "enterprise")}
    found["uptime"] = str(event["uptime"]) if "uptime" in event else None
    if event["version"] == "1":
        found |= {key: event[key] for key in ("generic_trap", "specific_trap")}
    binds = []
    for one in event["varbinds"]:
        kind = BOTH.get(one["type"], one["type"])
        binds.append((one["oid"], kind, rounded(one["value"]) if kind == "float" else one["value"]))
    said = (event["pdu_type"], event["version"], who, event.get("context_name"))
    return found | {"words": said, "binds": binds}


def originals(queue):
    """The datagrams as they came."""
    return [
        record if block.format == "snmp" else unpack(record).original
        for block in queue.blocks
        for record in block.records()
    ]


def agree(folder, notifications, users=()):
    """Both read these datagrams, one after the other; what each says of each."""
    queue = MemoryQueue()
    with running([spec()], queue, folder / "c.json") as (collector, ports), snmptrapd(folder, users) as daemon:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for n, data in enumerate(notifications, 1):
                sock.sendto(data, ("127.0.0.1", ports["traps"]))
                sock.sendto(data, ("127.0.0.1", daemon.port))
                if n % 50 == 0:
                    daemon.wait_for(n)
        theirs = daemon.wait_for(len(notifications))
        assert until(lambda: total(collector, "queued") == len(notifications))
    assert originals(queue) == notifications
    return [ours(event) for event in events(queue)], theirs


# net-snmp's own ------------------------------------------------------------------------------------------------------

LINK_UP = "1.3.6.1.6.3.1.1.5.4"
EVERY_TYPE = (
    ("i", "-2147483648"), ("i", "5"), ("u", "4294967295"), ("c", "4294967295"), ("C", "18446744073709551615"),
    ("t", "8640000"), ("a", "203.0.113.9"), ("o", "1.3.6.1.4.1.8072.4294967295"), ("s", "cổng 7"), ("s", ""),
    ("x", "00ff7c240a"), ("b", "1 3 5"), ("n", "x"), ("F", "36.5"), ("D", "-0.25"), ("I", "-77"), ("U", "88"),
)  # fmt: skip
"""What snmptrap can send, by its letters; C, F, D, I and U are its own."""


def test_v1_and_v2c_of_net_snmp_are_read_alike(tmp_path):
    """Every type of snmptrap, every generic trap of v1 and an enterprise's own, informs; each field is the same."""
    variables = [word for i, (kind, value) in enumerate(EVERY_TYPE, 1) for word in (f"1.3.6.1.4.1.9.{i}", kind, value)]
    in_v1 = [
        word for i in range(0, len(variables), 3) if variables[i + 1] not in "CFDIU" for word in variables[i : i + 3]
    ]
    sent = [("snmptrap", "-v1", ("1.3.6.1.4.1.9.1", "10.1.2.3", "6", "17", "55", *in_v1))]
    sent += [("snmptrap", "-v1", ("1.3.6.1.4.1.9.1", "10.1.2.3", str(n), "9", "4294967295")) for n in range(6)]
    sent += [("snmptrap", "-v2c", ("100", LINK_UP, *variables)), ("snmptrap", "-v2c", ("0", LINK_UP))]
    proxied = (
        "1.3.6.1.6.3.18.1.3.0",
        "a",
        "10.9.9.9",
        "1.3.6.1.6.3.18.1.4.0",
        "s",
        "other",
        ENTERPRISE,
        "o",
        "1.3.6.1.4.1.9",
    )
    sent += [
        ("snmptrap", "-v2c", ("7", "1.3.6.1.4.1.9.0.3", *proxied)),
        ("snmpinform", "-v2c", ("9", LINK_UP, *variables)),
    ]
    queue = MemoryQueue()
    with running([spec()], queue, tmp_path / "c.json") as (_, ports), snmptrapd(tmp_path) as daemon:
        for n, (tool, version, body) in enumerate(sent, 1):
            for port in (ports["traps"], daemon.port):
                assert client(tmp_path, tool, port, version, "-cpublic", body=body).returncode == 0
            assert until(lambda n=n: len(queue.records) == n)
        theirs = daemon.wait_for(len(sent))
    # Two runs of one client differ in their request's number and nothing else, which nobody shows.
    assert [ours(event) for event in events(queue)] == theirs
    assert len(theirs[7]["binds"]) == len(EVERY_TYPE)
    assert [one["trap_oid"] for one in theirs[:3]] == [
        "1.3.6.1.4.1.9.1.0.17",
        "1.3.6.1.6.3.1.1.5.1",
        "1.3.6.1.6.3.1.1.5.2",
    ]
    assert theirs[9]["agent_address"] == "10.9.9.9"


@pytest.mark.parametrize("auth", list(keys.AUTHENTICATIONS))
def test_v3_with_every_algorithm_is_read_alike(tmp_path, auth):
    """A trap, the same octets to both, and an inform, for which each of the two is the authority."""
    names = [auth, *(f"{auth}.{privacy}" for privacy in keys.PRIVACIES)]
    users = []
    for name in names:
        secrets = f'{auth} "authpass {auth}"'
        if "." in name:
            secrets += f' {name.partition(".")[2]} "privpass {name.partition(".")[2]}"'
        users += [f"createUser -e {ENGINE} {name} {secrets}", f"createUser {name} {secrets}"]
    queue, body = MemoryQueue(), ("100", LINK_UP, "1.3.6.1.4.1.9.1", "x", "00ff")
    with (
        running([spec(users_file(tmp_path))], queue, tmp_path / "c.json") as (_, ports),
        snmptrapd(tmp_path, users) as daemon,
    ):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for n, name in enumerate(names, 1):
                of = ("-n", "vlan-7", *security(name))
                client(tmp_path, "snmptrap", ports["traps"], "-e", ENGINE, *of, body=body)
                assert until(lambda n=n: len(queue.records) == 2 * n - 1)
                sock.sendto(originals(queue)[-1], ("127.0.0.1", daemon.port))
                for port in (ports["traps"], daemon.port):
                    told = client(tmp_path, "snmpinform", port, *of, body=body)
                    assert told.returncode == 0, told.stderr
        theirs = daemon.wait_for(2 * len(names))
    assert [ours(event) for event in events(queue)] == theirs
    assert [one["words"] for one in theirs] == [(k, "3", name, "vlan-7") for name in names for k in ("trap", "inform")]


# made octets ---------------------------------------------------------------------------------------------------------


def v2(uptime, *variables, head=None):
    """A v2c trap of (name, value as it is written)."""
    first = [(UPTIME, write_integer(uptime, TICKS)), (TRAP_OID, write_oid(LINK_UP))] if head is None else head
    binds = [tlv(0x30, write_oid(name), value) for name, value in (*first, *variables)]
    pdu = tlv(0xA7, write_integer(7), write_integer(0), write_integer(0), tlv(0x30, *binds))
    return tlv(0x30, write_integer(1), tlv(4, b"public"), pdu)


def v1(generic, specific, uptime, *variables, enterprise="1.3.6.1.4.1.9"):
    """A v1 trap of an agent 10.0.0.generic."""
    binds = [tlv(0x30, write_oid(name), value) for name, value in variables]
    pdu = tlv(
        0xA4, write_oid(enterprise), tlv(0x40, bytes((10, 0, 0, generic))), write_integer(generic),
        write_integer(specific), write_integer(uptime, TICKS), tlv(0x30, *binds),
    )  # fmt: skip
    return tlv(0x30, write_integer(0), tlv(4, b"public"), pdu)


def opaque(kind, octets):
    return tlv(OPAQUE, b"\x9f" + tlv(kind, octets))


ODD = {
    "an integer with a needless octet": tlv(2, bytes(4) + b"\5"),
    "the least integer": write_integer(-(2**31)),
    "a counter without its leading zero": tlv(COUNTER32, b"\xff" * 4),
    "a counter with it": tlv(COUNTER32, b"\0" + b"\xff" * 4),
    "a counter of one octet": tlv(COUNTER32, b"\xff"),
    "a large counter without its leading zero": tlv(COUNTER64, b"\xff" * 8),
    "the largest counter": write_integer(2**64 - 1, COUNTER64),
    "the largest gauge": write_integer(2**32 - 1, GAUGE32),
    "the last tick": write_integer(2**32 - 1, TICKS),
    "UInteger32 of RFC 1442": tlv(0x47, b"\5"),
    "a float": opaque(0x78, struct.pack(">f", -36.5)),
    "a float that is no number": opaque(0x78, struct.pack(">f", float("nan"))),
    "an endless double": opaque(0x79, struct.pack(">d", float("-inf"))),
    "an opaque integer": opaque(0x7A, b"\xff\xf9"),
    "an opaque unsigned integer": opaque(0x7B, b"\xff\xf9"),
    "an opaque counter": opaque(0x76, b"\xff" * 8),
    "opaque octets": tlv(OPAQUE, b"abc"),
    "no opaque octets": tlv(OPAQUE),
    "no octets": tlv(4),
    "octets of every value": tlv(4, bytes(range(256)) * 4),
    "octets like a format": tlv(4, b"%s|$ \\x1f"),
    "a length of four octets": bytes((4, 0x84, 0, 0, 0, 2)) + b"AB",
    "zeroDotZero": tlv(6, b"\0"),
    "an identifier of joint-iso": tlv(6, b"\x88\x37"),
    "an identifier of 128 parts": write_oid("1.3." + ".".join(["1"] * 126)),
    "the largest part": write_oid("1.3.4294967295"),
    "an address": tlv(0x40, bytes((203, 0, 113, 9))),
    "null with octets": tlv(5, b"x"),
    "noSuchObject": tlv(0x80),
    "noSuchInstance": tlv(0x81),
}
MORE = {
    "uptime that is not the first": v2(7, head=[(TRAP_OID, write_oid(LINK_UP)), (UPTIME, write_integer(9, TICKS))]),
    "names that come twice": v2(8, (UPTIME, write_integer(5, TICKS)), (TRAP_OID, write_oid("1.3.6.1.4.1.9.0.1"))),
    "nothing but a name": v2(9, head=[(TRAP_OID, write_oid(LINK_UP))]),
    "a proxied trap": v2(
        10, ("1.3.6.1.6.3.18.1.3.0", tlv(0x40, bytes((10, 9, 9, 9)))), (ENTERPRISE, write_oid("1.3.6.1.4.1.9"))
    ),
    "an enterprise's trap of a large number": v1(6, 2**31 - 1, 11),
    "a generic trap with an odd specific one": v1(3, 77, 12, ("1.3.6.1.2.1.2.2.1.1.7", write_integer(7))),
    "the enterprise 0.0": v1(6, 1, 13, enterprise="0.0"),
}


def test_made_octets_are_read_alike(tmp_path):
    """Types that few senders use, lengths nobody needs, names in an unusual order."""
    made = {name: v2(n, ("1.3.6.1.4.1.9.1", value)) for n, (name, value) in enumerate(ODD.items(), 1000)} | MORE
    found, theirs = agree(tmp_path, list(made.values()))
    assert dict(zip(made, found, strict=True)) == dict(zip(made, theirs, strict=True))


APART = {
    "an integer of more than 32 bits": (write_integer(2**40), ("integer", 2**40), ("integer", 0)),
    "a counter of more than 32 bits": (tlv(COUNTER32, b"\1" + bytes(4)), ("counter32", 2**32), ("counter32", 0)),
    "an empty identifier": (tlv(6), ("0x06", ""), ("oid", "0")),
    "an empty large counter": (tlv(COUNTER64), ("0x46", ""), ("counter64", 0)),
    "an address of three octets": (tlv(0x40, b"abc"), ("0x40", "616263"), None),
    "an empty integer": (tlv(2), ("0x02", ""), None),
    "a part beyond 32 bits": (tlv(6, b"+\x9f\xff\xff\xff\x7f"), ("0x06", "2b9fffffff7f"), None),
    "129 parts": (tlv(6, b"+" + b"\1" * 128), ("0x06", "2b" + "01" * 128), None),
    "a cut float": (tlv(OPAQUE, b"\x9f\x78\x04\x42\x12\0"), ("0x44", "9f7804421200"), None),
    "a boolean": (tlv(1, b"\1"), ("0x01", "01"), None),
}
"""Octets, what we say, and what snmptrapd says or None where it gives up the whole notification."""


def test_where_we_differ_nothing_is_lost(tmp_path):
    """What snmptrapd cuts, takes for another value or throws away with its notification is kept as it came."""
    sent = [v2(n, ("1.3.6.1.4.1.9.1", octets)) for n, (octets, _, _) in enumerate(APART.values(), 1000)]
    queue = MemoryQueue()
    with running([spec()], queue, tmp_path / "c.json") as (_, ports), snmptrapd(tmp_path) as daemon:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for data in [*sent, v2(1)]:
                sock.sendto(data, ("127.0.0.1", ports["traps"]))
                sock.sendto(data, ("127.0.0.1", daemon.port))
        read = sum(said is not None for _, _, said in APART.values())
        theirs = daemon.wait_for(read + 1)
        assert until(lambda: len(queue.records) == len(sent) + 1)
    assert theirs[-1]["uptime"] == "1"
    by_uptime = {one["uptime"]: one["binds"][0][1:] for one in theirs[:-1]}
    assert {name: by_uptime.get(str(n)) for n, name in enumerate(APART, 1000)} == {k: v[2] for k, v in APART.items()}
    assert [ours(event)["binds"][0][1:] for event in events(queue)[:-1]] == [said for _, said, _ in APART.values()]


def test_random_notifications_are_read_alike(tmp_path):
    """A hundred and twenty of a fixed seed, v1 and v2c, with up to six variables of any type."""
    chance = random.Random(20261130)
    values = {
        "integer": lambda: write_integer(chance.randrange(-(2**31), 2**31)),
        "octets": lambda: tlv(4, chance.randbytes(chance.choice((0, 1, 6, 16, 40, 300)))),
        "oid": lambda: write_oid(
            "1.3." + ".".join(str(chance.randrange(2**32)) for _ in range(chance.randrange(1, 12)))
        ),
        "ip": lambda: tlv(0x40, chance.randbytes(4)),
        "null": lambda: tlv(5),
    }
    values |= {tag: lambda tag=tag: write_integer(chance.randrange(2**32), tag) for tag in (COUNTER32, GAUGE32, TICKS)}
    in_v2 = values | {
        COUNTER64: lambda: write_integer(chance.randrange(2**64), COUNTER64),
        "float": lambda: opaque(0x78, struct.pack(">f", chance.randrange(-1000, 1000) / 8)),
        "int64": lambda: opaque(0x7A, struct.pack(">q", chance.randrange(-(2**63), 2**63))),
    }

    def variables(kinds):
        name = "1.3.6.1." + ".".join(str(chance.randrange(1, 60_000)) for _ in range(6))
        return [(f"{name}.{i}", chance.choice(list(kinds.values()))()) for i in range(chance.randrange(7))]

    made = [v2(n, *variables(in_v2)) for n in range(60)]
    made += [v1(chance.randrange(7), chance.randrange(2**31), n, *variables(values)) for n in range(60)]
    found, theirs = agree(tmp_path, made)
    assert found == theirs
