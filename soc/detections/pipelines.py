"""The pySigma processing pipelines that rules go through before we read them: files, installed ones, and lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import ValueListPlaceholderTransformation

from soc.content import load
from soc.detections.sigma.read import MALFORMED
from soc.errors import ConfigError, ContentError, nearest


def pipeline(given: Path | str) -> ProcessingPipeline:
    """A file of a pipeline, or one that an installed pySigma package brings, by its name (`sysmon`).

    Raises ConfigError for what is neither, and for a file that is no pipeline.
    """
    path = Path(given)
    if not path.is_file():
        return _installed(str(given))
    try:
        return ProcessingPipeline.from_dict(load(path)[0].data)
    except (OSError, ContentError, *MALFORMED) as error:
        raise ConfigError(f"{path}: no pySigma processing pipeline: {error}") from error


def _installed(name: str) -> ProcessingPipeline:
    from sigma.plugins import InstalledSigmaPlugins  # imports every plugin there is: only when one is asked for

    found: dict[str, Any] = InstalledSigmaPlugins.autodiscover(
        include_backends=False, include_validators=False
    ).pipelines
    if name not in found:
        close = nearest(name, found)
        raise ConfigError(f"{name}: no file, and no pipeline of an installed pySigma package{close}")
    made = found[name]
    return made() if callable(made) else made


def expanding(lists: Mapping[str, Sequence[str]]) -> ProcessingPipeline:
    """Puts the values of a list in the place of `%name%` in values with `|expand` (Sigma modifiers appendix)."""
    items = [ProcessingItem(ValueListPlaceholderTransformation(include=list(lists)))]
    return ProcessingPipeline(items=items, vars={name: list(values) for name, values in lists.items()})
