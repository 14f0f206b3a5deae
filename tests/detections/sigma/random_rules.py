"""Random Sigma rules with every modifier, and events that some of them fit; the same for the same seed."""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping
from typing import Any

FIELDS = {
    "F": "winlog.event_data.F",
    "G": "winlog.event_data.G",
    "H": "winlog.event_data.H",
    "related.user": "related.user",
}
"""A rule's names and those of the event; the last one may have several values."""
LISTS = {"short": ["ab", "b*"], "dashes": ["-ab"]}
WORDS = ("ab", "b", "aB", "A", "đà", "ĐÀ", "kſ", "\u212aa", "-ab", "/b", " -b a", "\u2013ab", "a*b",
         "a?b", "ΑΣ", "ΑΣΑ", "\u0130",
         r"a\b", "%short%",
         "1", "4688", "5.5", "-2", "true", "False", "", " ", "a\nb", "ab ab")  # fmt: skip
SECRETS = ("abab", "a-b", "whoami")
ADDRESSES = ("10.1.2.3", "192.0.2.7", "2001:db8::1", "fe80::7", "::ffff:10.0.0.9", "10.1.2")
MOMENTS = ("2026-11-20T03:15:00+00:00", "2025-01-01 23:59:01.5", "2026-12-31T00:00:00+07:00", "2026-13-01")
PATTERNS = ("a.b", "^a", "b$", "(a|b)+", "[^a]b", "A?b{1,2}", "^$", "k", "a|b", r"\*", "^b$")
NETWORKS = ("10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "fe80::/10", "0.0.0.0/0", "::ffff:0:0/96")
TEXT_CHAINS = (
    "", "", "", "contains", "contains", "startswith", "endswith", "cased", "contains|cased", "startswith|cased",
    "all", "contains|all", "neq", "contains|neq", "contains|all|neq", "cased|neq", "windash", "windash|contains",
    "windash|contains|all", "windash|startswith|neq", "endswith|all",
)  # fmt: skip
SECRET_CHAINS = (
    "base64", "base64|contains", "base64offset|contains", "wide|base64offset|contains", "utf16le|base64",
    "utf16be|base64offset|contains", "utf16|base64", "base64offset|contains|all", "wide|contains",
)  # fmt: skip
REGEX_CHAINS = ("re", "re|i", "re|m", "re|s", "re|i|m|s", "re|ignorecase", "re|multiline", "re|dotall", "re|all",
                "re|contains", "re|neq", "re|i|neq")  # fmt: skip
TIME_CHAINS = ("minute", "hour", "day", "week", "month", "year", "hour|neq")
NUMBER_CHAINS = ("lt", "lte", "gt", "gte", "gt|neq")
REFERENCE_CHAINS = ("fieldref", "fieldref|neq", "fieldref|startswith", "fieldref|endswith", "fieldref|contains",
                    "fieldref|all")  # fmt: skip
CONDITIONS = (
    "s1", "not s1", "s1 and s2", "s1 or s2", "s1 and not s2", "not s1 and not s2", "1 of s*", "all of s*", "1 of them",
    "all of them", "not 1 of s*", "s1 and (s2 or not s3)", "not (s1 or s2) and s3", "s3 or s1 and s2", "any of s*",
    "not all of s*", "not not s1",
)  # fmt: skip

NUMBERS = (-2, 1, 5.5, 4688)
Kinds = tuple[tuple[tuple[str, ...], tuple[Any, ...]], ...]
KINDS: Kinds = (
    (TEXT_CHAINS, WORDS), (TEXT_CHAINS, WORDS), (TEXT_CHAINS, WORDS), (SECRET_CHAINS, SECRETS),
    (REGEX_CHAINS, PATTERNS), (("cidr", "cidr|neq"), NETWORKS), (("exists", "exists|neq"), (True, False)),
    (NUMBER_CHAINS, NUMBERS), (TIME_CHAINS, (3, 15, 20, 47, 11, 2026, 1, 53, 12)), (REFERENCE_CHAINS, tuple(FIELDS)),
    (("", "neq", "all"), (None, "", 1, 4688, 5.5, True, False)),
    (("expand", "expand|contains", "expand|neq"), ("%short%", "x%dashes%*", "50%")),
)  # fmt: skip
"""Modifiers and the values they are put before."""


class RuleMaker:
    """`rule` and `event`, from one stream of random numbers; a subclass may know fewer words."""

    fields: Mapping[str, str] = FIELDS
    words: tuple[str, ...] = WORDS
    keywords: tuple[str | int | bool, ...] = (*WORDS, 1, True)
    kinds: Kinds = KINDS
    addresses: tuple[str, ...] = ADDRESSES
    moments: tuple[str, ...] = MOMENTS
    keyword_chains: tuple[str, ...] = ("contains", "all", "re", "cased", "neq", "windash", "contains|all")

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def rule(self) -> dict[str, Any]:
        """A whole rule as data."""
        detection: dict[str, Any] = {f"s{n}": self._selection() for n in (1, 2, 3)}
        conditions = [self.random.choice(CONDITIONS) for _ in range(self.random.choice((1, 1, 1, 2)))]
        detection["condition"] = conditions if len(conditions) > 1 else conditions[0]
        return {"title": "random", "name": "random", "logsource": {"product": "windows"}, "detection": detection}

    def _selection(self) -> Any:
        kind = self.random.random()
        if kind < 0.15:
            return [self.random.choice(self.keywords) for _ in range(self.random.randrange(1, 3))]
        if kind < 0.2:
            chain = self.random.choice(self.keyword_chains)
            values = PATTERNS if chain == "re" else tuple(word for word in self.keywords if isinstance(word, str))
            return {f"|{chain}": self._some(values) or "x"}  # an empty list is null, which needs a field
        if kind < 0.35:
            return [self._map() for _ in range(2)] + [self.random.choice(self.keywords)] * (kind < 0.25)
        return self._map()

    def _map(self) -> dict[str, Any]:
        return dict(self._item() for _ in range(self.random.choice((1, 1, 2, 3))))

    def _item(self) -> tuple[str, Any]:
        chains, values = self.random.choice(self.kinds)
        chain, name = self.random.choice(chains), self.random.choice(tuple(self.fields))
        key = f"{name}|{chain}" if chain else name
        return key, self._some(values)

    def _some(self, values: tuple[Any, ...]) -> Any:
        if self.random.random() < 0.6:
            return self.random.choice(values)
        return [self.random.choice(values) for _ in range(self.random.randrange(3))]

    def event(self) -> dict[str, Any]:
        """Field by field a text, several texts for the last one, or nothing."""
        row: dict[str, Any] = {}
        for name in self.fields.values():
            if self.random.random() < 0.25:
                continue
            row[name] = tuple(self._text() for _ in range(2)) if name == "related.user" else self._text()
        return row

    def _text(self) -> str:
        kind = self.random.random()
        if kind < 0.65:
            return self.random.choice(("", "", "x", "a ")) * (kind < 0.2) + self.random.choice(self.words)
        if kind < 0.75:
            secret, coding = (
                self.random.choice(SECRETS),
                self.random.choice(("utf-8", "utf-16le", "utf-16be", "utf-16")),
            )
            return base64.b64encode(b"xy"[: self.random.randrange(3)] + secret.encode(coding)).decode()
        return self.random.choice(self.addresses if kind < 0.85 else self.moments)
