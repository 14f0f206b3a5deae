"""Reading a document key by key: what is missing, mistyped or unknown, all at once and with the nearest name."""

from __future__ import annotations

import pytest

from soc.content import Faults, Node, loads
from soc.errors import ContentError


def node(text: str) -> Node:
    (document,) = loads(text, "x.yml")
    return Node(document, Faults())


def said(read: Node) -> list[str]:
    return [str(fault).removeprefix("x.yml:") for fault in read.faults.found]


def test_each_kind_of_value_is_read():
    """What is there comes back as asked for."""
    read = node("t: a\ni: 7\nn: 1.5\nf: true\nc: b\nl: [a, 1]\none: a\nm: {x: 1}\n")
    assert (read.text("t"), read.integer("i"), read.number("n"), read.number("i")) == ("a", 7, 1.5, 7.0)
    assert (read.flag("f"), read.choice("c", ("a", "b"))) == (True, "b")
    assert (read.texts("l"), read.texts("one"), read.mapping("m")) == (("a", "1"), ("a",), {"x": 1})
    assert said(read) == []


def test_what_is_missing_is_its_default():
    """Absent and null are one thing."""
    read = node("t:\ni: null\n")
    assert (read.text("t", "d"), read.integer("i", 3), read.number("n", 1.5), read.flag("f", True)) == (
        "d",
        3,
        1.5,
        True,
    )
    assert (read.choice("c", ("a",), "a"), read.texts("l"), read.mapping("m"), read.child("k")) == ("a", (), {}, None)
    assert (read.children("s"), list(read.named_children("o")), read.has("t")) == ([], [], False)
    assert said(read) == []


@pytest.mark.parametrize(
    ("text", "method", "message"),
    [
        ("k: [1]", "text", "1: 'k' should be text, not a list"),
        ("k: {a: 1}", "text", "1: 'k' should be text, not a mapping"),
        ("k: x", "integer", "1: 'k' should be a whole number, not text"),
        ("k: true", "integer", "1: 'k' should be a whole number, not true/false"),
        ("k: 1.5", "integer", "1: 'k' should be a whole number, not float 1.5"),
        ("k: x", "number", "1: 'k' should be a number, not text"),
        ("k: 1", "flag", "1: 'k' should be true or false, not int 1"),
        ("k: [[1]]", "texts", "1: 'k' should be a list of texts"),
        ("k: [1]", "mapping", "1: 'k' should be a mapping, not a list"),
        ("k: x", "children", "1: 'k' should be a list, not text"),
    ],
)
def test_a_wrong_type_is_told(text, method, message):
    """What was expected, what stands there, and where; the reader gets the empty value and reads on."""
    read = node(text)
    assert not getattr(read, method)("k")
    assert said(read) == [message]


@pytest.mark.parametrize("method", ["text", "integer", "number", "texts", "mapping", "child", "children"])
def test_a_required_key_is_missed(method):
    """With the line of the mapping that lacks it."""
    read = node("a:\n  b: 1\n")
    inner = read.child("a")
    getattr(inner, method)("k", required=True)
    assert said(read) == ["1: 'k' is missing"]


def test_a_choice_names_what_there_is_and_the_nearest():
    """A typo is answered with the word that was meant."""
    read = node("id: x\nlevel: hihg\n")
    assert read.choice("level", ("low", "medium", "high"), "low") == "low"
    assert said(read) == ["2: unknown level 'hihg'; one of low, medium, high (did you mean 'high'?)"]


def test_unknown_keys_are_told_with_the_nearest_name():
    """Every key that nobody read, on its own line, on every level; `also` are known and not read."""
    read = node("titel: a\nid: x\nstatus: new\nsub:\n  - {naem: b, name: c}\n")
    read.text("id")
    read.text("title")
    (sub,) = read.children("sub")
    sub.text("name")
    sub.finish()
    read.finish(also=("status",))
    assert said(read) == [
        "5: unknown key 'naem' (did you mean 'name'?)",
        "1: unknown key 'titel' (did you mean 'title'?)",
    ]


def test_faults_are_collected_and_raised_in_file_order():
    """A reader goes on after a fault; at the end all of them are raised together."""
    read = node("a: x\nb: y\nc: {d: 1}\n")
    read.integer("b")
    read.integer("a")
    read.fault("my own", "c", "d")
    with pytest.raises(ContentError) as caught:
        read.faults.raise_if_any()
    assert str(caught.value).splitlines() == [
        "x.yml:1: 'a' should be a whole number, not text",
        "x.yml:2: 'b' should be a whole number, not text",
        "x.yml:3: my own",
    ]


def test_a_document_that_is_no_mapping_is_told_and_read_as_empty():
    """A list or a word where a definition should stand."""
    read = node("- a\n- b\n")
    assert read.text("id") == ""
    assert said(read) == ["1: expected a mapping, not a list"]


def test_members_that_are_no_mappings_are_told_with_their_lines():
    """In lists and in named mappings."""
    read = node("l:\n  - {a: 1}\n  - x\nm:\n  n: {a: 1}\n  o: 7\n")
    assert [child.data for child in read.children("l")] == [{"a": 1}, {}]
    assert [(name, child.data) for name, child in read.named_children("m")] == [("n", {"a": 1}), ("o", {})]
    assert said(read) == ["3: expected a mapping, not text", "6: expected a mapping, not int 7"]


def test_no_fault_raises_nothing():
    """A right definition passes."""
    read = node("id: x\n")
    assert (read.text("id", required=True), read.line("id")) == ("x", 1)
    read.finish()
    assert read.faults.raise_if_any() is None
