"""YAML text to plain data that remembers its line numbers; bounded, safe, and the only importer of yaml."""

from __future__ import annotations

import errno
import itertools
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from soc.errors import ContentError, Fault

MAX_BYTES = 1 << 20
"""A definition larger than this is refused unread."""
MAX_NODES = 200_000
"""Aliases are expanded while they are counted, so a bomb of aliases stops here."""
MAX_DEPTH = 100
"""Mappings and lists inside each other; an alias inside its own anchor stops here too."""
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_NOTHING = "tag:yaml.org,2002:null"
_SEPARATOR = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """One YAML document: its data, the place it came from, and the line of each key path."""

    path: str
    data: Any
    lines: Mapping[Keys, int] = field(repr=False)
    first_line: int = 1

    def line(self, *keys: str | int) -> int:
        """The 1-based line of a key path, or of its nearest parent that has one."""
        for end in range(len(keys), 0, -1):
            if keys[:end] in self.lines:
                return self.lines[keys[:end]]
        return self.first_line

    def fault(self, message: str, *keys: str | int) -> Fault:
        """A fault at that key path."""
        return Fault(self.path, self.line(*keys), message)


class _Builder:
    """Turns composed nodes into data, counting them and noting lines."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.nodes = 0
        self.lines: dict[Keys, int] = {}
        self.faults: list[Fault] = []
        self._scalars = _LOADER("")

    def build(self, node: Any, keys: Keys) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise ContentError([Fault(self.path, node.start_mark.line + 1, f"more than {MAX_NODES} values")])
        if len(keys) > MAX_DEPTH:
            raise ContentError([Fault(self.path, node.start_mark.line + 1, "nested too deeply")])
        self.lines.setdefault(keys, node.start_mark.line + 1)
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
            self._note(node, f"a list or mapping cannot be '{node.tag}'")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, keys)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*keys, i)) for i, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: Any, keys: Keys) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.faults.append(Fault(self.path, line, "a key must be a plain word"))
                continue
            key = key_node.value
            if key in result:
                self.faults.append(Fault(self.path, line, f"key '{key}' stands twice"))
            self.lines[(*keys, key)] = line
            result[key] = self.build(value_node, (*keys, key))
        return result

    def _scalar(self, node: Any) -> Any:
        try:
            return self._scalars.construct_object(node)
        except (AttributeError, LookupError):  # PyYAML's own, for `!!timestamp x`, `!!bool x`, `!!float ''`
            why: object = f"it is no {node.tag.rpartition(':')[2]}"
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            why = getattr(error, "problem", None) or error
        self._note(node, f"unreadable value '{node.value[:60]}': {why}")
        return None

    def _note(self, node: Any, message: str) -> None:
        self.faults.append(Fault(self.path, node.start_mark.line + 1, message))


def loads(text: str, path: str) -> list[Document]:
    """All documents of a YAML text; `path` is only for messages. Raises ContentError with every fault found."""
    documents: list[Document] = []
    faults: list[Fault] = []
    try:
        for node in yaml.compose_all(text, Loader=_LOADER):
            if isinstance(node, yaml.ScalarNode) and not node.value and node.tag == _NOTHING:
                continue  # nothing but comments, or a last `---`
            builder = _Builder(path)
            data = builder.build(node, ())
            faults.extend(builder.faults)
            documents.append(Document(path, data, builder.lines, node.start_mark.line + 1))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ContentError([*faults, Fault(path, line, f"no YAML: {error.problem or error.context}")]) from error
    except yaml.YAMLError as error:
        raise ContentError([*faults, Fault(path, 1, f"no YAML: {str(error).splitlines()[0]}")]) from error
    except UnicodeEncodeError as error:
        raise ContentError([Fault(path, 1, f"no Unicode text: {error.reason}")]) from error
    except RecursionError as error:
        raise ContentError([Fault(path, 1, "nested too deeply")]) from error
    if faults:
        raise ContentError(faults)
    return documents


def load(path: Path) -> list[Document]:
    """All documents of a YAML file. Raises ContentError; OSError when the file cannot be read."""
    return decode(read(path), str(path))


def read(path: Path | str) -> bytes:
    """The bytes of a file of content, at most one more than it may have. Raises OSError, also for pipes and devices."""
    with open(path, "rb", opener=_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "no plain file", str(path))
        return file.read(MAX_BYTES + 1)


def _at_once(path: str, flags: int) -> int:
    """A pipe that nobody writes to would be waited for, for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


def decode(data: bytes, path: str) -> list[Document]:
    """All documents in the bytes of a YAML file. Raises ContentError."""
    if len(data) > MAX_BYTES:
        raise ContentError([Fault(path, 1, f"larger than {MAX_BYTES} bytes")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ContentError([Fault(path, line, f"no UTF-8 text: {error.reason}")]) from error
    return loads(text, path)


def readable(data: bytes, path: str) -> tuple[list[Document], list[Fault]]:
    """The documents of a YAML file, and the faults of those that cannot be read: each loses only itself."""
    try:
        return decode(data, path), []
    except ContentError as error:
        faults = list(error.faults)
    try:
        text = data[: MAX_BYTES + 1].decode("utf-8-sig")
    except UnicodeDecodeError:
        return [], faults
    starts = [found.start() for found in _SEPARATOR.finditer(text)]
    if not starts or len(data) > MAX_BYTES:
        return [], faults
    documents, faults = [], []
    for start, end in itertools.pairwise([0, *starts, len(text)]):
        above = text.count("\n", 0, start)
        try:
            documents += [_moved(each, above) for each in loads(text[start:end], path)]
        except ContentError as error:
            faults += [replace(fault, line=fault.line + above) for fault in error.faults]
    return documents, faults


def _moved(document: Document, lines: int) -> Document:
    moved = {keys: line + lines for keys, line in document.lines.items()}
    return replace(document, lines=moved, first_line=document.first_line + lines)


def pieces(data: bytes, path: str) -> list[tuple[Document, str]]:
    """Each document of a YAML file with its own text, which gives the same document when it is read alone.

    One whose text does not (anchors of another, directives) is left out. Raises ContentError.
    """
    documents = decode(data, path)
    lines = data.decode("utf-8-sig").splitlines()
    ends = [*(document.first_line - 1 for document in documents[1:]), len(lines)]
    found = []
    for document, end in zip(documents, ends, strict=True):
        mine = lines[document.first_line - 1 : end]
        while mine and (mine[-1].startswith(("---", "...", "#")) or not mine[-1].strip()):
            mine.pop()
        text = "\n".join(mine) + "\n"
        try:
            again = loads(text, path)
        except ContentError:
            continue
        if [each.data for each in again] == [document.data]:
            found.append((document, text))
    return found


def yaml_files(root: Path) -> Iterator[Path]:
    """The `.yml` and `.yaml` files at or below `root`, sorted; hidden folders are passed over."""
    return map(Path, yaml_paths(str(root)))


def yaml_paths(root: str) -> Iterator[str]:
    """The same as texts: a collection of rules has thousands."""
    if os.path.isfile(root):
        yield root
        return
    found = []
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".")]
        entries = (*names, *below)  # a folder of such a name is told when it is read
        found += [os.path.join(folder, n) for n in entries if n.lower().endswith((".yml", ".yaml")) and n[0] != "."]
    yield from sorted(found, key=lambda path: path.split(os.sep))
