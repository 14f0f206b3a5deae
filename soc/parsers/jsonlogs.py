"""JSON of products that we know: what a definition names by its path becomes columns, the rest stays beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from soc.model.batch import EventBatch
from soc.model.fields import FieldType
from soc.parsers.decoders.flat import flatten
from soc.parsers.decoders.paths import as_text, column_at, stands, values_at
from soc.parsers.definition import Definition, FieldMap, Shape
from soc.parsers.mapping import Mapped
from soc.parsers.text import TextRecords
from soc.parsers.work import Flags, Work, make_batch

Documents = Sequence[Mapping[str, Any]]


def batches(
    work: Work, text: TextRecords, rows: Sequence[int], documents: Documents, forced: Definition | None = None
) -> tuple[list[EventBatch], list[int]]:
    """The events of the documents that a product is known by (or all, with `forced`), a batch for each of its shapes;
    and the places in `rows` of the others."""
    groups: dict[tuple[str, str], tuple[Definition, Shape | None, list[int]]] = {}
    others: list[int] = []
    for k, document in enumerate(documents):
        definition = forced or work.index.of_document(document)
        if definition is None:
            others.append(k)
            continue
        shape = next((s for s in definition.shapes if stands(document, s.when)), None)
        key = (definition.id, shape.name if shape else "")
        groups.setdefault(key, (definition, shape, []))[2].append(k)
    made = [
        _batch(work, text, definition, shape, [rows[k] for k in places], [documents[k] for k in places])
        for definition, shape, places in groups.values()
    ]
    return made, others


def _batch(
    work: Work, text: TextRecords, definition: Definition, shape: Shape | None, rows: list[int], documents: Documents
) -> EventBatch:
    mapped = Mapped(len(rows), work.zone)
    for part in (definition, shape):
        if part is not None:
            mapped.constants(part.constants)
            for spec in part.maps:
                _map(mapped, spec, documents, definition.missing)
    columns = text.header_columns(rows)
    columns.pop("message", None)  # it is the document itself, which `event.original` holds
    mapped_by = (*definition.maps, *(shape.maps if shape else ()))
    used = _said_by_the_product(definition) | {source for spec in mapped_by for source in spec.sources}
    rest = {k: left for k, document in enumerate(documents) if (left := _left(document, used))}
    flags: Flags = {} if shape or not definition.shapes else dict.fromkeys(range(len(rows)), ("no_shape",))
    return make_batch(
        work,
        rows,
        definition.id,
        definition.dataset_of(shape),
        stamps=text.stamps(rows),
        layers=(columns,),
        mapped=mapped,
        rest=rest,
        flags=flags,
        shape=shape.name if shape else None,
    )


def _said_by_the_product(definition: Definition) -> frozenset[str]:
    """Paths at which all of its documents say the same."""
    each = definition.recognise.documents
    return frozenset(p for one in each for p, allowed in one.items() if len(allowed) == 1 and "*" not in allowed)


def _map(mapped: Mapped, spec: FieldMap, documents: Documents, missing: frozenset[str]) -> None:
    if spec.join:
        joined = [_joined(document, spec) for document in documents]
        mapped.fields((replace(spec, sources=spec.sources[:1]),), lambda _: joined, missing)
        return
    is_many = spec.field.many and not spec.split and spec.table is None and not spec.take
    is_text = spec.field.type in (FieldType.KEYWORD, FieldType.TEXT) and not is_many

    def values(path: str) -> Sequence[Any] | None:
        found = column_at(documents, path, many=is_many)
        if found is None or not is_text:
            return found
        return [value if value is None or value.__class__ is str else str(value) for value in found]

    mapped.fields((spec,), values, missing)


def _joined(document: Mapping[str, Any], spec: FieldMap) -> str | None:
    found = [str(as_text(value)) for source in spec.sources for value in values_at(document, source)]
    return spec.join.join(found) if found else None


def _left(document: Mapping[str, Any], used: Set[str]) -> dict[str, Any]:
    """What no mapping reads; below a path that is read whole nothing is left."""
    if document.keys() <= used:
        return {}
    return {name: value for name, value in flatten(document).items() if not _is_used(name, value, used)}


def _is_used(name: str, value: Any, used: Set[str]) -> bool:
    if name in used:
        return True
    heads = name.split(".")
    if any(".".join(heads[:n]) in used for n in range(1, len(heads))):
        return True
    # A list of objects is read piece by piece, `a.b`; it counts as read when some piece is.
    return isinstance(value, list) and any(path.startswith(f"{name}.") for path in used)
