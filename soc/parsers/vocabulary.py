"""The words a definition brings: its fields with their types, and what Sigma rules call them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from soc.content import Document, Faults
from soc.errors import nearest
from soc.model.fields import FieldDictionary, FieldTypeChanged, read_field_table

_NAME = re.compile(r"[a-z0-9_]+\.[a-z0-9_]+(\.[A-Za-z0-9_@-]+)*")
"""After vendor and product a name may keep the spelling of its source."""


def extended(found: Mapping[str, Document], fields: FieldDictionary, faults: Faults) -> FieldDictionary:
    """The dictionary with the fields of these definitions, and the names that rules have for them."""
    for document in found.values():
        table = document.data.get("fields")
        if not isinstance(table, dict):
            continue
        lines = {name: document.line("fields", name) for name in table}
        entries, wrong = read_field_table(table, document.path, lines)
        for fault in wrong:
            faults.add(fault)
        new = []
        for entry in entries:
            if not _NAME.fullmatch(entry.name):
                faults.add(
                    document.fault(f"field '{entry.name}' should read vendor.product.name", "fields", entry.name)
                )
                continue
            try:
                new.append(entry) if fields.get(entry.name) is None else fields.extended([entry])
            except FieldTypeChanged as error:
                faults.add(document.fault(str(error), "fields", entry.name))
        fields = fields.extended(new)
    called = {str(d.data.get("dataset") or name): _called(d, fields, faults) for name, d in found.items()}
    return fields.extended((), {dataset: names for dataset, names in called.items() if names})


def _called(document: Document, fields: FieldDictionary, faults: Faults) -> dict[str, str]:
    table = document.data.get("sigma")
    if not isinstance(table, dict):
        return {}
    for name, field in table.items():
        if field not in fields:
            hint = nearest(str(field), fields.names())
            faults.add(document.fault(f"unknown field '{field}'{hint}", "sigma", name))
    return {str(name): str(field) for name, field in table.items()}
