"""Where definitions lie: what ships with soc, then the roots a site adds; the later root wins by `id`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from soc.content.document import Document, load, yaml_files
from soc.errors import ContentError, Fault

KINDS = ("parsers", "detections", "playbooks", "retention", "connectors")


def shipped(kind: str) -> Path:
    """The folder of that kind which ships: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "shipped" / kind
    return inside if inside.is_dir() else package.parent / kind


def roots(kind: str, site_roots: Sequence[Path] = ()) -> list[Path]:
    """The folders to read, weakest first: the shipped one and `<root>/<kind>` of each site root that has it."""
    return [shipped(kind), *(root / kind for root in site_roots if (root / kind).is_dir())]


def documents(folders: Sequence[Path]) -> dict[str, Document]:
    """Every definition under the folders by its `id`. Raises ContentError with the faults of all files."""
    found: dict[str, Document] = {}
    faults: list[Fault] = []
    for folder in folders:
        here: dict[str, Document] = {}
        for path in yaml_files(folder):
            try:
                for document in load(path):
                    _place(document, here, faults)
            except ContentError as error:
                faults.extend(error.faults)
            except OSError as error:
                faults.append(Fault(str(path), 1, f"cannot be read: {error.strerror}"))
        found.update(here)
    if faults:
        raise ContentError(faults)
    return found


def _place(document: Document, here: dict[str, Document], faults: list[Fault]) -> None:
    identity = document.data.get("id") if isinstance(document.data, dict) else None
    if not isinstance(identity, str):
        faults.append(document.fault("'id' is missing"))
    elif identity in here:
        other = here[identity]
        faults.append(document.fault(f"id '{identity}' stands in {other.path}:{other.line('id')} already", "id"))
    else:
        here[identity] = document
