"""Runs the tests that definitions carry."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from soc.model.check import CheckResult
from soc.model.fields import FIELDS, FieldDictionary
from soc.model.record import RawBlock
from soc.model.values import Unfit, fit, to_json
from soc.parsers import times
from soc.parsers.definition import Case, Definition
from soc.parsers.parse import ParserSet
from soc.parsers.state import ParserState

RECEIPT = "2026-11-20T03:00:00Z"
"""When a sample is received, unless its test says otherwise with `receipt`."""
_FORMATS = {name: name for name in ("netflow", "sflow", "snmp", "elastic", "hec", "gelf", "journal")} | {
    "netflow-v9": "netflow",
    "ipfix": "netflow",
}


def check(folders: Sequence[Path], fields: FieldDictionary = FIELDS) -> list[CheckResult]:
    """One result for each test of each definition, in order of path and line. Raises ContentError."""
    parsers = ParserSet.load(folders, fields)
    results = [run_case(parsers, d, case) for d in parsers.definitions.values() for case in d.cases]
    return sorted(results)


def run_case(parsers: ParserSet, definition: Definition, case: Case) -> CheckResult:
    """Parse one sample and compare."""
    try:
        block = _block(definition, case)
    except ValueError as error:
        return CheckResult(case.path, case.line, definition.id, False, f"unreadable sample: {error}")
    forced = definition.id if case.kind == "line" else None
    batches, _ = parsers.parse(block, ParserState(), block.receipt_ns.tolist()[0], as_product=forced)
    rows = sorted(
        (row for batch in batches for row in batch.rows()), key=lambda row: (row["soc.record"], row["soc.part"])
    )
    if block.format == "packet":  # its other events are other definitions' affair
        rows = [row for row in rows if row.get("soc.product") == definition.id]
    message = _compare(parsers.fields, definition, case, rows)
    return CheckResult(case.path, case.line, definition.id, not message, message)


def _block(definition: Definition, case: Case) -> RawBlock:
    receipt, _ = times.iso(case.receipt or RECEIPT)
    if receipt is None:
        raise ValueError(f"receipt '{case.receipt}' is no ISO 8601 time")
    data = bytes.fromhex(case.text) if case.kind == "hex" else case.text.rstrip("\n").encode()
    records = [data]
    form = _FORMATS.get(definition.recognise.format, "json" if case.kind == "json" else "syslog")
    if definition.recognise.format.startswith("packet-"):  # the sample is a capture file
        from soc.parsers import packets

        form, records = packets.FORMAT, list(packets.records(io.BytesIO(data)))
    # As from a file: samples keep the time that they state.
    origin = {"log.file.path": case.path, "first_record": "1"}
    if definition.recognise.format == "w3c":  # the sample has its header: `#Fields:` and, below, the row
        header, _, row = case.text.strip().rpartition("\n")
        form, records = "w3c", [row.encode()]
        origin["columns"] = json.dumps(header.rpartition("#Fields:")[2].split())
    return RawBlock.of(records, receipt_ns=receipt * 1000, format=form, origin=origin)


def _compare(fields: FieldDictionary, definition: Definition, case: Case, rows: list[dict[str, Any]]) -> str:
    if case.expect is None:
        shapes = [row["soc.shape"] for row in rows if "soc.shape" in row]
        return f"no shape should match, but '{shapes[0]}' does" if shapes else ""
    if len(case.expect) != len(rows):
        return f"{len(case.expect)} events expected, {len(rows)} found"
    for expected, row in zip(case.expect, rows, strict=True):
        wrong = _differences(fields, expected, row)
        if row.get("soc.product") != definition.id:
            wrong.append(f"read as {row.get('soc.product') or row['event.dataset']}")
        if wrong:
            return "; ".join(wrong)
    return ""


def _differences(fields: FieldDictionary, expected: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    wrong: list[str] = []
    for name, value in expected.items():
        field = fields.get(name)
        if field is None:
            wrong.append(f"unknown field '{name}'")
            continue
        try:
            wanted = fit(field, value)
        except Unfit as error:
            wrong.append(f"{name}: {error}")
            continue
        if row.get(name) != wanted:
            found = to_json(field.type, row.get(name))
            wrong.append(f"{name} is {found!r}, expected {to_json(field.type, wanted)!r}")
    return wrong


__all__ = ["RECEIPT", "check", "run_case"]
