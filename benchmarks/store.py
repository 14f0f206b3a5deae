"""What the embedded event store costs: append, seal, needle, word, top ten; against plain files in the same run."""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from benchmarks.entries import Entry, Stopwatch, both, entry
from soc.model.batch import EventBatch
from soc.model.clock import SystemClock
from soc.model.fields import FIELDS
from soc.model.position import Partition, Position, event_id_at, partition_of
from soc.model.query import MatchAll
from soc.model.scope import Scope
from soc.store.events import Aggregate, EventStore
from soc.store.query import parse

ROWS, PER_APPEND = 200_000, 5_000
START_US = 1_795_600_800_000_000
ALL = Scope.everything("bench", "measure")
PART = Partition("n", "raw", partition_of("hue", "syslog", "10.0.0.1"))


def _rows(seq: int, rng: random.Random) -> list[dict[str, Any]]:
    rows = []
    for i in range(PER_APPEND):
        n = seq * PER_APPEND + i
        at, user = START_US + n * 1000, f"user{rng.randint(0, 500)}"
        source = f"10.{rng.randint(0, 30)}.{rng.randint(0, 255)}.{rng.randint(0, 255)}"
        rows.append(
            {
                "@timestamp": at, "event.created": at, "event.ingested": at, "event.kind": "event",
                "event.id": event_id_at(at * 1000, Position("n", "raw", seq, i)), "event.category": ["authentication"],
                "event.outcome": "failure", "event.action": "ssh_login", "soc.position": f"n:raw:{seq}:{i}:0",
                "soc.site": "hue", "soc.listener": "syslog", "soc.source": "hue/syslog/10.0.0.1",
                "soc.time.basis": "device", "host.name": f"web{n % 20}", "user.name": user, "source.ip": source,
                "source.port": rng.randint(1024, 65535),
                "event.original": f"<38>Nov 25 10:00:00 web{n % 20} sshd[{n % 30000}]: Failed password for {user} from "
                f"{source} port {rng.randint(1024, 65535)} ssh2",
            }
        )  # fmt: skip
    return rows


def _median_ms(work: Callable[[], Any], times: int = 7) -> float:
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begin) * 1000)
    return statistics.median(taken)


def _append_jsonl(path: Path, batches: list[EventBatch]) -> None:
    with path.open("ab") as file:
        for batch in batches:
            file.write(b"".join(orjson.dumps(row) + b"\n" for row in batch.json_rows()))
            file.flush()
            os.fdatasync(file.fileno())


def run(quick: bool = False) -> list[Entry]:
    """Append, seal and size, then what a person waits for."""
    rng, rows = random.Random(7), ROWS // 10 if quick else ROWS
    batches = [EventBatch.from_rows("linux.sshd", _rows(seq, rng)) for seq in range(rows // PER_APPEND)]
    needle = batches[1].values("source.ip")[4321]
    with tempfile.TemporaryDirectory(dir=os.environ.get("SOC_BENCH_DIR")) as folder:
        root, lines = Path(folder) / "store", Path(folder) / "events.jsonl"
        store = EventStore(root, SystemClock(), writer="bench")
        appending, plainly, sealing = Stopwatch(), Stopwatch(), Stopwatch()
        with appending:
            for seq, batch in enumerate(batches):
                store.append([batch], {PART: Position("n", "raw", seq, PER_APPEND - 1)})
        with plainly:
            _append_jsonl(lines, batches)
        store.roll()
        with sealing:
            store.compact()
        sealed = sum(s.bytes for s in store.segments())
        size = (sealed / rows, "bytes/event", "JSON lines", lines.stat().st_size / rows)
        return [
            *both("store.append", appending.cost(rows), "JSON lines and fdatasync", plainly.cost(rows)),
            *both("store.seal", sealing.cost(rows), "append", appending.cost(rows)),
            entry("store.size", *size, less_is_better=True),
            *_searches(store, root, needle),
        ]


def _searches(store: EventStore, root: Path, needle: str) -> list[Entry]:
    table = ds.dataset(str(root / "seg"), format="parquet", partitioning=None)
    top = Aggregate(("user.name",), limit=10)

    def search(text: str) -> Callable[[], Any]:
        return lambda: store.search(ALL, parse(text, FIELDS))

    def plain_top() -> Any:
        counted = table.to_table(columns=["user.name"]).group_by("user.name").aggregate([([], "count_all")])
        return counted.sort_by([("count_all", "descending")]).slice(0, 10)

    plain_needle = _median_ms(lambda: table.to_table(filter=pc.field("source.ip") == pa.scalar(needle)))
    like = pc.match_substring(pc.field("event.original"), f"from {needle} ")
    plain_word = _median_ms(lambda: table.to_table(filter=like))
    counted = _median_ms(lambda: store.aggregate(ALL, MatchAll(), top))
    rows = [
        ("needle", _median_ms(search(f"source.ip:{needle}")), "pyarrow.dataset filter", plain_needle),
        ("word", _median_ms(search(f'"from {needle}"')), "pyarrow.dataset substring", plain_word),
        ("newest", _median_ms(search("")), "pyarrow.dataset filter for a needle", plain_needle),
        ("top10", counted, "pyarrow group_by", _median_ms(plain_top)),
    ]
    return [entry(f"store.{name}", ms, "ms", words, plain, less_is_better=True) for name, ms, words, plain in rows]


if __name__ == "__main__":
    for result in run():
        print(result)
