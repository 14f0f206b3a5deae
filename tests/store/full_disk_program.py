"""The stores on a disk that is full and gets room again: `full_disk_program FOLDER`, in a mount namespace of its own.

Mounts 4 MiB on FOLDER, fills it, tries everything, makes room, tries again; prints what was seen as one JSON object.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from soc.errors import SocError
from soc.model.clock import FixedClock
from soc.model.query import MatchAll
from soc.model.record import RawBlock
from soc.store.cases import Cases
from soc.store.events import EventStore
from soc.store.queue import DiskLog, LogReader
from tests.store.events.samples import ALL, START_US, frame, upto

CLOCK = FixedClock(START_US * 1000)


def fill(ballast: Path, leave: int = 0) -> None:
    """Take all room but so many bytes."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(max(0, file.tell() - leave))


def refusal(work: Callable[[], object]) -> tuple[str, int, str] | None:
    """How the work was refused, None when it was done; anything but our own errors ends the program."""
    try:
        work()
    except SocError as error:
        return type(error).__name__, error.exit_code, str(error)
    return None


def opened(folder: Path) -> Cases:
    return Cases(folder / "cases" / "c.db", CLOCK, head_path=folder / "head" / "h.json")


def commit(cases: Cases, id: str) -> None:
    with cases.begin("an") as tx:
        tx.put("alert", id, {"text": "x" * 20_000}, None)
        tx.ledger("alert.raise", f"alert:{id}")
        tx.change("alert", id, "new")


def main(folder: Path) -> dict[str, object]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    ballast = folder / "ballast"
    log = DiskLog(folder, "raw", "n1", CLOCK)
    store, cases = EventStore(folder / "events", CLOCK, writer="w"), opened(folder)
    block = RawBlock.of([b"x" * 50_000], receipt_ns=1)
    log.append([block])
    store.append([frame(1, 100)], upto(1, 99))
    store.roll()
    commit(cases, "a")
    fill(ballast)
    full = {
        "queue": refusal(lambda: log.append([block])),
        "events": refusal(lambda: store.append([frame(2, 2000)], upto(2, 1999))),
        "sealing": refusal(store.compact),
        "cases": refusal(lambda: commit(cases, "b")),
    }
    cases.close()
    fill(folder / "more")
    full["new cases"] = refusal(lambda: opened(folder / "cases2"))
    full["new queue"] = refusal(lambda: DiskLog(folder, "matched", "n1", CLOCK))
    full["new events"] = refusal(lambda: EventStore(folder / "events2", CLOCK, writer="w"))
    ballast.unlink()
    (folder / "more").unlink()
    cases = opened(folder)
    freed = {
        "queue": refusal(lambda: log.append([block])),
        "events": refusal(lambda: store.append([frame(2, 2000)], upto(2, 1999))),
        "sealing": refusal(store.compact),
        "cases": refusal(lambda: commit(cases, "b")),
    }
    with cases.read("an") as tx:
        alerts = [id for id, _ in tx.find("alert", order="asc")]
    return {
        "full": full,
        "freed": freed,
        "frames": len(LogReader(folder, "raw").read({}, None, 10)),
        "rows": store.search(ALL, MatchAll(), limit=1, count=True).total,
        "faults": len(store.verify_segments(content=True)),
        "alerts": alerts,
        "ledger": [cases.verify_ledger().ok, cases.verify_ledger().entries],
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
