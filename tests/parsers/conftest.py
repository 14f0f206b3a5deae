"""The shipped parsers, loaded once, and a short way to parse records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from soc.content import shipped
from soc.model import kernel
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState

RECEIPT_NS = 1_795_143_600_000_000_000  # 2026-11-20T03:00:00Z
Rows = Callable[..., list[dict[str, Any]]]


collect_ignore = [] if kernel.kernel is not None else ["test_flow_kernel.py"]
"""What compares the compiled kernel with the pure code needs both."""


@contextmanager
def without_kernel() -> Iterator[None]:
    """Flows are read, and datagrams received, by the pure code inside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "kernel", None)
        yield


@pytest.fixture(scope="module", params=["pure"] if kernel.kernel is None else ["compiled", "pure"])
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each way in which flows are read and datagrams received, where there are two: its user runs once for each."""
    if request.param == "pure":
        with without_kernel():
            yield
    else:
        yield


@pytest.fixture(scope="session")
def parsers() -> ParserSet:
    """What ships."""
    return ParserSet.load([shipped("parsers")])


@pytest.fixture(scope="session")
def rows(parsers: ParserSet) -> Rows:
    """Parse byte strings and give the events in the order of records and parts."""

    def parse(records: Sequence[bytes], *, as_product: str | None = None, **block: Any) -> list[dict[str, Any]]:
        raw = RawBlock.of(records, receipt_ns=RECEIPT_NS, **block)
        batches, _ = parsers.parse(raw, ParserState(), RECEIPT_NS, as_product=as_product)
        events = [row for batch in batches for row in batch.rows()]
        return sorted(events, key=lambda e: [int(x) for x in e["soc.position"].split(":")[2:]])

    return parse


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Path]:
    """A folder with one definition."""

    def write(text: str, name: str = "a.yml") -> Path:
        root = tmp_path / "parsers"
        root.mkdir(exist_ok=True)
        (root / name).write_text(text, "utf-8")
        return root

    return write
