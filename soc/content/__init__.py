"""YAML to checked definitions with line numbers; the only reader of YAML."""

from soc.content.archive import Source, source, sources
from soc.content.document import Document, decode, load, loads, pieces, readable, yaml_files
from soc.content.flow import flow
from soc.content.reader import Faults, Node
from soc.content.roots import KINDS, documents, roots, shipped

__all__ = [
    "KINDS",
    "Document",
    "Faults",
    "Node",
    "Source",
    "decode",
    "documents",
    "flow",
    "load",
    "loads",
    "pieces",
    "readable",
    "roots",
    "shipped",
    "source",
    "sources",
    "yaml_files",
]
