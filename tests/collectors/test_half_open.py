"""Peers that vanish without a word (power, a cable, a firewall): their connections are freed and counted."""

import json
import subprocess
import sys
from pathlib import Path

from soc.model.record import INCOMPLETE

TOP = Path(__file__).parents[2]
# With a user namespace an ordinary user has a network, and a filter in it, of his own.
NAMESPACE = ["unshare", "--user", "--map-root-user", "--net"]


def test_peers_that_vanish_are_given_up_and_counted(tmp_path):
    """A silent one is asked, one that still was owed answers is found out by what it never acknowledged. What it had
    begun is kept and flagged; an idle peer that is there stays."""
    command = [*NAMESPACE, sys.executable, "-m", "tests.collectors.half_open_program", str(tmp_path)]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["is_freed"]
    assert seen["refused"] == {f"{name} 127.7.0.9": {"vanished": 1} for name in ("lines", "relp")}
    assert seen["records"] == {
        "<13>whole": 0, "<13>begun": INCOMPLETE, "<13>before": 0, "<13>after": 0, "<13>one": 0,
    }  # fmt: skip
