"""`Correlating` in processes of their own that die at a chosen system call and are started again, for the crash test.

    python -m tests.pipeline.correlate_program HOME POINT…      prints one JSON line for each point

At point N the process kills itself (SIGKILL) before its Nth call of those that make something durable; 0 is none.
`MUTANT=early` saves the state before the findings are durable, `MUTANT=ahead` lets the offsets run ahead of the state,
`MUTANT=torn` shares out what was read to different places. `CORRELATORS=2,3,1`: first two share the groups, then three,
each as far as it comes in a few steps, in the end one.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson

from soc.detections import Correlator
from soc.model.clock import FixedClock
from soc.model.position import Position
from soc.pipeline import Correlating, correlate, places, sharing
from soc.store import journal
from soc.store.queue import LogReader
from tests.pipeline.world import NOW_NS, settings_of

LASTING_CALLS = ("fdatasync", "fsync", "write", "pwrite", "pwritev", "rename", "replace", "ftruncate", "unlink")


def die_at(point: int) -> None:
    """From now on the process dies before its Nth lasting call."""
    left = [point]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counting

    for name in LASTING_CALLS:
        setattr(os, name, counted(getattr(os, name)))


def mutate(name: str) -> None:
    """Break what the test must notice."""
    emit, save = Correlating._emit, Correlating.save
    if name == "early":

        def early(self: Correlating) -> None:
            waiting, self._found = self._found, []
            save(self)
            self._found = waiting
            emit(self)

        Correlating.save = early  # type: ignore[method-assign]
        Correlating._emit = lambda self: None  # type: ignore[method-assign]
    elif name == "ahead":

        def ahead(self: Correlating) -> None:
            cursors = self._cursors
            self._cursors = {k: Position(v.node, v.log, v.seq + 1) for k, v in cursors.items()}
            save(self)
            self._cursors = cursors

        Correlating.save = ahead  # type: ignore[method-assign]
    elif name == "torn":
        sharing._brought_together = lambda *_: None


def run(home: Path) -> None:
    """Everything that waits, in small steps, saved after each, by one number of processes after the other."""
    *before, last = (int(number) for number in os.environ.get("CORRELATORS", "1").split(","))
    clock = FixedClock(NOW_NS + 600 * 10**9)
    for of in (*before, last):
        settings = settings_of(home, content_roots=(home / "content",), correlators=of)
        for index in range(of):
            with ExitStack() as stack:
                correlating = sharing.opened(settings, clock, index, stack)
                left = itertools.count() if of == last else iter(range(2 + 3 * index))
                while next(left, None) is not None and correlating.step():
                    pass
                correlating.save()
                correlating.close()


def in_a_child(work: Callable[[], None]) -> int:
    """The status of a process that does only this."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    return os.waitpid(child, 0)[1]


def outcome(home: Path) -> dict[str, Any]:
    """Every finding of correlations by its id (all texts that it was told with), and the state as one snapshot.

    Windows that were not over yet are: one run may have waited longer than another.
    """
    settings = settings_of(home, content_roots=(home / "content",))
    told: dict[str, list[str]] = {}
    reader = LogReader(places.queue(settings), places.FINDINGS)
    for block in reader.read({}, None, 100_000):
        for record in block.records() if block.node.startswith("correlate") else ():
            _tell(told, record)
    reader.close()
    state = journal.Journal(settings.path("run", "correlate.state"), "the state", "")
    whole, *changes = map(orjson.loads, state.read())
    state.close()
    correlator = Correlator(places.load_detections(settings, places.load_parsers(settings)))
    correlator.restore_state(whole["correlator"])
    for each in changes:
        correlator.apply(each["correlator"])
    for finding in correlator.finish():
        _tell(told, orjson.dumps(finding.to_document()))
    snapshot = orjson.loads(correlator.snapshot())["correlations"]
    last = [whole, *changes][-1]
    counts = {name: last["counts"][name] for name in ("frames", "documents", "repeated")}  # silence is of the clock
    return {"findings": told, "snapshot": snapshot, "cursors": last["cursors"], "counts": counts}


def _tell(told: dict[str, list[str]], record: bytes) -> None:
    document = orjson.loads(record)
    if document["kind"] == "correlation" and record.decode() not in told.setdefault(document["id"], []):
        told[document["id"]].append(record.decode())


def main(home: Path, points: list[int]) -> None:
    settings = settings_of(home, content_roots=(home / "content",))
    correlate.MAX_FRAMES, correlate.SAVE_NS, correlate.SAVE_SHARE, journal.LEAST_BYTES = 2, 0, 0, 20_000
    mutate(os.environ.get("MUTANT", ""))
    parsers = places.load_parsers(settings)
    loaded = places.load_detections(settings, parsers)
    places.load_parsers, places.load_detections = lambda _: parsers, lambda *_: loaded  # children need not read again
    for point in points:
        there = home.with_name(f"{home.name}-{point}")
        shutil.copytree(home, there)

        def killed(there: Path = there, point: int = point) -> None:
            die_at(point)
            run(there)

        status = in_a_child(killed)
        died = os.WIFSIGNALED(status)
        again = in_a_child(lambda there=there: run(there)) if died else status  # type: ignore[misc]
        print(orjson.dumps({"point": point, "died": died, "status": again, **outcome(there)}).decode(), flush=True)
        shutil.rmtree(there)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(point) for point in sys.argv[2:]])
