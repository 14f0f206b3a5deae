"""`Rules`: what `soc serve` knows and changes of its rules: state, versions, and the word to read them again."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from soc import content
from soc.alerts.withheld import DECISION, DISABLED, SHADOW, TOTAL
from soc.config import Settings
from soc.content import Document
from soc.detections.anomaly.model import Definition
from soc.detections.correlation.definition import Correlation
from soc.detections.load import DetectionSet
from soc.detections.sigma.collection import merged
from soc.detections.sigma.header import identity, lacking, version_of
from soc.detections.sigma.rule import Rule
from soc.errors import Conflict, ContentError, NotFound, SocError, UsageError
from soc.model.cases import CaseTx as Tx
from soc.model.clock import Clock
from soc.model.rule_policy import LIVE, STATES, RulePolicy
from soc.parsers import ParserSet
from soc.pipeline import places
from soc.store import files
from soc.store.cases import Cases

VERSION = "rule_version"
"""The kind of document that keeps a version of a definition: `rule`, `version`, `text`, `path`, `first_us`."""
DEFAULT = "default"
"""Beside `STATES`: what `soc.toml` and the rule's status say, as if nobody had decided anything."""
MOST = 100_000
"""Decisions and totals that are read at once: more than there are rules."""
KEPT_VERSIONS = 50
"""Versions of one rule that a look back may meet."""
NOTED_AT_ONCE = 100
"""New versions that are kept in one transaction: 3,700 would hold up alerts for seconds."""
_ACTOR = "engine"
_log = logging.getLogger("soc.rules")
AnyRule = Rule | Correlation | Definition
Begin = Callable[[], AbstractContextManager[Tx]]
"""Opens a transaction in the caller's name."""


class Rules:
    """One for a service. What is put in place here lies below `SOC_HOME`, in the last roots of all processes."""

    def __init__(self, settings: Settings, clock: Clock, cases: Cases, parsers: ParserSet) -> None:
        self.settings, self.clock, self.cases, self.parsers = settings, clock, cases, parsers
        self.policy: RulePolicy = places.rule_policy(settings)
        self.writing = threading.RLock()
        self._loaded: DetectionSet | None = None
        self._noted: dict[str, str] = {}

    # what there is

    def loaded(self) -> DetectionSet:
        """All definitions, also those that are off; read at the first call and after each change."""
        with self.writing:
            if self._loaded is None:
                self._loaded = places.all_detections(self.settings, self.parsers)
            return self._loaded

    def tested(self) -> DetectionSet:
        """The same with the documents of all that carry tests: what came from the cache has them in its file alone."""
        loaded = self.loaded()
        here = {(each.path, identity(each)) for each in loaded.documents}
        wanted = {(rule.path, rule.id) for rule in loaded.rules if rule.tests} - here
        paths = {path for path, _ in wanted}
        found: list[Document] = []
        for root in places.rule_paths(self.settings) if paths else ():
            with _told("no tests are run of", root):
                for file in content.sources(root):
                    if file.path in paths:
                        with _told("no tests are run of", file.path):
                            found += merged(content.readable(file.read(), file.path)[0])[0]
        return replace(loaded, documents=(*loaded.documents, *(d for d in found if (d.path, identity(d)) in wanted)))

    def all(self) -> Iterator[AnyRule]:
        """Rules, correlations and models."""
        loaded = self.loaded()
        yield from loaded.rules
        yield from loaded.correlations
        yield from loaded.models

    def one(self, id: str) -> AnyRule:
        """The definition with this id or name. Raises NotFound."""
        for each in self.all():
            if id in (each.id, getattr(each, "name", "")):
                return each
        raise NotFound(f"no rule '{id}' is loaded", hint="soc rule status names those that are refused")

    def document(self, rule: AnyRule) -> Document | None:
        """The definition as it is written; None when its file changed at this moment."""
        try:
            found, _ = merged(content.readable(content.source(rule.path).read(), rule.path)[0])
        except (ContentError, OSError):
            return None
        return next((each for each in found if identity(each) == rule.id), None)

    def definitions(self, rule: AnyRule) -> list[dict[str, Any]]:
        """What a rule is made of: its own definition behind those that it refers to, as plain data."""
        beneath = rule.of if isinstance(rule, Correlation) else ()
        document = self.document(rule)
        found = [data for each in beneath for data in self.definitions(each)]
        if document is not None:
            found.append(orjson.loads(orjson.dumps(document.data, default=str, option=orjson.OPT_NON_STR_KEYS)))
        return found

    def lacking(self, rule: AnyRule) -> str:
        """Which test a definition has none of: `hit` or `miss`; empty when it has both, or recorded events."""
        document = self.document(rule)
        data: dict[str, Any] = document.data if document is not None else {}
        if data.get("regression_tests_path"):
            return ""
        return next(iter(lacking(data.get("tests") or data.get("x-tests"))), "")

    def described(self, tx: Tx, rules: Iterable[AnyRule]) -> list[dict[str, Any]]:
        """Definitions for people: the state of each, who decided it, and how many findings it withheld."""
        decisions = self.decisions(tx)
        totals: dict[str, dict[str, int]] = {}
        for _, stored in tx.find(TOTAL, keys={"why": (SHADOW, DISABLED)}, limit=MOST):
            total = stored.document
            totals.setdefault(total["of"], {})[total["why"]] = total["count"]
        return [
            {
                "id": rule.id, "kind": _kind(rule), "title": rule.title, "title_vi": rule.title_vi, "level": rule.level,
                "status": rule.status, "tags": list(rule.tags), "version": rule.version, "path": rule.path,
                "line": rule.line, "state": self.state(rule, decisions), "decision": decisions.get(rule.id),
                "withheld": totals.get(rule.id, {}),
            }
            for rule in rules
        ]  # fmt: skip

    def decisions(self, tx: Tx) -> dict[str, dict[str, Any]]:
        """What people decided, by the rule's id."""
        return {id: stored.document for id, stored in tx.find(DECISION, limit=MOST)}

    def state(self, rule: AnyRule, decisions: Mapping[str, Mapping[str, Any]]) -> str:
        """One of `STATES`, for units that do not say otherwise."""
        return self.policy.state(rule, None, decisions.get(rule.id, {}).get("state", ""))

    # what people decide

    def decide(self, tx: Tx, id: str, state: str, person: str, reason: str, *, untested: bool = False) -> AnyRule:
        """Turn a rule live, into shadow or off, or back to what the settings say.

        A person turns a rule live that has a test that hits and one that misses, or says `untested`: the ledger then
        says so too. Raises UsageError, NotFound, Conflict.
        """
        if state not in (*STATES, DEFAULT):
            raise UsageError(f"unknown state '{state}'; one of {', '.join((*STATES, DEFAULT))}")
        if not reason.strip():
            raise UsageError("a rule changes its state with a reason")
        rule = self.one(id)
        if self.policy.is_off_everywhere(rule):
            raise Conflict(
                f"'{rule.title}' is off in soc.toml", hint="take it out of [detections] disable, then restart"
            )
        missing = self.lacking(rule) if state == LIVE else ""
        if missing and not untested:
            raise Conflict(
                f"'{rule.title}' has no test that is a {missing}",
                hint="soc rule new and soc rule test help to write one; --untested promotes it all the same",
            )
        stored = tx.get(DECISION, rule.id)
        before = (stored.document["state"] if stored else "") or DEFAULT
        if before == state:
            raise Conflict(f"'{rule.title}' is {state} already")
        now_us = self.clock.now_ns() // 1000
        decision = {"state": "" if state == DEFAULT else state, "by": person, "at_us": now_us, "reason": reason.strip(),
                    "version": rule.version}  # fmt: skip
        tx.put(DECISION, rule.id, decision, stored.version if stored else None)
        after = {"state": state, "version": rule.version, **({"untested": True} if missing else {})}
        tx.ledger(f"rule.{state}", f"rule:{rule.id}", {"state": before}, after, reason)
        tx.change("rule", rule.id, state)
        return rule

    # versions

    def note_versions(self) -> int:
        """Keep the text of every definition as it is now, each version once; how many were new."""
        fresh: dict[str, dict[str, Any]] = {}
        seen: dict[str, str] = {}
        now_us = self.clock.now_ns() // 1000
        for path in places.rule_paths(self.settings):
            with _told("no versions are kept of", path):
                for file in content.sources(path):
                    self._note(file, fresh, seen, now_us)
        new, waiting = 0, list(fresh.items())
        for start in range(0, len(waiting), NOTED_AT_ONCE):  # alerts wait for the database meanwhile
            with self.cases.begin(_ACTOR) as tx:
                for key, version in waiting[start : start + NOTED_AT_ONCE]:
                    if tx.get(VERSION, key) is None:
                        tx.put(VERSION, key, version, None, keys={"rule": version["rule"]})
                        new += 1
        self._noted = seen
        return new

    def _note(self, file: content.Source, fresh: dict[str, Any], seen: dict[str, str], now_us: int) -> None:
        with _told("no version is kept of", file.path):
            data = file.read()
            seen[file.path] = hashlib.sha256(data).hexdigest()
            if self._noted.get(file.path) != seen[file.path]:
                fresh |= dict(_versions(data, file.path, now_us))

    def versions(self, tx: Tx, rule: AnyRule) -> list[dict[str, Any]]:
        """The versions that are known, newest first, without their texts; `is_used` marks the one of now."""
        found = [dict(stored.document) for _, stored in tx.find(VERSION, keys={"rule": rule.id}, limit=KEPT_VERSIONS)]
        document = self.document(rule)
        used = version_of(document) if document else rule.version
        found.sort(key=lambda each: -each["first_us"])
        return [{**each, "is_used": each["version"] == used} for each in found]

    def roll_back(self, begin: Begin, id: str, version: str | None, reason: str) -> dict[str, Any]:
        """Use an earlier version again (the one before, without `version`). Call it with `writing` held.

        Raises NotFound, UsageError, Conflict when there is none or when it cannot run any more.
        """
        self.note_versions()
        if not reason.strip():
            raise UsageError("a rule is rolled back with a reason")
        rule = self.one(id)
        with self.cases.read(_ACTOR) as tx:
            known = self.versions(tx, rule)
        used = next((each for each in known if each["is_used"]), None)
        wanted = self._wanted(known, used, version)
        path = self._place(rule.id)
        with self.put(path, wanted["text"].encode()), begin() as tx:
            now = self.one(rule.id)
            if now.path != str(path):
                raise Conflict(f"version {wanted['version']} of '{rule.title}' cannot run here any more")
            before = {"version": used["version"] if used else rule.version}
            enter(tx, "rule", "rollback", rule.id, before, {"version": wanted["version"]}, reason)
        return {"rule": rule.id, "before": before["version"], "after": wanted["version"]}

    def forward(self, begin: Begin, id: str, reason: str) -> dict[str, Any]:
        """Take a roll-back away: the rule is used as its own file says. Call it with `writing` held."""
        rule = self.one(id)
        path = self._place(rule.id)
        if not path.exists():
            raise Conflict(f"'{rule.title}' was not rolled back")
        with self.put(path, None), begin() as tx:
            now = self.one(rule.id)
            enter(tx, "rule", "forward", rule.id, {"version": rule.version}, {"version": now.version}, reason)
        return {"rule": rule.id, "before": rule.version, "after": now.version}

    def _wanted(
        self, known: list[dict[str, Any]], used: Mapping[str, Any] | None, version: str | None
    ) -> dict[str, Any]:
        if version is not None:
            found = next((each for each in known if each["version"] == version), None)
        else:
            before_us = used["first_us"] if used else self.clock.now_ns() // 1000
            found = next((each for each in known if not each["is_used"] and each["first_us"] < before_us), None)
        if found is None:
            raise Conflict("no earlier version is known" if version is None else f"no version '{version}' is known",
                           hint=f"known are {', '.join(each['version'] for each in known) or 'none'}")  # fmt: skip
        return found

    def _place(self, id: str) -> Path:
        # An id of a foreign rule may be any text; a name of a file may not.
        return self.settings.path(places.ROLLED_BACK, f"{hashlib.sha256(id.encode()).hexdigest()[:32]}.yml")

    # what all processes read

    @contextmanager
    def put(self, path: Path, data: bytes | None) -> Iterator[None]:
        """Write a file of definitions (None: take it away) and read all again; undone when the body fails."""
        old = path.read_bytes() if path.exists() else None
        _write(path, data)
        self._loaded = None
        try:
            yield
        except BaseException:  # nothing may stand there that the ledger does not know of
            _write(path, old)
            self._loaded = None
            raise
        self.announce()

    def reload(self) -> dict[str, int]:
        """Read everything again, here and in all processes; what is loaded and refused now."""
        with self.writing:
            self._loaded = None
            loaded = self.loaded()
            self.announce()
        self.note_versions()
        return {"loaded": loaded.loaded, "refused": len(loaded.refused), "exceptions": len(loaded.exceptions)}

    def announce(self) -> None:
        """Workers and correlator read the definitions again within seconds; neither loses an event or a window."""
        path = places.rules_announced(self.settings)
        files.replace(path, orjson.dumps({"at_us": self.clock.now_ns() // 1000, "after": hashlib.sha256(
            path.read_bytes() if path.exists() else b"").hexdigest()[:16]}))  # fmt: skip


@contextmanager
def _told(what: str, path: Path | str) -> Iterator[None]:
    """A file or archive that cannot be read holds nothing else up."""
    try:
        yield
    except (SocError, OSError) as error:
        _log.warning("%s %s: %s", what, path, error)


def _kind(rule: AnyRule) -> str:
    """As its findings have it."""
    return {Rule: "sigma", Correlation: "correlation"}.get(type(rule), "anomaly")


def enter(
    tx: Tx,
    kind: str,
    act: str,
    id: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    reason: str,
) -> None:
    """One act on a rule or an exception (`kind`): its entry in the ledger and its notice."""
    tx.ledger(f"{kind}.{act}", f"{kind}:{id}", before, after, reason)
    tx.change(kind, id, act)


def _write(path: Path, data: bytes | None) -> None:
    if data is None:
        path.unlink(missing_ok=True)
    else:
        files.make_folder(path.parent)
        files.replace(path, data)


def _versions(data: bytes, path: str, now_us: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """`<id>@<version>` and the document to keep, for each definition of a file."""
    for document, text in content.pieces(data, path):
        id = identity(document) if isinstance(document.data, dict) else ""
        if id:
            version = version_of(document)
            yield f"{id}@{version}", {"rule": id, "version": version, "text": text, "path": path, "first_us": now_us}
