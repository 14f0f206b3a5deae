"""What people write becomes a tree, or a fault with its column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.errors import QueryError
from soc.model.fields import FIELDS
from soc.model.query import And, Between, Equals, Exists, InNetwork, MatchAll, Not, Or, Query, Wildcard, Word
from soc.store.query import MAX_DEPTH, MAX_LENGTH, parse


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", MatchAll()),
        ("*", MatchAll()),
        ("user.name:admin", Equals("user.name", "admin")),
        ('user.name:"a b"', Equals("user.name", "a b")),
        ('user.name:"a*"', Equals("user.name", "a*")),
        (r"user.name:a\*", Equals("user.name", "a*")),
        (r"user.name:a\ b", Equals("user.name", "a b")),
        ("user.name:*", Exists("user.name")),
        ("user.name:adm*n?", Wildcard("user.name", "adm*n?")),
        ("source.ip:10.0.0.0/8", InNetwork("source.ip", "10.0.0.0/8")),
        ("source.ip:10.1.2.3/8", InNetwork("source.ip", "10.0.0.0/8")),
        ("source.ip:2001:DB8::/32", InNetwork("source.ip", "2001:db8::/32")),
        ("source.ip:2001:db8:0::1", Equals("source.ip", "2001:db8::1")),
        ("source.ip:::1", Equals("source.ip", "::1")),
        ("source.port >= 1024", Between("source.port", low=1024)),
        ("source.port<0x10", Between("source.port", high=16, high_strict=True)),
        ('@timestamp >= "2026-11-20T00:00:00+07:00"', Between("@timestamp", low=1_795_107_600_000_000)),
        ("@timestamp < 2026-11-20T00:00:00Z", Between("@timestamp", high=1_795_132_800_000_000, high_strict=True)),
        ("failed", Word("failed")),
        ('"failed password"', Word("failed password")),
        ("a b", And((Word("a"), Word("b")))),
        ("a and b or c", Or((And((Word("a"), Word("b"))), Word("c")))),
        ("a and (b or c)", And((Word("a"), Or((Word("b"), Word("c")))))),
        ("not a b", And((Not(Word("a")), Word("b")))),
        ("NOT (a OR b)", Not(Or((Word("a"), Word("b"))))),
        ("user.name:(a or b)", Or((Equals("user.name", "a"), Equals("user.name", "b")))),
        ("user.name:(a or not b)", Or((Equals("user.name", "a"), Not(Equals("user.name", "b"))))),
        ('"and"', Word("and")),
        ("fail*", Or((Wildcard("event.original", "*fail**"), Wildcard("message", "*fail**")))),
        ("winlog.event_data.LogonType:3", Equals("winlog.event_data.LogonType", "3")),
        ("event.id:00ff", Equals("event.id", b"\x00\xff")),
        ("tags:x", Equals("tags", "x")),
        ("soc.rest:x", Wildcard("soc.rest", "*x*")),
        (r'file.path:"C:\Users\x"', Equals("file.path", r"C:\Users\x")),
    ],
)
def test_what_people_write(text: str, tree: Query) -> None:
    """Each form of the language has one tree."""
    assert parse(text, FIELDS) == tree


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("user.nme:x", 1, "did you mean 'user.name'"),
        ("a and user.nme:x", 7, "unknown field 'user.nme'"),
        ("source.port:abc", 13, "is long"),
        ("source.ip:10.0.0.300", 11, "no IP address"),
        ("source.ip:10.0.0.0/99", 11, "no network"),
        ("source.ip > 1", 13, "no order"),
        ("source.port:1*", 13, "wildcards are for text"),
        ("@timestamp >= 2026-11-20T00:00:00", 15, "zone"),
        ('a "b', 3, "never closed"),
        ("(a or b", 1, "never closed"),
        ("a)", 2, "not expected"),
        ("a and", 6, "found the end"),
        ("or a", 1, "found 'or'"),
        ("user.name:", 11, "a value of 'user.name'"),
        ("a = b", 3, "field:value"),
        ('""', 1, "nothing to look for"),
    ],
)
def test_what_they_are_told(text: str, column: int, message: str) -> None:
    """An error names the 1-based column and the way out."""
    with pytest.raises(QueryError) as caught:
        parse(text, FIELDS)
    assert message in str(caught.value)
    assert caught.value.column == column


@pytest.mark.parametrize("text", ["(" * 200 + "a" + ")" * 200, "not " * 200 + "a", "a " * 2000, "a" * (MAX_LENGTH + 1)])
def test_bounds(text: str) -> None:
    """Depth, terms and length are bounded, so that no text exhausts the process."""
    with pytest.raises(QueryError):
        parse(text, FIELDS)


def test_depth_that_is_allowed() -> None:
    """The bound itself is still inside."""
    assert parse("(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH, FIELDS) == Word("a")


@given(st.text(alphabet='ab:()"\\*?<>= \t.', max_size=40) | st.text(max_size=40))
def test_any_text_is_a_tree_or_a_query_error(text: str) -> None:
    """Nothing that a person can type raises anything else, and the column lies in the text."""
    column = 1
    try:
        parse(text, FIELDS)
    except QueryError as error:
        column = error.column
    assert 1 <= column <= len(text) + 1
