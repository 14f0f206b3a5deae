"""A small writer of Windows event logs for tests: one chunk, plain binary XML without templates.

Layout: Joachim Metz, Windows XML Event Log (EVTX) format, https://github.com/libyal/libevtx (documentation), and
[MS-EVEN6] section 2.2.12 for binary XML.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

CHUNK = 65536
_FIRST = 512
_FILETIME_1970 = 116_444_736_000_000_000
Element = tuple[str, dict[str, str], "str | list[Element]"]


class _Xml:
    """Binary XML at a known offset of the chunk: names stand in line, so their own offsets must be known."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.data = bytearray(b"\x0f\x01\x01\x00")

    def name(self, text: str) -> bytes:
        # The offset points right behind itself, where the name follows.
        here = self.at + len(self.data) + 4
        value = 0
        for char in text:
            value = (value * 65599 + ord(char)) & 0xFFFF_FFFF
        return struct.pack("<IIHH", here, 0, value & 0xFFFF, len(text)) + text.encode("utf-16-le") + b"\0\0"

    def value(self, text: str) -> None:
        self.data += struct.pack("<BBH", 0x05, 0x01, len(text)) + text.encode("utf-16-le")

    def element(self, element: Element) -> None:
        name, attributes, content = element
        # The dependency identifier stands in template definitions only.
        self.data += struct.pack("<BI", 0x41 if attributes else 0x01, 0)
        self.data += self.name(name)
        if attributes:
            self.data += struct.pack("<I", 0)
            for i, (key, text) in enumerate(attributes.items(), 1):
                self.data.append(0x46 if i < len(attributes) else 0x06)
                self.data += self.name(key)
                self.value(text)
        if not content:
            self.data.append(0x03)
            return
        self.data.append(0x02)
        if isinstance(content, str):
            self.value(content)
        else:
            for child in content:
                self.element(child)
        self.data.append(0x04)


def event(event_id: int, data: dict[str, str], *, channel: str = "Security", computer: str = "PC01") -> Element:
    """A whole Event element."""
    named: list[Element] = [("Data", {"Name": key}, text) for key, text in data.items()]
    system: list[Element] = [
        ("Provider", {"Name": "Microsoft-Windows-Security-Auditing"}, ""),
        ("EventID", {}, str(event_id)),
        ("TimeCreated", {"SystemTime": "2026-11-20T02:59:58.000000Z"}, ""),
        ("Channel", {}, channel),
        ("Computer", {}, computer),
    ]
    return ("Event", {}, [("System", {}, system), ("EventData", {}, named)])


def evtx(events: Sequence[Element]) -> bytes:
    """A file with these events in one chunk."""
    body, at, last = bytearray(), _FIRST, _FIRST
    for number, item in enumerate(events, 1):
        xml = _Xml(at + 24)
        xml.element(item)
        xml.data.append(0x00)
        size = 24 + len(xml.data) + 4
        last = at
        head = struct.pack("<IIQQ", 0x2A2A, size, number, _FILETIME_1970 + 17_951_435_980_000_000)
        body += head + xml.data + struct.pack("<I", size)
        at += size
    count = len(events)
    head = struct.pack("<8sQQQQIIII", b"ElfChnk\0", 1, count, 1, count, 128, last, at, zlib.crc32(body))
    head += bytes(68)
    tables = bytes(384)
    chunk = head + struct.pack("<I", zlib.crc32(head[:120] + tables)) + tables + body
    return _file_header(count) + chunk.ljust(CHUNK, b"\0")


def _file_header(count: int) -> bytes:
    head = struct.pack("<8sQQQIHHHH", b"ElfFile\0", 0, 0, count + 1, 128, 1, 3, 4096, 1) + bytes(76)
    return (head + struct.pack("<II", 0, zlib.crc32(head))).ljust(4096, b"\0")
