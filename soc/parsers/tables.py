"""Rows of tables (CSV, W3C extended logs, Zeek's) and XML elements: each becomes named values under its header."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Any

import orjson

from soc.model.batch import EventBatch
from soc.parsers.decoders import w3c, xml_tree, zeek
from soc.parsers.documents import JsonRecords
from soc.parsers.text import TextRecords
from soc.parsers.work import Work

FORMATS = ("csv", "w3c", "zeek", "xml")
W3C = "w3c"
_HTTP = {"cs-method", "cs-uri-stem", "sc-status"}
"""Columns that a web server's log has."""
_MAX_FIELD = 1 << 20


def batches(work: Work, form: str) -> list[EventBatch]:
    """The events of a block of this format; what is no row under its header is `unparsed`."""
    texts = work.envelope.texts()
    records = TextRecords.bare(work, texts)
    if form == "xml":
        found: list[Any] = [xml_tree.decode(text) for text in texts]
    else:
        found = _rows(work, texts, form)
    rows = [i for i, document in enumerate(found) if document is not None]
    unread = [i for i, document in enumerate(found) if document is None]
    documents = [found[i] for i in rows]
    definition = work.index.formats.get(W3C) if form == W3C else None
    result: list[EventBatch] = []
    if definition is not None and documents and set(_names(work.envelope.block.origin.get("columns", ""))) >= _HTTP:
        result.extend(records.paired(definition, rows, documents))
    elif documents:
        for document in documents:
            if "@datetime" in document:
                document["@timestamp"] = document.pop("@datetime")
            if "@user_agent" in document:
                document[w3c.AGENT] = document.pop("@user_agent")
        result.extend(JsonRecords(work, records).batches(rows, documents))
    if unread:
        result.append(records.unparsed(unread, f"not_{form}"))
    return result


def _rows(work: Work, texts: Sequence[str], form: str) -> list[dict[str, Any] | None]:
    origin = work.envelope.block.origin
    names = _names(origin.get("columns", ""))
    if not names:
        return [None] * len(texts)
    if form == W3C:
        return [w3c.decode(text, names, is_local=origin.get("time") == "local") for text in texts]
    if form == "zeek":
        return zeek.rows(texts, names, origin)
    csv.field_size_limit(_MAX_FIELD)
    return [_csv(text, names, origin.get("delimiter", ",")) for text in texts]


def _names(text: str) -> list[str]:
    try:
        names = orjson.loads(text)
    except ValueError:
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def _csv(text: str, names: Sequence[str], delimiter: str) -> dict[str, Any] | None:
    """Values by column; more of them than columns under `column_<n>`, empty ones are none."""
    try:
        rows = list(csv.reader([text], delimiter=delimiter))  # one row, whatever Python takes for the end of a line
    except (csv.Error, TypeError):
        return None
    if len(rows) != 1 or len(rows[0]) < 2:
        return None
    named = [*names, *(f"column_{n + 1}" for n in range(len(names), len(rows[0])))]
    return {
        name or f"column_{n + 1}": value for n, (name, value) in enumerate(zip(named, rows[0], strict=False)) if value
    }
