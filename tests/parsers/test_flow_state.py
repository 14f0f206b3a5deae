"""What is remembered between blocks: templates, waiting data, sequence; and that no octets make it fall."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.model.flow_elements import ELEMENTS
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState, envelope, mapping
from soc.parsers.decoders import flow_community, flow_options, flow_sets, flow_state, flow_text, netflow_v9
from soc.parsers.decoders import ipfix as ipfix_decoder
from soc.parsers.decoders.flow_sets import Dialect, Malformed, Stretch, Walker, read_templates
from soc.parsers.decoders.flow_state import MAX_EXPORTERS, MAX_TEMPLATES, MAX_WAITING_BYTES, MEMORY, Memory
from tests.parsers.conftest import RECEIPT_NS
from tests.parsers.flow_bytes import (
    PLAIN,
    Field,
    a_set,
    ip,
    ipfix,
    options,
    plain,
    sflow,
    template,
    v5_of,
    v9,
    v9_options,
    v9_template,
)

pytestmark = pytest.mark.usefixtures("way")

Event = dict[str, Any]
PLACE = ("event.id", "soc.position", "soc.part")
DATA = a_set(256, plain())
OPTIONS = v9_options(257, [(1, 4)], [(34, 4)])


def feed(
    parsers: ParserSet, blocks: Sequence[Sequence[bytes]], *, form: str = "netflow", restart: bool = False
) -> tuple[list[Event], ParserState]:
    """The events of blocks that follow each other, and the state behind them."""
    state, events = ParserState(), []
    for seq, records in enumerate(blocks):
        if restart:
            state = ParserState.restore(state.snapshot())
        block = RawBlock.of(records, receipt_ns=RECEIPT_NS, format=form, seq=seq)
        batches, state = parsers.parse(block, state, RECEIPT_NS)
        rows = [row for batch in batches for row in batch.rows()]
        events += sorted(rows, key=lambda e: [int(x) for x in e["soc.position"].split(":")[2:]])
    return events, state


def bare(events: list[Event]) -> list[Event]:
    """Without where they stand in the log."""
    return [{k: v for k, v in e.items() if k not in PLACE} for e in events]


@pytest.mark.parametrize("restart", [False, True])
def test_templates_outlive_a_block_and_a_restart(parsers: ParserSet, restart: bool) -> None:
    """What was learned is in the state, and the state in its snapshot."""
    told = v9(v9_template(256, PLAIN), OPTIONS, a_set(257, struct.pack(">II", 0, 10)))
    events, _ = feed(parsers, [[told], [v9(DATA, seq=2)], [v9(DATA, seq=5)]], restart=restart)
    flows = [e for e in events if e.get("event.action") == "netflow_flow"]
    assert [(e["network.bytes"], e["netflow.octetDeltaCount"]) for e in flows] == [(15_000, 1500)] * 2
    assert flows[1]["flow.sequence_lost"] == 2


@pytest.mark.parametrize("restart", [False, True])
def test_data_before_its_template(parsers: ParserSet, restart: bool) -> None:
    """Kept as it came, and read when the template is there: once, in order, with its own export time."""
    early = [v9(a_set(256, plain(octets=n)), seq=n) for n in (1, 2)]
    events, state = feed(parsers, [early, [v9(v9_template(256, PLAIN), DATA, seq=3)]], restart=restart)
    waiting = [e for e in events if "no_template" in (e.get("soc.flags") or ())]
    replayed = [e for e in events if "replayed" in (e.get("soc.flags") or ())]
    assert [e["event.dataset"] for e in waiting] == ["unparsed"] * 2
    assert [(e["network.bytes"], e["flow.sequence"]) for e in replayed] == [(1, 1), (2, 2)]
    assert all(e["soc.position"].split(":")[2] == "1" for e in replayed)
    assert len({e["event.id"] for e in events}) == len(events)
    (exporter,) = state.memory[MEMORY].values()
    assert (exporter.waiting, exporter.waiting_bytes) == ({}, 0)


def test_data_and_template_in_one_message(parsers: ParserSet) -> None:
    """The data set may stand before the template set."""
    events, _ = feed(parsers, [[ipfix(DATA, template(256, PLAIN))]])
    assert [e.get("event.action") for e in events] == [None, "netflow_templates", "netflow_flow"]
    assert events[2]["soc.flags"] == ("replayed",)


def test_waiting_data_have_a_bound(parsers: ParserSet) -> None:
    """What does not fit is flagged; its event has the octets all the same."""
    large = [v9(a_set(256, plain() * 1500), seq=n) for n in range(3)]
    events, state = feed(parsers, [large])
    assert [("replay_full" in e["soc.flags"]) for e in events] == [False, True, True]
    (exporter,) = state.memory[MEMORY].values()
    assert exporter.waiting_bytes <= MAX_WAITING_BYTES


def test_waiting_data_of_all_exporters_have_a_bound(parsers: ParserSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of observation domains does not fill the memory."""
    monkeypatch.setattr(flow_state, "MAX_WAITING_TOTAL", 200)
    events, _ = feed(parsers, [[v9(DATA, domain=n)] for n in range(5)])
    assert ["replay_full" in e["soc.flags"] for e in events] == [False, False, False, True, True]


def test_exporters_have_a_bound(parsers: ParserSet) -> None:
    """Who invents observation domains pushes out his own, and it is told; his neighbour keeps his templates."""
    quiet = RawBlock.of([v9(v9_template(256, PLAIN))], receipt_ns=RECEIPT_NS, format="netflow", peer="192.0.2.1")
    _, state = parsers.parse(quiet, ParserState(), RECEIPT_NS)
    many = [v9(v9_template(256, [(8, 4), (12, 4)]), domain=n) for n in range(MAX_EXPORTERS + 5)]
    flood = RawBlock.of(many, receipt_ns=RECEIPT_NS + 10**9, format="netflow", peer="192.0.2.2")
    batches, state = parsers.parse(flood, state, RECEIPT_NS)
    assert len(state.memory[MEMORY]) == MAX_EXPORTERS
    flags = [flag for batch in batches for row in batch.rows() for flag in row["soc.flags"]]
    assert flags.count("exporter_forgotten") == 6
    again = RawBlock.of([v9(DATA, seq=2)], receipt_ns=RECEIPT_NS, format="netflow", peer="192.0.2.1")
    assert [batch.dataset for batch in parsers.parse(again, state, RECEIPT_NS)[0]] == ["netflow.v9"]


def test_agents_of_samples_have_a_bound(parsers: ParserSet) -> None:
    """The same for sFlow's agents and sub-agents."""
    many = [sflow(agent=f"10.0.{n >> 8}.{n & 255}") for n in range(MAX_EXPORTERS + 3)]
    events, state = feed(parsers, [many], form="sflow")
    assert len(state.memory[MEMORY]) == MAX_EXPORTERS
    assert sum("exporter_forgotten" in (e.get("soc.flags") or ()) for e in events) == 3


def test_templates_have_a_bound(parsers: ParserSet) -> None:
    """The one announced longest ago is forgotten, and it is told."""
    numbers = range(256, 256 + MAX_TEMPLATES + 10)
    events, state = feed(parsers, [[v9(v9_template(n, [(8, 4), (12, 4)]), seq=n) for n in numbers]])
    (exporter,) = state.memory[MEMORY].values()
    assert len(exporter.context.templates) == MAX_TEMPLATES
    assert next(reversed(exporter.context.templates)) == numbers[-1]
    assert sum("template_forgotten" in e["soc.flags"] for e in events) == 10


def test_names_have_a_bound(parsers: ParserSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options that name interfaces without end: known names stay, more are not taken."""
    monkeypatch.setattr(flow_options, "MAX_NAMES", 3)
    told = v9_options(257, [(2, 4)], [(82, 8)])
    records = [struct.pack(">I", n) + f"Gi0/{n}".encode().ljust(8, b"\0") for n in range(5)]
    _, state = feed(parsers, [[v9(told, a_set(257, b"".join(records[:2]))), v9(a_set(257, records[2]), seq=2),
                               v9(a_set(257, records[3]), seq=3), v9(a_set(257, records[4]), seq=4)]])  # fmt: skip
    (exporter,) = state.memory[MEMORY].values()
    assert exporter.context.interfaces == {0: "Gi0/0", 1: "Gi0/1", 2: "Gi0/2"}
    renamed = [struct.pack(">I", n) + f"Te0/{n}".encode().ljust(8, b"\0") for n in (1, 7)]
    _, state = feed(parsers, [[v9(told, a_set(257, b"".join(records[:3]))), v9(a_set(257, b"".join(renamed)), seq=2)]])
    (exporter,) = state.memory[MEMORY].values()
    assert exporter.context.interfaces == {0: "Gi0/0", 1: "Te0/1", 2: "Gi0/2"}, "a full table takes corrections"


def test_records_that_are_read_again_change_nothing(parsers: ParserSet) -> None:
    """A crash between state and cursor: the newer state reads the block once more, without gaps and doubles."""
    block = RawBlock.of([v9(DATA, seq=4)], receipt_ns=RECEIPT_NS, format="netflow", seq=7)
    _, state = parsers.parse(block, ParserState(), RECEIPT_NS)
    again, state = parsers.parse(block, state, RECEIPT_NS)
    told = RawBlock.of([v9(v9_template(256, PLAIN), seq=5)], receipt_ns=RECEIPT_NS, format="netflow", seq=8)
    batches, state = parsers.parse(told, state, RECEIPT_NS)
    assert [b.values("soc.flags") for b in again] == [[("unparsed", "no_template")]]
    assert sum(b.n for b in batches if "netflow_flow" in b.values("event.action")) == 1


def test_sources_do_not_share_templates(parsers: ParserSet) -> None:
    """The same domain of another address is another exporter."""
    first = RawBlock.of([v9(v9_template(256, PLAIN))], receipt_ns=RECEIPT_NS, format="netflow", peer="192.0.2.1")
    second = RawBlock.of([v9(DATA)], receipt_ns=RECEIPT_NS, format="netflow", peer="192.0.2.2")
    _, state = parsers.parse(first, ParserState(), RECEIPT_NS)
    batches, _ = parsers.parse(second, state, RECEIPT_NS)
    assert [b.dataset for b in batches] == ["unparsed"]


def test_a_block_without_templates_leaves_the_state_alone(parsers: ParserSet) -> None:
    """Nothing learned, nothing to save: NetFlow v5 and noise."""
    state = ParserState()
    block = RawBlock.of([b"\0\x05" + bytes(80), b"noise"], receipt_ns=RECEIPT_NS, format="netflow")
    assert parsers.parse(block, state, RECEIPT_NS)[1] is state


MESSAGES = (
    v9(v9_template(256, PLAIN), seq=1), v9(DATA, seq=2), v9(a_set(256, plain(octets=9) * 3), seq=5),
    v9(OPTIONS, a_set(257, struct.pack(">II", 0, 10)), seq=3), v9(v9_template(256, [(8, 4), (12, 4), (1, 4)]), seq=4),
    ipfix(template(256, PLAIN), seq=0), ipfix(DATA, seq=0), ipfix(a_set(256, plain() * 2), DATA, seq=1),
    ipfix(template(256, []), seq=4), ipfix(options(257, 1, [(302, 4), (305, 4), (306, 4)]), seq=4),
    ipfix(a_set(300, ip("10.0.0.1") + b"\x02ab"), seq=9), ipfix(template(300, [(8, 4), (371, 65535)]), seq=9),
    b"\0\x05" + bytes(70), b"",
)  # fmt: skip


@given(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=14), st.data())
def test_blocks_do_not_matter(parsers: ParserSet, datagrams: list[bytes], data: st.DataObject) -> None:
    """The same datagrams give the same events in one block, in any blocks, and with a restart at each border."""
    cuts = sorted(data.draw(st.sets(st.integers(1, len(datagrams)), max_size=4)))
    edges = [0, *cuts, len(datagrams)]
    pieces = [datagrams[a:b] for a, b in itertools.pairwise(edges) if a < b]
    whole, _ = feed(parsers, [datagrams])
    split, _ = feed(parsers, pieces, restart=True)
    assert bare(split) == bare(whole)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A message with some octets changed, cut or added; or sets of any octets."""
    data = bytearray(draw(st.sampled_from((*MESSAGES, sflow((1, bytes(32)), (2, bytes(12)))))))
    for _ in range(draw(st.integers(0, 6))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    tail = draw(st.binary(max_size=24))
    stop = draw(st.integers(0, len(data)))
    return bytes(data[:stop]) + tail if draw(st.booleans()) else bytes(data)


SETS = st.lists(st.builds(a_set, st.sampled_from([0, 1, 2, 3, 255, 256, 257, 300]), st.binary(max_size=60)), max_size=4)


@given(
    st.lists(
        st.one_of(
            damaged(), st.binary(max_size=80), SETS.map(lambda sets: v9(*sets)), SETS.map(lambda sets: ipfix(*sets))
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["netflow", "sflow"]),
)
def test_any_octets_are_events(parsers: ParserSet, datagrams: list[bytes], form: str) -> None:
    """Every record gives an event, no two share an id, columns are whole, the state stays JSON."""
    events, state = feed(parsers, [datagrams, datagrams[:2]], form=form, restart=True)
    places = {tuple(e["soc.position"].split(":")[2:4]) for e in events}
    assert {("0", str(i)) for i in range(len(datagrams))} <= places
    assert len({e["event.id"] for e in events}) == len(events)
    assert ParserState.restore(state.snapshot()).snapshot() == state.snapshot()


ELEMENT = st.sampled_from(sorted(ELEMENTS)) | st.tuples(st.sampled_from([0, 9, 29305, 41916]), st.integers(1, 600))
SIZE = st.sampled_from([0, 1, 2, 3, 4, 6, 8, 16, 65535])
SPECS = st.lists(
    st.tuples(ELEMENT, SIZE).map(lambda x: (x[0][1], x[1], x[0][0]) if x[0][0] else (x[0][1], x[1])),
    min_size=1,
    max_size=12,
)


@given(SPECS, st.binary(max_size=150), SPECS, st.binary(max_size=80))
def test_any_template_is_read(
    parsers: ParserSet, specs: list[Field], body: bytes, told: list[Field], rest: bytes
) -> None:
    """Known and unknown elements in any lengths, as options and as flows: events whose columns the store can keep."""
    messages = [ipfix(options(257, 1, told), a_set(257, rest)), ipfix(template(256, specs), a_set(256, body * 3))]
    block = RawBlock.of(messages, receipt_ns=RECEIPT_NS, format="netflow")
    batches, _ = parsers.parse(block, ParserState(), RECEIPT_NS)
    assert sum(batch.n for batch in batches) >= 2
    for batch in batches:
        assert type(batch).from_table(batch.dataset, batch.to_table(), parsers.fields) == batch


@given(SPECS, st.binary(max_size=150), SPECS, st.binary(max_size=80))
def test_arrays_and_lists_are_the_same(
    parsers: ParserSet, specs: list[Field], body: bytes, told: list[Field], rest: bytes
) -> None:
    """Many rows are read as arrays, few as lists: whatever template and octets, both give the same events."""
    messages = [
        ipfix(options(257, 1, told), a_set(257, rest)),
        ipfix(template(256, [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), *specs]), a_set(256, body * 3)),
        v9(v9_template(256, PLAIN), DATA), v5_of(2, 2), v5_of(1, 1, seq=9),
    ]  # fmt: skip
    block = RawBlock.of(messages, receipt_ns=RECEIPT_NS, format="netflow", peer="192.0.2.1")

    def events(few: int) -> list[Event]:
        with pytest.MonkeyPatch.context() as patch:
            for module, name in ((flow_text, "FEW"), (mapping, "FEW"), (envelope, "FEW"), (flow_community, "_FEW")):
                patch.setattr(module, name, few)
            return [row for batch in parsers.parse(block, ParserState(), RECEIPT_NS)[0] for row in batch.rows()]

    assert events(0) == events(10**9)


def test_a_flood_of_tiny_sets_is_bounded(parsers: ParserSet) -> None:
    """A datagram full of four-octet sets or samples does not become sixteen thousand events."""
    many, _ = feed(parsers, [[v9(struct.pack(">HH", 300, 4) * 16_000)]])
    samples, _ = feed(parsers, [[sflow(*[(77, b"")] * 8000)]], form="sflow")
    assert (len(many), len(samples)) == (1025, 1025)
    assert many[-1]["error.message"] == "more than 1024 sets"


@given(st.lists(damaged(), min_size=1, max_size=4))
def test_batches_go_into_arrow(parsers: ParserSet, datagrams: list[bytes]) -> None:
    """What the store does with them: every column converts and comes back the same."""
    block = RawBlock.of(datagrams, receipt_ns=RECEIPT_NS, format="netflow")
    batches, _ = parsers.parse(block, ParserState(), RECEIPT_NS)
    for batch in batches:
        assert type(batch).from_table(batch.dataset, batch.to_table(), parsers.fields) == batch


def test_only_what_was_learned_has_to_be_saved_at_once(parsers: ParserSet) -> None:
    """The revision of a state changes with templates, options and what waits; counts alone leave it as it is."""
    revisions = []
    state = ParserState()
    told = v9(v9_template(256, PLAIN), seq=1)
    for seq, message in enumerate(
        (told, v9(DATA, seq=2), told, v9(DATA, seq=9), v9(OPTIONS, seq=10), v9(a_set(257, struct.pack(">II", 0, 10))),
         v9(a_set(257, struct.pack(">II", 0, 10))), v9(a_set(300, b"abcd")), v9(DATA))
    ):  # fmt: skip
        block = RawBlock.of([message], receipt_ns=RECEIPT_NS, format="netflow", node="n", seq=seq)
        _, state = parsers.parse(block, state, RECEIPT_NS)
        revisions.append(state.revision)
    assert revisions == [1, 1, 1, 1, 2, 3, 3, 4, 4]


def test_a_state_is_not_changed_by_what_comes_after(parsers: ParserSet) -> None:
    """The parser is pure: from one state the same block gives the same events, and its snapshot stays."""
    first = RawBlock.of([v9(v9_template(256, PLAIN), seq=1)], receipt_ns=RECEIPT_NS, format="netflow", seq=0)
    _, state = parsers.parse(first, ParserState(), RECEIPT_NS)
    before = state.snapshot()
    messages = [v9(DATA, seq=5), v9(v9_template(256, [(8, 4), (12, 4)])), v9(a_set(300, b"abcd"), seq=6)]
    second = RawBlock.of(messages, receipt_ns=RECEIPT_NS, format="netflow", seq=1)
    one, _ = parsers.parse(second, state, RECEIPT_NS)
    two, _ = parsers.parse(second, state, RECEIPT_NS)
    assert [list(b.rows()) for b in one] == [list(b.rows()) for b in two]
    assert state.snapshot() == before


def test_counts_that_are_behind_begin_anew(parsers: ParserSet) -> None:
    """After a crash the state may be older than the cursor: its templates hold, and nobody says that flows are lost."""
    first = RawBlock.of([v9(v9_template(256, PLAIN), seq=1)], receipt_ns=RECEIPT_NS, format="netflow", node="n", seq=3)
    _, state = parsers.parse(first, ParserState(), RECEIPT_NS)
    # Sources of one partition are read one after another, so that the last frame read need not be the latest.
    saved = ParserState.restore(state.after("n", 3).after("n", 2).snapshot())
    assert (saved.is_behind({"n": 3}), saved.is_behind({"n": 4}), saved.is_behind({"m": 0})) == (False, True, True)
    late = RawBlock.of([v9(DATA, seq=50)], receipt_ns=RECEIPT_NS, format="netflow", node="n", seq=9)
    (flow,) = [row for batch in parsers.parse(late, saved, RECEIPT_NS)[0] for row in batch.rows()]
    assert (flow["flow.sequence_lost"], flow["network.bytes"]) == (48, 1500)
    (flow,) = [row for batch in parsers.parse(late, parsers.resumed(saved), RECEIPT_NS)[0] for row in batch.rows()]
    assert ("flow.sequence_lost" in flow, flow["network.bytes"]) == (False, 1500)


PLAIN_ONES = st.lists(
    st.tuples(st.sampled_from([5, 9, 10]), st.integers(1, 3), st.sampled_from([0, 0, 0, 1, 7, -1]), st.integers(1, 2),
              st.sampled_from([b"", b"", b"\0\0", b"xyz", b"0123456789"])),
    min_size=3, max_size=14,
)  # fmt: skip


@given(PLAIN_ONES)
def test_runs_and_single_messages_are_the_same(
    parsers: ParserSet, steps: list[tuple[int, int, int, int, bytes]]
) -> None:
    """Messages that follow each other plainly are read together: with gaps, other domains and padding between them, the
    events are those of one by one."""
    counts: dict[tuple[int, int], int] = {}
    messages = [v9(v9_template(256, PLAIN), domain=n, seq=0) for n in (1, 2)]
    messages += [ipfix(template(256, PLAIN), domain=n, seq=0) for n in (1, 2)]
    for version, n, jump, domain, padding in steps:
        seq = counts[version, domain] = counts.get((version, domain), 0) + (1 if version == 9 else 0) + max(jump, -1)
        body = a_set(256, plain() * n + padding, pad=False)
        if version == 9:
            messages.append(v9(body, seq=seq % 2**32, domain=domain))
        elif version == 10:
            messages.append(ipfix(body, seq=seq % 2**32, domain=domain))
        else:
            messages.append(v5_of(n, n, seq=seq % 2**32, engine=domain, extra=padding))
        counts[version, domain] += 0 if version == 9 else n
    together, state = feed(parsers, [messages[:7], messages[7:]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Walker, "_run", lambda self, data, rows, at: None)
        alone, other = feed(parsers, [messages[:7], messages[7:]])
    assert together == alone
    assert state.snapshot() == other.snapshot()


def test_most_messages_go_together(parsers: ParserSet) -> None:
    """A template, then data: all behind the first two are one run."""
    messages = [v9(v9_template(256, PLAIN), seq=1), *(v9(a_set(256, plain() * 3), seq=n) for n in range(2, 12))]
    block = RawBlock.of(messages, receipt_ns=RECEIPT_NS, format="netflow")
    walker = Walker(netflow_v9.DIALECT, Memory({}), next(Stretch.all_of(block)))
    walker.take_all(np.arange(11))
    assert [len(run.rows) for run in walker.read.runs] == [9]


def test_messages_go_together_before_it_is_known_what_is_counted(parsers: ParserSet) -> None:
    """Of ever as many records, which fit every way: only another number of them tells, and needs a second look."""
    counts = [3, 3, 3, 3, 3, 2, 2, 4]
    told = [ipfix(a_set(256, plain() * n), seq=sum(counts[:i])) for i, n in enumerate(counts)]
    told[0] = ipfix(template(256, PLAIN), a_set(256, plain() * 3), seq=0)
    block, memory = RawBlock.of(told, receipt_ns=RECEIPT_NS, format="netflow"), Memory({})
    walker = Walker(ipfix_decoder.DIALECT, memory, next(Stretch.all_of(block)))
    walker.take_all(np.arange(len(told)))
    (exporter,) = (memory.exporters() or {}).values()
    assert [run.messages.counts.tolist() for run in walker.read.runs] == [[3, 3, 3, 3], [2, 4]]
    assert [chunk.cut.n for chunk in walker.read.chunks] == [3, 2]
    assert (exporter.counts, exporter.last, exporter.lost) == ("before", (19, 4), 0)


def test_templates_of_the_same_fields_keep_their_numbers(parsers: ParserSet) -> None:
    """They are read together, and each flow says which one was its own."""
    told = v9_template(256, PLAIN), v9_template(257, PLAIN)
    events, _ = feed(parsers, [[v9(*told, DATA, a_set(257, plain(octets=7)))]])
    assert [(e["flow.template_id"], e["network.bytes"]) for e in events if "network.bytes" in e] == [
        (256, 1500),
        (257, 7),
    ]


def told(dialect: Dialect, piece: bytes, is_options: bool) -> tuple[list[Any], str]:
    """The templates of a set, and the fault behind them."""
    found: list[Any] = []
    try:
        for each in read_templates(dialect, piece, is_options):
            found.append(each)
    except Malformed as error:
        return found, str(error)
    return found, ""


@given(
    st.sampled_from([netflow_v9.DIALECT, ipfix_decoder.DIALECT]), st.booleans(),
    st.lists(st.sampled_from([0, 1, 2, 4, 8, 256, 257, 32769, 65535]), max_size=24), st.binary(max_size=3),
)  # fmt: skip
def test_a_set_that_came_before_is_read_as_the_first_time(
    dialect: Dialect, is_options: bool, words: list[int], rest: bytes
) -> None:
    """Templates that are remembered, in either dialect and as options too, faults and all."""
    piece = b"\0\0\0\0" + struct.pack(f">{len(words)}H", *words) + rest
    first = told(dialect, piece, is_options)
    assert told(dialect, piece, is_options) == first
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow_sets, "_REMEMBERED", 0)
        assert told(dialect, piece, is_options) == first


def test_a_long_set_is_not_remembered() -> None:
    """What is remembered has a bound, whatever is sent."""
    before = flow_sets._known_template.cache_info()
    assert before.maxsize == 256
    fields = [(number, 4) for number in range(1, 300)]
    told(netflow_v9.DIALECT, v9_template(256, fields), False)
    assert flow_sets._known_template.cache_info() == before
