"""A centre for distant units; what needs more than Python to be collected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from soc.model import kernel
from tests.collectors.units import Centre

collect_ignore = [] if kernel.kernel is not None else ["test_datagram_compiled.py"]
"""What compares the compiled kernel with the pure code needs both."""


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """A centre that listens."""
    made = Centre(tmp_path / "centre")
    made.start()
    yield made
    made.stop()
