"""A link that is slow, is cut and mended, both ends killed at random: nothing lost, nothing doubled, order kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.collectors.relay_scenario import TOP, Proxy, opened, play

pytestmark = pytest.mark.timeout(400)


def check(found: dict[str, Any]) -> None:
    """Each source's records once, in order, with the receipt times of the unit; and it was no easy link."""
    sent = {peer: [tuple(one) for one in records] for peer, records in found["sent"].items()}
    arrived = {peer: [tuple(one) for one in records] for peer, records in found["arrived"].items()}
    assert arrived == sent
    assert sum(map(len, sent.values())) > 200
    assert found["kills"] >= 2
    assert found["cuts"] >= 1


def test_a_shaping_proxy_between(tmp_path: Path) -> None:
    """300 kB a second; a cut is silence first and a reset then."""
    with opened(Proxy()) as wire:
        check(play(tmp_path, wire, 1))


def test_network_namespaces_between(tmp_path: Path) -> None:
    """A cable between two kernels' networks, shaped by the kernel (tbf); a cut is an interface that goes down."""
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-m", "tests.collectors.relay_scenario",
               "netns", str(tmp_path), "3"]  # fmt: skip
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=380, check=False)
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout.splitlines()[-1]))
