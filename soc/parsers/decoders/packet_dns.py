"""DNS messages (RFC 1035, 3596, 6891, 6762): the question, the answers, the flags, EDNS."""

from __future__ import annotations

import functools
import ipaddress
import socket
import struct
from typing import Any

MAX_RECORDS = 256
"""Resource records that are shown of one message; what lies behind is counted and flagged."""
MAX_NAME = 255
"""Octets of a name (RFC 1035 section 3.1)."""
MAX_KEPT = 4096
"""Octets that are kept of a message that cannot be read."""
MAX_DATA = 1024
"""Characters of one answer."""
PORTS = {53: "dns", 5353: "mdns", 5355: "llmnr"}
"""Where DNS is spoken, and what it is called there."""
CLASSES = {1: "IN", 2: "CS", 3: "CH", 4: "HS", 254: "NONE", 255: "ANY"}
TYPES = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 11: "WKS", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT", 17: "RP",
    18: "AFSDB", 24: "SIG", 25: "KEY", 28: "AAAA", 29: "LOC", 33: "SRV", 35: "NAPTR", 36: "KX", 37: "CERT",
    39: "DNAME", 41: "OPT", 43: "DS", 44: "SSHFP", 45: "IPSECKEY", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY",
    49: "DHCID", 50: "NSEC3", 51: "NSEC3PARAM", 52: "TLSA", 53: "SMIMEA", 55: "HIP", 59: "CDS", 60: "CDNSKEY",
    61: "OPENPGPKEY", 62: "CSYNC", 63: "ZONEMD", 64: "SVCB", 65: "HTTPS", 99: "SPF", 249: "TKEY", 250: "TSIG",
    251: "IXFR", 252: "AXFR", 255: "ANY", 256: "URI", 257: "CAA",
}  # fmt: skip
OPCODES = {0: "QUERY", 1: "IQUERY", 2: "STATUS", 4: "NOTIFY", 5: "UPDATE", 6: "DSO"}
CODES = {
    0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 6: "YXDOMAIN", 7: "YXRRSET",
    8: "NXRRSET", 9: "NOTAUTH", 10: "NOTZONE", 11: "DSOTYPENI", 16: "BADVERS", 17: "BADKEY", 18: "BADTIME",
    19: "BADMODE", 20: "BADNAME", 21: "BADALG", 22: "BADTRUNC", 23: "BADCOOKIE",
}  # fmt: skip
_HEADER = struct.Struct(">6H").unpack_from
_RECORD = struct.Struct(">HHIH").unpack_from
_FLAGS = ((0x0400, "AA"), (0x0200, "TC"), (0x0100, "RD"), (0x0080, "RA"), (0x0020, "AD"), (0x0010, "CD"))
_NAMES = frozenset({2, 5, 12, 39})
_PLAIN = frozenset(range(0x21, 0x7F)) - frozenset(b'.\\"')
_SHOWN = {octet: chr(octet) if octet in _PLAIN else f"\\{octet:03d}" for octet in range(256)} | {
    0x2E: "\\.", 0x5C: "\\\\", 0x22: '\\"',
}  # fmt: skip


class Malformed(ValueError):
    """Why a message cannot be read any further."""


def decode(data: bytes) -> tuple[dict[str, Any], str]:
    """What is in a message, and why it ends early (empty: it does not). A header alone gives what it says."""
    if len(data) < 12:
        return {}, "shorter than a DNS header"
    number, bits, questions, answers, authorities, additional = _HEADER(data)
    is_answer = bool(bits & 0x8000)
    values: dict[str, Any] = {
        "id": number, "is_answer": is_answer, "opcode": OPCODES.get(bits >> 11 & 15, f"OPCODE{bits >> 11 & 15}"),
        "flags": _flags(bits),
        "answers": answers, "authorities": authorities, "additionals": additional,
    }  # fmt: skip
    code = bits & 15
    reader = _Reader(data)
    try:
        reader.questions(values, questions)
        reader.records(values, answers, authorities, additional)
    except (Malformed, struct.error, IndexError) as error:
        why = str(error) if isinstance(error, Malformed) else "the message is cut"
    else:
        why = f"{len(data) - reader.at} octets behind the last record" if reader.at < len(data) else ""
    if "edns_code" in values:
        code |= values.pop("edns_code") << 4
    if is_answer:
        values["code"] = CODES.get(code, f"RCODE{code}")
    return values, why


@functools.lru_cache(maxsize=1024)
def _flags(bits: int) -> tuple[str, ...]:
    return tuple(name for bit, name in _FLAGS if bits & bit)


class _Reader:
    """Walks a message; `at` is the next octet."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 12

    def name(self) -> str:
        """The name here, without its last dot (the root is `.`); octets that are not plain as RFC 1035 section 5.1."""
        text, self.at = name(self.data, self.at)
        return text

    def questions(self, values: dict[str, Any], count: int) -> None:
        if count > MAX_RECORDS:
            raise Malformed(f"{count} questions")
        shown = []
        for _ in range(count):
            text = self.name()
            kind, group = struct.unpack_from(">HH", self.data, self.at)
            self.at += 4
            shown.append((text, TYPES.get(kind, f"TYPE{kind}"), CLASSES.get(group & 0x7FFF, f"CLASS{group & 0x7FFF}")))
        if shown:
            values["name"], values["type"], values["class"] = shown[0]
        if len(shown) > 1:
            values["more_questions"] = [text for text, _, _ in shown[1:]]

    def records(self, values: dict[str, Any], answers: int, authorities: int, additional: int) -> None:
        marks: dict[str, None] = {}
        names: list[str] = []
        kinds: list[str] = []
        groups: list[str] = []
        ttls: list[int] = []
        shown: list[str] = []
        resolved: list[str] = []
        try:
            for i in range(answers + authorities + additional):
                if i >= MAX_RECORDS:
                    marks["records_cut"] = None
                    self.at = len(self.data)
                    return
                owner = self.name()
                kind, group, ttl, size = _RECORD(self.data, self.at)
                start = self.at + 10
                if start + size > len(self.data):
                    raise Malformed("a record is longer than the message")
                if kind == 41:
                    self._edns(values, group, ttl, start, size)
                elif i < answers:
                    text = self._shown(kind, start, size)
                    names.append(owner)
                    kinds.append(TYPES.get(kind, f"TYPE{kind}"))
                    groups.append(CLASSES.get(group & 0x7FFF, f"CLASS{group & 0x7FFF}"))
                    ttls.append(ttl)
                    shown.append(text[:MAX_DATA])
                    if len(text) > MAX_DATA:
                        marks["data_cut"] = None
                    if kind in (1, 28) and text[:1] != "\\":
                        resolved.append(text)
                self.at = start + size
        finally:
            if marks:
                values["marks"] = [*marks]
            if names:
                values |= {"names": names, "types": kinds, "classes": groups, "ttls": ttls, "data": shown}
            if resolved:
                values["resolved"] = resolved

    def _edns(self, values: dict[str, Any], size: int, bits: int, at: int, length: int) -> None:
        values["edns_size"], values["edns_version"], values["edns_code"] = size, bits >> 16 & 255, bits >> 24
        if bits & 0x8000:
            values["flags"] = (*values["flags"], "DO")
        end = at + length
        while at + 4 <= end:
            code, n = struct.unpack_from(">HH", self.data, at)
            if at + 4 + n > end:
                raise Malformed("an EDNS option is longer than its record")
            if code == 8 and n >= 4:
                values["client_subnet"] = _subnet(self.data[at + 4 : at + 4 + n])
            at += 4 + n

    def _shown(self, kind: int, at: int, size: int) -> str:
        """The data of a record as a zone file has it; what has no form of its own as RFC 3597 says."""
        data = self.data[at : at + size]
        if kind == 1 and size == 4:
            return socket.inet_ntoa(data)
        if kind == 28 and size == 16:
            return str(ipaddress.IPv6Address(data))
        try:
            if kind in _NAMES:
                return name(self.data, at)[0]
            if kind == 15:
                return f"{data[0] << 8 | data[1]} {name(self.data, at + 2)[0]}"
            if kind == 33:
                priority, weight, port = struct.unpack_from(">3H", data)
                return f"{priority} {weight} {port} {name(self.data, at + 6)[0]}"
            if kind in (16, 99):
                return _strings(data)
            if kind == 6:
                server, after = name(self.data, at)
                box, after = name(self.data, after)
                return " ".join((server, box, *map(str, struct.unpack_from(">5I", self.data, after))))
            if kind == 257 and size > 2:
                end = 2 + data[1]
                return f"{data[0]} {_escaped(data[2:end])} {_quoted(data[end:])}"
        except (Malformed, struct.error, IndexError):
            pass
        return f"\\# {size} {data[: MAX_DATA // 2].hex()}".rstrip()


def name(data: bytes, at: int) -> tuple[str, int]:
    """A name and where it ends. A pointer leads back, to before the piece it is in: so no message has a circle."""
    if data[at] == 192 and (start := data[at + 1]) < at:  # the usual answer: its name is that of the question
        end = start
        while 0 < data[end] < 64:
            end += data[end] + 1
        if not data[end] and end - start < MAX_NAME:
            return _text(data[start:end]), at + 2
        return _walked(data, at)
    end = at
    while 0 < data[end] < 64:
        end += data[end] + 1
    if not data[end] and end - at < MAX_NAME:
        return _text(data[at:end]), end + 1
    return _walked(data, at)


@functools.lru_cache(maxsize=16384)
def _text(labels: bytes) -> str:
    """Labels behind their lengths, whole and without a pointer."""
    found = []
    at = 0
    while at < len(labels):
        end = at + 1 + labels[at]
        found.append(_label(labels[at + 1 : end]))
        at = end
    return ".".join(found) or "."


def _walked(data: bytes, at: int) -> tuple[str, int]:
    labels: list[str] = []
    end = -1
    size, low = 0, at
    while True:
        n = data[at]
        if n == 0:
            return ".".join(labels) or ".", at + 1 if end < 0 else end
        if n < 64:
            label = data[at + 1 : at + 1 + n]
            if len(label) < n:
                raise Malformed("a name is cut")
            size += n + 1
            if size > MAX_NAME - 1:
                raise Malformed(f"a name of more than {MAX_NAME} octets")
            labels.append(_label(label))
            at += n + 1
        elif n >= 192:
            target = (n & 63) << 8 | data[at + 1]
            if end < 0:
                end = at + 2
            if target >= low:
                raise Malformed("a compressed name points forward or at itself")
            at = low = target
        else:
            raise Malformed(f"a label of type {n >> 6}")


_QUICK = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def _label(label: bytes) -> str:
    try:
        text = label.decode("ascii")
    except UnicodeDecodeError:
        return _escaped(label)
    return text if _QUICK.issuperset(text) else _escaped(label)


def _escaped(data: bytes) -> str:
    return "".join([_SHOWN[octet] for octet in data])


def _quoted(data: bytes) -> str:
    # A blank may stand inside quotes.
    return '"' + _escaped(data).replace("\\032", " ").replace("\\.", ".") + '"'


def _strings(data: bytes) -> str:
    found = []
    at = 0
    while at < len(data):
        n = data[at]
        if at + 1 + n > len(data):
            raise Malformed("a character string is cut")
        found.append(_quoted(data[at + 1 : at + 1 + n]))
        at += 1 + n
    return " ".join(found)


def _subnet(data: bytes) -> str:
    """RFC 7871: family, source prefix length, scope prefix length, and as much of the address as that needs."""
    family, prefix = data[0] << 8 | data[1], data[2]
    width = 4 if family == 1 else 16 if family == 2 else 0
    if not width or len(data) - 4 > width or prefix > width * 8:
        return f"\\# {len(data)} {data[:32].hex()}"
    return f"{ipaddress.ip_address(data[4:].ljust(width, bytes(1)))}/{prefix}"
