"""`DetectionSet`: every rule, correlation and model under some paths, and what was refused with the reason."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sigma.processing.pipeline import ProcessingPipeline

from soc.content import Document, load, yaml_files
from soc.detections.anomaly.model import Definition, read_model
from soc.detections.correlation.definition import Correlation, Referable, read_correlation, references
from soc.detections.sigma.collection import Filter, merged
from soc.detections.sigma.read import MALFORMED, POLICY, identity, read_rule
from soc.detections.sigma.rule import Refused, Route, Rule
from soc.errors import ConfigError, ContentError
from soc.model.fields import FIELDS, FieldDictionary


@dataclass(frozen=True)
class DetectionSet:
    """What can run, in the order of the files. `watched` are the rules that only pick events for models."""

    rules: tuple[Rule, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    models: tuple[Definition, ...] = ()
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
    ) -> DetectionSet:
        """Read files and folders; a later path wins by `id`. `pipelines` are files of pySigma processing pipelines.

        With `datasets` (what the parsers can write) a rule for another dataset is refused instead of being deaf.
        A faulty definition is refused and never stops the others. Raises ConfigError for a path or pipeline that
        cannot be read.
        """
        reader = _Reader(fields, [_pipeline(Path(p)) for p in pipelines], datasets)
        for path in paths:
            reader.collect(Path(path))
        return reader.read()


def _pipeline(path: Path) -> Any:
    try:
        documents = load(path)
        return ProcessingPipeline.from_dict(documents[0].data)
    except (OSError, ContentError, *MALFORMED) as error:
        raise ConfigError(f"{path}: no pySigma processing pipeline: {error}") from error


class _Reader:
    """Collects documents, then reads rules first, correlations after what they refer to, and models."""

    def __init__(self, fields: FieldDictionary, pipelines: list[Any], datasets: Collection[str] | None) -> None:
        self.fields = fields
        self.pipelines = pipelines
        self.datasets = datasets
        self.documents: dict[str, Document] = {}
        self.filters: list[Filter] = []
        self.refused: list[Refused] = []

    def collect(self, path: Path) -> None:
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder of rules")
        here: dict[str, Document] = {}
        for file in yaml_files(path):
            try:
                found = load(file)
            except ContentError as error:
                self.refused.extend(Refused("", f.path, f.line, f.message) for f in error.faults)
                continue
            except OSError as error:
                self.refused.append(Refused("", str(file), 1, f"cannot be read: {error.strerror}"))
                continue
            found, unknown = merged(found)
            for fault in unknown:
                self._refuse(fault.document, str(fault), "action")
            for document in found:
                self._place(document, here)
        self.documents.update(here)

    def _place(self, document: Document, here: dict[str, Document]) -> None:
        name = identity(document)
        if not name:
            self._refuse(document, "a definition needs an 'id', a 'name' or a 'title'")
        elif name in here:
            self._refuse(document, f"id '{name}' stands in {here[name].path} already")
        else:
            here[name] = document

    def _refuse(self, document: Document, reason: str, *keys: str) -> None:
        self.refused.append(Refused(identity(document), document.path, document.line(*keys), reason))

    def read(self) -> DetectionSet:
        rules: list[Rule] = []
        models: list[Definition] = []
        waiting: list[Document] = []
        self._read_filters()
        for document in self.documents.values():
            data = document.data
            if "filter" in data:
                continue
            if "correlation" in data:
                waiting.append(document)
            elif "anomaly" in data:
                self._model(document, models)
            else:
                rule = self._rule(document)
                if rule is not None:
                    rules.append(rule)
        correlations = self._correlations(waiting, rules)
        self._refuse_idle_filters(rules)
        return DetectionSet(
            tuple(rules),
            tuple(correlations),
            tuple(models),
            tuple(sorted(self.refused)),
            tuple(self.documents.values()),
        )

    def _read_filters(self) -> None:
        for document in self.documents.values():
            if "filter" in document.data:
                try:
                    self.filters.append(Filter.read(document, POLICY))
                except MALFORMED as error:
                    self._refuse(document, str(error) or type(error).__name__, "filter")

    def _refuse_idle_filters(self, rules: Sequence[Rule]) -> None:
        """A filter that does nothing is a mistake that somebody has to see."""
        used = {id for rule in rules for id in rule.filters}
        told = {refused.id for refused in self.refused}
        for each in self.filters:
            if identity(each.document) not in used | told:
                self._refuse(each.document, "no rule that is loaded is meant by it", "filter")

    def _filtered(self, document: Document) -> Rule | Refused:
        """The rule with its filters. One that cannot be joined is refused, never the rule: it then hides nothing."""
        rule = read_rule(document, self.fields, self.pipelines, filters=self.filters)
        if not isinstance(rule, Refused) or not self.filters:
            return rule
        plain = read_rule(document, self.fields, self.pipelines)
        if isinstance(plain, Refused):
            return plain
        good: list[Filter] = []
        for each in self.filters:
            tried = read_rule(document, self.fields, self.pipelines, filters=[*good, each])
            if isinstance(tried, Refused):
                self._refuse(each.document, f"cannot be joined to '{plain.title}': {tried.reason}", "filter")
            else:
                good, plain = [*good, each], tried
        return plain

    def _rule(self, document: Document, *, internal: bool = False) -> Rule | None:
        rule = read_rule(document, self.fields, self.pipelines, internal=True) if internal else self._filtered(document)
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
        while waiting:
            ready = [d for d in waiting if all(name in known for name in references(d))]
            if not ready:
                ready = waiting
            for document in ready:
                found = read_correlation(document, known, self.fields)
                if isinstance(found, Refused):
                    self.refused.append(found)
                else:
                    done.append(found)
                    known.update({name: found for name in (found.id, found.name) if name})
            waiting = [d for d in waiting if d not in ready]
        return done
