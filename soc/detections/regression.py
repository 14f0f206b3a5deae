"""SigmaHQ's regression tests as they lie in a checkout: `regression_tests_path`, its `info.yml`, and recorded events.

Format: SigmaHQ regression testing conventions (appendix of the Sigma specification).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from soc.content import Document, load
from soc.detections.correlator import Correlator
from soc.detections.detector import Detector
from soc.detections.load import DetectionSet
from soc.detections.replay import Replay
from soc.detections.samples import FINDINGS_KEPT, Outcome, only
from soc.detections.sigma.header import identity
from soc.errors import ContentError, SocError
from soc.model.batch import EventBatch
from soc.model.finding import Finding

Read = Callable[[Path, str], Iterator[EventBatch]]
"""Reads a file of events in a format of ours (`auto`, `evtx`, `json`, `xml`, `lines`). Raises SocError, OSError."""
FORMATS = {".evtx": "evtx", ".json": "json", ".jsonl": "json", ".xml": "xml", ".log": "lines", ".raw": "lines"}
KEY = "regression_tests_path"


class NotHere(Exception):
    """The rule lies without the checkout around it: its recorded events cannot be looked at."""


def outcomes(document: Document, detections: DetectionSet, read: Read) -> Iterator[Outcome]:
    """What came of each recorded file. Raises NotHere when there is no `regression_data` above the rule."""
    named = document.data.get(KEY)
    if not named:
        return
    said = Outcome(KEY, document.path, document.line(KEY))
    try:
        root = _root(document.path, str(named))
        info = _info(root, str(named), identity(document))
    except ValueError as error:
        yield replace(said, fault=str(error))
        return
    alone = only(detections, identity(document))
    for n, test in enumerate(info.data.get("regression_tests_info") or ()):
        yield _outcome(alone, identity(document), info, n, test, root, read)


def _root(path: str, named: str) -> Path:
    """The checkout: the folder above the rule in which the path of its tests leads somewhere."""
    inside = PurePosixPath(named)
    _refuse_outside(inside)
    above = Path(path).absolute().parents
    root = next((folder for folder in above if (folder / inside.parts[0]).is_dir()), None)
    if root is None or ".zip!" in path:
        raise NotHere(f"{inside.parts[0]} is not beside the rules")
    return root


def _refuse_outside(inside: PurePosixPath) -> None:
    if inside.is_absolute() or ".." in inside.parts or len(inside.parts) < 2:
        raise ValueError(f"'{inside}' is no path inside the checkout")


def _info(root: Path, named: str, id: str) -> Document:
    path = _inside(root, named)
    try:
        [info] = load(path)
    except (OSError, ContentError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(info.data, dict) or not isinstance(info.data.get("regression_tests_info") or [], list):
        raise ValueError(f"{path}: 'regression_tests_info' is a list of tests")
    meant = [each.get("id") for each in info.data.get("rule_metadata") or () if isinstance(each, dict)]
    if meant and id not in meant:
        raise ValueError(f"{path} is about {', '.join(map(str, meant))}")
    return info


def _inside(root: Path, named: str) -> Path:
    """The file of a checkout; a link that leads out of it is none. Raises ValueError."""
    _refuse_outside(PurePosixPath(named))
    path = root / named
    if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{path}: no such file in the checkout")
    return path


def _outcome(detections: DetectionSet, id: str, info: Document, n: int, test: Any, root: Path, read: Read) -> Outcome:
    keys = ("regression_tests_info", n)
    name = str(test.get("name") or keys[0]) if isinstance(test, dict) else keys[0]
    said = Outcome(name, info.path, info.line(*keys))
    if not isinstance(test, dict) or not test.get("path"):
        return replace(said, fault="a regression test needs a 'path'")
    wanted = test.get("match_count")
    if wanted is not None and not isinstance(wanted, int):
        return replace(said, fault=f"'match_count: {wanted}' is no number")
    try:
        path = _inside(root, str(test["path"]))
        own = list(_found(detections, id, read(path, FORMATS.get(path.suffix.lower(), "auto"))))
    except (ValueError, SocError, OSError) as error:
        return replace(said, fault=str(error))
    held = len(own) >= 1 if wanted is None else len(own) == wanted
    fault = "" if held else f"expected {'a hit' if wanted is None else f'{wanted} hits'}, found {len(own)}"
    return replace(said, fault=fault, hits=len(own), findings=tuple(own[:FINDINGS_KEPT]))


def _found(detections: DetectionSet, id: str, batches: Iterator[EventBatch]) -> Iterator[Finding]:
    detector, replay = Detector(detections), Replay(Correlator(detections))
    for batch in batches:
        yield from (found for found in detector.match(batch) if found.rule_id == id and not found.exception)
        yield from (found for found in replay.take(detector.project(batch)) if found.rule_id == id)
    yield from (found for found in replay.finish() if found.rule_id == id)
