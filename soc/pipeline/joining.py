"""Which of the frames that wait are parsed together: hundreds of sources send little each, and a batch costs more by
itself than its events do."""

from __future__ import annotations

from collections.abc import Iterable

from soc.model.multiline import PATTERN
from soc.model.record import RawBlock
from soc.parsers.groups import PAUSE
from soc.parsers.parse import MIXABLE
from soc.pipeline import places
from soc.pipeline.reading import PRODUCT

MAX_RECORDS = 2_000
"""Frames are joined up to so many records; more at once is no cheaper."""
_ALONE = frozenset({"sflow", PAUSE})
"""What their parsers remember goes by the frame."""
_OF_ITS_RECORDS = ("log.file.path", "first_record", PATTERN)
"""In the origin of a frame whose records are numbered in a file, or may go on in the next one."""


def together(blocks: Iterable[RawBlock]) -> list[list[RawBlock]]:
    """The frames in groups that can be parsed as one, those of a source in the order they came.

    A group has one node, log, format and origin, and one source unless its format is MIXABLE. What was kept aside comes
    alone.
    """
    groups: list[list[RawBlock]] = []
    sizes: list[int] = []
    open_groups: dict[tuple[object, ...], int] = {}
    latest: dict[tuple[str, ...], int] = {}
    """Of each source the group that has its last frame: none of its next frames may be in an earlier one."""
    for block in blocks:
        kind, source = _kind(block), (block.source, block.node, block.log)
        place = open_groups.get(kind, -1) if kind else -1
        if place < latest.get(source, 0) or sizes[place] + block.n > MAX_RECORDS:
            place = len(groups)
            groups.append([])
            sizes.append(0)
        if kind:
            open_groups[kind] = place
        latest[source] = place
        groups[place].append(block)
        sizes[place] += block.n
    return groups


def _kind(block: RawBlock) -> tuple[object, ...] | None:
    """What the frames of a group have in common; None for one that comes alone."""
    origin = block.origin
    if block.log == places.DEAD or block.format in _ALONE or any(key in origin for key in _OF_ITS_RECORDS):
        return None
    is_mixable = block.format in MIXABLE and PRODUCT not in origin
    return block.node, block.log, block.format, tuple(sorted(origin.items())), "" if is_mixable else block.source
