"""Compiles MIB modules with pysmi, in a process of its own: `python -m soc.parsers.mibs.compile` from JSON to JSON.

A MIB is a stranger's text and pysmi's grammar is large: the process has limits of time and memory, reads nothing but
its input and fetches nothing. Input: `{"wanted": [MODULE], "texts": {MODULE: TEXT}}`; output: `{"tables": {MODULE:
TABLE}, "faults": [{"module", "line", "message", "hint"}]}`. A table has `objects` (name by dotted identifier),
`labels` (words of their values by number), `notifications` ({name, severity, description}) and `imports`.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from soc.errors import TryAgain, UsageError
from soc.parsers.mibs.standard import MODULES

CPU_S = 60
WALL_S = 120
MEMORY_BYTES = 1 << 30
MAX_OUTPUT = 64 << 20
MAX_DESCRIPTION = 1024
_BASIC = ("Counter32", "Counter64", "Gauge32", "Integer32", "IpAddress", "Opaque", "TimeTicks", "Unsigned32")
_HEADER = re.compile(r"^[ \t]*([A-Z][A-Za-z0-9-]{0,63})[ \t]+(?:\{[^}]*\}\s*)?DEFINITIONS\s*::=\s*BEGIN", re.M)
_NOTIFICATION = re.compile(r"^[ \t]*([a-z][\w-]*)\s+(?:NOTIFICATION-TYPE|TRAP-TYPE)\b", re.M)
# What HP's trap daemons read out of MIBs, and vendors still write: a comment inside the definition.
_SEVERITY = re.compile(r"--#SEVERITY\s+\"?([A-Za-z]{1,32})")


def modules_in(text: str) -> list[str]:
    """The names of the modules of a file."""
    return _HEADER.findall(text)


def compiled(texts: Mapping[str, str], wanted: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Tables by module, and faults. Raises UsageError when the compiler takes too long or too much memory."""
    asked = json.dumps({"texts": dict(texts), "wanted": list(wanted)})
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__], input=asked, capture_output=True, text=True, timeout=WALL_S,
            check=False, preexec_fn=_limit,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"the MIB compiler was stopped after {WALL_S} s", hint="add fewer modules at once") from error
    if done.returncode or len(done.stdout) > MAX_OUTPUT:
        last = done.stderr.strip().rpartition("\n")[2][:200] or f"exit code {done.returncode}"
        raise UsageError(
            f"the MIB compiler gave up: {last}",
            hint=f"it has {CPU_S} s and {MEMORY_BYTES >> 20} MiB; add fewer modules at once",
        )
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        raise TryAgain("the MIB compiler said nothing that can be read") from error
    return answer["tables"], answer["faults"]


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


# in the process ------------------------------------------------------------------------------------------------------


def main() -> None:
    """Standard input to standard output."""
    asked = json.load(sys.stdin)
    tables, faults = _compile(asked["texts"], asked["wanted"])
    json.dump({"tables": tables, "faults": faults}, sys.stdout)


def _compile(texts: Mapping[str, str], wanted: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    faults: list[dict[str, Any]] = []
    left = list(wanted)
    while left:
        documents: dict[str, Any] = {}
        bad = _run(texts, left, documents, faults)
        if not bad:
            return {name: _table(documents[name], documents, texts[name]) for name in left}, faults
        # What depends on nothing bad is compiled without it.
        left = [name for name in left if name not in bad]
    return {}, faults


def _run(
    texts: Mapping[str, str], wanted: Sequence[str], documents: dict[str, Any], faults: list[dict[str, Any]]
) -> set[str]:
    """Fills `documents`; the modules that cannot be compiled, each with its fault."""
    compiler = _compiler(texts, lambda name, text: documents.__setitem__(name, json.loads(text)))
    found = compiler.compile(*wanted, rebuild=True, genTexts=True)
    missing = {name for name, status in found.items() if status == "missing"}
    bad: set[str] = set()
    for name, status in found.items():
        absent = [other for other in sorted(missing) if re.search(_import_of(other), texts.get(name, ""))]
        if status == "failed" or absent:
            bad.add(name)
            faults += _faults(name, getattr(status, "error", ""), absent, texts)
    lost = [name for name in wanted if name not in documents and name not in bad]
    users = [(name, other) for name in lost for other in bad if re.search(_import_of(other), texts[name])]
    faults += [_needs(name, other, texts[name]) for name, other in users]
    bad |= {name for name, _ in users}
    if lost and not bad & set(wanted):
        bad |= set(lost)
        faults += [_fault(name, 1, "the compiler left this module out") for name in lost]
    return bad & set(wanted)


def _needs(name: str, other: str, text: str) -> dict[str, Any]:
    return _fault(name, _line(text, _import_of(other)), f"needs '{other}', which has faults itself")


def _compiler(texts: Mapping[str, str], write: Callable[[str, str], None]) -> Any:
    from pysmi import implicit_imports
    from pysmi.codegen import JsonCodeGen
    from pysmi.compiler import MibCompiler
    from pysmi.parser import SmiV1CompatParser
    from pysmi.reader import CallbackReader
    from pysmi.writer import CallbackWriter

    def read(name: str, _context: object) -> str | None:
        if name in texts:
            return texts[name]
        return MODULES[name].text(name) if name in MODULES else None

    # Agents' own MIBs forget to import the basic types, and every other tool lets that pass.
    implicit_imports.IMPLICIT_IMPORTS.update({name: [("SNMPv2-SMI", word) for word in _BASIC] for name in texts})
    compiler = MibCompiler(SmiV1CompatParser(), JsonCodeGen(), CallbackWriter(lambda name, text, _: write(name, text)))
    compiler.add_sources(CallbackReader(read))
    return compiler


def _fault(module: str, line: int, message: str, hint: str = "") -> dict[str, Any]:
    return {"module": module, "line": line, "message": message, "hint": hint}


def _import_of(module: str) -> str:
    return rf"\bFROM\s+{re.escape(module)}(?![\w-])"


def _faults(name: str, error: Any, absent: Sequence[str], texts: Mapping[str, str]) -> list[dict[str, Any]]:
    text = texts.get(name, "")
    said = str(getattr(error, "msg", error)).removesuffix(f" at MIB {name}")
    if absent:
        hint = "add the file that defines it together with this one, or before it"
        return [_fault(name, _line(text, _import_of(m)), f"imports '{m}', which nobody gave us", hint) for m in absent]
    if match := re.match(r'no module "([\w-]+)" in symbolTable', said):
        return [_needs(name, match[1], text)]
    if match := re.match(r"Unknown parents for symbols: (.*)", said):
        hint = "the word that it is defined with is neither defined here nor imported"
        symbols = match[1].split(", ")
        return [_fault(name, _line(text, rf"^\s*{re.escape(s)}\b"), f"'{s}' cannot be resolved", hint) for s in symbols]
    return [_fault(name, int(getattr(error, "lineno", 0) or 1), said)]


def _line(text: str, pattern: str) -> int:
    found = re.search(pattern, text, re.M)
    return text.count("\n", 0, found.end()) + 1 if found else 1


def _table(document: Mapping[str, Any], documents: Mapping[str, Any], text: str) -> dict[str, Any]:
    severities = _severities(text)
    objects, labels, notifications = {}, {}, {}
    for name, entry in document.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("oid"), str):
            continue
        kind, oid = entry.get("class"), entry["oid"]
        if kind == "objecttype":
            objects[oid] = entry.get("name", name)
            if words := _labels(entry.get("syntax", {}), document, documents):
                labels[oid] = words
        elif kind == "notificationtype":
            description = " ".join(str(entry.get("description", "")).split())[:MAX_DESCRIPTION]
            notifications[oid] = {
                "name": entry.get("name", name), "severity": severities.get(name, ""), "description": description,
            }  # fmt: skip
    imports = [module for module in document.get("imports", {}) if module != "class"]
    return {"objects": objects, "labels": labels, "notifications": notifications, "imports": sorted(imports)}


def _labels(
    syntax: Mapping[str, Any], document: Mapping[str, Any], documents: Mapping[str, Any], depth: int = 8
) -> dict[str, str]:
    """The words of a type's values by number, through as many textual conventions as lead there."""
    words = syntax.get("constraints", {}).get("enumeration")
    if words:
        return {str(number): word for word, number in words.items()} if syntax.get("type") != "Bits" else {}
    name = syntax.get("type")
    if not depth or not isinstance(name, str):
        return {}
    for other in (document, *documents.values()):
        entry = other.get(name)
        if isinstance(entry, dict) and entry.get("class") in ("textualconvention", "type"):
            return _labels(entry.get("type", {}), other, documents, depth - 1)
    return {}


def _severities(text: str) -> dict[str, str]:
    """By notification: the word of its `--#SEVERITY` comment, in small letters."""
    found: dict[str, str] = {}
    starts = list(_NOTIFICATION.finditer(text))
    for i, start in enumerate(starts):
        stop = starts[i + 1].start() if i + 1 < len(starts) else len(text)
        # The definition ends behind its `::=`; what stands behind belongs to others.
        end = text.find("::=", start.end(), stop)
        line_end = text.find("\n", end) if end >= 0 else stop
        if severity := _SEVERITY.search(text, start.end(), line_end if line_end >= 0 else stop):
            found[start[1]] = severity[1].lower()
    return found


if __name__ == "__main__":
    main()
