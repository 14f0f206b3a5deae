"""Definitions: all faults at once, with line and nearest name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from soc.content import shipped
from soc.errors import ContentError
from soc.parsers import ParserSet, check

GOOD = """
id: acme.box
title: Acme box
layer: network
recognise: {program: box}
fields: {acme.box.level: long}
shapes:
  - name: seen
    pattern: '(?P<who>\\S+) seen at (?P<level>\\d+)'
    fields: {user.name: who, acme.box.level: level}
tests:
  - {line: 'an seen at 7', origin: synthetic, expect: {user.name: an, acme.box.level: 7}}
"""


def test_a_definition_extends_the_dictionary(folder: Callable[[str], Path]) -> None:
    """Its `fields:` are known to everybody who uses the set."""
    parsers = ParserSet.load([folder(GOOD)])
    assert "acme.box.level" in parsers.fields
    assert parsers.products == ("acme.box",)


def test_its_tests_run(folder: Callable[[str], Path]) -> None:
    """A result for each test; one that does not hold says what is otherwise."""
    assert [r.ok for r in check([folder(GOOD)])] == [True]
    (result,) = check([folder(GOOD.replace("level: 7}", "level: 8}"))])
    assert (result.ok, result.message) == (False, "acme.box.level is 7, expected 8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("user.name: who", "user.nam: who", "a.yml:10: unknown field 'user.nam' (did you mean 'user.name'?)"),
        ("acme.box.level: long", "acme.box.level: lon", "a.yml:6: field 'acme.box.level': unknown type 'lon'"),
        ("acme.box.level: long", "user.name: long", "a.yml:6: field 'user.name' is keyword already"),
        ("{user.name: who", "{user.name: whom", "'whom' is no group of the pattern (did you mean 'who'?)"),
        ("layer: network", "layer: netwrk", "a.yml:4: unknown layer 'netwrk'"),
        ("shapes:", "shape:", "unknown key 'shape'"),
        ("\\\\S+) seen", "\\\\S+)+ seen", "a repeat inside a repeat"),
        ("origin: synthetic, ", "", "'origin' is missing"),
        ("origin: synthetic", "origin: vendor-doc", "states its 'reference'"),
        ("recognise: {program: box}", "recognise: {}", "nothing to recognise it by"),
        ("user.name: who", "event.id: who", "is written by the engine"),
    ],
)
def test_a_fault_has_its_place(folder: Callable[[str], Path], old: str, new: str, message: str) -> None:
    """File, line, what was expected, the nearest name."""
    old, new = old.replace("\\\\", "\\"), new.replace("\\\\", "\\")
    assert old in GOOD
    with pytest.raises(ContentError) as error:
        ParserSet.load([folder(GOOD.replace(old, new))])
    assert message in str(error.value)


def test_all_faults_come_together(folder: Callable[[str], Path]) -> None:
    """Two wrong names, two faults."""
    text = GOOD.replace("user.name: who, ", "user.nam: who, source.pi: who, ")
    with pytest.raises(ContentError) as error:
        ParserSet.load([folder(text)])
    assert len({f.message for f in error.value.faults}) >= 2


def test_what_ships_holds() -> None:
    """Every test of every shipped definition."""
    wrong = [r for r in check([shipped("parsers")]) if not r.ok]
    assert wrong == []


def test_every_shipped_definition_has_hit_miss_and_origin() -> None:
    """A text definition without a hit and a miss is not finished."""
    for definition in ParserSet.load([shipped("parsers")]).definitions.values():
        assert any(case.expect for case in definition.cases), definition.id
        if definition.shapes:
            assert any(case.expect is None for case in definition.cases), definition.id


def test_a_site_replaces_by_id(folder: Callable[[str], Path]) -> None:
    """The later folder wins."""
    parsers = ParserSet.load([shipped("parsers"), folder(GOOD.replace("acme.box\n", "linux.sshd\n"))])
    assert parsers.definitions["linux.sshd"].title == "Acme box"
