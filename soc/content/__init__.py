"""YAML to checked definitions with line numbers; the only reader of YAML."""

from soc.content.document import Document, decode, load, loads, read, yaml_files
from soc.content.reader import Faults, Node
from soc.content.roots import KINDS, documents, roots, shipped

__all__ = [
    "KINDS",
    "Document",
    "Faults",
    "Node",
    "decode",
    "documents",
    "load",
    "loads",
    "read",
    "roots",
    "shipped",
    "yaml_files",
]
