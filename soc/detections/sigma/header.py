"""What stands in a definition beside what it looks for, and how it is known; free of pySigma, dear to import."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from soc.content import Document
from soc.detections.sigma.rule import Node

OTHER_KINDS = ("correlation", "anomaly", "filter", "mapping", "query")
"""The keys that make a document something else than a rule."""
SILENT_KINDS = ("filter", "mapping", "query")
"""Of these, those that find nothing by themselves and so carry no tests."""


def version_of(*documents: Document, named: Mapping[str, Node] | None = None) -> str:
    """Twelve hex digits that change with the definition, the filters that are joined to it and those that it names."""
    digest = hashlib.blake2b(repr(named).encode() if named else b"", digest_size=6)
    for document in documents:
        digest.update(orjson.dumps(document.data, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS))
    return digest.hexdigest()


def identity(document: Document) -> str:
    """The `id` of a definition, else its `name`, else its title; never empty for a mapping with a header."""
    data = document.data if isinstance(document.data, dict) else {}
    return str(data.get("id") or data.get("name") or data.get("title") or "")


def tests_in(data: Any) -> int:
    """How many tests a definition carries: ours, or SigmaHQ's regression tests beside it."""
    if not isinstance(data, dict):
        return 0
    own = data.get("tests") or data.get("x-tests")
    return len(own) if isinstance(own, list) else int(bool(data.get("regression_tests_path")))


def lacking(tests: Any) -> list[str]:
    """Of `hit` and `miss` those that no test of a definition is."""
    kinds = {bool(test.get("hit")) for test in tests if isinstance(test, dict)} if isinstance(tests, list) else set()
    return [word for word, is_hit in (("hit", True), ("miss", False)) if is_hit not in kinds]


def vietnamese_title(data: dict[str, Any]) -> str:
    """`i18n.vi.title`, or an empty text."""
    words = (data.get("i18n") or {}).get("vi") or {}
    return str(words.get("title") or "") if isinstance(words, dict) else ""
