"""Each modifier and value of the Sigma specification 2.1, pinned by the sentence that says what it means."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from sigma.exceptions import SigmaError
from sigma.modifiers import modifier_mapping
from sigma.rule import SigmaRule

from soc.detections.sigma.rule import Refused, Rule
from tests.detections.support import holds, read

APPENDIX = {
    "all", "startswith", "endswith", "contains", "exists", "cased", "neq", "windash", "re", "i", "m", "s", "base64",
    "base64offset", "utf16le", "utf16be", "utf16", "wide", "lt", "lte", "gt", "gte", "minute", "hour", "day", "week",
    "month", "year", "cidr", "expand", "fieldref",
}  # fmt: skip
"""The modifiers that the appendix names, version 2.1.0 of 2025-08-02."""
EN, EM, BAR = "\u2013", "\u2014", "\u2015"
WHOAMI = "whoami"


def offset(data: bytes, before: bytes) -> str:
    """Base64 of a text in the middle of another one."""
    return base64.b64encode(before + data + b"zzz").decode()


# selection, the values of the event, whether it holds
CASES: dict[str, list[tuple[str, dict[str, Any], bool]]] = {
    # "Values are applied case sensitively. Default Sigma behavior is case-insensitive matching."
    "cased": [
        ("{F|cased: Abc}", {"F": "Abc"}, True), ("{F|cased: Abc}", {"F": "abc"}, False),
        ("{F|contains|cased: Abc}", {"F": "xAbcx"}, True), ("{F|cased|contains: Abc}", {"F": "xabcx"}, False),
        ("{F|cased|windash: '-Enc'}", {"F": "/Enc"}, True), ("{F|cased|windash: '-Enc'}", {"F": "/enc"}, False),
        ("{F|cased: 'A?c*'}", {"F": "Abcd"}, True), ("{F|cased: 'A?c*'}", {"F": "abcd"}, False),
        ("{F|cased|base64: abc}", {"F": base64.b64encode(b"abc").decode()}, True),
        ("{F|cased|base64: abc}", {"F": base64.b64encode(b"abc").decode().lower()}, False),
        ("{F|cased|fieldref: G}", {"F": "a", "G": "a"}, True), ("{F|cased|fieldref: G}", {"F": "a", "G": "A"}, False),
    ],
    # "Puts * wildcards around the values, such that the value is matched anywhere in the field." "can be applied on all
    # types of fields"
    "contains": [
        ("{F|contains: B}", {"F": "abc"}, True), ("{F|contains: b}", {"F": "ac"}, False),
        ("{F|contains: 56}", {"F": "4567"}, True), ("{F|contains: 56}", {"F": 4567}, True),
        ("{F|contains: true}", {"F": "is true"}, True), ("{F|contains: 'a*c'}", {"F": "xabcx"}, True),
        ("{F|contains: ''}", {"F": ""}, True), ("{F|contains: ''}", {"G": "x"}, False),
        ("{F|contains: []}", {"G": "x"}, True), ("{F|contains: [a, b]}", {"F": "xb"}, True),
        (r"{F|contains: '\'}", {"F": r"a\b"}, True), (r"{F|contains: '\*'}", {"F": "a*b"}, True),
        (r"{F|contains: '\*'}", {"F": "ab"}, False),
    ],
    # "The value is expected at the beginning of the field's content."
    "startswith": [
        ("{F|startswith: ab}", {"F": "Abc"}, True), ("{F|startswith: ab}", {"F": "xab"}, False),
        ("{F|startswith: 44}", {"F": 4688}, False), ("{F|startswith: 46}", {"F": 4688}, True),
        ("{F|re|startswith: 'a|b'}", {"F": "bx"}, True), ("{F|re|startswith: 'a|b'}", {"F": "xb"}, False),
        ("{'|startswith': zq}", {"F": "zqx"}, True), ("{'|startswith': zq}", {"F": "xzq"}, False),
    ],
    # "The value is expected at the end of the field's content"
    "endswith": [
        (r"{F|endswith: '\cmd.exe'}", {"F": r"C:\CMD.EXE"}, True), ("{F|endswith: a}", {"F": "ab"}, False),
        ("{F|endswith: 88}", {"F": "4688"}, True), ("{F|re|endswith: 'a|b'}", {"F": "xb"}, True),
        ("{F|re|endswith: 'a|b'}", {"F": "bx"}, False), ("{'|endswith': zq}", {"F": "zqx"}, False),
        ("{F|endswith: '\\\\'}", {"F": "C:\\"}, True),
    ],
    # "lists of values are linked with OR [...]. This modifier changes this to AND."
    "all": [
        ("{F|contains|all: [a, b]}", {"F": "xbxa"}, True), ("{F|contains|all: [a, b]}", {"F": "a"}, False),
        ("{F|re|all: [a, b]}", {"F": "ba"}, True), ("{'|all': [zq, qz]}", {"F": "zq", "G": "qz"}, True),
        ("{'|all': [zq, qz]}", {"F": "zq"}, False), ("{'|contains|all': [zq, qz]}", {"F": "zqz"}, True),
        ("{F|windash|contains|all: [' -a', ' -b']}", {"F": f"x /a {EN}b"}, True),
        ("{F|windash|contains|all: [' -a', ' -b']}", {"F": "x /a"}, False),
    ],
    # "Defines that a certain field has to exist or must not exist [...], not its value, be it empty"
    "exists": [
        ("{F|exists: true}", {"F": ""}, True), ("{F|exists: true}", {"G": "x"}, False),
        ("{F|exists: false}", {"G": "x"}, True), ("{F|exists: false}", {"F": ""}, False),
        ("{F|exists|neq: true}", {"G": "x"}, True),
    ],
    # "The field is different from the specified values. It's can be used with string or number."
    "neq": [
        ("{F|neq: a}", {"F": "b"}, True), ("{F|neq: a}", {"F": "A"}, False), ("{F|neq: 5}", {"F": 6}, True),
        ("{F|neq: 5}", {"F": "5"}, False), ("{F|neq: [a, b]}", {"F": "c"}, True),
        ("{F|neq: [a, b]}", {"F": "b"}, False),
        ("{F|neq: a}", {"G": "x"}, True), ("{F|neq: null}", {"F": "x"}, True), ("{F|neq: null}", {"G": "x"}, False),
        ("{F|contains|neq: a}", {"F": "bab"}, False), ("{F|contains|all|neq: [a, b]}", {"F": "a"}, True),
        ("{F|re|neq: '^a'}", {"F": "ba"}, True), ("{F|cidr|neq: 10.0.0.0/8}", {"F": "11.0.0.1"}, True),
        ("{F|neq: a, G: b}", {"F": "x", "G": "b"}, True), ("{F|neq: ''}", {"F": ""}, False),
        ("{'|neq': zq}", {"F": "zq"}, False), ("{'|neq': zq}", {"F": "a"}, True),
    ],
    # "converts the aforementioned characters interchangeably and uses all possible permutation of strings"
    "windash": [
        *((f"{{F|windash|contains: ' {a}enc'}}", {"F": f"p {b}enc"}, True) for a in f"-/{EN}{EM}{BAR}"
          for b in f"-/{EN}{EM}{BAR}"),
        ("{F|windash|contains: ' -enc'}", {"F": "p +enc"}, False),
        ("{F|windash|contains: ' -a-b'}", {"F": "p /a-b"}, True),
        ("{F|windash|contains: ' -a-b'}", {"F": "p /a/b"}, False),
        ("{F|windash|contains: ' --a'}", {"F": "p -/a"}, True),
        ("{F|windash: ['-a', '-b']}", {"F": f"{BAR}b"}, True),
    ],
    # "Value is handled as a regular expression by backends. Regex is matched case-sensitive by default."
    "re": [
        ("{F|re: 'c.d'}", {"F": "xxcmd"}, True), ("{F|re: 'c.d'}", {"F": "CMD"}, False),
        ("{F|re: '^a[0-9]{2,3}(b|c)+d?$'}", {"F": "a12cb"}, True), ("{F|re: 'a.b'}", {"F": "a\nb"}, False),
        (r"{F|re: '\\x\*'}", {"F": r"\x*"}, True), ("{F|re: [a, b]}", {"F": "b"}, True),
        ("{'|re': 'z[q]z'}", {"F": "xzqz"}, True), ("{F|re: 5}", {"F": 456}, True), ("{F|re: '^$'}", {"F": ""}, True),
        ("{F|re: '.*'}", {"G": "x"}, False), ("{F|re|contains: 'a.c'}", {"F": "xabcx"}, True),
    ],
    # "(insensitive) to enable case-insensitive matching."
    "i": [("{F|re|i: 'c.d'}", {"F": "CMD"}, True), ("{F|re|ignorecase: 'c.d'}", {"F": "CMD"}, True)],
    # "(multi line) to match across multiple lines. ^ /$ match the start/end of line."
    "m": [
        ("{F|re|m: '^b$'}", {"F": "a\nb\nc"}, True), ("{F|re|multiline: '^b$'}", {"F": "a\nb\nc"}, True),
        ("{F|re: '^b$'}", {"F": "a\nb\nc"}, False),
    ],
    # "(single line) to enable that dot (.) matches all characters, including the newline character."
    "s": [
        ("{F|re|s: 'a.b'}", {"F": "a\nb"}, True), ("{F|re|dotall: 'a.b'}", {"F": "a\nb"}, True),
        ("{F|re|i|m|s: '^A.b$'}", {"F": "x\na\nb\n"}, True),
    ],
    # "The value is encoded with Base64."
    "base64": [
        ("{F|base64: whoami}", {"F": "d2hvYW1p"}, True), ("{F|base64|contains: whoami}", {"F": "xd2hvYW1px"}, True),
        ("{F|base64: đà}", {"F": base64.b64encode("đà".encode()).decode()}, True),
        ("{F|base64: 123}", {"F": base64.b64encode(b"123").decode()}, True),
    ],
    # "There are three variants for shifts by zero to two bytes"
    "base64offset": [
        *(("{F|base64offset|contains: whoami}", {"F": offset(b"whoami", b"xy"[:n])}, True) for n in range(3)),
        ("{F|base64offset|contains: whoami}", {"F": offset(b"whoarm", b"")}, False),
        ("{F|base64offset|contains: [nobody, whoami]}", {"F": offset(b"whoami", b"x")}, True),
        ("{F|base64offset|contains: đà nẵng}", {"F": offset("đà nẵng".encode(), b"xy")}, True),
    ],
    # "Transforms value to UTF16-LE encoding"
    "utf16le": [("{F|utf16le|base64offset|contains: ab}", {"F": offset("ab".encode("utf-16le"), b"x")}, True)],
    # "an alias for the utf16le modifier."
    "wide": [("{F|wide|base64offset|contains: ab}", {"F": offset("ab".encode("utf-16le"), b"xy")}, True)],
    # "Transforms value to UTF16-BE encoding"
    "utf16be": [("{F|utf16be|base64: ab}", {"F": base64.b64encode("ab".encode("utf-16be")).decode()}, True)],
    # "Prepends a byte order mark and encodes UTF16, e.g. cmd > FF FE 63 00 6d 00 64 00"
    "utf16": [("{F|utf16|base64: cmd}", {"F": base64.b64encode(bytes.fromhex("fffe63006d006400")).decode()}, True)],
    # "Field is less than the value", "less or equal", "greater", "greater or equal"
    "lt": [("{F|lt: 5}", {"F": "4.9"}, True), ("{F|lt: 5}", {"F": 5}, False), ("{F|lt: -1}", {"F": "-2"}, True),
           ("{F|lt: 5}", {"F": "abc"}, False), ("{F|lt: 5}", {"G": "1"}, False)],
    "lte": [("{F|lte: 5}", {"F": "5"}, True), ("{F|lte: 5}", {"F": "5.1"}, False)],
    "gt": [("{F|gt: 5}", {"F": "10"}, True), ("{F|gt: 5}", {"F": "5"}, False), ("{F|gt: 5.5}", {"F": 6}, True)],
    "gte": [("{F|gte: 5}", {"F": 5}, True), ("{F|gte: 5}", {"F": "4"}, False)],
    # "it extracts a numeric value from a date [...]. It is not designed to handle timezone or format conversions."
    "minute": [("{F|minute: 15}", {"F": "2026-11-20T03:15:00Z"}, True), ("{F|minute: 15}", {"F": "15"}, False)],
    "hour": [("{F|hour: 3}", {"F": "2026-11-20 03:15:00.123"}, True),
             ("{F|hour: 3}", {"F": "2026-11-20T04:15Z"}, False),
             ("{F|hour: [1, 3]}", {"F": "2026-11-20T03:15:00+07:00"}, True)],
    "day": [("{F|day: 20}", {"F": "2026-11-20T03:15:00Z"}, True), ("{F|day: 2}", {"F": "2026-11-20T03:15:00Z"}, False)],
    "week": [("{F|week: 47}", {"F": "2026-11-20T03:15:00Z"}, True), ("{F|week: 1}", {"F": "2026-01-01"}, True)],
    "month": [("{F|month: 11}", {"F": "2026-11-20T03:15:00Z"}, True), ("{F|month: 11}", {"F": "x"}, False)],
    "year": [("{F|year: 2026}", {"F": "2026-11-20"}, True), ("{F|year|neq: 2026}", {"F": "2025-01-01"}, True)],
    # "Supports both IPv4 and IPv6 notations."
    "cidr": [
        ("{F|cidr: 10.0.0.0/8}", {"F": "10.255.0.1"}, True), ("{F|cidr: 10.0.0.0/8}", {"F": "11.0.0.1"}, False),
        ("{F|cidr: 10.1.2.3}", {"F": "10.1.2.3"}, True), ("{F|cidr: '2001:db8::/32'}", {"F": "2001:0DB8::1"}, True),
        ("{F|cidr: 'fe80::/10'}", {"F": "fe80::1%eth0"}, True), ("{F|cidr: 10.0.0.0/8}", {"F": "10.x"}, False),
        ("{F|cidr: [172.16.0.0/12, 10.0.0.0/8]}", {"F": "172.31.1.1"}, True),
        # Windows writes clients over IPv4 so; Elasticsearch's type ip reads both as one address.
        ("{F|cidr: 10.0.0.0/8}", {"F": "::ffff:10.0.0.5"}, True), ("{F|cidr: '::/0'}", {"F": "10.0.0.5"}, False),
        ("{F|cidr: '::ffff:0:0/96'}", {"F": "::ffff:10.0.0.5"}, True),
    ],
    # "compare fields of matched events directly [...]. Can be conbine with the neq modifier."
    "fieldref": [
        ("{F|fieldref: G}", {"F": "aB", "G": "Ab"}, True), ("{F|fieldref: G}", {"F": "a", "G": "b"}, False),
        ("{F|fieldref: G}", {"F": 5, "G": "5"}, True), ("{F|fieldref: G}", {"F": "a"}, False),
        ("{F|fieldref: G}", {"H": "a"}, False), ("{F|fieldref|neq: G}", {"F": "a", "G": "b"}, True),
        ("{F|fieldref|neq: G}", {"F": "a", "G": "A"}, False), ("{F|fieldref|neq: G}", {"F": "a"}, True),
        ("{F|fieldref: [G, H]}", {"F": "a", "H": "a"}, True), ("{F|fieldref|all: [G, H]}", {"F": "a", "H": "a"}, False),
        ("{F|fieldref|startswith: G}", {"F": "abc", "G": "ab"}, True),
        ("{F|fieldref|endswith: G}", {"F": "abc", "G": "bc"}, True),
        ("{F|fieldref|contains: G}", {"F": "abc", "G": "b"}, True),
        ("{F|fieldref|contains: G}", {"F": "abc", "G": "x"}, False),
    ],
    # "A plain percent character" is plain text without the modifier; with it a list is needed (tests of lists).
    "expand": [("{F: '%x%'}", {"F": "%x%"}, True), ("{F|expand: '50%'}", {"F": "50%"}, True)],
}  # fmt: skip


@pytest.mark.parametrize(
    ("selection", "event", "expected"),
    [pytest.param(*case, id=f"{name}-{number}") for name, cases in CASES.items() for number, case in enumerate(cases)],
)
def test_modifiers(selection: str, event: dict[str, Any], expected: bool) -> None:
    """A modifier does what its sentence in the appendix says."""
    assert holds(selection, **event) is expected


def test_every_modifier_is_pinned() -> None:
    """Those of the appendix, and those that pySigma knows under other names."""
    assert set(CASES) == APPENDIX
    assert set(modifier_mapping) - APPENDIX == {"ignorecase", "multiline", "dotall"}
    assert set(modifier_mapping) >= APPENDIX


@pytest.mark.parametrize(
    ("selection", "value", "expected"),
    [
        ("{F: 'prog?.exe'}", "progA.exe", True), ("{F: 'prog?.exe'}", "prog.exe", False),
        ("{F: 'a*b'}", "ab", True), ("{F: 'a*b'}", "axxb", True), ("{F: 'a*b'}", "abx", False),
        ("{F: '*'}", "", True), ("{F: '?'}", "", False), ("{F: '?*'}", "x", True), ("{F: '**a'}", "xa", True),
        # "Plain backslash not followed by a wildcard can be expressed as single \ or double backslash \\."
        (r"{F: 'C:\x'}", r"C:\x", True), (r"{F: 'C:\\x'}", r"C:\x", True), (r"{F: 'C:\'}", "C:\\", True),
        (r"{F: 'C:\\'}", "C:\\", True),
        # "A wildcard has to be escaped to be handled as a plain character. eg: \*, \?."
        (r"{F: 'a\*b'}", "a*b", True), (r"{F: 'a\*b'}", "axb", False), (r"{F: 'a\?b'}", "a?b", True),
        (r"{F: 'a\?b'}", "axb", False),
        # "The backslash before a wildcard has to be escaped to handle the value as a backslash followed by a wildcard"
        (r"{F: 'a\\*'}", r"a\xyz", True), (r"{F: 'a\\*'}", "axyz", False), (r"{F: 'a\\?'}", r"a\x", True),
        # "Three backslashes are necessary to escape both, the backslash and the wildcard"
        (r"{F: 'a\\\*b'}", r"a\*b", True), (r"{F: 'a\\\*b'}", r"a\xb", False),
        # "Three or four backslashes are handled as double backslash."
        (r"{F: 'a\\\b'}", r"a\\b", True), (r"{F: 'a\\\\b'}", r"a\\b", True), (r"{F: 'a\\\\b'}", r"a\b", False),
    ],
)  # fmt: skip
def test_wildcards_and_escapes(selection: str, value: str, expected: bool) -> None:
    r"""`?` "a single mandatory character", `*` "an unbounded length wildcard", `\` escapes them and itself."""
    assert holds(selection, F=value) is expected


@pytest.mark.parametrize(
    ("selection", "event", "expected"),
    [
        ("{F: đÀ}", {"F": "Đà"}, True), ("{F: ΟΔΟΣ}", {"F": "οδοσ"}, True), ("{F|contains: ΟΣ}", {"F": "οσα"}, True),
        ("{F: ПРИВЕТ}", {"F": "привет"}, True), ("{F: 'Ä?'}", {"F": "äß"}, True), ("{F: ss}", {"F": "ß"}, False),
    ],
)  # fmt: skip
def test_unicode_is_compared_in_lower_case(selection: str, event: dict[str, Any], expected: bool) -> None:
    """ "Default Sigma behavior is case-insensitive matching": letters beyond ASCII too, each by itself."""
    assert holds(selection, **event) is expected


@pytest.mark.parametrize(
    ("selection", "event", "expected"),
    [
        ("{F: 4688}", {"F": "4688"}, True), ("{F: 4688}", {"F": 4688}, True), ("{F: '4688'}", {"F": 4688}, True),
        ("{F: 4688}", {"F": "46880"}, False), ("{F: 05}", {"F": "05"}, False), ("{F: 1.5}", {"F": "1.5"}, True),
        ("{F: [517, 1102]}", {"F": "1102"}, True), ("{F: '46*'}", {"F": 4688}, True), ("{F: -1}", {"F": "-1"}, True),
        ("{F: 18446744073709551615}", {"F": "18446744073709551615"}, True),
        ("{F: 9007199254740993}", {"F": 9007199254740992}, False),
        ("[9007199254740993]", {"F": "9007199254740993"}, True),
        ("{F|gte: 9007199254740993}", {"F": "9007199254740999"}, True),
        ("[4688]", {"F": "id 4688"}, True), ("{F: 0}", {"F": ""}, False), ("{F: 0}", {"G": "x"}, False),
    ],
)  # fmt: skip
def test_numbers_are_compared_as_text(selection: str, event: dict[str, Any], expected: bool) -> None:
    """ "the value is a string or integer value": a log has both as it likes."""
    assert holds(selection, **event) is expected


@pytest.mark.parametrize(
    ("selection", "event", "expected"),
    [
        ("{F: true}", {"F": "true"}, True), ("{F: true}", {"F": "True"}, True), ("{F: true}", {"F": True}, True),
        ("{F: 'true'}", {"F": True}, True), ("{F: 'True'}", {"F": True}, True), ("{F: false}", {"F": "FALSE"}, True),
        ("{F: false}", {"F": False}, True), ("{F: false}", {"G": "x"}, False), ("{F: true}", {"F": 1}, False),
        ("{F: false}", {"F": ""}, False), ("{F: true}", {"F": "yes"}, False), ("[true]", {"F": "so true"}, True),
    ],
)  # fmt: skip
def test_booleans_are_compared_as_text(selection: str, event: dict[str, Any], expected: bool) -> None:
    """Known fault of peers: a truth value of a rule against the text of an event is false there."""
    assert holds(selection, **event) is expected


@pytest.mark.parametrize(
    ("selection", "event", "expected"),
    [
        ("{F: null}", {"G": "x"}, True), ("{F: null}", {"F": ""}, False), ("{F: null}", {"F": "null"}, False),
        ("{F: ''}", {"F": ""}, True), ("{F: ''}", {"G": "x"}, False), ("{F: ''}", {"F": " "}, False),
        ("{F: [null, '']}", {"F": ""}, True), ("{F: [null, '']}", {"G": "x"}, True), ("{F: []}", {"G": "x"}, True),
        ("{F: [null, x]}", {"F": "X"}, True), ("{F: 'null'}", {"F": "null"}, True), ("{F: '-'}", {"G": "x"}, False),
    ],
)  # fmt: skip
def test_null_is_no_empty_text(selection: str, event: dict[str, Any], expected: bool) -> None:
    """ "An empty value is defined with ''. A null value is defined with null."""
    assert holds(selection, **event) is expected


@pytest.mark.parametrize("negated", ["{F: a}", "{F|contains: a}", "{F|re: a}", "{F|gt: 1}", "{F|cidr: 10.0.0.0/8}",
                                     "{F|fieldref: G}", "{F|hour: 1}", "{F: ''}", "{F|exists: true}"])  # fmt: skip
def test_not_of_a_missing_field_is_true(negated: str) -> None:
    """Known fault of peers: `not` over a missing field taken as false, as three-valued logic has it."""
    assert holds(negated, "not s", H="x")
    assert not holds(negated, "s", H="x")


@pytest.mark.parametrize(
    ("selection", "event", "expected"),
    [
        ("[EVILSERVICE, 'svchost.exe -n evil']", {"F": "x", "G": "run EvilService now"}, True),
        ("[EVILSERVICE]", {"F": "evil", "G": "service"}, False),
        ("zqzq", {"F": "xZQZQx"}, True), ("['z?z*z']", {"F": "azqzxxzb"}, True), ("[[zq, qz]]", {"F": "qz"}, True),
        ("[zq, {F: a}]", {"F": "a"}, True), ("[zq, {F: a}]", {"G": "zq"}, True), ("['']", {"F": "x"}, True),
        ("{'|re': ['z+q', 'q{3}']}", {"F": "qqq"}, True), ("{'|cased': Zq}", {"F": "zq"}, False),
        ("{'|cidr': 10.0.0.0/8}", {"F": "10.0.0.1"}, True), ("{'|base64offset': zqzqzq}", {"F": "xenF6cXpxx"}, True),
        ("{'|windash': ' -zq'}", {"F": "x /zq"}, True),
    ],
)  # fmt: skip
def test_keywords_search_all_values(selection: str, event: dict[str, Any], expected: bool) -> None:
    """ "It's a matter of searching for keywords across an entire event." """
    assert holds(selection, **event) is expected


@pytest.mark.parametrize(
    ("selection", "event", "expected"),
    [
        # "All elements of a map are joined with a logical 'AND'." "All map items of a list are linked with 'OR'."
        ("{F: a, G: b}", {"F": "a", "G": "b"}, True), ("{F: a, G: b}", {"F": "a"}, False),
        ("[{F: a}, {G: b}]", {"G": "b"}, True), ("[{F: a, G: b}, {H: c}]", {"F": "a"}, False),
        ("[{F: a}, [{G: b}, {H: c}]]", {"H": "c"}, True), ("{F|contains: a, F|endswith: b}", {"F": "ab"}, True),
        # "use them as they appear in the log source and strip all spaces"
        ("{New Value: a}", {"NewValue": "a"}, True), ("{a-b.c: x}", {"a-b.c": "x"}, True),
    ],
)  # fmt: skip
def test_maps_lists_and_names(selection: str, event: dict[str, Any], expected: bool) -> None:
    """What stands in a map holds together, what stands in a list is enough alone."""
    assert holds(selection, **event) is expected


CONDITIONS = [
    # s1 and s2 hold, s3 and _s4 do not; a name with an underscore in front is not in "them".
    ("s1 and s2", True), ("s1 and s3", False), ("s3 or s2", True), ("not s3", True), ("not not s1", True),
    ("1 of them", True), ("all of them", False), ("any of s*", True), ("1 of s*", True), ("all of s*", False),
    ("all of *ok", True), ("1 of s3*", False), ("s1 and not 1 of s3*", True), ("not all of s*", True),
    ("1 of *", True), ("1 of _s*", False), ("(s1 or s3) and (s2 or s3)", True), ("((s3))", False),
    ("s1 or s2 and s3", True), ("(s1 or s2) and s3", False), ("not s1 or s2", True), ("not (s1 or s2)", False),
    # How many of them: of the five in "them" all but s3 hold.
    ("2 of them", True), ("4 of them", True), ("5 of them", False), ("3 of s*", True), ("not 4 of s*", True),
    ("2 of s* and not 2 of *ok", False), ("1_ok and 2 of *", True), ("s3 or (2 of *ok)", True),
    ("not s3 and s1", True), ("s_ok and 1_ok", True), ("not s3 and not (s3 or not s1)", True),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS)
def test_conditions(condition: str, expected: bool) -> None:
    """ "Operator Precedence (least to most binding): or, and, not, x of search-identifier, ( expression )" """
    from soc.detections.sigma.evaluate import compiled, row_of

    rule = read(
        "  s1: {F: a}\n  s2: {F|contains: A}\n  s3: {F: b}\n  _s4: {F: b}\n  s_ok: {F: a}\n  1_ok: {F: a}\n"
        f"  condition: {condition}"
    )
    assert not isinstance(rule, Refused), rule
    assert compiled(rule.variants[0].node)(row_of({"winlog.event_data.F": "a"})) is expected


def test_conditions_of_a_list_are_alternatives() -> None:
    """ "The condition can be a list [...]. They are logically linked with OR." """
    assert holds("{F: a}", "[not s, s]", F="a")
    assert not holds("{F: a}", "[not s, not s]", F="a")


def test_a_timeframe_is_no_detection() -> None:
    """Sigma 1 wrote it beside the selections; pySigma 2 would take `5m` for a keyword of `all of them`."""
    from soc.detections.sigma.rule import tests_of

    rule = read("  s1: {F: a}\n  timeframe: 5m\n  condition: all of them")
    assert not isinstance(rule, Refused), rule
    assert [test.value for test in tests_of(rule.variants[0].node)] == ["a"]


@pytest.mark.parametrize(
    ("detection", "reason"),
    [
        ("  s: {F|nonsense: a}\n  condition: s", "nonsense"),
        ("  s: {F|gt: '5'}\n  condition: s", "incompatible"),
        ("  s: {F|hour: three}\n  condition: s", "incompatible"),
        ("  s: {F|exists: a}\n  condition: s", "incompatible"),
        ("  s: {F|cidr: 10.0.0.1/8}\n  condition: s", "host bits"),
        ("  s: {F|base64: 'a*'}\n  condition: s", "wildcards"),
        ("  s: {F|wide: 'ẵ'}\n  condition: s", "ascii"),
        ("  s: {F|windash: '-a -b -c -d'}\n  condition: s", "at most 3 dashes"),
        ("  s: {F|fieldref: 'a*'}\n  condition: s", "wildcards"),
        ("  s: {'|fieldref': G}\n  condition: s", "fieldref needs a field"),
        ("  s: {'|exists': true}\n  condition: s", "field"),
        ("  s: [null]\n  condition: s", "null needs a field"),
        ("  s: {F|re: '(a'}\n  condition: s", "(a"),
        ("  s: {F|re: '(?=a)'}\n  condition: s", "invalid perl operator"),
        ("  s: {F|contains|re: 'a'}\n  condition: s", "unmodified"),
        ("  s: {F|expand: '%no_list%'}\n  condition: s", "placeholder 'no_list'"),
        ("  s: {}\n  condition: s", "empty"),
        ("  s: {F: a}\n  condition: s and t", "'t'"),
        ("  s: {F: a}\n  condition: 1 of t*", "t*"),
        ("  s: {F: a}\n  condition: s and", "end of text"),
        ("  s: {F: a}\n  t: {F: b}\n  condition: 3 of them", "there are 2"),
        ("  s: {F: a}\n  condition: s or 0 of them", "there are 1"),
        ("".join(f"  s{i}: {{F: a}}\n" for i in range(20)) + "  condition: 10 of s*", "more than 1000 groups"),
        ("  s: {F: a}", "condition"),
    ],
)
def test_what_cannot_run_is_refused_by_name(detection: str, reason: str) -> None:
    """Known fault of peers: refused rules not named."""
    refused = read(detection)
    assert isinstance(refused, Refused), refused
    assert refused.id == "t"
    assert refused.path == "t.yml"
    assert refused.line == 4
    assert reason in refused.reason


@pytest.mark.parametrize(
    ("condition", "instead"),
    [
        ("s | count() > 5", "{type: event_count, timespan: 10m, condition: {gt: 5}}"),
        ("s | count(G) by F, H >= 3",
         "{type: value_count, group-by: [F, H], timespan: 10m, condition: {field: G, gte: 3}}"),
        ("s | sum(G) by F > 10", "{type: value_sum, group-by: [F], timespan: 10m, condition: {field: G, gt: 10}}"),
        ("s | avg(G) < 2", "{type: value_avg, timespan: 10m, condition: {field: G, lt: 2}}"),
        ("s | max(G) > 2", "{type: value_percentile, timespan: 10m, condition: {field: G, percentile: 100, gt: 2}}"),
        ("s | near t and u", "{type: temporal, rules: [this rule, one rule for each other selection], timespan: 10m}"),
        ("s | what", "event_count, value_count, value_sum, value_avg or temporal"),
    ],
)  # fmt: skip
def test_a_pipe_aggregation_is_refused_with_the_correlation_to_write(condition: str, instead: str) -> None:
    """ "deprecated and replaced by Sigma correlations": which one, and at the line of the condition."""
    refused = read(f"  s: {{F: a}}\n  timeframe: 10m\n  condition: {condition}")
    assert isinstance(refused, Refused)
    assert instead in refused.reason
    assert "end the condition at 's'" in refused.reason
    assert refused.line == 7


@pytest.mark.parametrize(
    "condition",
    [
        "sel-1", "not sel-1", "sel-1 or sel-2", "1 of sel-*", "all of sel-*", "any of sel-1", "1 of *-1", "1 of sel*",
        "all of them", "sel_1-2 and 1 of sel*", "1 of sel_*", "1 of sel*2",
    ],
)  # fmt: skip
def test_hyphens_in_names_are_read_where_pysigma_reads_them(condition: str) -> None:
    """In the name of a selection, and not behind `of`: the refusal says what to write."""
    selections = {"sel-1": {"A": "x"}, "sel-2": {"A": "y"}, "sel_1-2": {"A": "x"}}
    sigma = SigmaRule.from_dict(
        {"title": "t", "logsource": {"product": "windows"}, "detection": {**selections, "condition": condition}}
    )
    try:
        sigma.detection.parsed_condition[0].parse()
        is_read = True
    except SigmaError:
        is_read = False
    found = read("".join(f"  {name}: {json.dumps(each)}\n" for name, each in selections.items())
                 + f"  condition: {condition}")  # fmt: skip
    assert isinstance(found, Rule) == is_read
    if isinstance(found, Refused):
        assert "no '-' in the names behind 'of'" in found.reason
