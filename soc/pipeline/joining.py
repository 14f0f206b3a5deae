"""Which of the frames that wait are parsed together: many sources that send little each would cost thrice as much."""

from __future__ import annotations

from collections.abc import Iterable

from soc.model.multiline import PATTERN
from soc.model.record import RawBlock
from soc.parsers.groups import PAUSE
from soc.pipeline import places

MAX_RECORDS = 2_000
"""Frames are joined up to so many records; more at once is no cheaper."""
_ALONE = frozenset({"netflow", "sflow", PAUSE})
"""What their parsers remember goes by the frame."""
_OF_ITS_RECORDS = ("log.file.path", "first_record", PATTERN)
"""In the origin of a frame whose records are numbered in a file, or may go on in the next one."""


def together(blocks: Iterable[RawBlock]) -> list[list[RawBlock]]:
    """The frames in groups that can be parsed as one, those of a source in the order they came.

    A group has one source, node, log, format and origin. What was kept aside comes alone.
    """
    groups: list[list[RawBlock]] = []
    latest: dict[tuple[str, ...], list[RawBlock]] = {}
    for block in blocks:
        source = (block.site, block.listener, block.peer, block.node, block.log)
        group = latest.get(source)
        if group is not None and _go_together(group, block):
            group.append(block)
        else:
            latest[source] = [block]
            groups.append(latest[source])
    return groups


def _go_together(group: list[RawBlock], block: RawBlock) -> bool:
    last = group[-1]
    return (
        block.log != places.DEAD
        and block.format == last.format
        and block.format not in _ALONE
        and block.origin == last.origin
        and not any(key in block.origin for key in _OF_ITS_RECORDS)
        and sum(each.n for each in group) + block.n <= MAX_RECORDS
    )
