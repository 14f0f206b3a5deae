"""Small files whose events are matched together: the same hits, in the same order, each with its own file."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from soc import pipeline
from soc.detections import DetectionSet, detect
from soc.errors import UsageError
from soc.model.batch import EventBatch
from soc.model.clock import FixedClock
from soc.model.joined import Joined
from soc.pipeline import files as files_alone
from soc.pipeline import many_files
from soc.pipeline.many_files import parse_files
from tests.collectors.evtx_writer import event, evtx
from tests.detections.support import write

NOW_NS = 1_763_600_000 * 10**9
RULES = """
title: a word
id: 0a000000-0000-4000-8000-000000000001
name: word
level: low
logsource: {product: windows}
detection: {keywords: [whoami, mimikatz], condition: keywords}
---
title: a process
id: 0a000000-0000-4000-8000-000000000002
level: low
logsource: {product: windows, service: security}
detection: {s: {CommandLine|contains: who}, condition: s}
---
title: words together
id: 0a000000-0000-4000-8000-000000000003
level: low
correlation: {type: event_count, rules: [word], group-by: [Channel], timespan: 1h, condition: {gte: 3}, generate: true}
"""
CHANNELS = ("Security", "System", "Application", "Strange/Channel")
WORDS = ("whoami", "mimikatz.exe", "calc", "")
PARSERS = pipeline.load_parsers()


class SlowReading(FixedClock):
    """On which a quarter of the wait passes whenever somebody looks."""

    passed_ns = 0

    def monotonic_ns(self) -> int:
        self.passed_ns += many_files.WAIT_NS // 4
        return NOW_NS + self.passed_ns


def files(folder: Path, count: int, seed: int = 1) -> list[Path]:
    """Event logs of one to nine events each."""
    rng = random.Random(seed)
    paths = []
    for n in range(count):
        data = {"CommandLine": rng.choice(WORDS), f"Own{n % 3}": rng.choice(WORDS)}
        events = [
            event(rng.choice((4624, 4688, 7045)), data, channel=rng.choice(CHANNELS)) for _ in range(rng.randint(1, 9))
        ]
        paths.append(folder / f"{n}.evtx")
        paths[-1].write_bytes(evtx(events))
    return paths


def one_by_one(paths: list[Path]) -> Iterator[EventBatch]:
    """The batches of each file alone."""
    for number, path in enumerate(paths):  # a receipt of its own, so that no two events have the same identity
        for batches in pipeline.parse_file(PARSERS, path, FixedClock(NOW_NS + number * 10**6)):
            yield from batches


def together(paths: list[Path]) -> list[Joined]:
    """The same out of `parse_files`."""
    return list(parse_files(PARSERS, paths, FixedClock(NOW_NS), lambda *_: None))


def hits(folder: Path, blocks: Any) -> list[dict[str, Any]]:
    """What the rules say of them."""
    return list(detect(DetectionSet.load([write(folder, RULES)], fields=PARSERS.fields), blocks))


@pytest.mark.parametrize("most", [1, 20_000, 4 << 20])
def test_hits_are_those_of_the_files_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Files, records, what matched, correlations, and the order of all, however many go together."""
    monkeypatch.setattr(many_files, "TOGETHER_BYTES", most)
    paths = files(tmp_path, 25)
    joined = together(paths)
    expected = hits(tmp_path, one_by_one(paths))
    assert len({hit["file"] for hit in expected}) > 10
    assert any("records" in hit for hit in expected)
    assert hits(tmp_path, joined) == expected
    assert len(joined) == 25 if most == 1 else 1 <= len(joined) < 25


def test_what_is_said_of_an_event_is_that_of_its_own_file(tmp_path: Path) -> None:
    """Every column, taken whole or for a few rows; only its identity is another, and still one of its own."""
    paths = files(tmp_path, 12)
    alone = {(r["log.file.path"], r["soc.record"]): r for batch in one_by_one(paths) for r in batch.rows()}
    [joined] = together(paths)
    rows = [row for batch in joined.batches for row in batch.rows()]
    few = [batch.pick([i]).row(0) for batch in joined.batches for i in range(0, batch.n, 3)]
    assert len(rows) == len(alone) == len({row["event.id"] for row in rows})
    for row in rows + few:
        like = alone[row["log.file.path"], row["soc.record"]]
        own = {"event.id", "event.created", "event.ingested", "soc.position"}
        assert {k: v for k, v in row.items() if k not in own} == {k: v for k, v in like.items() if k not in own}


def test_stretches_are_the_batches_that_there_would_have_been(tmp_path: Path) -> None:
    """Each event in one of them; in the order of files, then of each file's first events."""
    paths = files(tmp_path, 12)
    [joined] = together(paths)
    found = [
        (path, batch.dataset, records)
        for number, start, stop in joined.order
        for batch in [joined.batches[number]]
        for path in set(batch.values("log.file.path")[start:stop])
        for records in [batch.values("soc.record")[start:stop]]
    ]
    wanted = [(b.values("log.file.path")[0], b.dataset, b.values("soc.record")) for b in one_by_one(paths)]
    assert found == wanted


def test_a_file_that_cannot_be_read_is_told_behind_the_events_before_it(tmp_path: Path) -> None:
    """And stops no other; files of other kinds come alone, in their turn."""
    paths = files(tmp_path, 4)
    broken, text = tmp_path / "broken.evtx", tmp_path / "some.log"
    broken.write_bytes(b"ElfFile\0 and nothing else")
    text.write_text("Nov 20 10:00:00 h sshd[1]: Failed password for root from 203.0.113.9 port 22 ssh2\n")
    heard: list[str] = []
    paths = [*paths[:2], broken, paths[2], text, paths[3]]
    told = lambda path, members, error: heard.append(f"{path.name}: {type(error).__name__}")  # noqa: E731
    for joined in parse_files(PARSERS, paths, FixedClock(NOW_NS), told):
        names = dict.fromkeys(Path(p).name for batch in joined.batches for p in batch.values("log.file.path"))
        heard.append(" ".join(sorted(names)))
    assert heard == [
        "0.evtx: NoneType", "1.evtx: NoneType", "0.evtx 1.evtx", "broken.evtx: SocError", "2.evtx: NoneType",
        "2.evtx", "some.log", "some.log: NoneType", "3.evtx: NoneType", "3.evtx",
    ]  # fmt: skip


def test_what_was_read_is_given_before_a_wrong_format_ends_it(tmp_path: Path) -> None:
    """As file by file: the hits of those before it are written."""
    [path] = files(tmp_path, 1)
    blocks = parse_files(PARSERS, [path], FixedClock(NOW_NS), lambda *_: None, format="xls")
    with pytest.raises(UsageError, match="xls"):
        list(blocks)
    blocks = parse_files(PARSERS, [path], FixedClock(NOW_NS), lambda *_: None, product="no.such")
    with pytest.raises(UsageError, match=r"no\.such"):
        list(blocks)


def test_first_hits_wait_for_half_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where reading is slow, what is there goes on; and before standard input or a pipe, which may be silent."""
    paths = files(tmp_path, 6)
    assert len(list(parse_files(PARSERS, paths, SlowReading(NOW_NS), lambda *_: None))) > 1
    asked: list[Path | None] = []

    def raw_blocks(parsers: Any, path: Path | None, *arguments: Any, **options: Any) -> Any:
        asked.append(path)
        return files_alone.raw_blocks(parsers, path, *arguments, **options)

    monkeypatch.setattr(many_files, "raw_blocks", raw_blocks)
    first = next(parse_files(PARSERS, [*paths[:2], None], FixedClock(NOW_NS), lambda *_: None))
    assert sum(batch.n for batch in first.batches) == sum(batch.n for batch in one_by_one(paths[:2]))
    assert asked == paths[:2]
