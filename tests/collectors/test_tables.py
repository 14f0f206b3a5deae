"""CSV, W3C extended logs and XML as records: each as it was written, with the header it stands under."""

import csv
import io
import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soc.collectors import tables, xml_records
from soc.collectors.files import detect_format, read_blocks
from soc.errors import SocError
from soc.model.clock import FixedClock

CLOCK = FixedClock(1_795_143_600_000_000_000)
EVENT = '<Event xmlns="http://schemas.microsoft.com/win/2004/08/events/event"><System><EventID>{}</EventID></System></Event>'


@pytest.fixture
def rows(tmp_path):
    def read(data, **options):
        path = tmp_path / "upload"
        path.write_bytes(data)
        return [
            (int(block.origin["first_record"]) + i, record, json.loads(block.origin.get("columns", "null")))
            for block in read_blocks(path, clock=CLOCK, **options)
            for i, record in enumerate(block.records())
        ]

    return read


@pytest.mark.parametrize("inside", ["\x0b", "\x1c", "\x85", "\u2028"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_value_does_not_hide_that_it_is_csv(inside, end):
    """Only what CSV ends lines with ends one."""
    lines = ["time,user,text", f"1,admin,a{inside}b", "2,root,c", ""]
    assert tables.csv_delimiter(end.join(lines).encode()) == ","


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_is_told_by_its_header(rows, delimiter):
    """And its rows stay as they came, line ends in quotes included."""
    header, first, second = ("time", "user", "note"), ("1", "lan", '"a\nb"'), ("2", f'"x{delimiter}y"', "z")
    text = "\r\n".join((delimiter.join(header), delimiter.join(first), "", delimiter.join(second), ""))
    assert detect_format(text.encode()) == "csv"
    found = [(number, record.decode(), names) for number, record, names in rows(text.encode())]
    assert found == [(2, delimiter.join(first), list(header)), (5, delimiter.join(second), list(header))]


@pytest.mark.parametrize("text", [
    "Nov 20 10:00:01 fw a,b,c\nNov 20 10:00:02 fw a,b,c\n", "a,b\n1,2\n", "one,two,three\njust text\n",
    "a,a,b\n1,2,3\n",
    "1,2,3\n4,5,6\n", "word\n",
])  # fmt: skip
def test_other_text_is_no_csv(text):
    """A log whose lines have commas stays a log."""
    assert detect_format(text.encode()) == "lines"


def test_a_quote_that_never_ends_takes_nothing_along(rows, monkeypatch):
    """The lines behind it come one by one."""
    monkeypatch.setattr(tables, "MAX_ROW", 1000)
    text = 'a,b,c\n1,2,3\n"open,2,3\n' + "".join(f"{i},2,3\n" for i in range(1000))
    found = rows(text.encode(), format="csv")
    assert b"\n".join(record for _, record, _ in found).split(b"\n") == text.encode().split(b"\n")[1:-1]


@pytest.mark.parametrize("damage", [b"", b"\0", b"\x00\xd8A\0", b"\x00\xdc"])
def test_damaged_utf_16_takes_no_row_along(rows, damage):
    """Half a character at the end, half a surrogate pair in the middle: the rows around it come, and the file ends."""
    table = ("a,b,c\n" + "".join(f"{i},x,y\n" for i in range(5000))).encode("utf-16-le")
    at = table.index(b"\n\0", 20_000) + 2 if len(damage) > 1 else len(table)
    found = rows(b"\xff\xfe" + table[:at] + damage + table[at:])
    assert sum(record.endswith(b",x,y") for _, record, _ in found) == 5000


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.lists(st.lists(st.text(max_size=8), min_size=3, max_size=3), min_size=1, max_size=8))
def test_what_a_csv_writer_wrote_comes_back(rows, table):
    """Row by row, whatever is in the cells."""
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["a", "b", "c"], *table])
    found = rows(out.getvalue().encode("utf-8", "replace"), format="csv")
    wanted = [[c.encode("utf-8", "replace").decode().replace("\0", "") for c in row] for row in table]
    cells = [next(csv.reader(io.StringIO(r.decode().replace("\0", ""), newline=""))) for _, r, _ in found]
    assert [c for c in cells if any(c)] == [row for row in wanted if any(row)]


def test_w3c_rows_stand_under_the_fields_before_them(rows):
    """Which may change in the middle of a file; directives are no records."""
    text = b"#Software: IIS\n#Version: 1.0\n#Fields: date time c-ip\n1 2 3\n#Fields: date x\n4 5\n"
    assert detect_format(text) == "w3c"
    assert rows(text) == [(4, b"1 2 3", ["date", "time", "c-ip"]), (6, b"4 5", ["date", "x"])]


def test_zeek_rows_stand_under_their_directives(tmp_path):
    """The header says what parts them; #close and a second header in the file are no records."""
    head = "#separator {}\n#set_separator{}|\n#path{}{}\n#fields{}ts{}uid\n#types{}time{}string\n"
    first, second = head.format("\\x09", "\t", "\t", "conn", *"\t" * 4), head.format("|", "|", "|", "dns", *"|" * 4)
    text = f"{first}1.5\tC1\n#close\t2026\n{second}2.5|C2\n"
    assert detect_format(text.encode()) == "zeek"
    path = tmp_path / "conn.log"
    path.write_text(text)
    found = [
        (b.format, b.origin["path"], b.origin["separator"], list(b.records())) for b in read_blocks(path, clock=CLOCK)
    ]
    assert found == [("zeek", "conn", "\t", [b"1.5\tC1"]), ("zeek", "dns", "|", [b"2.5|C2"])]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("around", ["{}", "<Events>{}</Events>", '<?xml version="1.0"?>\r\n<Events>\r\n {}</Events>'])
def test_windows_events_with_or_without_a_root(rows, encoding, around):
    """As the event viewer and wevtutil write them."""
    events = [EVENT.format(n) for n in range(500)]
    data = around.format("\r\n".join(events)).encode(encoding)
    assert detect_format(data[:4096]) == "xml"
    assert [record for _, record, _ in rows(data)] == [event.encode() for event in events]


@pytest.mark.parametrize("claimed", ["utf-16", "UTF-16LE", "idna", "undefined", "cp037"])
def test_xml_that_claims_what_it_is_not(rows, claimed):
    """Its first line can be read, so that it is no UTF-16: whoever wrote the file anew left the line as it was."""
    data = f'<?xml version="1.0" encoding="{claimed}"?><r><e>é</e></r>'.encode()
    assert [record for _, record, _ in rows(data, format="xml")] == ["<e>é</e>".encode()]


@pytest.mark.parametrize("claimed", ["zlib", "hex", "rot13", "base64", "no-such"])
def test_what_is_no_encoding_of_text_is_refused(rows, claimed):
    """Nothing is unpacked by the name of an encoding."""
    with pytest.raises(SocError, match=f"upload: '{claimed}' is no encoding of text"):
        rows(f'<?xml version="1.0" encoding="{claimed}"?><r><e/></r>'.encode(), format="xml")


def test_comments_before_a_fault_cost_no_time(rows):
    """They are looked through once, each of them."""
    data = b"<!--a-->" * 4000 + b"<r &"
    began = time.process_time()
    assert b"".join(record for _, record, _ in rows(data, format="xml")) == data
    assert time.process_time() - began < 20
    with pytest.raises(SocError, match="document type"):
        rows(b"<!--a-->" * 4000 + b"<!DOCTYPE r><r/>", format="xml")


def test_other_xml_gives_the_children_of_its_root(rows):
    """Attributes with brackets, empty elements, CDATA and comments are where they were."""
    data = b'<rows a="b"><r x=">"/><!-- no --><r><![CDATA[</r>]]></r> <s>t</s></rows>'
    assert [r for _, r, _ in rows(data, format="xml")] == [b'<r x=">"/>', b"<r><![CDATA[</r>]]></r>", b"<s>t</s>"]


@pytest.mark.parametrize("attack", [
    '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r><e>&x;</e></r>',
    '<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><r><e>&b;</e></r>',
    '<!DOCTYPE r SYSTEM "http://127.0.0.1/x.dtd"><r><e/></r>',
    "<r>" * 200,
])  # fmt: skip
def test_attacks_are_refused(rows, attack):
    """Nothing is fetched, nothing expands."""
    with pytest.raises(SocError, match=r"document type|inside each other"):
        rows(attack.encode(), format="xml")


def test_an_element_without_end_is_refused(rows, monkeypatch):
    """Memory stays bounded."""
    monkeypatch.setattr(xml_records, "MAX_ELEMENT", 100_000)
    with pytest.raises(SocError, match="more than 100000 bytes"):
        rows(b"<r><e>" + b"x" * 500_000 + b"</e></r>", format="xml")


def test_what_follows_a_fault_is_kept(rows):
    """As it is."""
    data = (EVENT.format(1) + EVENT.format(2) + "<Event><Broken" + EVENT.format(3)).encode()
    found = [record for _, record, _ in rows(data, format="xml")]
    assert found[:2] == [EVENT.format(1).encode(), EVENT.format(2).encode()]
    assert b"".join(found[2:]) == ("<Event><Broken" + EVENT.format(3)).encode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_loses_no_other_event(rows, data):
    """Records, or one clear error; the events before the damage are there."""
    events = [EVENT.format(n) for n in range(20)]
    broken = bytearray("".join(events).encode())
    at = data.draw(st.integers(0, len(broken) - 1))
    broken[at] = data.draw(st.integers(0, 255))
    whole = at // len(events[0])
    try:
        found = [record for _, record, _ in rows(bytes(broken), format="xml")]
    except SocError:
        return
    assert found[: min(whole, 10)] == [e.encode() for e in events[: min(whole, 10)]]
