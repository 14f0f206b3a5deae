"""The pipe aggregations of Sigma 1, no part of Sigma since 2.0: which correlation to write instead."""

from __future__ import annotations

import re
from typing import Any

_CALL = re.compile(
    r"(?P<function>count|min|max|avg|sum)\s*\(\s*(?P<field>[^)]*?)\s*\)"
    r"(?:\s+by\s+(?P<by>.+?))?\s*(?P<sign><=|>=|==|=|<|>)\s*(?P<number>-?[\d.]+)\s*",
    re.IGNORECASE,
)
_SIGNS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte", "=": "eq", "==": "eq"}
_TYPES = {"min": "value_percentile", "max": "value_percentile", "avg": "value_avg", "sum": "value_sum"}
_SHOWN = 200


def advice(detection: Any) -> str:
    """What to write instead of a condition with a pipe; an empty text when there is none."""
    if not isinstance(detection, dict):
        return ""
    conditions = detection.get("condition")
    for condition in conditions if isinstance(conditions, list) else [conditions]:
        if isinstance(condition, str) and "|" in condition:
            before, behind = (part.strip() for part in condition.split("|", 1))
            correlation = _correlation(behind, detection.get("timeframe"))
            return (
                f"the pipe aggregation '| {behind[:_SHOWN]}' is no part of Sigma since 2.0: end the condition at "
                f"'{before[:_SHOWN]}' and write a correlation of this rule: {correlation}"
            )
    return ""


def _correlation(text: str, timeframe: Any) -> str:
    span = f"timespan: {timeframe or '5m'}"
    if text.lower().startswith("near"):
        return f"{{type: temporal, rules: [this rule, one rule for each other selection], {span}}}"
    call = _CALL.fullmatch(text)
    if call is None:
        return f"{{type: event_count, value_count, value_sum, value_avg or temporal, {span}, condition: ...}}"
    function, field = call["function"].lower(), call["field"]
    group = f", group-by: [{call['by'].strip()}]" if call["by"] else ""
    of = f"field: {field}, " if field else ""
    kind = ("value_count" if field else "event_count") if function == "count" else _TYPES[function]
    percentile = {"min": "percentile: 0, ", "max": "percentile: 100, "}.get(function, "")
    return f"{{type: {kind}{group}, {span}, condition: {{{of}{percentile}{_SIGNS[call['sign']]}: {call['number']}}}}}"
