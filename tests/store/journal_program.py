"""A writer of a journal in a process of its own, for faults that strace injects: prints each number that is saved."""

import sys
from pathlib import Path

from soc.errors import StoreError
from soc.store import journal

SAVES = 9
journal.LEAST_BYTES = 40  # so that the changes become a whole now and then


def main(path: Path) -> None:
    state = journal.Journal(path, "the state", "move it away")
    known = [payload.decode() for payload in state.read()]
    print("read", *known)
    for number in range(SAVES):
        for _ in range(5):
            try:
                if state.wants_whole:
                    state.replace(f"whole:{number}".encode() * 2)
                else:
                    state.append(f"change:{number}".encode() * 2)
            except StoreError as error:
                print("refused", error, file=sys.stderr)
                continue
            print(number, flush=True)
            break


if __name__ == "__main__":
    main(Path(sys.argv[1]))
