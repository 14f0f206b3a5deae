"""What was raised against what the simulator did: caught, missed (and why), false, seconds to alert. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

SLACK_US = 5_000_000
"""Syslog stamps are whole seconds, and records wait for a group commit."""
GRACE_US = 30_000_000
"""An attack that ended less than this ago may still be noticed."""
NO_ALERT, ENTITY_ONLY, TIME_ONLY, OTHER_TECHNIQUE = "no_alert", "entity_only", "time_only", "other_technique"
"""Why an attack counts as missed: nothing at all; its entity at another time; its technique at its time about somebody
else; its entity at its time for another technique."""
_SEPARATORS = re.compile(r"[\s=/,]+")
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Caught:
    """An attack that was noticed. `seconds` from its start to the alert; None when an alert of before took it in."""

    id: str
    name: str
    entity: tuple[str, ...]
    alerts: tuple[str, ...]
    seconds: float | None


@dataclass(frozen=True)
class Missed:
    """An attack that was not, and `why` (`no_alert`, `entity_only`, `time_only`, `other_technique`)."""

    id: str
    name: str
    entity: tuple[str, ...]
    technique: tuple[str, ...]
    start_us: int
    why: str


@dataclass(frozen=True)
class FalseAlert:
    """An alert that no attack explains."""

    id: str
    title: str
    entity: str
    created_us: int


@dataclass(frozen=True)
class Score:
    """`pending` names attacks still under way; `outside` counts alerts of imports, which are not about the traffic."""

    caught: tuple[Caught, ...]
    missed: tuple[Missed, ...]
    false: tuple[FalseAlert, ...]
    pending: tuple[str, ...] = ()
    outside: int = 0

    @property
    def recall(self) -> float | None:
        """Caught of all that should have been; None when there was nothing."""
        total = len(self.caught) + len(self.missed)
        return len(self.caught) / total if total else None

    @property
    def slowest_s(self) -> float | None:
        """The longest time to an alert."""
        return max((c.seconds for c in self.caught if c.seconds is not None), default=None)

    def to_document(self) -> dict[str, Any]:
        """A JSON-able dict."""
        figures = {"expected": len(self.caught) + len(self.missed), "recall": self.recall, "slowest_s": self.slowest_s}
        return {**asdict(self), **figures}


def score(truth: Iterable[Document], alerts: Iterable[Document], *, now_us: int | None = None) -> Score:
    """Match truth records with alert documents: by time, a token of the entity, and the technique, all three.

    With `now_us` (µs UTC) an attack not noticed yet is pending until a while after its end.
    """
    attacks, all_alerts = list(truth), list(alerts)
    live = [alert for alert in all_alerts if not alert.get("import_id")]
    caught: list[Caught] = []
    missed: list[Missed] = []
    pending: list[str] = []
    for attack in attacks:
        if not attack["expect"]:
            continue
        hits = [alert for alert in live if _explains(attack, alert)]
        if hits:
            caught.append(_caught(attack, hits))
        elif now_us is not None and now_us < attack["end_us"] + GRACE_US:
            pending.append(attack["id"])
        else:
            missed.append(_missed(attack, live))
    false = [_false(alert) for alert in live if not any(_explains(attack, alert) for attack in attacks)]
    return Score(tuple(caught), tuple(missed), tuple(false), tuple(pending), len(all_alerts) - len(live))


def shuffled(truth: Iterable[Document], seed: int) -> list[dict[str, Any]]:
    """The control: each attack gets the entity of another and the technique of a third (it takes three at least).

    A scorer that still finds attacks then is matching by chance.
    """
    attacks = [dict(attack) for attack in truth]
    rng = Random(f"{seed}:control")  # noqa: S311 - play, not secrets
    order = list(range(len(attacks)))
    rng.shuffle(order)
    entities, techniques = order[1:] + order[:1], order[2:] + order[:2]
    mixed = [dict(attack) for attack in attacks]
    for at, entity, technique in zip(order, entities, techniques, strict=True):
        mixed[at] |= {"entity": attacks[entity]["entity"]}
        mixed[at] |= {name: attacks[technique][name] for name in ("technique", "tags")}
    return mixed


def _explains(attack: Document, alert: Document) -> bool:
    return _at_its_time(attack, alert) and _about_it(attack, alert) and _of_its_kind(attack, alert)


def _at_its_time(attack: Document, alert: Document) -> bool:
    first, last = alert["first_us"] - SLACK_US, alert["last_us"] + SLACK_US
    return bool(first <= attack["end_us"] and attack["start_us"] <= last)


def _about_it(attack: Document, alert: Document) -> bool:
    named = _tokens(alert)
    return any(token.lower() in named for token in attack["entity"])


def _tokens(alert: Document) -> set[str]:
    """What an alert is about, word by word: `source.ip=203.0.113.9`, `soc.source=kontum/syslog-udp/127.5.10.6`."""
    texts = [alert["entity"], *(str(o["value"]) for o in alert.get("observables", ()))]
    return {token for text in texts for token in _SEPARATORS.split(text.lower()) if token}


def _of_its_kind(attack: Document, alert: Document) -> bool:
    return any(_is_kin(own, tag) for own in attack["tags"] for tag in alert.get("tags", ()))


def _is_kin(own: str, tag: str) -> bool:
    """The same technique, or one is the other's sub-technique."""
    own, tag = own.lower(), tag.lower()
    return own == tag or own.startswith(f"{tag}.") or tag.startswith(f"{own}.")


def _caught(attack: Document, hits: list[Document]) -> Caught:
    first_us = min(alert["created_us"] for alert in hits)
    waited = (first_us - attack["start_us"]) / 1_000_000
    ids = tuple(alert["id"] for alert in hits)
    return Caught(attack["id"], attack["name"], tuple(attack["entity"]), ids, waited if waited >= 0 else None)


def _missed(attack: Document, alerts: list[Document]) -> Missed:
    here = [alert for alert in alerts if _at_its_time(attack, alert)]
    if any(_about_it(attack, alert) for alert in here):
        why = OTHER_TECHNIQUE
    elif any(_of_its_kind(attack, alert) for alert in here):
        why = TIME_ONLY
    else:
        why = ENTITY_ONLY if any(_about_it(attack, alert) for alert in alerts) else NO_ALERT
    entity, technique = tuple(attack["entity"]), tuple(attack["technique"])
    return Missed(attack["id"], attack["name"], entity, technique, attack["start_us"], why)


def _false(alert: Document) -> FalseAlert:
    return FalseAlert(alert["id"], alert["title"], alert["entity"], alert["created_us"])
