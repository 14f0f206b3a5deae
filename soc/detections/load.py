"""`DetectionSet`: every rule, correlation and model under some paths, and what was refused with the reason."""

from __future__ import annotations

import gc
import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soc.content import Document, Source, readable, source, sources
from soc.detections.anomaly.model import Definition, read_model
from soc.detections.cache import Kept, RuleCache, context_of
from soc.detections.correlation.definition import Correlation, Referable
from soc.detections.exceptions import by_name, is_exception, read_exception
from soc.detections.garbage import uncollected
from soc.detections.rule_exception import RuleException
from soc.detections.sigma.collection import merged
from soc.detections.sigma.header import OTHER_KINDS, SILENT_KINDS, identity
from soc.detections.sigma.rule import Refused, Route, Rule
from soc.detections.sigma.site import Site
from soc.detections.site import of_the_site, read_site
from soc.errors import ConfigError, ContentError
from soc.model.fields import FIELDS, FieldDictionary

if TYPE_CHECKING:
    from soc.detections.sigma.filters import Filter

# pySigma takes longer to import than two thousand kept rules to load: it is, where something has to be read.
_log = logging.getLogger("soc.detections")
NAMELESS = "a definition needs an 'id', a 'name' or a 'title'"
"""Said of YAML that is perhaps no rule at all."""


@dataclass(frozen=True)
class DetectionSet:
    """What can run, in the order of the files. `watched` are the rules that only pick events for models."""

    rules: tuple[Rule, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    models: tuple[Definition, ...] = ()
    exceptions: tuple[RuleException, ...] = ()
    refused: tuple[Refused, ...] = ()
    documents: tuple[Document, ...] = field(default=(), repr=False)

    @property
    def watched(self) -> tuple[Rule, ...]:
        """The detection parts of the models."""
        return tuple(model.watch for model in self.models if model.watch is not None)

    @property
    def loaded(self) -> int:
        """How many definitions can run."""
        return len(self.rules) + len(self.correlations) + len(self.models)

    @classmethod
    def load(
        cls,
        paths: Sequence[Path | str],
        *,
        pipelines: Sequence[Path | str] = (),
        fields: FieldDictionary = FIELDS,
        datasets: Collection[str] | None = None,
        lists: Mapping[str, Sequence[str]] | None = None,
        cache: Path | None = None,
    ) -> DetectionSet:
        """Read files, folders and zip archives; a later path wins by `id`. `pipelines` are files of pySigma pipelines
        or names of installed ones; `lists` are the values for the placeholders of `|expand`, by name.

        With `datasets` (what the parsers can write) a rule for another dataset is refused instead of being deaf.
        In the folder `cache` what was read is kept for the next time; then `documents` lacks what was not read anew.
        A faulty definition is refused and never stops the others. Raises ConfigError for a path or pipeline that
        cannot be read.
        """
        transforms = _transforms(pipelines, lists or {})
        context = context_of(fields, pipelines, datasets, lists or {}) if cache is not None else ""
        kept = RuleCache(cache, context) if cache is not None else None
        reader = _Reader(fields, transforms, datasets, kept)
        with uncollected():
            for path in paths:
                reader.collect(Path(path))
            made = reader.read()
            gc.freeze()  # rules live as long as the process: they need not be searched again either
        return made


def _transforms(pipelines: Sequence[Path | str], lists: Mapping[str, Sequence[str]]) -> list[Any]:
    if not pipelines and not lists:
        return []
    from soc.detections.pipelines import expanding, pipeline

    return [*map(pipeline, pipelines), *([expanding(lists)] if lists else [])]


@dataclass
class _Pure:
    """A file that holds nothing but rules: its digest, how many documents, and what became of those read so far."""

    digest: str
    documents: int
    became: list[tuple[str, Rule | Refused]] = field(default_factory=list)


def _is_rule(document: Document) -> bool:
    """Whether it is a plain rule with a name of its own."""
    data = document.data
    return isinstance(data, dict) and bool(identity(document)) and data.keys().isdisjoint(OTHER_KINDS)


class _Reader:
    """Collects documents, then reads rules first, correlations after what they refer to, and models."""

    def __init__(
        self,
        fields: FieldDictionary,
        pipelines: list[Any],
        datasets: Collection[str] | None,
        cache: RuleCache | None,
    ) -> None:
        self.fields = fields
        self.pipelines = pipelines
        self.datasets = datasets
        self.documents: dict[str, Document | Kept] = {}
        self.filters: list[Filter] = []
        self.site = Site()
        self.refused: list[Refused] = []
        self._cache = cache
        self._pure: dict[str, _Pure] = {}

    def collect(self, path: Path) -> None:
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder of rules")
        here: dict[str, Document | Kept] = {}
        try:
            for file in sources(path):
                for document in self._documents(file):
                    self._place(document, here)
        except ContentError as error:
            self.refused.extend(Refused("", f.path, f.line, f.message) for f in error.faults)
        self.documents.update(here)

    def _documents(self, file: Source) -> Sequence[Document | Kept]:
        try:
            data = b"" if file.mark else file.read()
            digest = file.mark or hashlib.sha256(data).hexdigest()
            kept = self._cache.look(digest, file.path) if self._cache is not None else None
            if kept is not None:
                return kept
            documents, faults = readable(data or file.read(), file.path)
        except ContentError as error:
            self.refused.extend(Refused("", f.path, f.line, f.message) for f in error.faults)
            return ()
        except OSError as error:
            self.refused.append(Refused("", file.path, 1, f"cannot be read: {error.strerror}"))
            return ()
        found, unknown = merged(documents)
        self.refused.extend(Refused("", f.path, f.line, f.message) for f in faults)
        for fault in unknown:
            self._refuse(fault.document, str(fault), "action")
        if self._cache is not None and not unknown and not faults and all(_is_rule(document) for document in found):
            self._pure[file.path] = _Pure(digest, len(found))
        return found

    def _place(self, document: Document | Kept, here: dict[str, Document | Kept]) -> None:
        name = document.identity if isinstance(document, Kept) else identity(document)
        line = 1 if isinstance(document, Kept) else document.line()
        if not name:
            self.refused.append(Refused(name, document.path, line, NAMELESS))
        elif name in here:
            self.refused.append(Refused(name, document.path, line, f"id '{name}' stands in {here[name].path} already"))
        else:
            here[name] = document

    def _refuse(self, document: Document, reason: str, *keys: str) -> None:
        self.refused.append(Refused(identity(document), document.path, document.line(*keys), reason))

    def read(self) -> DetectionSet:
        rules: list[Rule] = []
        models: list[Definition] = []
        waiting: list[Document] = []
        self.site, refused = read_site(of_the_site(self.documents.values()), self.fields)
        self.refused.extend(refused)
        self._read_filters()
        self._unkeep()
        for document in self.documents.values():
            if isinstance(document, Kept):
                self._kept(document, rules)
                continue
            data = document.data
            if not data.keys().isdisjoint(SILENT_KINDS):
                continue
            if "correlation" in data:
                waiting.append(document)
            elif "anomaly" in data:
                self._model(document, models)
            else:
                before = len(self.refused)
                rule = self._rule(document)
                if rule is not None:
                    rules.append(rule)
                self._note(document, rule, self.refused[before:])
        if self._cache is not None:
            self._cache.save()
        correlations = self._correlations(waiting, rules)
        watched = [model.watch for model in models if model.watch is not None]
        exceptions = self._exceptions(by_name(rules, watched, correlations))
        self._refuse_idle_filters(rules)
        return DetectionSet(
            tuple(rules),
            tuple(correlations),
            tuple(models),
            tuple(exceptions),
            tuple(sorted(self.refused)),
            tuple(each for each in self.documents.values() if isinstance(each, Document)),
        )

    def _unkeep(self) -> None:
        """Read the files after all when other filters or words of the site stand beside them now."""
        beside = [*of_the_site(self.documents.values()), *(each.document for each in self.filters)]
        if self._cache is None or self._cache.holds_for(beside):
            return
        waiting = {kept.path for kept in self.documents.values() if isinstance(kept, Kept)}
        fresh = {(path, n): document for path in waiting for n, document in enumerate(self._documents(source(path)))}
        for name, kept in list(self.documents.items()):
            if isinstance(kept, Kept):
                document = fresh.get((kept.path, kept.n))
                if document is None:  # the file was changed at this moment
                    del self.documents[name]
                else:
                    self.documents[name] = document

    def _kept(self, kept: Kept, rules: list[Rule]) -> None:
        assert self._cache is not None
        found = self._cache.get(kept)
        if isinstance(found, Refused):
            self.refused.append(found)
        else:
            rules.append(found)

    def _note(self, document: Document, rule: Rule | None, refused: Sequence[Refused]) -> None:
        """Hand a file's rules to the cache when all its documents are read and said nothing about filters."""
        pure = self._pure.get(document.path)
        if self._cache is None or pure is None or len(refused) != (rule is None):
            return
        pure.became.append((identity(document), rule if rule is not None else refused[0]))
        if len(pure.became) == pure.documents:
            self._cache.put(pure.digest, pure.became)

    def _read_filters(self) -> None:
        for document in self.documents.values():
            if isinstance(document, Document) and "filter" in document.data and not is_exception(document):
                from soc.detections.sigma.filters import Filter
                from soc.detections.sigma.read import MALFORMED, POLICY

                try:
                    self.filters.append(Filter.read(document, POLICY))
                except MALFORMED as error:
                    self._refuse(document, str(error) or type(error).__name__, "filter")

    def _exceptions(self, known: Mapping[str, Referable]) -> list[RuleException]:
        made: list[RuleException] = []
        for document in self.documents.values():
            if isinstance(document, Document) and is_exception(document):
                found = read_exception(document, known, self.fields, self.site)
                if isinstance(found, Refused):
                    self.refused.append(found)
                else:
                    made.append(found)
        return made

    def _refuse_idle_filters(self, rules: Sequence[Rule]) -> None:
        """A filter that does nothing is a mistake that somebody has to see."""
        used = {id for rule in rules for id in rule.filters}
        told = {refused.id for refused in self.refused}
        for each in self.filters:
            if identity(each.document) not in used | told:
                self._refuse(each.document, "no rule that is loaded is meant by it", "filter")

    def _made(self, document: Document, filters: Sequence[Filter] = (), *, internal: bool = False) -> Rule | Refused:
        from soc.detections.sigma.read import read_rule

        return read_rule(
            document, self.fields, self.pipelines, filters=filters, site=self.site, internal=internal
        )  # fmt: skip

    def _filtered(self, document: Document) -> Rule | Refused:
        """The rule with its filters. One that cannot be joined is refused, never the rule: it then hides nothing."""
        rule = self._made(document, self.filters)
        if not isinstance(rule, Refused) or not self.filters:
            return rule
        plain = self._made(document)
        if isinstance(plain, Refused):
            return plain
        good: list[Filter] = []
        for each in self.filters:
            tried = self._made(document, [*good, each])
            if isinstance(tried, Refused):
                self._refuse(each.document, f"cannot be joined to '{plain.title}': {tried.reason}", "filter")
            else:
                good, plain = [*good, each], tried
        return plain

    def _rule(self, document: Document, *, internal: bool = False) -> Rule | None:
        rule = self._made(document, internal=True) if internal else self._filtered(document)
        if isinstance(rule, Refused):
            self.refused.append(rule)
            return None
        if not any(self._is_written(variant.route) for variant in rule.variants):
            wanted = ", ".join(d for v in rule.variants for d in v.route.datasets)
            self._refuse(document, f"no parser writes dataset {wanted}", "logsource")
            return None
        return rule

    def _is_written(self, route: Route) -> bool:
        if self.datasets is None:
            return True
        if route.windows:
            return any(name.startswith("windows.") for name in self.datasets)
        return any(route.takes(name, "", "") for name in self.datasets)

    def _model(self, document: Document, models: list[Definition]) -> None:
        watch = None
        if "detection" in document.data:
            watch = self._rule(document, internal=True)
            if watch is None:
                return
        try:
            models.append(read_model(document, watch, self.fields))
        except ContentError as error:
            self.refused.extend(Refused(identity(document), f.path, f.line, f.message) for f in error.faults)

    def _correlations(self, waiting: list[Document], rules: Sequence[Rule]) -> list[Correlation]:
        """In rounds, so that a correlation may refer to another; what is left refers to nothing or in a circle."""
        known: dict[str, Referable] = {}
        for rule in rules:
            known.update({name: rule for name in (rule.id, rule.name) if name})
        done: list[Correlation] = []
        if waiting:
            from soc.detections.correlation.read import read_correlation, references
        while waiting:
            ready = [d for d in waiting if all(name in known for name in references(d))]
            if not ready:
                ready = waiting
            for document in ready:
                found = read_correlation(document, known, self.fields, self.pipelines)
                if isinstance(found, Refused):
                    self.refused.append(found)
                else:
                    done.append(found)
                    known.update({name: found for name in (found.id, found.name) if name})
            waiting = [d for d in waiting if d not in ready]
        return done
