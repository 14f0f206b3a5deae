"""`soc up --simulate` as a person starts it, and `soc …` beside it, for the tests of the whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_S = 300
LONG_S = 180.0
"""What has not come by then does not come: a machine that does much else may need minutes for what takes seconds."""
SOC = (sys.executable, "-m", "soc")


@dataclass(frozen=True)
class Ran:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The `data` of the envelope."""
        return json.loads(self.out)["data"]


class Running:
    """A home with everything started. `up_s` is how long after `start` the first alert was there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("SOC_")},
            "SOC_HOME": str(home), "SOC_LANG": "en", "NO_COLOR": "1",
        }  # fmt: skip
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Start it; what it printed until everything was up. Raises AssertionError when it does not come up."""
        self._process = subprocess.Popen(
            (*SOC, "up", "--simulate", "--no-console"), env=self.environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        said = ""
        assert self._process.stdout is not None
        deadline = time.monotonic() + START_S
        for line in self._process.stdout:
            said += line
            if "soc console" in line:
                return said
            assert time.monotonic() < deadline, said
        raise AssertionError(said)

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(LONG_S)

    def soc(self, *arguments: str, acting: str | None = None, **more: Any) -> Ran:
        """A command beside it."""
        person = ("--as", acting) if acting else ()
        result = subprocess.run(
            (*SOC, *person, *arguments), env={**self.environment, **more}, capture_output=True, text=True,
            timeout=600, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Ran(result.returncode, result.stdout, result.stderr)

    def data(self, *arguments: str, acting: str | None = "lan") -> Any:
        """A command's `data`; it must succeed."""
        ran = self.soc("--json", *arguments, acting=acting)
        assert ran.code == 0, ran.err
        return ran.data

    def until(self, what: Callable[[], Any], seconds: float = LONG_S) -> Any:
        """What it gives once it is something."""
        deadline = time.monotonic() + seconds
        while True:
            found = what()
            if found or time.monotonic() > deadline:
                return found
            time.sleep(1)


def alert_of(alerts: Sequence[dict[str, Any]], entity: str, level: str) -> dict[str, Any] | None:
    """The alert about an entity at a level."""
    return next((a for a in alerts if entity in a["entity"] and a["level"] == level), None)
