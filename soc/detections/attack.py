"""ATT&CK coverage that can be believed: what counts are rules that are live, whose tests hold, and that are fed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TACTICS = (
    "reconnaissance", "resource-development", "initial-access", "execution", "persistence", "privilege-escalation",
    "defense-evasion", "stealth", "defense-impairment", "credential-access", "discovery", "lateral-movement",
    "collection", "command-and-control", "exfiltration", "impact",
)  # fmt: skip
"""MITRE ATT&CK for enterprises, in the order of its matrix. `stealth` and `defense-impairment` are what newer rules
call the two halves of `defense-evasion`."""
TECHNIQUE = re.compile(r"attack\.(t\d{4}(?:\.\d{3})?)", re.IGNORECASE)
NO_TACTIC = re.compile(r"(?:[tgscm]|ds)\d{4}", re.IGNORECASE)
LAYER = "4.5"
NAVIGATOR = "4.9.0"
"""Version of the layer format, and the oldest ATT&CK Navigator that reads it (LAYERFORMATv4_5)."""


@dataclass(frozen=True)
class Standing:
    """One definition: whether it makes alerts, whether its tests hold, and whether events of its log source come.

    `tests` is a state of `results` (held | failed | untested | refused).
    """

    id: str
    title: str
    level: str
    tags: tuple[str, ...]
    state: str
    tests: str
    is_fed: bool
    title_vi: str = ""

    @property
    def missing(self) -> list[str]:
        """Why it does not count: of `not_live`, `tests_failed`, `untested`, `not_fed`."""
        tests = {"held": "", "failed": "tests_failed"}.get(self.tests, "untested")
        whys = ("" if self.state == "live" else "not_live", tests, "" if self.is_fed else "not_fed")
        return [why for why in whys if why]


def coverage(standings: Iterable[Standing]) -> dict[str, Any]:
    """By technique, and by tactic in the order of an attack: the rules that count, and others with what they lack.
    `named`: how many rules of a technique name each tactic."""
    techniques: dict[str, dict[str, Any]] = {}
    tactics: dict[str, dict[str, Any]] = {}
    for each in standings:
        row = {"id": each.id, "title": each.title, "title_vi": each.title_vi, "level": each.level}
        found, phases = techniques_of(each.tags), tactics_of(each.tags)
        for name in found:
            technique = techniques.setdefault(
                name, {"technique": name, "named": Counter(), "counted": [], "others": []}
            )
            technique["named"].update(phases)
            _enter(technique, each, row)
        for phase in phases:
            tactic = tactics.setdefault(phase, {"tactic": phase, "techniques": set(), "counted": [], "others": []})
            if not each.missing:
                tactic["techniques"] |= set(found)
            _enter(tactic, each, row)
    known = [name for name in (*TACTICS, *sorted(set(tactics) - set(TACTICS))) if name in tactics]
    return {
        "techniques": [{**techniques[name], "tactics": list(techniques[name]["named"])} for name in sorted(techniques)],
        "tactics": [{**tactics[name], "techniques": sorted(tactics[name]["techniques"])} for name in known],
        "counted": sum(bool(each["counted"]) for each in techniques.values()),
    }


def gaps(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Techniques for which no rule counts though events come for one: what each such rule lacks, the nearest first."""
    rows = []
    for technique in found["techniques"]:
        if is_gap(technique):
            fed = sorted(_fed(technique), key=lambda each: (len(each["missing"]), each["title"]))
            rows.append({**technique, "others": fed})
    return rows


def is_gap(technique: Mapping[str, Any]) -> bool:
    """Whether no rule counts for it though events come for one."""
    return bool(not technique["counted"] and _fed(technique))


def _fed(technique: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [each for each in technique["others"] if "not_fed" not in each["missing"]]


def csv_rows(found: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    """A head, then one row for each technique and rule: whether it counts, and what it lacks."""
    yield "technique", "tactics", "rule", "title", "level", "counted", "missing"
    for technique in found["techniques"]:
        for each in (*technique["counted"], *technique["others"]):
            missing = each.get("missing", ())
            yield (technique["technique"], " ".join(technique["tactics"]), each["id"], each["title"], each["level"],
                   "no" if missing else "yes", " ".join(missing))  # fmt: skip


def _enter(entry: dict[str, Any], each: Standing, row: Mapping[str, Any]) -> None:
    if each.missing:
        entry["others"].append({**row, "missing": each.missing})
    else:
        entry["counted"].append(row)


def techniques_of(tags: Iterable[str]) -> list[str]:
    """`T1110.001` and its like, each once."""
    return list(dict.fromkeys(found[1].upper() for tag in tags if (found := TECHNIQUE.fullmatch(tag))))


def tactics_of(tags: Iterable[str]) -> list[str]:
    """`credential-access` and its like; what is a technique, group, software or campaign is none."""
    names = (tag.removeprefix("attack.").replace("_", "-") for tag in tags if tag.startswith("attack."))
    return list(dict.fromkeys(name for name in names if not NO_TACTIC.match(name)))


def layer(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A layer for the ATT&CK Navigator: the score is the number of rules that count; 0 where there are only others."""
    rows: Sequence[Mapping[str, Any]] = found["techniques"]
    most = max((len(row["counted"]) for row in rows), default=0)
    return {
        "name": name,
        "versions": {"navigator": NAVIGATOR, "layer": LAYER},
        "domain": "enterprise-attack",
        "description": "score: rules that are live, tested and fed by events of now",
        "sorting": 3,
        "layout": {"layout": "side", "showID": True, "showName": True, "expandedSubtechniques": "annotated"},
        "techniques": [_technique(row) for row in rows],
        "gradient": {"colors": ["#f4f4f4", "#8ec843"], "minValue": 0, "maxValue": max(most, 1)},
    }


def _technique(row: Mapping[str, Any]) -> dict[str, Any]:
    lacking = [f"{each['title']} ({', '.join(each['missing'])})" for each in row["others"]]
    comment = "\n".join([*(each["title"] for each in row["counted"]), *lacking])
    return {"techniqueID": row["technique"], "score": len(row["counted"]), "comment": comment, "enabled": True}
