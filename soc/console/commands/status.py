"""`soc status` and `soc me`: how the service is doing, and who one is to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer

from soc.console.commands.call import Call, command
from soc.console.commands.shared import making_up
from soc.console.i18n import number, t
from soc.console.render import Column, counted, moment, plain, size, word, yes_no
from soc.console.words import span


def _memory(process: Mapping[str, Any]) -> str:
    """What it holds, of what it should stay below."""
    held, budget = process.get("memory") or 0, process.get("memory_budget") or 0
    return f"{size(held)} / {size(budget)}{' !' if held > budget else ''}" if budget else size(held) if held else ""


PROCESSES = (
    Column("cmd.col.process", "name"),
    Column("cmd.col.state", "state", word("process")),
    Column("cmd.col.pid", "pid", drop=1),
    Column("cmd.col.time", "at_us", moment),
    Column("cmd.col.memory", _memory, drop=1),
    Column("cmd.col.counts", lambda r: _counted(r.get("counts") or {}), fold=True),
)


def _counted(counts: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={plain(value)}" for name, value in counts.items() if not isinstance(value, Mapping))


def add(app: typer.Typer) -> None:
    """Add the commands."""

    @command(app, "status", "soc status")
    def status(call: Call) -> None:
        """How the service is doing: processes, queue, store, outbox, devices."""
        answer = call.client.get("/v1/status")
        if call.json:
            call.output.envelope(answer)
            return
        call.output.remarks(answer)
        call.output.table(PROCESSES, answer.data.get("processes") or [])
        call.output.fields(_figures(answer.data))
        if answer.data.get("simulated"):
            call.output.say(t("cmd.simulated"))

    @command(app, "me", "soc me", "soc me --as lan")
    def me(call: Call) -> None:
        """Who you are to the service, and what you may do."""
        answer = call.client.get("/v1/me")
        if call.json:
            call.output.envelope(answer)
            return
        call.output.remarks(answer)
        data = answer.data
        call.output.fields(
            [("cmd.col.name", data["name"]), ("cmd.col.role", word("role")(data["role"])),
             ("cmd.col.units", data.get("units")), ("cmd.col.via", data.get("via")),
             ("cmd.col.acting_for", data.get("acting_for")), ("cmd.col.permissions", data.get("permissions")),
             ("cmd.col.simulated", yes_no(data.get("simulated")))]
        )  # fmt: skip
        if not data.get("wall", True):
            call.output.say(t("cmd.no_wall"))


def _shares(processes: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """How full the collector's log is, between its watermarks."""
    for counts in (process.get("counts") or {} for process in processes):
        if counts.get("queue_share"):
            words = {"high": counts["queue_high"], "low": counts["queue_low"], "seconds": number(counts["held_s"])}
            words |= {"used": size(counts["queue_used"]), "share": size(counts["queue_share"])}
            yield (
                "cmd.status.share",
                t("cmd.status.share_held" if counts["held_s"] else "cmd.status.share_free", **words),
            )


def _left_out(processes: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """What the correlations did not count, in words; of all processes that share them."""
    total: Counter[str] = Counter()
    for process in processes:
        total.update((process.get("counts") or {}).get("left_out") or {})
    if total:
        yield "cmd.status.left_out", counted("left_out", total)


def _figures(data: Mapping[str, Any]) -> list[tuple[str, Any]]:
    store, queue = data.get("store") or {}, data.get("queue") or {}
    pairs: list[tuple[str, Any]] = [
        ("cmd.status.queue", _counted(queue)), *_shares(data.get("processes") or []),
        *([("cmd.status.catch_up", span(data["catch_up_s"]))] if data.get("catch_up_s") else []),
        *_left_out(data.get("processes") or []),
        ("cmd.status.rows", number(store.get("rows_sealed"))), ("cmd.status.segments", number(store.get("segments"))),
        ("cmd.status.bytes", size(store.get("bytes"))),
    ]  # fmt: skip
    for destination, counts in (data.get("outbox") or {}).items():
        pairs.append(("cmd.status.outbox", f"{destination}: {counted('outbox', counts)}"))
    if data.get("withheld"):
        pairs.append(("cmd.status.withheld", number(data["withheld"])))
    if data.get("unfit_findings"):
        pairs.append(("cmd.status.unfit_findings", number(data["unfit_findings"])))
    if data.get("pruned"):
        pairs.append(("cmd.status.pruned", counted("pruned", data["pruned"])))
    if data.get("coverage_gaps"):
        pairs.append(("cmd.coverage.gaps", number(data["coverage_gaps"])))
    for each in data.get("certificates") or []:
        told = f"{each['use']}: {word('certificate')(each['state'])} ({moment(each['until_us'])})"
        pairs.append(("cmd.status.certificate", told))
    if data.get("backfill"):
        pairs.append(("cmd.backfill", making_up(data["backfill"])))
    for name, capability in (data.get("actuators") or {}).items():
        why = "" if capability.get("available") else f" ({capability.get('why')})"
        pairs.append(("cmd.status.actuator", f"{name}: {yes_no(capability.get('available'))}{why}"))
    return pairs
