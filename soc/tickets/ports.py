"""What the ticket desk needs of others, as small protocols; `pipeline` hands the real ones in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from soc.model.cases import CaseTx


class Tx(CaseTx, Protocol):
    """A case transaction with the cursor that numbers tickets."""

    def cursor(self, name: str) -> dict[str, Any] | None: ...
    def set_cursor(self, name: str, document: Mapping[str, Any]) -> None: ...
