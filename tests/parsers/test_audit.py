"""The Linux audit log: one record one event, what an event's records say of its process is in each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from soc.parsers.audit import MEMORY, OPEN_EVENTS, SOURCES, at, settled
from soc.parsers.decoders.auditd import decode
from tests.parsers.conftest import RECEIPT_NS

SYSCALL = (
    "type=SYSCALL msg=audit(1795143600.1:{n}): arch=c000003e syscall=59 success=yes ppid=7 pid={n} uid=33 euid=0 "
    'comm="cat" exe="/usr/bin/cat" key="proc"'
)
EXECVE = 'type=EXECVE msg=audit(1795143600.1:{n}): argc=2 a0="cat" a1="/etc/{n}"'
CWD = 'type=CWD msg=audit(1795143600.1:{n}): cwd="/srv"'
PATH = 'type=PATH msg=audit(1795143600.1:{n}): item=0 name="/bin/cat" nametype=NORMAL'
TITLE = "type=PROCTITLE msg=audit(1795143600.1:{n}): proctitle=636174"
EVENT = (SYSCALL, EXECVE, CWD, PATH, TITLE)


def lines(n: int, shapes: Sequence[str] = EVENT, node: str = "") -> list[bytes]:
    """The records of event `n`."""
    return [(f"node={node} " if node else "").encode() + shape.format(n=n).encode() for shape in shapes]


def parse(
    parsers: ParserSet,
    *blocks: Sequence[bytes],
    peer: str = "10.0.0.1",
    state: ParserState | None = None,
    first: int = 0,
) -> tuple[list[dict[str, Any]], ParserState]:
    """Blocks one after another, each with the state of the one before, saved and restored."""
    rows: list[dict[str, Any]] = []
    state = state or ParserState()
    for seq, records in enumerate(blocks, first):
        block = RawBlock.of(list(records), receipt_ns=RECEIPT_NS, seq=seq, peer=peer)
        batches, state = parsers.parse(block, ParserState.restore(state.snapshot()), RECEIPT_NS)
        rows += sorted((row for batch in batches for row in batch.rows()), key=lambda row: row["soc.position"])
    return rows, state


def test_the_records_of_an_event_share_what_they_know(parsers: ParserSet) -> None:
    """The process is the same in each; the names of a record stay its own."""
    rows, state = parse(parsers, lines(1))
    assert [row["linux.auditd.type"] for row in rows] == ["SYSCALL", "EXECVE", "CWD", "PATH", "PROCTITLE"]
    for row in rows:
        assert (row["process.executable"], row["process.working_directory"]) == ("/usr/bin/cat", "/srv")
        assert (row["process.pid"], row["user.id"]) == (1, "33")
    commands = [row.get("process.command_line") for row in rows]
    assert commands == [None, "cat /etc/1", None, None, None]  # once, or every word of it would be found five times
    assert [row.get("linux.auditd.exe") for row in rows] == ["/usr/bin/cat", None, None, None, None]
    assert state.memory.get(MEMORY, {}) == {}


@pytest.mark.parametrize("cut", range(1, 5))
def test_an_event_goes_on_in_the_next_block(parsers: ParserSet, cut: int) -> None:
    """Wherever the frame was cut: what came before is known after, also when the worker was started anew between."""
    rows, state = parse(parsers, lines(1)[:cut], lines(1)[cut:])
    assert {row["process.executable"] for row in rows} == {"/usr/bin/cat"}
    assert rows[1]["process.command_line"] == "cat /etc/1"
    assert settled(state, {"test": 1}).memory[MEMORY] == {}


@pytest.mark.parametrize("passed", range(-1, 4))
@pytest.mark.parametrize("saved", range(-1, 4))
def test_a_state_can_be_taken_back_to_any_frame(parsers: ParserSet, passed: int, saved: int) -> None:
    """What goes on from there is what went on the first time, whatever was put together meanwhile."""
    parts = [
        lines(1, (SYSCALL, EXECVE)),
        lines(2) + lines(3, (SYSCALL,)),
        lines(1, (EXECVE, CWD)),
        lines(1, (PATH, TITLE)),
    ]
    parts += [lines(3, (EXECVE, TITLE))]
    _, state = parse(parsers, *parts[: max(saved, passed) + 1])
    whole, _ = parse(parsers, *parts)
    back = at(settled(state, {"test": min(saved, passed)}), {"test": passed})
    rest, _ = parse(parsers, *parts[passed + 1 :], state=back, first=passed + 1)
    assert rest == whole[len(whole) - len(rest) :]


def test_events_that_lie_between_each_other(parsers: ParserSet) -> None:
    """Serial numbers tell them apart, and so do machines with the same number."""
    one, two, other = lines(1), lines(2), lines(1, node="db01")
    other[0] = other[0].replace(b"/usr/bin/cat", b"/usr/bin/dd")
    mixed = [record for three in zip(one, two, other, strict=True) for record in three]
    rows, _ = parse(parsers, mixed[:7], mixed[7:])
    commands = {(row.get("host.name"), row["event.code"], row["process.executable"]) for row in rows}
    assert commands == {(None, "1", "/usr/bin/cat"), (None, "2", "/usr/bin/cat"), ("db01", "1", "/usr/bin/dd")}


def test_a_source_knows_nothing_of_another(parsers: ParserSet) -> None:
    """The same time and number from another address is another event."""
    _, state = parse(parsers, lines(1)[:1], peer="10.0.0.1")
    rows, _ = parse(parsers, lines(1)[1:2], peer="10.0.0.2", state=state)
    assert "process.executable" not in rows[0]


def test_what_is_remembered_is_bounded(parsers: ParserSet) -> None:
    """A few open events of a source, long values cut, so many sources; the oldest go."""
    many = [record for n in range(50) for record in lines(n, (SYSCALL,))]
    _, state = parse(parsers, many)
    (events,) = state.memory[MEMORY].values()
    assert [key.rpartition("|")[2] for key in events] == [str(n) for n in range(50 - OPEN_EVENTS, 50)]
    _, state = parse(parsers, [lines(1)[0], lines(1, (EXECVE,))[0].replace(b"/etc/1", b"x" * 30_000)])
    (events,) = state.memory[MEMORY].values()
    assert len(str(events)) < 10_000
    state = ParserState()
    for n in range(SOURCES + 5):
        block = RawBlock.of(lines(n, (SYSCALL,)), receipt_ns=RECEIPT_NS, peer=f"10.0.{n // 250}.{n % 250}")
        _, state = parsers.parse(block, state, RECEIPT_NS)
    assert len(state.memory[MEMORY]) == SOURCES


def test_the_state_is_news_only_when_something_stays_open(parsers: ParserSet) -> None:
    """Whole events cost no saving, nor do lines of other programs."""
    _, state = parse(parsers, lines(1), [b"<13>Nov 20 10:00:00 h x: y"])
    assert state.revision == 0
    _, state = parse(parsers, lines(1)[:2])
    assert state.revision == 1


def test_hexadecimal_digits_are_read_where_the_kernel_writes_them() -> None:
    """Arguments, names, titles without quotes; numbers and quoted text are left alone."""
    found = decode('type=EXECVE msg=audit(1.1:2): argc=4 a0="AB12" a1=4142 a2=41424 a3=C3')
    assert found is not None
    assert [found[f"a{n}"] for n in range(4)] == ["AB12", "AB", "41424", "\\xc3"]
    assert (decode("type=SYSCALL msg=audit(1.1:2): a0=4142 pid=4142") or {})["a0"] == "4142"


PIECES = st.sampled_from([
    "type=", "EXECVE", "SYSCALL", "PATH", " msg=audit(1.1:2):", " a0=", '"', "41", " msg='", "'", " op=", "\x1d", " ",
    "a1[0]=", "a99999[1]=", "node=x ", "=", "exe=", "key=(null)", "1400", "audit: ", "é", "op=a b c res=",
])  # fmt: skip


@given(st.lists(st.lists(PIECES, max_size=24).map("".join), min_size=1, max_size=6))
def test_any_text_becomes_one_event(parsers: ParserSet, texts: list[str]) -> None:
    """Whatever a stranger writes into an audit record, alone or forced to be one."""
    for product in (None, "linux.auditd"):
        block = RawBlock.of([text.encode() for text in texts], receipt_ns=RECEIPT_NS)
        batches, state = parsers.parse(block, ParserState(), RECEIPT_NS, as_product=product)
        assert sum(batch.n for batch in batches) == len(texts)
        assert ParserState.restore(state.snapshot()).memory == state.memory


@pytest.mark.parametrize(
    "text", ["type=A msg=audit(1.1:1):" + ' a="' * 8000, "op=" * 10000 + " x=", " msg='op=" + "a " * 16000]
)
def test_long_hostile_text_is_quick(text: str) -> None:
    """No pattern walks it more than a few times."""
    import time

    start = time.process_time()
    decode("type=USER_CMD msg=audit(1.1:1): msg='" + text)
    decode(text)
    assert time.process_time() - start < 10  # 0.05; what is not linear takes minutes
