"""Frames on their way to another machine: the disk logs' own frames, one after another, compressed by zstd."""

from __future__ import annotations

from collections.abc import Sequence

import zstandard

from soc.errors import UsageError
from soc.model.record import RawBlock
from soc.store.queue.frame import Damage, decode, encode, scan

MAX_PACKED = 16 << 20
MAX_UNPACKED = 64 << 20
"""Bytes of one batch, compressed and not; what expands beyond it is refused unread."""


def pack(blocks: Sequence[RawBlock], *, level: int = 3) -> bytes:
    """The frames of these blocks under their own numbers."""
    return zstandard.ZstdCompressor(level=level).compress(b"".join(encode(block, block.seq) for block in blocks))


def unpack(data: bytes, *, node: str, log: str) -> list[RawBlock]:
    """The blocks as of that node. Raises UsageError for what is no batch, is damaged, or expands beyond bounds."""
    if len(data) > MAX_PACKED:
        raise UsageError(f"a batch of {len(data)} bytes; at most {MAX_PACKED}")
    try:
        with zstandard.ZstdDecompressor().stream_reader(data) as reader:
            plain = reader.read(MAX_UNPACKED + 1)
    except zstandard.ZstdError as error:
        raise UsageError(f"no zstd batch: {error}") from error
    if len(plain) > MAX_UNPACKED:
        raise UsageError(f"a batch of more than {MAX_UNPACKED} bytes")
    blocks: list[RawBlock] = []
    for item in scan(plain, final=True):
        if isinstance(item, Damage):
            raise UsageError(f"a damaged batch: no frame at byte {item.offset}")
        blocks.append(decode(memoryview(plain)[item.offset : item.offset + item.size], node=node, log=log))
    return blocks
