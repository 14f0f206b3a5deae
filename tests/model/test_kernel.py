"""The compiled kernel is used where it is and of our version, and never where it is not wanted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from soc.model.kernel import VERSION

_SHOW = "from soc.model.kernel import kernel, WHICH; print(kernel is not None, WHICH)"


def _which(folder: Path, **environment: str) -> str:
    given = {**os.environ, "PYTHONPATH": str(folder), **environment}
    return subprocess.run([sys.executable, "-c", _SHOW], env=given, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose `soc_kernel` comes before any other."""
    return tmp_path


def test_one_of_our_version_is_used(folder: Path) -> None:
    """And says so."""
    (folder / "soc_kernel.py").write_text(f"VERSION = {VERSION}\n")
    assert _which(folder).startswith(f"True compiled kernel {VERSION}")


def test_one_of_another_version_is_left_out(folder: Path) -> None:
    """What it offers may mean something else."""
    (folder / "soc_kernel.py").write_text("VERSION = 999\n")
    assert _which(folder).startswith("False pure Python (the kernel has version 999")


def test_none_is_missed(folder: Path) -> None:
    """Without a wheel the pure code does the work."""
    (folder / "soc_kernel.py").write_text("raise ImportError\n")
    assert _which(folder).startswith("False pure Python (no kernel")


def test_it_can_be_left_out(folder: Path) -> None:
    """`SOC_KERNEL=off`."""
    (folder / "soc_kernel.py").write_text(f"VERSION = {VERSION}\n")
    assert _which(folder, SOC_KERNEL="off").startswith("False pure Python (SOC_KERNEL=off)")
