"""`Journal`: the entries of systemd's journal, from `journalctl -o export --follow` as a child without a shell.

A record is one entry as journalctl gave it. The cursor is journald's own. It is asked for inclusively and the first
entry is compared with it: `--after-cursor` would pass over one entry when the cursor's own was vacuumed meanwhile.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import tempfile
from collections import deque
from collections.abc import Sequence
from typing import IO, Any

from soc.collectors.poll.page import FRAME_BYTES, FRAME_RECORDS, MAX_RECORD, Cursor, Page, cost
from soc.collectors.poll.rest import seconds
from soc.errors import ConfigError, TryAgain
from soc.model.clock import Clock
from soc.model.journal_export import Splitter
from soc.model.poll import Poll
from soc.model.record import OVERSIZE

FORMAT = "journal"
READ = 1 << 18
WAIT_S = 1.0
"""One look waits so long for the first entry."""
GATHER_S = 0.05
"""And so long for each further one."""
END_S = 2.0
_CURSOR = re.compile(rb"__CURSOR=(\S{1,500})\n")
_REALTIME = re.compile(rb"\n__REALTIME_TIMESTAMP=(\d{1,20})\n")
_Entry = tuple[bytes, bool, str]


class Journal:
    """The driver; the cursor is `{cursor}`, or `{since}` (seconds since the epoch) before the first entry."""

    def __init__(self, poll: Poll, clock: Clock, program: str = "journalctl") -> None:
        directory = poll["directory"]
        self.source = f"journal {directory or 'of this machine'} {' '.join(poll['match'])}".rstrip()
        self.peer, self.format, self.dataset = "127.0.0.1", FORMAT, poll["dataset"]
        self._poll, self._clock, self._program = poll, clock, program
        self._child: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._splitter = Splitter(MAX_RECORD)
        self._ready: deque[_Entry] = deque()
        self._at: Cursor = None
        self._checked = True
        self._gone = 0

    def fetch(self, cursor: Cursor) -> Page:
        """What the journal has behind the cursor, see `Driver`. Raises TryAgain when journalctl ends."""
        asked = cursor or self._beginning()
        if self._child is None or asked != self._at:
            self._start(asked)
        taken: list[_Entry] = []
        size, until_ns = 0, self._clock.monotonic_ns() + int(WAIT_S * 1e9)
        while len(taken) < FRAME_RECORDS and self._clock.monotonic_ns() < until_ns:
            if not self._ready:
                if not self._read(GATHER_S if taken else WAIT_S):
                    break
                continue
            size += cost(self._ready[0][0])
            if taken and size > FRAME_BYTES:
                break
            taken.append(self._ready.popleft())
        return self._page(taken)

    def _page(self, taken: Sequence[_Entry]) -> Page:
        if taken:
            self._at = {"cursor": taken[-1][2]}
        gone, self._gone = self._gone, 0
        behind = self._behind(taken[-1][0]) if taken and self._ready else 0.0
        return Page(
            [entry for entry, _, _ in taken], self._at, lag_s=behind,
            flags={i: OVERSIZE for i, (_, is_cut, _) in enumerate(taken) if is_cut},
            counts={"cursor_gone": gone} if gone else {},
        )  # fmt: skip

    def durable(self, cursor: Cursor) -> None:
        """Nobody is told."""

    def close(self) -> None:
        """End journalctl."""
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            child.wait(END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for file in (child.stdout, self._said):
            if file is not None:
                file.close()

    # the child ------------------------------------------------------------------------------------------------------

    def _beginning(self) -> dict[str, Any]:
        start = self._poll["start"]
        if start == "beginning":
            return {}
        at = self._clock.now_ns() / 1e9 if start == "now" else seconds(start, "iso")
        return {"since": f"@{int(at)}"}

    def _start(self, asked: dict[str, Any]) -> None:
        self.close()
        # Without --merge, --follow shows the newest boot only (systemd 252), whatever --boot says.
        command = [self._program, "--output=export", "--follow", "--no-tail", "--merge", "--no-pager"]
        if self._poll["directory"]:
            command.append(f"--directory={self._poll['directory']}")
        if "cursor" in asked:
            command.append(f"--cursor={asked['cursor']}")
        elif "since" in asked:
            command.append(f"--since={asked['since']}")
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 -- lives as long as the child
        try:
            self._child = subprocess.Popen(
                [*command, *self._poll["match"]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._said,
                env={**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"},
            )  # fmt: skip
        except OSError as error:
            raise ConfigError(f"{self._program} cannot be started: {error.strerror}") from error
        self._splitter = Splitter(MAX_RECORD)
        self._ready.clear()
        self._at = asked
        self._checked = "cursor" not in asked

    def _read(self, wait_s: float) -> bool:
        """Take in what journalctl has written, waiting at most so long; whether there was anything."""
        child = self._child
        assert child is not None
        assert child.stdout is not None
        fd = child.stdout.fileno()
        if not select.select([fd], [], [], wait_s)[0]:
            return False
        data = os.read(fd, READ)
        if not data:
            self._ended(child)
        for entry, is_cut in self._splitter.feed(data):
            found = _CURSOR.search(entry[:2048])
            cursor = found[1].decode("ascii", "backslashreplace") if found else ""
            if not cursor:
                raise TryAgain("journalctl gave an entry without a cursor")
            if not self._checked:
                self._checked = True
                if cursor == self._at["cursor"]:
                    continue
                self._gone += 1  # it was vacuumed: the entries in between are gone, this one is the next there is
            self._ready.append((entry, is_cut, cursor))
        return True

    def _ended(self, child: subprocess.Popen[bytes]) -> None:
        code, said = child.wait(), b""
        if self._said is not None:
            self._said.seek(0)
            said = self._said.read(2000)
        self.close()
        words = said.decode("utf-8", "replace").split("\n")
        last = next((line for line in reversed(words) if line.strip()), "")
        raise TryAgain(f"journalctl ended with {code}: {last[:300]}".rstrip(": "))

    def _behind(self, entry: bytes) -> float:
        found = _REALTIME.search(entry[:2048])
        return max(self._clock.now_ns() / 1e9 - int(found[1]) / 1e6, 0.0) if found else 0.0
