"""Syslog headers as devices send them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.model.values import iso
from soc.parsers.decoders import syslog

RECEIPT_US = 1_795_143_600_000_000  # 2026-11-20T03:00:00Z


@pytest.mark.parametrize(
    ("text", "at", "host", "program", "pid", "message"),
    [
        ("<34>Nov 20 09:00:00 web01 su[231]: hi", "02:00:00", "web01", "su", "231", "hi"),
        ("Nov 20 09:00:00 web01 su: hi", "02:00:00", "web01", "su", None, "hi"),
        ("<34>Nov 20 09:00:00 su[231]: hi", "02:00:00", None, "su", "231", "hi"),
        ("<34>Nov 20 09:00:00 sshd: hi", "02:00:00", None, "sshd", None, "hi"),
        ("<166>Nov 20 2026 09:00:00: %ASA-6-1: hi", "02:00:00", None, None, None, "%ASA-6-1: hi"),
        ("<166>Nov 20 2026 09:00:00 fw : %ASA-6-1: hi", "02:00:00", "fw", None, None, "%ASA-6-1: hi"),
        ("<166>:Nov 20 02:00:00 UTC: %ASA-6-1: hi", "02:00:00", None, None, None, "%ASA-6-1: hi"),
        ("*Nov 20 02:00:00.000 UTC: %ASA-6-1: hi", "02:00:00", None, None, None, "%ASA-6-1: hi"),
        ("<189>45: *Nov 20 09:00:00.000: %SYS-5-X: hi", "02:00:00", None, None, None, "%SYS-5-X: hi"),
        ("<13>2026-11-20T09:00:00+07:00 h p[1]: hi", "02:00:00", "h", "p", "1", "hi"),
        ("<13>Nov 20 09:00:00 2001:db8::1 p: hi", "02:00:00", "2001:db8::1", "p", None, "hi"),
        ("<13>1 2026-11-20T02:00:00Z h p 1 id - hi", "02:00:00", "h", "p", "1", "hi"),
        ("<13>1 - - - - - -", None, None, None, None, ""),
        ("<13>nothing else", None, None, None, None, "nothing else"),
        ("sshd[12]: hi", None, None, "sshd", "12", "hi"),
        ("just text", None, None, None, None, "just text"),
    ],
)
def test_dialect(
    text: str, at: str | None, host: str | None, program: str | None, pid: str | None, message: str
) -> None:
    """Each dialect gives its time, host, program, process and message."""
    h = syslog.decode([text], [RECEIPT_US])
    time = None if h.at_us[0] is None else iso(h.at_us[0])[11:19]
    assert (time, h.host[0], h.program[0], h.pid[0], h.message[0]) == (at, host, program, pid, message)


def test_structured_data_is_read_with_its_escapes() -> None:
    """RFC 5424 section 6.3.3: a quote, a backslash and a bracket are escaped in a value."""
    text = r'<13>1 - h p - - [a@1 x="1\"\]" y=""][b@1] hello'
    h = syslog.decode([text], [RECEIPT_US])
    assert h.structured[0] == {"a@1": {"x": '1"]', "y": ""}, "b@1": {}}
    assert h.message == ["hello"]


def test_broken_structured_data_stay_in_the_message() -> None:
    """Nothing is lost when an element does not close."""
    h = syslog.decode(['<13>1 - h p - - [a x="1 hello'], [RECEIPT_US])
    assert h.message == ['[a x="1 hello']


def test_a_priority_beyond_191_is_none() -> None:
    """RFC 5424 section 6.2.1: the largest is 191."""
    assert syslog.decode(["<999>Nov 20 09:00:00 h p: x"], [RECEIPT_US]).priority == [None]


@given(st.lists(st.text() | st.from_regex(r"<\d{1,3}>(1 |)[A-Z][a-z]{2} \d+ .{0,80}"), max_size=5))
def test_any_text_gives_one_header_each(texts: list[str]) -> None:
    """Hostile text never raises and never loses a record."""
    h = syslog.decode(texts, [RECEIPT_US] * len(texts))
    assert len(h.message) == len(h.at_us) == len(h.host) == len(texts)
