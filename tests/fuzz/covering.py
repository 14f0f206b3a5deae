"""Fuzzing led by coverage: `python -m tests.fuzz.covering SECONDS [TARGET]`, a part of `make fuzz`.

atheris makes bodies and records that reach new lines of the code; a target raises for what must not happen. What it
found is written beside as `crash-…`, and `python -m tests.fuzz.covering crash-… TARGET` repeats it. Its wheels exist
for Python 3.11 and 3.13 on x86-64 Linux (tests/fuzz/requirements.txt).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["soc.collectors", "soc.parsers"]):
    from tests.fuzz.targets import SEEDS, TARGETS


def main(what: str, name: str) -> None:
    """Run one target for so many seconds, or repeat a crash file."""
    with tempfile.TemporaryDirectory() as corpus:
        for n, seed in enumerate(SEEDS):
            for first in range(6):
                Path(corpus, f"{n}-{first}").write_bytes(bytes([first, 0]) + seed)
        options = [corpus, f"-max_total_time={what}", "-max_len=4096", "-timeout=20"] if what.isdigit() else [what]
        atheris.Setup([sys.argv[0], *options, "-rss_limit_mb=2048", "-verbosity=1"], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(*sys.argv[1:3])
    else:  # libFuzzer ends its process
        for target in TARGETS:
            command = [sys.executable, "-m", "tests.fuzz.covering", sys.argv[1], target]
            if subprocess.run(command, check=False).returncode:
                raise SystemExit(f"{target}: see the crash file that is named above")
