"""`read_site`: the log sources and the named filters that a site puts beside its rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from soc.content import Document
from soc.detections.sigma.header import identity
from soc.detections.sigma.rule import Node, Refused
from soc.detections.sigma.site import MAPPING, QUERY, Site, SiteSource, read_site_source
from soc.model.fields import FieldDictionary


def of_the_site(documents: Iterable[object]) -> list[Document]:
    """Those that say something about others, and were read whole."""
    return [d for d in documents if isinstance(d, Document) and not d.data.keys().isdisjoint((MAPPING, QUERY))]


def read_site(documents: Sequence[Document], fields: FieldDictionary) -> tuple[Site, list[Refused]]:
    """What can be used, and what cannot with the reason."""
    sources: list[SiteSource] = []
    refused: list[Refused] = []
    for document in documents:
        if MAPPING in document.data:
            try:
                sources.append(read_site_source(document, fields))
            except ValueError as error:
                refused.append(Refused(identity(document), document.path, document.line(MAPPING), str(error)))
    filters, others = _filters([document for document in documents if QUERY in document.data], fields)
    return Site(sources, filters), [*refused, *others]


def _filters(
    documents: Sequence[Document], fields: FieldDictionary
) -> tuple[Mapping[str, Node | str], Sequence[Refused]]:
    if not documents:
        return {}, ()
    from soc.detections.saved import conditions, read_saved  # with the search language: only where a filter is

    found, refused = read_saved(documents, fields)
    return conditions(found, fields), refused
