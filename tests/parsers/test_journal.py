"""Entries of systemd's journal: taken apart whatever they hold, and read as the product that wrote the message."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from soc.content import shipped
from soc.model.journal_export import Splitter, fields
from soc.model.record import OVERSIZE, RawBlock
from soc.parsers import ParserSet, ParserState
from soc.parsers.decoders import journal

NOW = 1_795_629_700_000_000_000
PARSERS = ParserSet.load([shipped("parsers")])

# Recorded 2026-11-25 from systemd-journald 252 (Debian 12): `logger -t sshd` on its /dev/log socket.
SSHD = b"""__CURSOR=s=5971bbd8969e40bfaf2673fc39b7ff56;i=1bc;b=8158c2b380c44c71aab2106b8aae8131;m=6f54a9f3c;t=1;x=1
__REALTIME_TIMESTAMP=1795629610376905
_BOOT_ID=8158c2b380c44c71aab2106b8aae8131
_HOSTNAME=vm
PRIORITY=6
_UID=0
_TRANSPORT=syslog
SYSLOG_FACILITY=4
SYSLOG_IDENTIFIER=sshd
SYSLOG_PID=10908
SYSLOG_TIMESTAMP=Nov 25 18:00:10 
MESSAGE=Failed password for invalid user admin from 203.0.113.9 port 50022 ssh2
_PID=10908
_COMM=logger
_EXE=/usr/bin/logger
_SOURCE_REALTIME_TIMESTAMP=1795629610376852
"""


def binary(name: str, value: bytes) -> bytes:
    """A field with its length."""
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"


def rows(*entries: bytes, flags: bytes = b"") -> list[dict[str, object]]:
    """The events of entries."""
    block = RawBlock.of(list(entries), receipt_ns=NOW, format="journal", flags=flags)
    batches, _ = PARSERS.parse(block, ParserState(), NOW)
    return sorted((row for batch in batches for row in batch.rows()), key=lambda row: str(row["soc.position"]))


def test_the_message_of_sshd_reaches_its_parser() -> None:
    """What the line does not say comes from the journal: unit, process, boot; the time is the program's own."""
    [row] = rows(SSHD)
    assert row["event.dataset"] == "linux.sshd"
    assert (row["user.name"], row["source.ip"], row["event.outcome"]) == ("admin", "203.0.113.9", "failure")
    assert (row["host.name"], row["process.pid"], row["log.syslog.facility.code"]) == ("vm", 10908, 4)
    assert row["process.executable"] == "/usr/bin/logger"
    assert row["@timestamp"] == 1795629610376852
    assert row["event.original"] == SSHD.decode()
    assert "soc.flags" not in row or "no_shape" not in row["soc.flags"]  # type: ignore[operator]


def test_sudo_reaches_its_parser() -> None:
    """By its identifier, with the blanks that it puts before the name."""
    line = b"MESSAGE=     lan : TTY=pts/0 ; PWD=/home/lan ; USER=root ; COMMAND=/usr/bin/cat /etc/shadow\n"
    [row] = rows(b"__REALTIME_TIMESTAMP=1795629610376905\nSYSLOG_IDENTIFIER=sudo\n_COMM=sudo\n_UID=1000\n" + line)
    assert (row["event.dataset"], row["user.name"], row["user.effective.name"]) == ("linux.sudo", "lan", "root")
    assert row["linux.journald.uid"] == "1000"


def test_a_message_that_looks_like_a_header_is_a_message() -> None:
    """The journal says who wrote it; a program cannot pass for another by what it writes."""
    lie = b"<86>Nov 20 03:00:00 gw sshd[1]: Accepted password for root from 203.0.113.9 port 1 ssh2"
    [row] = rows(b"__REALTIME_TIMESTAMP=1795629610376905\nSYSLOG_IDENTIFIER=acme\n_HOSTNAME=h1\nMESSAGE=" + lie + b"\n")
    assert (row["event.dataset"], row["host.name"], row["process.name"]) == ("linux.journald", "h1", "acme")
    assert row["message"] == lie.decode()


def test_lines_and_bytes_are_kept_whole() -> None:
    """Multi-line text is one message; bytes are escaped, flagged, and kept as they came."""
    entry = b"__REALTIME_TIMESTAMP=1795629610376905\n" + binary("MESSAGE", b"one\n\ntwo") + b"X_A=1\n"
    raw = b"__REALTIME_TIMESTAMP=1795629610376905\n" + binary("MESSAGE", b"\x00\xff=") + b"X_A=1\nX_A=2\n"
    text, bytes_ = rows(entry, raw)
    assert (text["message"], text.get("soc.flags"), text["soc.original_bytes"]) == (
        "one\n\ntwo", text.get("soc.flags"), entry,
    )  # fmt: skip
    assert "not_utf8" not in (text.get("soc.flags") or ())  # type: ignore[operator]
    assert text["event.original"] == "__REALTIME_TIMESTAMP=1795629610376905\nMESSAGE=one\n\ntwo\nX_A=1\n"
    assert bytes_["message"] == "\0\\xff="
    assert "not_utf8" in bytes_["soc.flags"]  # type: ignore[operator]
    assert bytes_["soc.rest"] == {"X_A": ["1", "2"]}


def test_what_is_no_entry_is_kept_as_unparsed() -> None:
    """One event a record, whatever it is."""
    found = rows(b"", b"garbage", b"\xff\x00\n\n", b"A=1\n", SSHD[:80])
    assert [row["event.dataset"] for row in found] == ["unparsed"] * 5


def test_a_cut_entry_keeps_what_there_is() -> None:
    """The cut field's beginning is the field."""
    [row] = rows(
        b"__REALTIME_TIMESTAMP=1795629610376905\n" + binary("MESSAGE", b"x" * 50)[:40], flags=bytes([OVERSIZE])
    )
    assert row["message"] == "x" * 24
    assert "oversize" in row["soc.flags"]  # type: ignore[operator]


_name = st.from_regex(r"[A-Z_][A-Z0-9_]{0,20}", fullmatch=True)
_fields = st.lists(st.tuples(_name, st.binary(max_size=60)), min_size=1, max_size=6)


def written(entry: list[tuple[str, bytes]]) -> bytes:
    """As journalctl writes it: text where it is, else with its length."""
    made = b""
    for name, value in entry:
        is_text = b"\n" not in value and all(b >= 32 or b == 9 for b in value)
        made += name.encode() + b"=" + value + b"\n" if is_text else binary(name, value)
    return made


@given(st.lists(_fields, max_size=5), st.integers(1, 40))
def test_entries_come_out_as_they_went_in(entries: list[list[tuple[str, bytes]]], step: int) -> None:
    """However the stream is cut into pieces."""
    stream = b"".join(written(entry) + b"\n" for entry in entries)
    splitter, found = Splitter(1 << 20), []
    for at in range(0, len(stream), step):
        found += splitter.feed(stream[at : at + step])
    assert found == [(written(entry), False) for entry in entries]
    assert [list(fields(entry)) for entry, _ in found] == entries


@given(
    st.binary(max_size=400)
    | st.lists(st.sampled_from([b"A=1\n", b"\n", b"B\n", b"\x05" + b"\0" * 7, b"x"])).map(b"".join)
)
def test_no_stream_breaks_the_splitter_or_the_parser(stream: bytes) -> None:
    """Entries within the bound, and an event for each."""
    found = Splitter(64).feed(stream)
    assert all(0 < len(entry) <= 64 for entry, _ in found)
    entries = [entry for entry, _ in found] or [stream]
    assert len(rows(*entries)) == len(entries)
    assert journal.decode(stream) is not None


def test_what_is_too_long_is_cut_and_the_next_entry_is_whole() -> None:
    """Lines and values far beyond the bound, in pieces; memory holds no more than the bound."""
    long_line = b"A=" + b"x" * 5_000_000 + b"\n"
    long_value = binary("B", b"y\n\n" * 2_000_000)
    stream = b"N=1\n" + long_line + b"\nN=2\n" + long_value + b"Z=1\n\nN=3\n\n"
    splitter, found = Splitter(1000), []
    for at in range(0, len(stream), 65_536):
        found += splitter.feed(stream[at : at + 65_536])
        assert len(splitter._left) + len(splitter._kept) < 70_000
    assert [(entry[:4], is_cut, len(entry)) for entry, is_cut in found] == [
        (b"N=1\n", True, 1000), (b"N=2\n", True, 1000), (b"N=3\n", False, 4),
    ]  # fmt: skip


def test_what_is_asked_for_late_keeps_its_time() -> None:
    """A journal that is read from its beginning is as old as it is; only a time to come is not believed."""
    old, ahead = NOW // 1000 - 40 * 86_400_000_000, NOW // 1000 + 2 * 86_400_000_000
    entries = [b"_SOURCE_REALTIME_TIMESTAMP=%d\nMESSAGE=x\n" % at for at in (old, ahead)]
    for origin, times in (({"poll.source": "journal"}, [old, NOW // 1000]), ({}, [NOW // 1000, NOW // 1000])):
        block = RawBlock.of(entries, receipt_ns=NOW, format="journal", origin=origin)
        batches, _ = PARSERS.parse(block, ParserState(), NOW)
        found = sorted((row for batch in batches for row in batch.rows()), key=lambda row: str(row["soc.position"]))
        assert [row["@timestamp"] for row in found] == times
        assert [row.get("soc.time.device") for row in found] == [None if times[0] == old else old, ahead]
