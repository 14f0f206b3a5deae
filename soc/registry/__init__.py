"""Information systems, their levels, owners and networks: whose address is this, and what level is it?"""

from soc.registry.definition import load_systems, to_document, validate
from soc.registry.enrich import UNREGISTERED
from soc.registry.registry import Registry

__all__ = ["UNREGISTERED", "Registry", "load_systems", "to_document", "validate"]
