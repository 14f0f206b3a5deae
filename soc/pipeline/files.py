"""Files through parsers and rules, in-process, for `soc parse` and `soc detect`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from soc import content
from soc.collectors.archives import Member
from soc.collectors.files import Captures, Datagram, PacketStream, read_blocks
from soc.model.batch import EventBatch
from soc.model.clock import Clock
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState, audit


def _records(stream: PacketStream) -> Iterator[bytes]:
    from soc.parsers import packets  # a tenth of a second of imports, for captures only

    return packets.records(stream)


def _datagrams(stream: PacketStream) -> Iterator[Datagram]:
    from soc.parsers import packets

    return packets.datagrams(stream)


CAPTURES = Captures(_records, _datagrams)
"""Who reads capture files."""
BLOCK_BYTES = 4 << 20
"""No frame of a log has to hold them; larger batches cost less an event, by a tenth (measured)."""


def load_parsers(site_roots: Sequence[Path] = ()) -> ParserSet:
    """The shipped parsers and a site's own."""
    return ParserSet.load(content.roots("parsers", site_roots))


def parse_file(
    parsers: ParserSet,
    path: Path | None,
    clock: Clock,
    *,
    format: str = "auto",
    product: str | None = None,
    members: list[Member] | None = None,
) -> Iterator[list[EventBatch]]:
    """The batches of each block of a file (None: standard input), in order of blocks.

    A `product` whose records are datagrams is read out of a capture, or the file is one datagram. `members` is filled
    as by `read_blocks`.
    """
    state = ParserState()
    for block in raw_blocks(parsers, path, clock, format=format, product=product, members=members):
        batches, state = parsed(parsers, block, state, clock, product)
        yield batches


def parsed(
    parsers: ParserSet, block: RawBlock, state: ParserState, clock: Clock, product: str | None = None
) -> tuple[list[EventBatch], ParserState]:
    """The batches of one block, and the state for the next one of its file."""
    batches, state = parsers.parse(block, state, clock.now_ns(), as_product=product)
    return batches, audit.settled(state, {block.node: block.seq})


def raw_blocks(
    parsers: ParserSet,
    path: Path | None,
    clock: Clock,
    *,
    format: str = "auto",
    product: str | None = None,
    members: list[Member] | None = None,
) -> Iterator[RawBlock]:
    """The blocks of a file, not yet parsed; the arguments are those of `parse_file`."""
    if format == "auto":
        format = parsers.wire_format(product) or format
    return read_blocks(path, clock=clock, format=format, max_bytes=BLOCK_BYTES, captures=CAPTURES, members=members)


def ordered_documents(batches: Sequence[EventBatch]) -> list[dict[str, Any]]:
    """Flat JSON-able events of one block, in the order of their records."""
    rows = [row for batch in batches for row in batch.json_rows()]
    return sorted(rows, key=lambda row: (row["soc.record"], row["soc.part"]))
