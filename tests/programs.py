"""Programs and servers that nobody here wrote: a test that needs one gets it, or fails with its name.

`SOC_TEST_WITHOUT=kafka,strace make test` leaves out, as skipped, the tests that need these; `.ci/run` leaves out none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SERVERS = Path(__file__).parent / "servers"


def program(name: str, package: str = "") -> str:
    """The path of a program of the machine, which Debian has in this package (of the same name when none is given)."""
    _unless_left_out(name)
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.fail(f"{name} is missing: apt-get install {package or name}, or SOC_TEST_WITHOUT={name}", pytrace=False)
    return found


def server(name: str) -> str:
    """What the recipe tests/servers/NAME.sh prints: where it put the server."""
    _unless_left_out(name)
    try:
        return _made(name)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip()[-500:]
        pytest.fail(f"tests/servers/{name}.sh failed, or SOC_TEST_WITHOUT={name}: {said}", pytrace=False)


@cache
def _made(name: str) -> str:
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(
        [SERVERS / f"{name}.sh"], check=True, capture_output=True, text=True, timeout=900, env=environment
    )  # fmt: skip
    return done.stdout.strip()


def _unless_left_out(name: str) -> None:
    if name in os.environ.get("SOC_TEST_WITHOUT", "").replace(" ", "").split(","):
        pytest.skip(f"SOC_TEST_WITHOUT={name}")
