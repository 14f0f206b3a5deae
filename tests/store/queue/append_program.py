"""A writer in a process of its own, for faults that strace injects: prints each number once it is acknowledged."""

import sys
from pathlib import Path

from soc.errors import StoreError
from soc.model.clock import SystemClock
from soc.model.record import RawBlock
from soc.store.queue import DiskLog

GROUPS = 8


def opened(root: Path) -> DiskLog:
    for _ in range(5):
        try:
            return DiskLog(root, "raw", "n1", SystemClock(), segment_bytes=600)
        except StoreError as error:
            print("open refused", error, file=sys.stderr)
    raise SystemExit(3)


def main(root: Path) -> None:
    log = opened(root)
    for number in range(GROUPS):
        blocks = [RawBlock.of([f"{number}.{i}".encode() * 20], receipt_ns=1, peer=str(i)) for i in range(2)]
        for _ in range(5):
            try:
                log.append(blocks)
            except StoreError as error:
                print("append refused", error, file=sys.stderr)
                continue
            print(number, flush=True)
            break


if __name__ == "__main__":
    main(Path(sys.argv[1]))
