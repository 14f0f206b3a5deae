"""What a set of rules is: loaded, refused and why, untested, by level and by ATT&CK tactic."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from soc.detections.attack import NO_TACTIC, TACTICS, techniques_of
from soc.detections.load import DetectionSet
from soc.detections.sigma.header import tests_in
from soc.detections.sigma.rule import Rule
from soc.model.finding import LEVELS

_QUOTED = re.compile(r"'[^']*'(?:, '[^']*')*")


def status(detections: DetectionSet) -> dict[str, Any]:
    """Plain data."""
    rules = list(_rules(detections))
    tags = Counter(tag for rule in rules for tag in set(rule["tags"]))
    techniques = techniques_of(tags)
    return {
        "loaded": detections.loaded,
        "refused": len(detections.refused),
        "untested": sum(not rule["tests"] for rule in rules),
        "kinds": dict(Counter(rule["kind"] for rule in rules)),
        "levels": {level: n for level in reversed(LEVELS) if (n := sum(rule["level"] == level for rule in rules))},
        "tactics": _tactics(tags),
        "techniques": sorted(techniques),
        "reasons": [
            {"reason": reason, "rules": n}
            for reason, n in Counter(_QUOTED.sub("…", each.reason) for each in detections.refused).most_common()
        ],
        "rules": rules,
        "refusals": [asdict(each) for each in detections.refused],
    }


def _tactics(tags: Counter[str]) -> dict[str, int]:
    """Rules by tactic in the order of the matrix, those it does not know (newer or older ones) behind."""
    named = {tag.removeprefix("attack."): n for tag, n in tags.items() if tag.startswith("attack.")}
    others = sorted(name for name in named if name not in TACTICS and not NO_TACTIC.match(name))
    return {name: named[name] for name in (*TACTICS, *others) if name in named}


def _rules(detections: DetectionSet) -> Iterator[dict[str, Any]]:
    tests = {(each.path, each.first_line): tests_in(each.data) for each in detections.documents}
    for kind, some in (
        ("sigma", detections.rules), ("correlation", detections.correlations), ("anomaly", detections.models),
    ):  # fmt: skip
        for each in some:
            yield {
                "id": each.id, "title": each.title, "title_vi": each.title_vi, "kind": kind, "level": each.level,
                "tags": list(each.tags), "path": each.path, "line": each.line, "version": each.version,
                "tests": each.tests if isinstance(each, Rule) else tests.get((each.path, each.line), 0),
                "filters": list(getattr(each, "filters", ())),
            }  # fmt: skip
