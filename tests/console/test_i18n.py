"""Numbers follow the language wherever a person reads them, and nowhere else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import soc.console
from soc.console import i18n
from soc.console.i18n import number, t

_WRITTEN = re.compile(r",|\.\d*[fg%]")
"""A format of Python's own that writes thousands or decimals."""
DRAWN = {"flame.py": {".1f"}}
"""Coordinates of an SVG: read by programs."""


@pytest.mark.parametrize(
    ("value", "vietnamese", "english"),
    [
        (0, "0", "0"), (999, "999", "999"), (10_000, "10.000", "10,000"), (-1_234_567, "-1.234.567", "-1,234,567"),
        (1.1, "1,1", "1.1"), (1_234.56, "1.234,6", "1,234.6"), (None, "", ""),
    ],
)  # fmt: skip
def test_thousands_and_decimals(
    value: float | None, vietnamese: str, english: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vietnamese writes 1.234,5 where English writes 1,234.5."""
    monkeypatch.setenv("SOC_LANG", "vi")
    assert number(value) == vietnamese
    monkeypatch.setenv("SOC_LANG", "en")
    assert number(value) == english


def test_decimals_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Milliseconds of a profile."""
    monkeypatch.setenv("SOC_LANG", "vi")
    assert number(1_000.0625, 3) == "1.000,062"


def test_numbers_in_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to think of it: a number in a message is written so; what counts nothing is handed in as text."""
    words = ("{n} mục trong {span} giây, cổng {port}", "{n} items in {span} s, port {port}")
    monkeypatch.setitem(i18n._catalogue, "test.span", words)
    monkeypatch.setenv("SOC_LANG", "vi")
    assert t("test.span", n=10_000, span=1.1, port="15514") == "10.000 mục trong 1,1 giây, cổng 15514"
    monkeypatch.setenv("SOC_LANG", "en")
    assert t("test.span", n=10_000, span=1.1, port="15514") == "10,000 items in 1.1 s, port 15514"


def formats(source: str) -> Iterator[str]:
    """Every format of an f-string."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FormattedValue) and isinstance(node.format_spec, ast.JoinedStr):
            yield "".join(part.value for part in node.format_spec.values if isinstance(part, ast.Constant))


def test_no_other_place_of_the_console_writes_thousands_or_decimals() -> None:
    """`number` is the one that knows the language."""
    root = Path(soc.console.__file__).parent
    found = {
        f"{path.relative_to(root)}: {form}"
        for path in root.rglob("*.py")
        if path != root / "i18n" / "__init__.py"
        for form in formats(path.read_text("utf-8"))
        if _WRITTEN.search(form) and form not in DRAWN.get(path.name, ())
    }
    assert found == set()
