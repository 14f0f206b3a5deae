"""YAML text to data with line numbers: every fault at once, nothing executed, nothing without bound."""

from __future__ import annotations

import ast
import os
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import soc
from soc.content import Document, load, loads, readable, yaml_files
from soc.content.document import MAX_BYTES
from soc.errors import EXIT_USAGE, ContentError

TEXT = """\
# a comment
id: x
fields:
  source.ip: ip

  user.name:
    from: user
tests:
  - line: a
    expect: {b: 1}
  - line: >
      folded
      text
"""


def faults(text: str | bytes) -> list[tuple[int, str]]:
    """Line and message of every fault."""
    with pytest.raises(ContentError) as caught:
        loads(text, "x.yml")
    assert caught.value.exit_code == EXIT_USAGE
    return [(fault.line, fault.message) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ((), 2),
        (("id",), 2),
        (("fields", "source.ip"), 4),
        (("fields", "user.name", "from"), 7),
        (("tests", 0), 9),
        (("tests", 0, "expect", "b"), 10),
        (("tests", 1, "line"), 11),
        (("fields", "user.name", "nowhere"), 6),
        (("nowhere",), 2),
    ],
)
def test_every_key_path_knows_its_line(keys, line):
    """The line of the key; of the nearest parent when the path is not there."""
    (document,) = loads(TEXT, "x.yml")
    assert document.line(*keys) == line


def test_the_documents_of_one_file_count_on():
    """Lines are those of the file, not of the document."""
    one, two = loads("id: a\n---\n# b\nid: b\nx: 1\n", "x.yml")
    assert [(d.data["id"], d.line("id")) for d in (one, two)] == [("a", 1), ("b", 4)]
    assert str(two.fault("wrong", "x")) == "x.yml:5: wrong"


def test_words_become_plain_data():
    """Text, numbers, truth, dates, nothing."""
    (document,) = loads("a: x\nb: 7\nc: 1.5\nd: true\ne:\nf: 2026-11-25\ng: '7'\n1: one\n", "x.yml")
    data = document.data
    assert (data["a"], data["b"], data["c"], data["d"], data["e"], data["g"], data["1"]) == (
        "x", 7, 1.5, True, None, "7", "one",
    )  # fmt: skip
    assert data["f"].isoformat() == "2026-11-25"


def test_all_faults_come_at_once():
    """Doubled keys on two levels, a key that is a list, an impossible date, a tag: five faults, five lines."""
    text = "a: 1\nb: {x: 1, x: 2}\na: 2\n? [k]\n: 1\nd: 2026-13-45\ne: !secret y\n"
    assert faults(text) == [
        (2, "key 'x' stands twice"),
        (3, "key 'a' stands twice"),
        (4, "a key must be a plain word"),
        (6, "unreadable value '2026-13-45': month must be in 1..12"),
        (7, "unreadable value 'y': could not determine a constructor for the tag '!secret'"),
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a:\n\t- b", (2, "no YAML: found character that cannot start any token")),
        ("a: *nope", (1, "no YAML: found undefined alias")),
        ("a: 'x\nb: 1", (2, "no YAML: found unexpected end of stream")),
        ("a: x\nb: \x07", (1, "no YAML: unacceptable character #x0007: control characters are not allowed")),
        ("a: \ud800", (1, "no Unicode text: surrogates not allowed")),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line(text, fault):
    """The parser's own words, one sentence."""
    assert faults(text) == [fault]


def test_a_long_unreadable_value_is_cut_in_the_message():
    """A message is a sentence, whatever the file holds."""
    ((line, message),) = faults("a: 1\nb: !!int " + "9" * 5000)
    assert line == 2
    assert len(message) < 300


# nothing executed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch PROOF']",
        "!!python/object/new:os.system ['touch PROOF']",
        "!!python/name:os.system x",
        "!!python/module:os x",
        "!!python/object:soc.errors.Fault {line: 1}",
        "!own {a: 1}",
        "!!set {a, b}",
    ],
)
def test_no_tag_makes_an_object(tmp_path, monkeypatch, value):
    """A definition is data: a tag that wants more is a fault on its line, and nothing ran."""
    monkeypatch.chdir(tmp_path)
    ((line, _),) = faults(f"id: x\na: {value}\n")
    assert line == 2
    assert list(tmp_path.iterdir()) == []


def test_nothing_in_soc_calls_a_loader_of_yaml():
    """`yaml.load` and its kin build objects and know no lines; only `compose_all` is used, and only here."""
    used = set()
    for path in Path(soc.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "yaml":
                used.add(node.attr)
    assert used == {
        "compose_all", "SafeLoader", "MappingNode", "SequenceNode", "ScalarNode", "YAMLError", "MarkedYAMLError",
    }  # fmt: skip


def test_a_merge_key_is_an_ordinary_key():
    """`<<` is not expanded: whoever reads the document refuses it as unknown, with its line."""
    (document,) = loads("base: &b {x: 1}\nc:\n  <<: *b\n", "x.yml")
    assert document.data["c"] == {"<<": {"x": 1}}


# nothing without bound -----------------------------------------------------------------------------------------------


def test_an_alias_is_what_it_names():
    """Honest use of anchors works; each use has the line where it was written."""
    (document,) = loads("a: &l [1, 2]\nb: *l\n", "x.yml")
    assert document.data == {"a": [1, 2], "b": [1, 2]}
    assert document.line("b") == 2


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefghij", "bcdefghijk", strict=True)
)
DEEP = ["[" * 5000 + "]" * 5000, "- " * 5000 + "x", "{a: " * 200 + "1" + "}" * 200, "[" * 400_000]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "more than 200000 values"),
        ("[" + "1," * 300_000 + "]", "more than 200000 values"),
        ("a: &a [*a]", "nested too deeply"),
        ("a: &a {b: *a}", "nested too deeply"),
        *((text, "nest") for text in DEEP),
    ],
    ids=["aliases", "values", "alias in itself", "mapping in itself", "lists", "dashes", "mappings", "unclosed"],
)
def test_a_bomb_is_refused_quickly(text, message):
    """Ten lines that would be 31 billion values, endless aliases, a hundred thousand brackets: one fault, soon."""
    began = time.process_time()
    ((_, found),) = faults(text)
    assert message in found
    assert time.process_time() - began < 60


def test_a_huge_file_is_refused_unread(tmp_path):
    """A terabyte costs no more than its first mebibyte."""
    path = tmp_path / "x.yml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ContentError, match=rf"x\.yml:1: larger than {MAX_BYTES} bytes"):
        load(path)


def test_an_endless_device_is_refused(tmp_path):
    """A link to /dev/zero has size 0 and no end."""
    (tmp_path / "x.yml").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="no plain file"):
        load(tmp_path / "x.yml")


def test_what_is_no_utf8_is_told_with_its_line(tmp_path):
    """Windows-1258 text from an old editor."""
    path = tmp_path / "x.yml"
    path.write_bytes("id: x\ntitle: Đăng nhập\n".encode("cp1258", "replace"))
    with pytest.raises(ContentError, match=r"x\.yml:2: no UTF-8 text"):
        load(path)


def test_a_byte_order_mark_and_vietnamese_are_read(tmp_path):
    """UTF-8 with or without its mark."""
    path = tmp_path / "x.yml"
    path.write_bytes(b"\xef\xbb\xbf" + "title: Đăng nhập thất bại\n".encode())
    assert [d.data for d in load(path)] == [{"title": "Đăng nhập thất bại"}]


@given(st.text(st.characters(codec=None), max_size=80) | st.text("ab:-[]{}&*!|>?#%@`'\"\n\t ,<1", max_size=60))
@example("%YAML 9.9\n---\na")
@example("--- !<tag:yaml.org,2002:seq> x")
@example("- !!seq x")
@example("!!map x: 1")
@example("!!float ''")
@example("!!timestamp x")
@example("!!bool x")
@example("!!binary '*'")
def test_any_text_is_documents_or_faults(text):
    """Whatever stands there, no other error leaves."""
    try:
        found = loads(text, "x.yml")
    except ContentError as error:
        assert error.faults, "a ContentError without a fault says nothing"  # noqa: PT017
    else:
        assert all(isinstance(document, Document) for document in found)


def test_yaml_files_are_found_sorted_without_hidden_ones(tmp_path):
    """Both endings, below folders; no hidden folder, no other file; a file is itself."""
    for name in ("b.yml", "a/c.yaml", "a/d.txt", ".git/e.yml", "a/.f/g.yml", "h.ymml", "a/I.YML"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.relative_to(tmp_path).as_posix() for p in yaml_files(tmp_path)] == [
        "a/I.YML", "a/c.yaml", "b.yml",
    ]  # fmt: skip
    assert list(yaml_files(tmp_path / "b.yml")) == [tmp_path / "b.yml"]
    assert list(yaml_files(tmp_path / "nowhere")) == []


def test_a_broken_document_takes_no_other_of_its_file_along():
    """Each loses only itself, with its line: what is no YAML, and what cannot be a value."""
    text = "id: a\n---\nid: [broken\nx: {\n---\nid: b\nc: 1\n---\nid: c\ndate: 2026-13-45\n---\nid: d\n---\n"
    found, faults = readable(text.encode(), "x.yml")
    assert [each.data["id"] for each in found] == ["a", "b", "d"]
    assert [each.line("c") for each in found[1:2]] == [7]
    assert [fault.line for fault in faults] == [4, 10]
    assert readable(b"id: a\n", "x.yml") == (loads("id: a\n", "x.yml"), [])
    assert len(readable(b"id: a\n---\nid: \xff\n", "x.yml")[1]) == 1
    assert readable(b"a: [\n", "x.yml")[0] == []


def test_a_document_of_nothing_is_none():
    """A comment alone, and a last `---`, as many files have it; a document that says null says so."""
    assert [each.data for each in loads("# only\n---\nid: a\n---\n# end\n", "x.yml")] == [{"id": "a"}]
    assert [each.data for each in loads("~\n", "x.yml")] == [None]


def test_a_pipe_in_a_folder_is_told_and_not_waited_for(tmp_path):
    """Nobody writes to it."""
    os.mkfifo(tmp_path / "x.yml")
    with pytest.raises(OSError, match="no plain file"):
        load(tmp_path / "x.yml")
