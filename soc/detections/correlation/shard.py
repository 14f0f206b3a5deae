"""`Shard`: one of several processes that share the groups of the correlations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from soc.detections.correlation.definition import Correlation


@dataclass(frozen=True)
class Shard:
    """Number `index` of `of`. What has which name falls to the same one everywhere and after every start."""

    index: int = 0
    of: int = 1

    def owns(self, name: str) -> bool:
        """Whether it is ours."""
        return self.of == 1 or crc32(name.encode(errors="surrogatepass")) % self.of == self.index

    def here(self, correlations: Sequence[Correlation]) -> list[Correlation]:
        """Those that run in this process, in their order, each behind those that it refers to.

        One over rules runs everywhere, for each shard's own groups. One over correlations lies behind them, whole, in
        one process; what it refers to runs there for all groups, and tells nothing of those that are not its own.
        """
        found: list[Correlation] = []
        referred: set[str] = set()
        for each in reversed(correlations):
            if not each.is_above:
                found.append(each)
            elif self.owns(each.id) or each.id in referred:
                found.append(each)
                referred.update(each.rules)
        return found[::-1]
