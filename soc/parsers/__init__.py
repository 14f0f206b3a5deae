"""Raw records to event batches: recognise the product, match its shapes, map to the field dictionary. No I/O."""

from soc.parsers.check import check
from soc.parsers.parse import ParserSet
from soc.parsers.state import ParserState

__all__ = ["ParserSet", "ParserState", "check"]
