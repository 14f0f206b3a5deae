"""Errors speak Vietnamese: which sentences there are is read from the source, and which have no translation is held."""

from __future__ import annotations

import ast
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from soc.console.cli import run
from soc.console.i18n import error_words
from soc.console.i18n.errors import LONGEST, sentences, told

SOC = Path(__file__).parents[2] / "soc"
FIELD = re.compile(r"\{\w*\}")
PLACE = re.compile(r"^(?:\{\}: ?)+")
NEUTRAL = re.compile(r"--on |[a-z.]+=|15m|2026|\{\}$|\W*$")
"""Hints that are examples of what to type; sentences that are all value."""
COMMANDS = frozenset({
    "soc coverage show", "soc filter list", "soc job list; soc job cancel ID", "soc job show {}", "soc mib list",
    "soc mib remove", "soc packet get --request {} -o FILE", "soc relay join URL TOKEN", "soc retention plans",
    "soc rule except add RULE --when source.ip=10.0.0.5 …", "soc rule except list", "soc system list",
    "soc system show {}",
})  # fmt: skip
"""Hints that are a command to type."""
OF_VALUES = (*error_words.VALUES, *error_words.SYSTEM, *error_words.PARTS)
UNTOLD = {"collectors": 13, "connectors": 9, "store": 23}
"""Sentences without Vietnamese by room: what programs say to each other, and what only a fault of ours would say. A new
sentence gets its Vietnamese in soc/console/i18n/error_words.py or error_work.py; what is translated comes off."""


def template(node: ast.expr) -> str | None:
    """A text with `{}` for what is filled in; a suggestion (`nearest`) is none of the sentence."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(v.value if isinstance(v, ast.Constant) else _filled(v) for v in values)  # type: ignore[misc]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return f"{template(left) or '{}'}{template(right) or '{}'}"
    return None


def _filled(node: ast.expr) -> str:
    value = node.value if isinstance(node, ast.FormattedValue) else node
    called = value.func.id if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else ""
    return "" if called == "nearest" or (isinstance(value, ast.Name) and value.id == "close") else "{}"


def plain(sentence: str) -> str:
    """The same for all names and without the place before it."""
    return PLACE.sub("", re.sub(r"(?:\{\})+", "{}", FIELD.sub("{}", sentence)))


@cache
def trees() -> dict[str, ast.Module]:
    """Every module of soc, by its path below soc/."""
    return {str(path.relative_to(SOC)): ast.parse(path.read_text()) for path in sorted(SOC.rglob("*.py"))}


@cache
def family() -> frozenset[str]:
    """`SocError` and all that are made of it."""
    names, before = {"SocError"}, 0
    while len(names) > before:
        before = len(names)
        for tree in trees().values():
            names |= {
                node.name for node in ast.walk(tree)
                if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id in names for b in node.bases)
            }  # fmt: skip
    return frozenset(names)


def said(tree: ast.Module) -> Iterator[ast.expr]:
    """What errors of a module are made with: sentences, hints, and the faults of settings."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in family():
            yield from node.args[:1]
            yield from (keyword.value for keyword in node.keywords if keyword.arg == "hint")
        elif name == "append" and getattr(getattr(node.func, "value", None), "attr", "") == "faults":
            yield from node.args


def assigned(tree: ast.Module) -> dict[str, list[ast.expr]]:
    """What a module gives to its names."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return found


@cache
def spoken() -> dict[str, set[str]]:
    """Every sentence and hint, by room; of those that several rooms say, the first has it."""
    rooms: dict[str, set[str]] = {}
    known: set[str] = set()
    for path, tree in trees().items():
        names = assigned(tree)
        for expression in said(tree):
            for one in names.get(expression.id, []) if isinstance(expression, ast.Name) else [expression]:
                for each in (one.body, one.orelse) if isinstance(one, ast.IfExp) else (one,):
                    sentence = plain(template(each) or "")
                    if sentence not in COMMANDS | known and not NEUTRAL.match(sentence):
                        known.add(sentence)
                        rooms.setdefault(path.partition("/")[0].removesuffix(".py"), set()).add(sentence)
    return rooms


TOLD = {plain(english) for english, _ in sentences()}


def test_every_sentence_has_vietnamese_or_is_counted() -> None:
    """A new one fails here until somebody says it in Vietnamese too."""
    untold = {room: sorted(found - TOLD) for room, found in spoken().items() if found - TOLD}
    text = "\n".join(f"{room}: {sentence}" for room, found in untold.items() for sentence in found)
    assert {room: len(found) for room, found in untold.items()} == UNTOLD, text


def test_the_source_is_read_as_it_is_written() -> None:
    """Else the test above could be content with nothing."""
    everything = set().union(*spoken().values())
    assert len(everything) > 500
    assert {"no alert '{}'", "the service is not running here", "unknown key '{}' in [{}]", "try again"} <= everything


def test_what_a_setting_should_be_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check of a setting ends the sentence `should be …`, and so does each fault of what does not go together."""
    monkeypatch.setenv("SOC_LANG", "vi")
    asked = set()
    for name in ("config/checks.py", "config/knobs.py", "config/entries.py", "config/file.py", "model/poll.py"):
        for node in ast.walk(trees()[name]):
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name(id="ValueError"), args=[text, *_])):
                    pass
                case ast.Call(func=ast.Name(id="whole"), args=[_, _, text]):
                    pass
                case ast.Expr(value=ast.Yield(value=ast.expr() as text)):
                    pass
                case _:
                    continue
            sentence = plain(template(text) or "")
            if not sentence.startswith("{}") and not NEUTRAL.match(sentence):
                asked.add(sentence.replace("{}", "7"))
    assert len(asked) > 40
    assert [sentence for sentence in sorted(asked) if told(sentence) == sentence] == []


def test_no_translation_is_left_behind() -> None:
    """Each entry is a sentence of today, or of the operating system's, or words that stand in the source."""
    everything = set().union(*spoken().values())
    known = {os.strerror(number) for number in range(1, 134)}
    known |= {str(OSError(0, "{why_}")).replace(" 0]", " {number}]"),
              str(OSError(0, "{why_}", "{path}")).replace(" 0]", " {number}]")}  # fmt: skip
    source = "\n".join(path.read_text() for path in SOC.rglob("*.py") if "i18n" not in path.parts)
    source = source.replace('\\"', '"')
    for english, _ in sentences():
        words = max(FIELD.split(english), key=len).rstrip(" ('")
        if english not in error_words.TYPED:  # held against Typer itself, below
            assert plain(english) in everything or english in known or (english in OF_VALUES and words in source), (
                english
            )


def test_an_entry_is_written_once_in_nfc_and_keeps_its_values() -> None:
    """In both languages the same is filled in; no name is there twice."""
    twice = [english for english, n in Counter(plain(english) for english, _ in sentences()).items() if n > 1]
    assert twice == []
    for english, vietnamese in sentences():
        names = FIELD.findall(english)
        assert sorted(names) == sorted(FIELD.findall(vietnamese)), english
        assert len(set(names)) == len(names), english
        assert "{}" not in FIELD.sub("", english).replace("{}{}", "{}")
        assert unicodedata.is_normalized("NFC", vietnamese), english


@pytest.mark.parametrize(
    ("english", "vietnamese"),
    [
        ("the service is not running here", "dịch vụ không chạy ở đây"),
        ("no alert 'a-1'", "không có cảnh báo «a-1»"),
        ("'hoa' (viewer) may not rule.manage: needs role admin",
         "«hoa» (viewer) không được phép rule.manage: cần vai trò admin"),
        ("soc.toml:3: unknown key 'prot' in [listen.a] (did you mean 'port'?)",
         "soc.toml:3: không có khóa «prot» trong [listen.a] (có phải «port»?)"),
        ("soc.toml:3: 'port' should be a whole number from 1 to 65535, not 'x'",
         "soc.toml:3: «port» phải là số nguyên từ 1 đến 65535, không phải 'x'"),
        ("soc.toml:3: 'port' should be a port number from 0 to 65535, not 'x'",
         "soc.toml:3: «port» phải là số cổng từ 0 đến 65535, không phải 'x'"),
        ("x:4: 'headers' should be a table of texts, such as {Authorization = \"file:poll/cloud.header\"}, not 1",
         "x:4: «headers» phải là bảng văn bản, như {Authorization = \"file:poll/cloud.header\"}, không phải 1"),
        ("[listen.a] udp 0.0.0.0 port 514: the port is taken",
         "[listen.a] udp 0.0.0.0 port 514: cổng đã có chương trình khác dùng"),
        ("cannot write the counters run/c.json: no space left on the disk",
         "không ghi được bộ đếm run/c.json: ổ đĩa đã hết chỗ"),
        ("the connection to /run/soc/api.sock broke: [Errno 104] Connection reset by peer",
         "kết nối tới /run/soc/api.sock bị ngắt: bên kia ngắt kết nối (errno 104)"),
        ("one\nno alert 'a'", "one\nkhông có cảnh báo «a»"),
        ("nobody has translated this: 'x'", "nobody has translated this: 'x'"),
    ],
)  # fmt: skip
def test_what_is_told(monkeypatch: pytest.MonkeyPatch, english: str, vietnamese: str) -> None:
    """With its values, line by line, places and suggestions kept; what nobody translated stays English."""
    monkeypatch.setenv("SOC_LANG", "vi")
    assert told(english) == vietnamese
    monkeypatch.setenv("SOC_LANG", "en")
    assert told(english) == english


@pytest.mark.parametrize(
    ("words", "vietnamese"),
    [
        ("foo", "Không có lệnh «foo»."),
        ("rule covrage", "Không có lệnh «covrage». Có phải 'coverage'?"),
        ("search --foo", "Không có tùy chọn --foo (có thể là: --top)"),
        ("search --zzzzzz", "Không có tùy chọn --zzzzzz"),
        ("alert show", "Thiếu đối số «ALERT»."),
        ("alert close a", "Thiếu tùy chọn «--verdict»."),
        ("source adopt 1.2.3.4 --system", "Tùy chọn «--system» cần một giá trị."),
        ("search x --no-such=1", "Không có tùy chọn --no-such"),
        ("me x y", "Thừa đối số (x y)"),
        ("search x --limit abc", "Giá trị của '--limit' / '-n' không hợp lệ: phải là số nguyên"),
        ("search x --limit 0", "Giá trị của '--limit' / '-n' không hợp lệ: phải từ 1 trở lên"),
    ],
)
def test_a_mistyped_command_line_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, vietnamese: str
) -> None:
    """Exit 2 and the sentence; in English as Typer has it."""
    monkeypatch.setenv("SOC_LANG", "vi")
    assert run(words.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[-1][:7]) == ("", "Error: ")
    assert vietnamese in err.splitlines()[-1]
    monkeypatch.setenv("SOC_LANG", "en")
    assert run(words.split()) == 2
    assert vietnamese not in capsys.readouterr().err


@pytest.mark.parametrize("value", ["{id}", "{0.__class__}", "x' is closed", "", "'", "no alert 'y'", "%s", "a\\b"])
def test_values_of_strangers_are_only_shown(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Nothing in them is filled in or looked up."""
    monkeypatch.setenv("SOC_LANG", "vi")
    assert told(f"no person '{value}'") == f"không có người dùng «{value}»"


def test_a_long_answer_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what nests is not followed without end."""
    monkeypatch.setenv("SOC_LANG", "vi")
    long = "no alert '" + "x" * LONGEST + "'"
    assert told(long) == long
    nested = "cannot read a: " * 100 + "x"
    assert told(nested).endswith("x")
