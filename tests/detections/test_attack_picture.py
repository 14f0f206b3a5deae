"""What the picture of the coverage shows: the colour of a cell is what its rules are, wherever it stands."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image, ImageDraw

from soc.detections import attack_picture
from soc.detections.attack import Standing, coverage
from soc.detections.attack_picture import COLOURS, MOST_ROWS, TEXTS, WIDTH, cells, columns, draw

GOOD = Standing("r", "Guessing", "high", ("attack.credential-access", "attack.t1110.001"), "live", "held", True)
WORDS = {name: (f"Độ phủ {name}", f"coverage {name}") for name in ("site", *TEXTS)}


def rules(technique: str, tactic: str, *changes: dict[str, Any]) -> list[Standing]:
    """One rule for each of the changes."""
    tags = (f"attack.{tactic}", f"attack.{technique.lower()}")
    return [replace(GOOD, id=f"{technique}-{tactic}-{n}", tags=tags, **each) for n, each in enumerate(changes)]


def colours(found: dict[str, Any]) -> dict[tuple[str, str], str]:
    """Tactic and technique → the colour at the upper left of its cell, where no letter is."""
    image = Image.open(io.BytesIO(draw(found, WORDS))).convert("RGB")
    assert image.width == WIDTH
    seen = {}
    for cell in cells(found):
        if cell.row is not None:
            red, green, blue = image.getpixel((cell.x + 1, cell.y + 1))  # type: ignore[misc]
            seen[cell.tactic, cell.row["technique"]] = f"#{red:02x}{green:02x}{blue:02x}"
    return seen


def test_a_cell_has_the_colour_of_what_its_rules_are() -> None:
    """Live, tested and fed count; else whether there would be data tells a gap from what has none."""
    off, deaf, untested = {"state": "shadow"}, {"is_fed": False}, {"tests": "untested"}
    found = coverage([
        *rules("T1110.001", "credential-access", {}), *rules("T1003", "credential-access", {}, {}, off),
        *rules("T1046", "discovery", {}, {}, {}, {}, {}), *rules("T1082", "discovery", off, deaf),
        *rules("T1486", "impact", deaf), *rules("T1485", "impact", untested),
    ])  # fmt: skip
    assert colours(found) == {
        ("credential-access", "T1110.001"): COLOURS["one"],
        ("credential-access", "T1003"): COLOURS["few"],
        ("discovery", "T1046"): COLOURS["many"],
        ("discovery", "T1082"): COLOURS["gap"],
        ("impact", "T1486"): COLOURS["no_data"],
        ("impact", "T1485"): COLOURS["gap"],
    }


def test_figures_in_a_cell_are_written() -> None:
    """So that the colour is not all there is: the part behind the name has ink."""
    found = coverage(rules("T1110", "credential-access", {}))
    [cell] = cells(found)
    image = Image.open(io.BytesIO(draw(found, WORDS))).convert("L")
    right = image.crop((cell.x + cell.width - 40, cell.y, cell.x + cell.width, cell.y + 20))
    assert right.getextrema()[0] < 60  # type: ignore[operator]


def test_every_tactic_has_a_column_in_the_order_of_an_attack() -> None:
    """Also one without rules; of the names that replaced each other those in use."""
    shown = list(columns(coverage(rules("T1070", "stealth", {}))))
    assert (shown[0], shown[-1], len(shown)) == ("reconnaissance", "impact", 14)
    assert "stealth" in shown
    assert "defense-evasion" not in shown


def test_a_technique_stands_where_a_third_of_its_rules_put_it() -> None:
    """A rule that names two techniques and two tactics says of neither where it belongs; unknown tactics are others."""
    both = replace(GOOD, tags=("attack.discovery", "attack.t1046", "attack.impact", "attack.t1486"))
    found = coverage([
        both, *rules("T1046", "discovery", *[{}] * 3), *rules("T1486", "impact", *[{}] * 3),
        *rules("T1071", "tomorrow", {}), replace(GOOD, tags=("attack.t1000",)),
    ])  # fmt: skip
    names = {tactic: [row["technique"] for row in rows] for tactic, rows in columns(found).items() if rows}
    assert names == {"discovery": ["T1046"], "impact": ["T1486"], "other": ["T1000", "T1071"]}


def test_tags_of_strangers_make_no_endless_picture() -> None:
    """Any number of tactics is one column, and a long column says how many it leaves out."""
    many = [r for n in range(MOST_ROWS + 9) for r in rules(f"T{n:04}", f"made-up-{n}", {})]
    found = coverage(many)
    [*shown, last] = cells(found)
    assert len(shown) == MOST_ROWS - 1
    assert (last.row, last.left_out) == (None, 10)
    assert Image.open(io.BytesIO(draw(found, WORDS))).height < 10_000


@pytest.mark.parametrize("is_vietnamese", [True, False])
def test_without_vietnamese_letters_the_words_are_english(monkeypatch: pytest.MonkeyPatch, is_vietnamese: bool) -> None:
    """Boxes for letters would say nothing."""
    monkeypatch.setattr(attack_picture, "_font_file", lambda: ("", is_vietnamese))
    written: list[str] = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda _, at, text, **more: written.append(text))
    draw(coverage([GOOD]), WORDS)
    assert ("Độ phủ title · coverage title, Độ phủ site" in written) == is_vietnamese
    assert ("coverage title, coverage site" in written) != is_vietnamese
    assert is_vietnamese or all(text.isascii() for text in written)


def test_pillow_s_own_font_is_known_to_have_no_vietnamese(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any of the fonts draws all the same."""
    monkeypatch.setattr(attack_picture, "FONTS", ("no-such-font.ttf",))
    assert attack_picture._font_file() == ("", False)
    assert colours(coverage([GOOD])) == {("credential-access", "T1110.001"): COLOURS["one"]}


def test_a_picture_of_nothing() -> None:
    """Columns without cells."""
    found = coverage([])
    assert list(cells(found)) == []
    assert Image.open(io.BytesIO(draw(found, WORDS))).size[0] == WIDTH
