"""What the alert desk needs of others, as small protocols; `pipeline` hands the real ones in."""

from __future__ import annotations

from typing import Protocol

from soc.model.system import InformationSystem


class Systems(Protocol):
    """Finds a registered information system by its id; None when nobody registered it."""

    def get(self, id: str) -> InformationSystem | None: ...
