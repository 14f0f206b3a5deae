"""RFC 3164 as devices and relays really send it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.model.record import INCOMPLETE, OVERSIZE, RawBlock
from soc.model.values import iso
from soc.parsers.decoders import syslog
from soc.parsers.decoders.syslog_odd import utf16
from soc.parsers.envelope import Envelope

RECEIPT_US = 1_795_143_600_000_000  # 2026-11-20T03:00:00Z
TWO = "2026-11-20T02:00:00"


def read(text):
    """Priority, time, host, program, process and message of one record."""
    h = syslog.decode([text], [RECEIPT_US])
    at = None if h.at_us[0] is None else iso(h.at_us[0])[:19]
    return h.priority[0], at, h.host[0], h.program[0], h.pid[0], h.message[0]


@pytest.mark.parametrize(
    "text",
    [
        "<192>Nov 20 09:00:00 h p: x",
        "<999>Nov 20 09:00:00 h p: x",
        "<1234>Nov 20 09:00:00 h p: x",
        "<>Nov 20 09:00:00 h p: x",
        "<-1>Nov 20 09:00:00 h p: x",
        "Nov 20 09:00:00 h p: x",
    ],
)
def test_a_priority_that_is_none_hides_nothing(text):
    """No PRI, an empty one, a negative one, one beyond 191: the rest of the header is read."""
    assert read(text) == (None, TWO, "h", "p", None, "x")


@pytest.mark.parametrize(
    "text",
    [
        "<013>Nov 20 09:00:00 h p: x",
        "< 13>Nov 20 09:00:00 h p: x",
        "<13> Nov 20 09:00:00 h p: x",
        "\ufeff<13>Nov 20 09:00:00 h p: x",
        "<13>\ufeffNov 20 09:00:00 h p: x",
        "<13>Nov 20 09:00:00 h p: \ufeffx",
        "\0<13>Nov 20 09:00:00 h p: x",
        "\r\n<13>Nov 20 09:00:00 h p: x",
        "<34><13>Nov 20 09:00:00 h p: x",
        "<13>Nov 20 09:00:00 h p: x\0\0",
        "<13>Nov 20 09:00:00 h p: x\r\n",
        "26 <13>Nov 20 09:00:00 h p: x",
    ],
)
def test_junk_around_a_message_goes(text):
    """Byte order marks, NULs, blanks, line ends, a second PRI, a count of octets that fits."""
    assert read(text) == (13, TWO, "h", "p", None, "x")


def test_a_count_that_does_not_fit_is_text():
    """Who counts wrong, or does not count at all, keeps the number."""
    assert read("25 <13>Nov 20 09:00:00 h p: x")[5] == "25 <13>Nov 20 09:00:00 h p: x"


@pytest.mark.parametrize(
    "stamp",
    [
        "nov 20 09:00:00", "NOV 20 09:00:00", "Nov 20 2026 09:00:00", "Nov 20 09:00:00 2026", "2026 Nov 20 09:00:00",
        "20 Nov 2026 09:00:00", "20-Nov-2026 09:00:00", "Fri, 20 Nov 2026 09:00:00 +0700", "Fri Nov 20 09:00:00 2026",
        "Fri Nov 20 02:00:00 UTC 2026", "2026/11/20 09:00:00", "2026-11-20 09:00:00", "2026-11-20 09:00:00,123",
        "2026-11-20 02:00:00Z", "2026-11-20 10:00:00 +08:00", "20/11/2026 09:00:00", "11/20/2026 09:00:00",
        "20.11.2026 09:00:00", "1795140000", "1795140000.25", "1795140000250", "Nov 20 09:00:00.123456",
        "Nov 20 02:00:00 UTC", "Nov 20 09:00:00 ICT", "Nov 20 10:00:00 +08:00", "Nov 20 2026 10:00:00 +0800",
        "2026-11-20T09:00:00", "2026-11-20T02:00:00.5Z",
    ],
)  # fmt: skip
def test_odd_stamps_are_read(stamp):
    """Any case, the year before, behind and amid, day first, slashes, seconds since 1970, zones: one moment."""
    assert read(f"<13>{stamp} h p[7]: x") == (13, TWO, "h", "p", "7", "x")


@pytest.mark.parametrize("stamp", ["05/06/2026 09:00:00", "Nov 31 09:00:00", "Nov 20 24:00:00", "Foo 20 09:00:00 2026"])
def test_a_stamp_that_cannot_be_told_is_no_time(stamp):
    """Day or month first, dates that are none: the receipt counts, nothing is guessed."""
    assert read(f"<13>{stamp} h p: x")[1] is None


def test_an_application_line_keeps_its_stamp_in_the_message():
    """Without a PRI an odd stamp belongs to the message, and the word behind a stamp is no host."""
    line = "2026/11/20 09:00:00 [error] 12#0: open() failed"
    assert read(line) == (None, None, None, None, None, line)
    line = "2026-11-20T09:00:00Z INFO started"
    assert read(f"<13>Nov 20 09:00:00 web01 {line}") == (13, TWO, "web01", None, None, line)
    assert read(line) == (None, "2026-11-20T09:00:00", None, None, None, "INFO started")


@pytest.mark.parametrize(
    ("text", "at", "host"),
    [
        ("<189>*Nov 20 09:00:00.411: ", TWO, None),
        ("<189>45: *Nov 20 09:00:00.411: ", TWO, None),
        ("<189>45: .Nov 20 2026 02:00:00.411 UTC: ", TWO, None),
        ("<189>000045: 000046: *Nov 20 09:00:00: ", TWO, None),
        ("<189>45: rtr1: *Nov 20 09:00:00.411 ICT: ", TWO, "rtr1"),
        ("<189>45: 10.1.1.1: 000046: Nov 20 09:00:00: ", TWO, "10.1.1.1"),
        ("<189>Nov 20 08:59:00 10.1.1.1 45: *Nov 20 09:00:00.411: ", TWO, "10.1.1.1"),
        ("<189>12: 3w2d: ", None, None),
        ("<189>12: 1y3w: ", None, None),
        ("<189>12: 00:00:15: ", None, None),
    ],
)
def test_cisco_headers(text, at, host):
    """Sequence numbers, an origin-id, a clock that is not set, the time since boot, a relay before it."""
    assert read(f"{text}%SYS-5-CONFIG_I: x") == (189, at, host, None, None, "%SYS-5-CONFIG_I: x")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
    ],
)
def test_ipv6_hosts(host, expected):
    """With a zone, in brackets, mapped."""
    assert read(f"<13>Nov 20 09:00:00 {host} p[1]: x") == (13, TWO, expected, "p", "1", "x")


def test_a_missing_host_is_none():
    """The tag is not taken for one, nor is syslogd's remark on repetition."""
    assert read("<13>Nov 20 09:00:00 p[1]: x") == (13, TWO, None, "p", "1", "x")
    repeated = "last message repeated 3 times"
    assert read(f"<13>Nov 20 09:00:00 {repeated}") == (13, TWO, None, None, None, repeated)


@pytest.mark.parametrize(
    "text",
    [
        "<13>Nov 20 09:01:00 relay <34>Nov 20 09:00:00 web01 su[2]: x",
        "<34>Nov 20 09:01:00 relay Nov 20 09:00:00 web01 su[2]: x",
        "<34>Nov 20 09:01:00 Nov 20 09:00:00 web01 su[2]: x",
        "<13>1 2026-11-20T02:01:00Z relay - - - - <34>Nov 20 09:00:00 web01 su[2]: x",
        "<13>Nov 20 09:01:00 relay <34>1 2026-11-20T02:00:00Z web01 su 2 - - x",
        "<34>Nov 20 09:01:00 relay 1 2026-11-20T02:00:00Z web01 su 2 - - x",
        "<13>Nov 20 09:02:00 r2 <13>Nov 20 09:01:00 r1 <34>Nov 20 09:00:00 web01 su[2]: x",
    ],
)
def test_doubled_headers_give_the_device(text):
    """What a relay put before the device's own header does not hide who spoke, when and how urgent."""
    assert read(text) == (34, TWO, "web01", "su", "2", "x")


def test_a_header_inside_a_tagged_message_is_text():
    """A user who writes a header into a program's message does not become another host."""
    inner = "<34>Nov 20 09:00:00 victim sshd[1]: Accepted password for root"
    assert read(f"<13>Nov 20 09:00:00 web01 logger: {inner}") == (13, TWO, "web01", "logger", None, inner)


def test_meraki_puts_a_version_before_seconds():
    """`<134>1 1380664922.583851938 MX84 flows …` is no RFC 5424."""
    assert read("<134>1 1795140000.583851938 MX84 flows src=1.2.3.4") == (
        134, TWO, "MX84", None, None, "flows src=1.2.3.4",
    )  # fmt: skip


def test_line_feeds_and_nuls_inside_stay():
    """Only the end is trimmed."""
    assert read("<13>Nov 20 09:00:00 h p: one\ntwo\0three\n")[5] == "one\ntwo\0three"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", [True, False])
def test_utf16_is_read_and_flagged(encoding, mark):
    """With and without its byte order mark; the bytes are kept."""
    text = "<13>Nov 20 09:00:00 máy01 dịch-vụ: đăng nhập thành công"
    record = (("\ufeff" if mark else "") + text).encode(encoding)
    envelope = Envelope(RawBlock.of([record, b"<13>plain"], receipt_ns=RECEIPT_US * 1000), 0)
    assert envelope.texts() == [text, "<13>plain"]
    assert envelope.flags == {0: ("utf16",)}
    assert envelope.originals == [record, None]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_cut_at_line_feeds_is_read(encoding):
    """A stream of lines is cut in the middle of its line feeds."""
    lines = ["<13>Nov 20 09:00:00 h p: first", "<13>Nov 20 09:00:00 h p: second\r", "<13>Nov 20 09:00:00 h p: x"]
    found = [utf16(record) for record in "\n".join(lines).encode(encoding).split(b"\n")]
    assert found == [line.rstrip("\r") for line in lines]


def test_padding_is_not_utf16():
    """NULs at the end or inside do not make it wide."""
    assert utf16(b"<13>abc\0\0\0\0") is None
    assert utf16(b"<13>one\0two\0three") is None


def test_flags_of_the_receiver_are_told():
    """A record that was cut says so in `soc.flags`."""
    block = RawBlock.of([b"a", b"b"], receipt_ns=0, flags=bytes([INCOMPLETE, OVERSIZE | INCOMPLETE]))
    assert Envelope(block, 0).flags == {0: ("incomplete",), 1: ("oversize", "incomplete")}


PIECES = st.sampled_from(
    ["<13>", "<34>1 ", "Nov 20 09:00:00 ", "2026-11-20T09:00:00Z ", "relay ", "45: ", "*", "[2001:db8::1] ", "su[1]: ",
     "- ", "\ufeff", "\0", "%ASA-6-1: ", "3w2d: ", "1795140000 ", "20/11/2026 09:00:00 ", "+0700 ", "x"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=12).map("".join))
def test_any_mix_of_headers_gives_one_record(text):
    """Whatever is put together, there is one record, and its message is part of the text."""
    h = syslog.decode([text], [RECEIPT_US])
    assert len(h.message) == len(h.at_us) == 1
    assert h.message[0] in text or h.message[0].startswith("last ")


@given(st.binary(max_size=64))
def test_any_bytes_are_utf16_or_not(record):
    """Bytes of strangers never raise."""
    assert utf16(record) is None or isinstance(utf16(record), str)


@pytest.mark.parametrize("piece", ["<13>", "45: ", "1 ", "\0", " ", "Nov 20 09:00:00 ", "<", "[", "a:", "9", "%a", "-"])
def test_long_hostile_lines_cost_little(piece):
    """No pattern takes more than linear time."""
    text = piece * (65536 // len(piece))
    began = time.process_time()
    syslog.decode([text, f"<13>{text}", f"<13>Nov 20 09:00:00 {text}", f"<13>1 - - - - - {text}"], [RECEIPT_US] * 4)
    assert time.process_time() - began < 5  # 0.02; what is not linear takes minutes
