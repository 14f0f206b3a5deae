"""The BER reader as the decoders see it; it stands in `soc.model`, because the SNMP collector reads the same bytes."""

from __future__ import annotations

from soc.model.ber import BadBer, expect, header, integer, oid, unsigned

__all__ = ["BadBer", "expect", "header", "integer", "oid", "unsigned"]
