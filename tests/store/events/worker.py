"""The process that the crash tests kill: appends frames as the pipeline does, retrying after an error.

`python -m tests.store.events.worker append ROOT FRAMES` writes `ack N` for each acknowledged frame;
`… seal ROOT` compacts, again after an error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from soc.errors import StoreError
from soc.model.clock import SystemClock
from soc.store.events import EventStore
from tests.store.events.samples import frame, partition, upto

ROWS = 20


def say(text: str) -> None:
    try:
        os.write(1, (text + "\n").encode())
    except OSError:
        return  # the injected fault may hit this write too; then nothing was promised


def append(root: Path, frames: int) -> None:
    store = EventStore(root, SystemClock(), writer="w")
    mark = store.cursors().get(partition())
    for seq in range(mark.seq + 1 if mark else 1, frames + 1):
        for _ in range(3):
            try:
                store.append([frame(seq, ROWS)], upto(seq, ROWS - 1))
            except StoreError:
                say(f"error {seq}")
            else:
                say(f"ack {seq}")
                break
        if seq % 5 == 0:
            store.roll()


def seal(root: Path) -> None:
    for _ in range(2):
        EventStore(root, SystemClock()).compact(max_files=1)


if __name__ == "__main__":
    say("begin")
    if sys.argv[1] == "append":
        append(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        seal(Path(sys.argv[2]))
