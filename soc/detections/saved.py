"""Named filters: search texts with a name, which people's searches and the conditions of rules reuse."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from soc.content import Document, load, sources
from soc.detections.sigma.header import identity, vietnamese_title
from soc.detections.sigma.lowered import Untellable, lowered
from soc.detections.sigma.rule import Node, Refused
from soc.detections.sigma.site import QUERY
from soc.errors import ContentError, QueryError
from soc.model.fields import FieldDictionary
from soc.store.query import MAX_LENGTH, parse

FOLDER = "filters"
"""Below a folder of detections, where searches look for them."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_RESERVED = frozenset(("and", "or", "not", "of", "all", "any", "them", "condition"))


@dataclass(frozen=True)
class SavedFilter:
    """`filter:NAME` in a search, and `NAME` in the condition of a rule, stand for its `query`."""

    name: str
    title: str
    query: str
    path: str
    line: int
    title_vi: str = ""


def read_saved(documents: Iterable[Document], fields: FieldDictionary) -> tuple[dict[str, SavedFilter], list[Refused]]:
    """The filters that can be used, by name, and the others with the reason; they may name each other."""
    found: dict[str, SavedFilter] = {}
    refused: list[Refused] = []
    for document in documents:
        try:
            read = _read(document)
        except ValueError as error:
            refused.append(Refused(identity(document), document.path, document.line(QUERY), str(error)))
        else:
            found[read.name] = read
    texts = {name: each.query for name, each in found.items()}
    for name, each in list(found.items()):
        try:
            parse(f"filter:{name}", fields, texts)
        except QueryError as error:
            refused.append(Refused(name, each.path, each.line, str(error)))
            del found[name]
    return found, refused


def conditions(filters: Mapping[str, SavedFilter], fields: FieldDictionary) -> dict[str, Node | str]:
    """The condition of each, for rules; a text is the reason why rules cannot ask it."""
    texts = {name: each.query for name, each in filters.items()}
    made: dict[str, Node | str] = {}
    for name in filters:
        try:
            made[name] = lowered(parse(f"filter:{name}", fields, texts), fields, f"filter {name}")
        except Untellable as error:
            made[name] = str(error)
    return made


def _read(document: Document) -> SavedFilter:
    data = document.data
    name, query = str(data.get("name") or ""), data[QUERY]
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise ValueError(f"'{name[:64]}' is no name of a filter: letters, digits, - and _, and no word of conditions")
    if not isinstance(query, str) or not query.strip() or len(query) > MAX_LENGTH:
        raise ValueError(f"'{QUERY}' is a search text of at most {MAX_LENGTH} characters")
    title = str(data.get("title") or name)
    return SavedFilter(name, title, query, document.path, document.line(QUERY), vietnamese_title(data))


class SavedFilters:
    """Those in `filters/` below some folders, a later folder first; read again when a file changed."""

    def __init__(self, roots: Sequence[Path], fields: FieldDictionary) -> None:
        self._folders = [root / FOLDER for root in dict.fromkeys(roots)]
        self._fields = fields
        self._seen: tuple[tuple[str, int, int], ...] | None = None
        self._found: dict[str, SavedFilter] = {}
        self._refused: list[Refused] = []

    def read(self) -> tuple[dict[str, SavedFilter], list[Refused]]:
        """As they lie there now."""
        files = [file for folder in self._folders if folder.is_dir() for file in sorted(folder.rglob("*.y*ml"))]
        seen = tuple((str(file), (of := file.stat()).st_mtime_ns, of.st_size) for file in files)
        if seen != self._seen:
            self._found, self._refused = self._all()
            self._seen = seen
        return self._found, self._refused

    def texts(self) -> dict[str, str]:
        """Their search texts by name."""
        return {name: each.query for name, each in self.read()[0].items()}

    def _all(self) -> tuple[dict[str, SavedFilter], list[Refused]]:
        documents: dict[str, Document] = {}
        broken: list[Refused] = []
        for folder in self._folders:
            for file in sources(folder) if folder.is_dir() else ():
                try:
                    documents.update({identity(each): each for each in load(Path(file.path)) if QUERY in each.data})
                except ContentError as error:
                    broken.extend(Refused("", f.path, f.line, f.message) for f in error.faults)
        found, refused = read_saved(documents.values(), self._fields)
        return found, [*broken, *refused]
