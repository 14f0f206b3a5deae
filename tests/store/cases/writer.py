"""Commits one document after another and names each on stdout once it is acknowledged; made to be killed."""

from __future__ import annotations

import sys
from pathlib import Path

from soc.errors import Conflict, StoreError
from soc.model.clock import SystemClock
from soc.store.cases import Cases
from tests.store.cases.test_documents import message


def write(cases: Cases, id: str) -> None:
    """Everything a transaction can carry."""
    with cases.begin("an") as tx:
        tx.put("n", id, {"id": id}, None, unit="u", keys={"status": "new"})
        tx.ledger("n.add", f"n:{id}", None, {"id": id}, "")
        tx.outbox(message(id))
        tx.change("n", id, "new")
        tx.set_cursor("n", {"last": id})


def main(folder: Path, start: int, count: int) -> None:
    """Retries a refused commit until it is taken; a commit that was taken after all answers with Conflict."""
    cases = Cases(folder / "db" / "c.db", SystemClock(), head_path=folder / "head" / "h.json")
    print("ready", flush=True)
    for i in range(start, start + count):
        id = f"{i:06}"
        while True:
            try:
                write(cases, id)
            except Conflict:
                break
            except StoreError as error:
                print(error, file=sys.stderr, flush=True)
                continue
            break
        print(id, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
