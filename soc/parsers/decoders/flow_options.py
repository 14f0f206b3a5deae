"""What an exporter tells about itself in options records: samplers, names of interfaces and applications, boot time.

Sampling: NetFlow v9 fields 34, 35, 48–50 (RFC 3954); IPFIX 302, 304–306, 309–311 (RFC 5477).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from soc.parsers.decoders.flow_state import MAX_NAME, MAX_NAMES, Context, Rate
from soc.parsers.decoders.flow_templates import Cut, Layout, Template
from soc.parsers.decoders.flow_values import Array, Values

DEFAULT = ""
"""The key of the sampler that an exporter states without a number."""
_MAX_RATE = 1 << 31
_RATES = (
    "samplerRandomInterval", "samplingPacketInterval", "samplingPopulation", "samplingProbability", "samplingInterval",
)  # fmt: skip
RATE_KEYS = frozenset({*_RATES, "samplingPacketSpace", "samplingSize"})


def learn_options(context: Context, template: Template, layout: Layout, cut: Cut) -> Context:
    """The context after these records; the same object when they say nothing new."""
    wanted = layout.keys & (RATE_KEYS | {"interfaceName", "interfaceDescription", "applicationName", _BOOT})
    if not wanted:
        return context
    values, _ = layout.values([cut])
    plain = {key: _plain(column) for key, column in values.items()}
    samplers: dict[str, Rate] = {}
    interfaces: dict[int, str] = {}
    applications: dict[str, str] = {}
    boot = context.boot_us
    for i in range(cut.n):
        record = {key: column[i] for key, column in plain.items()}
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
    if all(known.get(key) == value for key, value in found.items()):
        return known
    merged = {**known, **found}
    return known if len(merged) > MAX_NAMES and not found.keys() <= known.keys() else merged


def sampler_key(record: Mapping[str, Any]) -> str:
    """`sampler:<id>`, `interface:<index>` or `DEFAULT`."""
    number = record.get("samplerId", record.get("selectorId"))
    if number is not None:
        return f"sampler:{number}"
    index = record.get("ingressInterface")
    return DEFAULT if index is None else f"interface:{index}"


def rate(record: Mapping[str, Any]) -> Rate | None:
    """By how much a record's counts must be multiplied, as a fraction; None when it does not say, or says nonsense."""
    interval, space = record.get("samplingPacketInterval"), record.get("samplingPacketSpace")
    size, population = record.get("samplingSize"), record.get("samplingPopulation")
    probability = record.get("samplingProbability")
    top = record.get("samplerRandomInterval") or record.get("samplingInterval")
    bottom = 1
    if top is None and interval and space is not None:
        top, bottom = interval + space, interval
    elif top is None and size and population:
        top, bottom = population, size
    elif top is None and probability and 0 < probability <= 1:
        inverse = 1 / Fraction(probability).limit_denominator(_MAX_RATE)
        top, bottom = inverse.numerator, inverse.denominator
    return (top, bottom) if top and 0 < bottom <= top <= _MAX_RATE else None


def factors(context: Context, values: Mapping[str, Values], n: int) -> tuple[Array | None, list[int]]:
    """How many packets each counted packet stands for (None: one), and the flows whose sampler nobody described."""
    if values.keys() & RATE_KEYS:
        return _own(values, n), []
    if not context.samplers:
        return None, _nameless(values)
    default = _ratio(context.samplers.get(DEFAULT, (1, 1)))
    ids = values.get("samplerId", values.get("selectorId"))
    if ids is not None:
        return _looked_up(context, "sampler", ids, default)
    interfaces = values.get("ingressInterface")
    if interfaces is not None and any(key.startswith("interface:") for key in context.samplers):
        return _looked_up(context, "interface", interfaces, default)[0], []
    return (None if default == 1 else np.full(n, default)), []


def _nameless(values: Mapping[str, Values]) -> list[int]:
    ids = values.get("samplerId", values.get("selectorId"))
    return [] if ids is None else [i for i, number in enumerate(_plain(ids)) if number]


def _own(values: Mapping[str, Values], n: int) -> Array | None:
    plain = {key: _plain(values[key]) for key in RATE_KEYS if key in values}
    known: dict[tuple[Any, ...], float] = {}
    result = np.ones(n)
    for i, row in enumerate(zip(*plain.values(), strict=True)):
        if row not in known:
            known[row] = _ratio(rate(dict(zip(plain, row, strict=True))) or (1, 1))
        result[i] = known[row]
    return result if (result != 1).any() else None


def _looked_up(context: Context, what: str, ids: Values, default: float) -> tuple[Array | None, list[int]]:
    known: dict[Any, float] = {}
    unknown: list[int] = []
    result = np.empty(len(ids))
    for i, number in enumerate(_plain(ids)):
        if number not in known:
            found = context.samplers.get(f"{what}:{number}")
            known[number] = default if found is None else _ratio(found)
        # Number 0 is how routers say that a flow was not sampled.
        if number and default == 1 and f"{what}:{number}" not in context.samplers:
            unknown.append(i)
        result[i] = known[number]
    return (result if (result != 1).any() else None), unknown


def _ratio(found: Rate) -> float:
    return found[0] / found[1]


def _plain(values: Values) -> list[Any]:
    return values if isinstance(values, list) else values.tolist()


__all__ = ["DEFAULT", "factors", "learn_options", "rate", "sampler_key"]
