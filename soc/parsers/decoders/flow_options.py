"""What an exporter tells about itself in options records: samplers, names of interfaces and applications, boot time.

Sampling: NetFlow v9 fields 34, 35, 48–50 (RFC 3954); IPFIX 302, 304–311, 329–332 (RFC 5477 section 8.2.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from soc.parsers.decoders.flow_state import MAX_NAME, MAX_NAMES, Context, Rate
from soc.parsers.decoders.flow_templates import Cut, Elements, Layout, Template
from soc.parsers.decoders.flow_text import is_small, plain
from soc.parsers.decoders.flow_values import Array, Values

DEFAULT = ""
"""The key of the sampler that an exporter states without a number."""
_MAX_RATE = 1 << 31
_RATES = (
    "samplerRandomInterval", "samplingPacketInterval", "samplingPopulation", "samplingProbability", "samplingInterval",
)  # fmt: skip
_HASH = ("hashOutputRangeMin", "hashOutputRangeMax", "hashSelectedRangeMin", "hashSelectedRangeMax")
RATE_KEYS = frozenset({
    *_RATES, "samplingPacketSpace", "samplingSize", "samplingTimeInterval", "samplingTimeSpace", *_HASH,
})  # fmt: skip


def learn_options(context: Context, template: Template, layout: Layout, cut: Cut) -> Context:
    """The context after these records; the same object when they say nothing new."""
    wanted = layout.keys & (RATE_KEYS | {"interfaceName", "interfaceDescription", "applicationName", _BOOT})
    if not wanted:
        return context
    listed = {key: plain(column) for key, column in Elements(layout, [cut]).items()}
    samplers: dict[str, Rate] = {}
    interfaces: dict[int, str] = {}
    applications: dict[str, str] = {}
    boot = context.boot_us
    for i in range(cut.n):
        record = {key: column[i] for key, column in listed.items()}
        found = rate(record)
        if found is not None:
            samplers[sampler_key(record)] = found
        name = record.get("interfaceName") or record.get("interfaceDescription")
        index = record.get("ingressInterface", record.get("egressInterface"))
        if name and index is not None:
            interfaces[index] = name[:MAX_NAME]
        application, number = record.get("applicationName"), record.get("applicationId")
        if application and number:
            applications[number] = application[:MAX_NAME]
        boot = record.get(_BOOT) or boot
    return _merged(context, samplers, interfaces, applications, boot)


_BOOT = "systemInitTimeMilliseconds"


def _merged(
    context: Context,
    samplers: Mapping[str, Rate],
    interfaces: Mapping[int, str],
    applications: Mapping[str, str],
    boot: int | None,
) -> Context:
    news: dict[str, Any] = {
        name: more
        for name, known, found in (
            ("samplers", context.samplers, samplers),
            ("interfaces", context.interfaces, interfaces),
            ("applications", context.applications, applications),
        )
        if (more := _with(known, found)) is not known
    }
    if boot != context.boot_us:
        news["boot_us"] = boot
    return replace(context, **news) if news else context


def _with(known: Mapping[Any, Any], found: Mapping[Any, Any]) -> Mapping[Any, Any]:
    merged = {**known, **found}
    if len(merged) > MAX_NAMES:  # no room for new ones; what is known may still be corrected
        merged = {key: merged[key] for key in known}
    return known if merged == known else merged


def sampler_key(record: Mapping[str, Any]) -> str:
    """`sampler:<id>`, `interface:<index>` or `DEFAULT`."""
    number = record.get("samplerId", record.get("selectorId"))
    if number is not None:
        return f"sampler:{number}"
    index = record.get("ingressInterface")
    return DEFAULT if index is None else f"interface:{index}"


def rate(record: Mapping[str, Any]) -> Rate | None:
    """By how much a record's counts must be multiplied, as a fraction; None when it does not say, or says nonsense."""
    interval, space = (record.get(f"samplingPacket{which}") for which in ("Interval", "Space"))
    if not interval:
        interval, space = (record.get(f"samplingTime{which}") for which in ("Interval", "Space"))
    size, population = record.get("samplingSize"), record.get("samplingPopulation")
    probability = record.get("samplingProbability")
    top = record.get("samplerRandomInterval") or record.get("samplingInterval")
    bottom = 1
    if top is None and interval and space is not None:
        top, bottom = interval + space, interval
    elif top is None and size and population:
        top, bottom = population, size
    elif top is None and probability and 0 < probability <= 1:
        share = Fraction(probability).limit_denominator(_MAX_RATE)
        top, bottom = share.denominator, share.numerator  # 0 of them: too small to mean anything
    elif top is None:
        top, bottom = _hashed(*(record.get(key) for key in _HASH))
    return (top, bottom) if top and 0 < bottom <= top <= _MAX_RATE else None


def _hashed(low: int | None, high: int | None, first: int | None, last: int | None) -> tuple[int, int]:
    """Of so many values of a hash so many are selected; (0, 1) when that is not said, or nonsense."""
    if low is None or high is None or first is None or last is None or not low <= first <= last <= high:
        return 0, 1
    whole = Fraction(high - low + 1, last - first + 1).limit_denominator(1000)
    return whole.numerator, whole.denominator


def factors(context: Context, values: Mapping[str, Values], n: int) -> tuple[Array | None, Array | None]:
    """How many packets each counted packet stands for (None: one), and which flows name a sampler that nobody
    described (None: none does)."""
    if values.keys() & RATE_KEYS:
        return _own(values, n), None
    ids = values.get("samplerId", values.get("selectorId"))
    if not context.samplers:
        return None, None if ids is None else _any(_each(ids, lambda number: float(bool(number))) != 0)
    default = _ratio(context.samplers.get(DEFAULT, (1, 1)))
    if ids is not None:
        return _looked_up(context, "sampler", ids, default)
    interfaces = values.get("ingressInterface")
    if interfaces is not None and any(key.startswith("interface:") for key in context.samplers):
        return _looked_up(context, "interface", interfaces, default)[0], None
    return (None if default == 1 else np.full(n, default)), None


def _own(values: Mapping[str, Values], n: int) -> Array | None:
    columns = {key: values[key] for key in RATE_KEYS if key in values}
    if n and all(isinstance(column, np.ndarray) and (column == column[0]).all() for column in columns.values()):
        found = rate({key: plain(column[:1])[0] for key, column in columns.items()})
        return None if found is None or _ratio(found) == 1 else np.full(n, _ratio(found))
    listed = {key: plain(column) for key, column in columns.items()}
    known: dict[tuple[Any, ...], float] = {}
    result = np.ones(n)
    for i, row in enumerate(zip(*listed.values(), strict=True)):
        if row not in known:
            known[row] = _ratio(rate(dict(zip(listed, row, strict=True))) or (1, 1))
        result[i] = known[row]
    return result if (result != 1).any() else None


def _looked_up(context: Context, what: str, ids: Values, default: float) -> tuple[Array | None, Array | None]:
    def ratio(number: Any) -> float:
        found = context.samplers.get(f"{what}:{number}")
        return default if found is None else _ratio(found)

    def is_nameless(number: Any) -> float:
        # Number 0 is how routers say that a flow was not sampled.
        return float(bool(number) and default == 1 and f"{what}:{number}" not in context.samplers)

    result = _each(ids, ratio)
    return (result if (result != 1).any() else None), _any(_each(ids, is_nameless) != 0)


def _each(ids: Values, meaning: Callable[[Any], float]) -> Array:
    """`meaning` of each, asked once for each that differs."""
    if not isinstance(ids, np.ndarray) or not is_small(ids):
        known: dict[Any, float] = {}
        return np.array([known[i] if i in known else known.setdefault(i, meaning(i)) for i in plain(ids)], np.float64)
    table = np.zeros(int(ids.max()) + 1 if len(ids) else 1)
    for number in np.flatnonzero(np.bincount(ids)).tolist():
        table[number] = meaning(number)
    return np.asarray(table[ids])


def _any(mask: Array) -> Array | None:
    return mask if mask.any() else None


def _ratio(found: Rate) -> float:
    return found[0] / found[1]


__all__ = ["DEFAULT", "factors", "learn_options", "rate", "sampler_key"]
