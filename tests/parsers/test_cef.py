"""CEF and LEEF: escapes, delimiters, stamps, and text that lies."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from soc.parsers.decoders import cef, devtime, leef
from tests.parsers.conftest import Rows

HEAD = "CEF:0|V|P|1|9|n|5|"


@pytest.mark.parametrize(
    ("extension", "pairs"),
    [
        (r"a=b\=c d=e", {"a": "b=c", "d": "e"}),
        (r"a=x \\ y b=z\\", {"a": r"x \ y", "b": "z" + "\\"}),
        (r"msg=one\ntwo\rthree", {"msg": "one\ntwo\rthree"}),
        (r"a=b|c d=\|", {"a": "b|c", "d": "|"}),
        ("a= b=2", {"a": "", "b": "2"}),
        ("a=x  y   b=1", {"a": "x  y", "b": "1"}),
        ("ad.field[0]=1 cs-x=2", {"ad.field[0]": "1", "cs-x": "2"}),
        (r"request=https://h/?a\=b&c\=d src=1", {"request": "https://h/?a=b&c=d", "src": "1"}),
        ("a=1 a=2 a=3", {"a": "1", "a#2": "2"}),
        ("a=đăng nhập b=☃", {"a": "đăng nhập", "b": "☃"}),
        ("", {}),
        ("no pairs at all", {}),
    ],
)
def test_extensions(extension: str, pairs: dict[str, str]) -> None:
    """Blanks inside values, escapes, keys that stand twice."""
    found = cef.decode(HEAD + extension)
    assert {name: value for name, value in found.items() if not name.startswith("@")} == pairs


@given(st.dictionaries(st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,8}", fullmatch=True), st.text(max_size=20), max_size=5))
def test_what_is_escaped_comes_back(values: dict[str, str]) -> None:
    """As the specification escapes, but for blanks around a value."""
    escaped = {
        k: v.replace("\\", "\\\\").replace("=", "\\=").replace("\n", "\\n").replace("\r", "\\r")
        for k, v in values.items()
    }
    found = cef.decode(HEAD + " ".join(f"{k}={v}" for k, v in escaped.items()))
    for name, value in values.items():
        if value == value.strip():
            assert found[name] == value


@given(st.text(max_size=12), st.text(max_size=12))
def test_a_header_with_escaped_bars(name: str, product: str) -> None:
    """Bars and backslashes in the header are the sender's own."""
    quoted = [text.replace("\\", "\\\\").replace("|", "\\|") for text in (product, name)]
    found = cef.decode(f"CEF:1|V|{quoted[0]}|1|9|{quoted[1]}|5|src=1")
    assert (found["@product"], found["@name"], found["src"]) == (product.strip(), name.strip(), "1")


@given(st.text(max_size=300), st.sampled_from(["", "CEF:0|", HEAD, "LEEF:1.0|a|b|c|d|", "LEEF:2.0|a|b|c|d|x09|"]))
def test_any_text_decodes(text: str, prefix: str) -> None:
    """To text by name, within the bounds."""
    for decode in (cef.decode, leef.decode):
        pairs = decode(prefix + text)
        assert len(pairs) <= 2 * cef.MAX_PAIRS + 10
        assert all(isinstance(value, str) for value in pairs.values())


@pytest.mark.parametrize(
    "text", ["a=" * 60_000, "\\" * 100_000, "|" * 100_000, "x " * 60_000, "a" * 100_000 + "=", "=" * 99_999]
)
def test_hostile_text_takes_no_time(text: str) -> None:
    """Nothing here grows faster than the text (the suite's time limit would tell)."""
    for prefix in ("CEF:0|", HEAD, "LEEF:1.0|a|b|c|d|", "LEEF:2.0|a|b|c|d|^|"):
        cef.decode(prefix + text)
        assert leef.decode(prefix + text).get("@vendor") in (None, "a", text[:0])


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("LEEF:1.0|V|P|1|9|a=1\tb=x y", {"a": "1", "b": "x y"}),
        ("LEEF:2.0|V|P|1|9|^|a=1^b=2", {"a": "1", "b": "2"}),
        ("LEEF:2.0|V|P|1|9|0x5e|a=1^b=2", {"a": "1", "b": "2"}),
        ("LEEF:2.0|V|P|1|9|x7C|a=1|b=2", {"a": "1", "b": "2"}),
        ("LEEF:2.0|V|P|1|9||a=1\tb=2", {"a": "1", "b": "2"}),
        ("LEEF:2.0|V|P|1|9|a=1|2\tb=2", {"a": "1|2", "b": "2"}),
        ("LEEF:1.0|V|P|1|9|a=1=2\tb=c\td", {"a": "1=2", "b": "c\td"}),
        ("LEEF:1.0|V|P|1|9|a=1<009>b=2", {"a": "1", "b": "2"}),
        ("LEEF:1.0|V|P|1|9|", {}),
        ("LEEF:1.0|V|P|1", {}),
        ("LEEF:1.1|V|P|1|9|a=1", {}),
    ],
)
def test_leef(text: str, pairs: dict[str, str]) -> None:
    """Both versions, every way to name the delimiter, and values that hold it."""
    assert {name: value for name, value in leef.decode(text).items() if not name.startswith("@")} == pairs


@pytest.mark.parametrize(
    ("text", "pattern", "normal"),
    [
        ("1795143600000", "", "1795143600000"),
        ("Nov 20 2026 10:00:00", "", "2026-11-20T10:00:00.0"),
        ("Nov 20 2026 10:00:00.123 ICT", "", "2026-11-20T10:00:00.123+07:00"),
        ("Nov 20 2026 10:00:00 GMT+07:00", "MMM dd yyyy HH:mm:ss z", "2026-11-20T10:00:00.0+07:00"),
        ("20/11/2026 10.00", "dd/MM/yyyy HH.mm", "2026-11-20T10:00:00"),
        ("2026-11-20T10:00:00+0700", "yyyy-MM-dd'T'HH:mm:ssZ", "2026-11-20T10:00:00+07:00"),
        ("2026-11-20T10:00:00Z", "", "2026-11-20T10:00:00Z"),
        ("Nov 20 2026 10:00:00 XYZ", "", None),
        ("Foo 20 2026 10:00:00", "", None),
        ("soon", "QQQ", None),
        ("", "", None),
    ],
)
def test_stamps(text: str, pattern: str, normal: str | None) -> None:
    """Every form of the two specifications, and Java patterns."""
    assert devtime.normal(text, pattern) == normal


@example("10 10", "HH HH")
@given(st.text(max_size=40), st.text(max_size=40))
def test_any_stamp_and_pattern(text: str, pattern: str) -> None:
    """A text or nothing."""
    assert devtime.normal(text, pattern) is None or isinstance(devtime.normal(text, pattern), str)


@pytest.mark.parametrize(
    "head", ["", "<134>", "<134>Nov 20 10:00:00 fw01 ", "<134>1 2026-11-20T03:00:00Z fw01 app - - - "]
)
@pytest.mark.parametrize("text", [f"{HEAD}src=192.0.2.1", "LEEF:1.0|V|P|1|9|src=192.0.2.1"])
def test_behind_every_syslog_header(rows: Rows, head: str, text: str) -> None:
    """And without one."""
    (event,) = rows([(head + text).encode()])
    assert event["event.dataset"] in ("generic.cef", "generic.leef")
    assert (event["source.ip"], event["observer.vendor"]) == ("192.0.2.1", "V")
    assert event.get("host.name") == ("fw01" if "fw01" in head else None)


def test_values_that_do_not_fit(rows: Rows) -> None:
    """They are kept as text, flagged; keys without an ECS name under their own."""
    (event,) = rows([f"{HEAD}src=nowhere spt=many cs1Label=Policy cs1=Block all".encode()])
    rest: dict[str, Any] = event["soc.rest"]
    assert rest == {"source.ip": "nowhere", "source.port": "many", "cs1Label": "Policy", "cs1": "Block all"}
    assert event["soc.flags"] == ("type_mismatch",)
    assert event["source.address"] == "nowhere"
