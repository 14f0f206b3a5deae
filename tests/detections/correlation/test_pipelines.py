"""Pipelines (`-p`) rename what correlations group by and count as pySigma's own do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule
from sigma.processing.pipeline import ProcessingPipeline

from soc.detections import DetectionSet

RULES: list[dict[str, Any]] = [
    {"title": "a", "name": "a", "logsource": {"product": "linux", "service": "sshd"},
     "detection": {"s": {"outcome": "failure"}, "condition": "s"}},
    {"title": "b", "name": "b", "logsource": {"product": "windows", "service": "security"},
     "detection": {"s": {"EventID": 4625}, "condition": "s"}},
]  # fmt: skip
MAPPED = {"src": "source.ip", "who": "user.name", "outcome": "event.outcome"}
SSHD = [{"type": "logsource", "product": "linux", "service": "sshd"}]


def item(type: str, conditions: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    return {"id": type, "type": type, **more, **({"rule_conditions": conditions} if conditions else {})}


def correlation(name: str = "c", **more: Any) -> dict[str, Any]:
    body = {"type": "event_count", "rules": ["a"], "timespan": "1m", "condition": {"gte": 2}, **more}
    return {"title": name, "name": name, "correlation": body}


def value_count(field: Any, **more: Any) -> dict[str, Any]:
    return correlation(type="value_count", condition={"field": field, "gte": 2}, **more)


TWO = {"src": {"a": "who", "b": "user.name"}}
RENAMES = item("field_name_mapping", mapping=MAPPED)
OF_SSHD = item("field_name_mapping", SSHD, mapping=MAPPED)
OUTCOME = item("field_name_mapping", mapping={"outcome": "event.outcome"})
CASES = [
    ([RENAMES], [correlation(**{"group-by": ["src"]})]),
    ([RENAMES], [value_count("who", **{"group-by": ["src"]})]),
    ([RENAMES], [value_count(["who", "src"], **{"group-by": ["host.name"]})]),
    ([RENAMES], [correlation(rules=["a", "b"], aliases=TWO, **{"group-by": ["src"]})]),
    ([OF_SSHD, OUTCOME], [correlation(**{"group-by": ["src"]})]),
    ([OUTCOME, item("field_name_mapping", mapping={"src": ["source.ip", "user.name"]})],
     [correlation(**{"group-by": ["src"]})]),
    ([OUTCOME, item("field_name_prefix_mapping", mapping={"s.": "source."})], [correlation(**{"group-by": ["s.ip"]})]),
    ([OF_SSHD, OUTCOME], [correlation(name="d", **{"group-by": ["src"]}),
                          correlation(rules=["d"], **{"group-by": ["src"]})]),
]  # fmt: skip


def names(found: Any) -> tuple[tuple[str, ...], dict[str, dict[str, str]], Any]:
    """Of pySigma's correlation: what it groups by, its aliases, what it counts."""
    return tuple(found.group_by or ()), found.aliases.to_dict(), getattr(found.condition, "fieldref", None)


def theirs(items: list[dict[str, Any]], correlations: list[dict[str, Any]]) -> SigmaCorrelationRule:
    """The last correlation as pySigma's backends get it: rules before what refers to them."""
    pipeline = ProcessingPipeline.from_dict({"name": "p", "priority": 1, "transformations": items})
    collection = SigmaCollection.from_dicts([*RULES, *correlations])
    collection.resolve_rule_references()
    for rule in collection.rules:
        pipeline.apply(rule)
    last = collection["c"]
    assert isinstance(last, SigmaCorrelationRule)
    return last


@pytest.mark.parametrize(("items", "correlations"), CASES)
@pytest.mark.parametrize("cached", [False, True])
def test_names_of_correlations_are_mapped_as_pysigma_maps_them(
    tmp_path: Path, items: list[dict[str, Any]], correlations: list[dict[str, Any]], cached: bool
) -> None:
    """Groups, aliases, the counted field; by log sources of the rules beneath, also through two steps and a cache."""
    (tmp_path / "p.yml").write_text(json.dumps({"name": "p", "priority": 1, "transformations": items}))
    (tmp_path / "rules.yml").write_text("\n---\n".join(map(json.dumps, RULES)))
    (tmp_path / "c.yml").write_text("\n---\n".join(map(json.dumps, correlations)))
    paths, cache = [tmp_path / "rules.yml", tmp_path / "c.yml"], tmp_path / "cache" if cached else None
    for _ in range(1 + cached):
        loaded = DetectionSet.load(paths, pipelines=[tmp_path / "p.yml"], cache=cache)
    assert not loaded.refused, loaded.refused
    ours, wanted = loaded.correlations[-1], theirs(items, correlations)
    group_by, aliases, counted = names(wanted)
    assert ours.group_by == group_by
    for rule, called in ours.group_fields.items():
        if rule in ("a", "d"):  # whose fields of ECS are called by their own names
            assert called == tuple((aliases.get(group, {}).get(rule, group),) for group in group_by)
    fields = [counted] if isinstance(counted, str) else counted or []
    if fields:
        assert ours.counted["a"] == tuple((name,) for name in fields)


def test_a_pipeline_that_gives_a_counted_field_two_names_is_refused(tmp_path: Path) -> None:
    """As pySigma refuses it, with its reason."""
    mapping = item("field_name_mapping", mapping={"who": ["user.name", "user.id"]})
    (tmp_path / "p.yml").write_text(json.dumps({"name": "p", "priority": 1, "transformations": [OUTCOME, mapping]}))
    rules = [RULES[0], value_count("who", **{"group-by": ["source.ip"]})]
    (tmp_path / "rules.yml").write_text("\n---\n".join(map(json.dumps, rules)))
    loaded = DetectionSet.load([tmp_path / "rules.yml"], pipelines=[tmp_path / "p.yml"])
    assert [refused.id for refused in loaded.refused] == ["c"]
    assert "multiple field names" in loaded.refused[0].reason
