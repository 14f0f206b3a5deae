"""Syslog framing over streams."""

from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from soc.collectors import framing
from soc.collectors.framing import SyslogFramer
from soc.model.record import INCOMPLETE, OVERSIZE


def frame(chunks, max_bytes=65536):
    """Everything a framer makes of a connection that sends these chunks and closes: (message, flags)."""
    framer = SyslogFramer(max_bytes)
    found = []
    for records, flags in [*(framer.feed(chunk) for chunk in chunks), framer.close()]:
        found += [(record, flags.get(i, 0)) for i, record in enumerate(records)]
    return found


def messages(data, **options):
    return [record for record, _ in frame([data], **options)]


STREAM = st.lists(
    st.sampled_from(
        [b"<", b">", b"\n", b"\0", b"\r", b" ", b"1", b"12", b"5 <1>ab", b"3 <", b"abc", b"<34>x", b"99999"]
    )
).map(b"".join)


@settings(max_examples=500)
@given(STREAM, st.lists(st.integers(0, 60)), st.sampled_from([4, 8, 64]))
def test_splitting_makes_no_difference(data, cuts, max_bytes):
    """However a stream is cut into reads, the same messages with the same flags come out."""
    cuts = sorted({cut for cut in cuts if cut <= len(data)})
    chunks = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert (
        frame(chunks, max_bytes)
        == frame([data], max_bytes)
        == frame([data[i : i + 1] for i in range(len(data))], max_bytes)
    )


COUNTED = st.builds(
    lambda pieces, end: b"".join(pieces) + end,
    st.lists(
        st.one_of(
            st.binary(max_size=12).map(lambda b: b"%d <%b" % (len(b) + 1, b)),
            st.sampled_from([9, 10, 99, 100, 101, 998, 999, 1000, 1001]).map(lambda n: b"%d <1>" % n + b"7" * (n - 3)),
            st.sampled_from(
                [b"5 <1>ab\n", b"6 <1 2 <", b"05 <1>ab", b"12 z\x78\x9c bad zlib", b"3 abc", b"0 <", b"2 <"]
            ),
        ),
        max_size=12,
    ),
    st.sampled_from([b"", b"9", b"9 ", b"9 <1>", b"<1>line\n"]),
)


@settings(max_examples=600)
@given(COUNTED | STREAM, st.sampled_from([4, 64, 1000, 65536]))
def test_many_at_once_are_the_same_as_one_by_one(data, max_bytes):
    """Large reads are searched by vectors, small ones by hand; `_MANY` alone decides."""
    with mock.patch.object(framing, "_MANY", 1):
        at_once = frame([data], max_bytes)
    assert at_once == frame([data], max_bytes)


def test_large_reads_of_every_framing():
    """Real sizes, through the vectors: counts of one to four digits, markers inside of messages, empty lines."""
    records = [b"<13>%d 12 <5>" % i + b"x" * (i * 7 % 1400) for i in range(3000)] + [b"<1", b"<12345678"] * 50
    for counted in (records, [*records, b"<1>\xff\xff", *records]):
        assert messages(b"".join(b"%d %b" % (len(r), r) for r in counted)) == counted
    assert messages(b"".join(r + b"\n" for r in records)) == records
    assert messages(b"".join(r + b"\r\n" for r in records)) == records
    assert messages(b"".join(r + b"\0\0" for r in records)) == records


@given(st.lists(st.binary(min_size=1, max_size=50).map(lambda b: b"<1>" + b), min_size=1))
def test_octet_counting_carries_any_bytes(records):
    """Octet-counted messages come out as they went in, terminators and digits inside included."""
    assert messages(b"".join(b"%d %b" % (len(r), r) for r in records)) == records


@given(st.lists(st.binary(min_size=1, max_size=50).map(lambda b: b"<1>" + b.translate(None, b"\r\n\0")), min_size=1))
def test_terminated_messages_come_out(records):
    """LF- and NUL-terminated messages come out as they went in."""
    assert messages(b"".join(r + b"\n" for r in records)) == records
    assert messages(b"".join(r + b"\0" for r in records)) == records


@given(STREAM, st.sampled_from([4, 8, 64]))
def test_no_message_is_longer_than_the_limit(data, max_bytes):
    """No record exceeds the limit, and the framer never holds much more than it."""
    framer = SyslogFramer(max_bytes)
    longest = 0
    for i in range(len(data)):
        longest = max(longest, *map(len, framer.feed(data[i : i + 1])[0]), 0)
        assert len(framer._rest) <= max_bytes + 12
    assert longest <= max_bytes


def test_nul_framing_keeps_line_feeds():
    """When the first terminator is NUL, a line feed is part of the message."""
    assert messages(b"<1>a\0<1>b\nc\0") == [b"<1>a", b"<1>b\nc"]


def test_cr_before_lf_goes():
    """CR LF ends a line like LF."""
    assert messages(b"<1>a\r\n<1>b\r\n") == [b"<1>a", b"<1>b"]


def test_line_that_begins_with_a_number_is_a_line():
    """A number that no priority follows is text, not a count."""
    assert messages(b"12 monkeys\n<1>b\n") == [b"12 monkeys", b"<1>b"]


def test_oversize_line_is_cut_flagged_and_swallowed():
    """The rest of a cut line is no message of its own."""
    assert frame([b"<1>" + b"x" * 30 + b"\n<1>b\n"], 10) == [(b"<1>xxxxxxx", OVERSIZE), (b"<1>b", 0)]


def test_oversize_counted_message_is_cut_flagged_and_swallowed():
    """The rest of a cut counted message is skipped by its count."""
    assert frame([b"33 <1>" + b"x" * 30 + b"4 <1>b"], 10) == [(b"<1>xxxxxxx", OVERSIZE), (b"<1>b", 0)]


def test_counted_message_that_the_connection_cut_is_kept():
    """What came of a counted message before the end is kept and flagged."""
    assert frame([b"4 <1>b10 <1>ab"]) == [(b"<1>b", 0), (b"<1>ab", INCOMPLETE)]


def test_uncounted_terminator_between_counted_messages_is_skipped():
    """Senders that add an uncounted LF are understood."""
    assert messages(b"4 <1>a\n4 <1>b\n") == [b"<1>a", b"<1>b"]


def test_framing_is_told_anew_after_a_lost_count():
    """A peer that goes over to lines in the middle is still heard."""
    assert messages(b"4 <1>a<1>line\n<1>more\n") == [b"<1>a", b"<1>line", b"<1>more"]


def test_last_line_without_terminator_is_kept():
    """A peer that closes without a terminator loses nothing."""
    assert messages(b"<1>a\n<1>b") == [b"<1>a", b"<1>b"]


def test_a_count_does_not_begin_with_zero():
    """RFC 6587: MSG-LEN is NONZERO-DIGIT *DIGIT; what looks otherwise is a line."""
    assert messages(b"5 <1>ab05 <1>cd\n") == [b"<1>ab", b"05 <1>cd"]
