"""Text that fits its place, and the words of the screens."""

from __future__ import annotations

import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from soc.console import words
from soc.console.i18n.screens import WORDS
from soc.console.text import clean
from soc.console.widgets.cells import beside, fit, wrapped
from soc.errors import Conflict, NotFound, PermissionRefused, TryAgain
from soc.model.alert import STATUSES, VERDICTS
from soc.model.finding import LEVELS
from soc.model.run import STATES as RUN_STATES
from soc.model.ticket import STATES


@given(st.text(max_size=60).map(clean), st.integers(0, 40))
def test_fit_is_exactly_as_wide_as_asked(text: str, width: int) -> None:
    """Whatever the script, the cells are counted, not the characters."""
    assert cell_len(fit(text, width)) == width


@given(st.text(max_size=80).map(clean), st.integers(4, 40), st.integers(1, 3))
def test_wrapped_stays_within_its_lines_and_width(text: str, width: int, lines: int) -> None:
    """Never more lines, never wider."""
    shown = wrapped(text, width, lines)
    assert len(shown) <= lines
    assert all(cell_len(line) <= width for line in shown)


def test_what_is_cut_says_so() -> None:
    """An ellipsis stands where something is missing; what fits is left alone."""
    assert fit("Cổng dịch vụ công", 8) == "Cổng dị…"
    assert fit("Cổng", 6) == "Cổng  "
    assert wrapped("one two three four", 9, 2) == ["one two", "three fo…"]
    assert beside("a long title", "Mới", 12) == "a long … Mới"


def test_every_stored_value_has_a_word() -> None:
    """Levels, statuses, states and verdicts are never shown as they are stored."""
    wanted = {
        "level": LEVELS, "status": STATUSES, "state": STATES, "run": RUN_STATES, "verdict": VERDICTS,
    }  # fmt: skip
    assert [
        f"{kind}.{value}" for kind, values in wanted.items() for value in values if f"ui.{kind}.{value}" not in WORDS
    ] == []


def test_both_languages_say_the_same() -> None:
    """Each message has the same parameters in Vietnamese and English, and the Vietnamese is NFC."""
    for id, (vietnamese, english) in WORDS.items():
        names = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in (vietnamese, english)]
        assert names[0] == names[1], id
        assert unicodedata.normalize("NFC", vietnamese) == vietnamese, id


@pytest.mark.parametrize(
    ("seconds", "english"),
    [(45, "45 s"), (900, "15 min"), (7200, "2 h"), (7500, "2 h 5 min"), (86_400, "24 h"), (277_200, "3 d 5 h")],
)
def test_spans_of_time(monkeypatch: pytest.MonkeyPatch, seconds: int, english: str) -> None:
    """A span is said in its two largest units."""
    monkeypatch.setenv("SOC_LANG", "en")
    assert words.span(seconds) == english


@pytest.mark.parametrize(
    ("error", "vietnamese"),
    [
        (PermissionRefused("no"), "Không đủ quyền: no"),
        (Conflict("taken", hint="look"), "Không thực hiện được: taken (look)"),
        (TryAgain("away"), "Chưa liên lạc được với dịch vụ: away"),
        (NotFound("x\x1b[2J"), r"Lỗi: x\x1b[2J"),
    ],
)
def test_an_error_is_one_safe_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception, vietnamese: str) -> None:
    """The kind is said in the chosen language, the service's words follow, made safe."""
    monkeypatch.setenv("SOC_LANG", "vi")
    assert words.error(error) == vietnamese  # type: ignore[arg-type]


def test_an_entity_of_one_pair_is_its_value() -> None:
    """`source.ip=` is left out in a row; several pairs stay whole."""
    assert words.entity({"entity": "source.ip=203.0.113.9"}) == "203.0.113.9"
    assert words.entity({"entity": "user.name=a source.ip=b"}) == "user.name=a source.ip=b"
    assert words.entity({"entity": ""}) == ""


def test_times_of_either_kind_are_local() -> None:
    """µs and ISO text are shown in Vietnam's zone; other text as it is."""
    assert words.moment(1_795_590_000_000_000) == "2026-11-25 14:00:00"
    assert words.moment("2026-11-25T07:00:00Z") == "2026-11-25 14:00:00"
    assert words.moment("yesterday") == "yesterday"
