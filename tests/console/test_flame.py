"""Flame graphs of costs."""

from __future__ import annotations

from xml.etree import ElementTree

from soc.console.flame import NARROWEST, WIDTH, folded, svg

STACKS = [
    (("load",), 1_000_000),
    (("match", "route <b>", "rule", "a;b\x1b[31m"), 2_000_000),
    (("match", "route <b>"), 500_000),
    (("match",), 500_000),
    (("match", "tiny"), 10),
]
_SVG = "{http://www.w3.org/2000/svg}"


def test_folded_stacks_are_one_a_line() -> None:
    """Microseconds behind; what would part names, lines or columns does not stand in a name."""
    assert folded(STACKS).splitlines() == [
        "load 1000",
        "match;route <b>;rule;a b [31m 2000",
        "match;route <b> 500",
        "match 500",
    ]


def test_the_drawing_is_whole_and_inert() -> None:
    """Well-formed, frames inside what they are part of, names escaped, no script; too narrow ones left out."""
    drawn = svg(STACKS, "soc detect")
    root = ElementTree.fromstring(drawn)
    frames = {
        title.text.partition(":")[0]: (float(box.get("x", "")), float(box.get("y", "")), float(box.get("width", "")))
        for group in root.iter(f"{_SVG}g")
        if (title := group.find(f"{_SVG}title")) is not None
        and title.text
        and (box := group.find(f"{_SVG}rect")) is not None
    }
    assert frames["soc detect"][2] == WIDTH
    assert list(frames) == ["soc detect", "match", "route <b>", "rule", "a b [31m", "load"]
    x, y, width = frames["match"]
    inner = frames["route <b>"]
    assert (x <= inner[0], inner[0] + inner[2] <= x + width, inner[1] > y) == (True, True, True)
    assert abs(frames["load"][0] - width) < NARROWEST
    assert "<script" not in drawn
    assert "match: 3.0 ms, 75.0%" in drawn


def test_nothing_measured_draws_the_root_alone() -> None:
    """An empty file of events is no error."""
    assert ElementTree.fromstring(svg([], "nothing")).get("width") == str(WIDTH)
