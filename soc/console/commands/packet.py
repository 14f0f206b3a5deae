"""`soc packet …`: captured packets of a flow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soc.console.commands.call import Call, command, group
from soc.console.i18n import number, t
from soc.console.render import size
from soc.console.text import clean
from soc.errors import EXIT_PARTIAL, SocError, TryAgain, UsageError

if TYPE_CHECKING:
    from rich.progress import TaskID

POLL_S = 1.0


def add(app: typer.Typer) -> None:
    """Add the commands."""
    packet = group(app, "packet", "Captured packets of the monitoring points.")

    @command(
        packet,
        "get",
        "soc packet get --community-id 1:P6Tf401iut5+duGFtHUSrHYxUo8= --since 1h -o out.pcapng --reason PH-12",
    )
    def get(
        call: Call,
        output: Annotated[Path, typer.Option("-o", "--output", help="File to write; it must not be there yet.")],
        flow: Annotated[
            str | None, typer.Option("--community-id", help="network.community_id of the flow's events.")
        ] = None,
        reason: Annotated[str | None, typer.Option(help="Why; it stays in the ledger.")] = None,
        since: Annotated[
            str | None, typer.Option(help="Events of the flow from then on: 1h, 2026-11-20T08:00.")
        ] = None,
        until: Annotated[str | None, typer.Option(help="And before then.")] = None,
        request: Annotated[
            str | None, typer.Option(help="Fetch what distant units were asked for before, by its identifier.")
        ] = None,
        wait: Annotated[float, typer.Option(help="Seconds to wait for distant units.")] = 300.0,
    ) -> int:
        """Write the packets of a flow to a file, as far as the rings still have them. Exit 4 when it was too much, 75
        when a distant unit did not answer in time."""
        from soc.client import Answer  # httpx is for those who ask the service

        if output.exists():
            raise UsageError(t("cmd.packet.exists", path=output))
        if request is None and (flow is None or reason is None):
            raise UsageError(t("cmd.packet.needed"))
        if request is None:
            body = {"community_id": flow, "since": since, "until": until, "reason": reason}
            found = call.client.fetch("/v1/packets", {key: value for key, value in body.items() if value is not None})
            if isinstance(found, Answer):
                request = found.data["id"]
        if request is not None:
            _wait(call, request, wait)
            found = call.client.fetch(f"/v1/packets/{request}/file")
        assert not isinstance(found, Answer)
        data, told = found
        try:
            # Packets are as confidential as what was said in them: for the caller alone.
            with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
        except OSError as error:
            raise SocError(f"{output}: {error.strerror}") from error
        packets, is_cut = int(told["x-soc-packets"]), told["x-soc-truncated"] == "true"
        if call.json:
            call.output.document({"file": str(output), "packets": packets, "bytes": len(data), "truncated": is_cut})
        else:
            call.output.say(t("cmd.packet.got", path=output, packets=number(packets), bytes=size(len(data))))
            if is_cut:
                call.output.say(t("cmd.packet.cut"))
        return EXIT_PARTIAL if is_cut else 0


def _wait(call: Call, request: str, seconds: float) -> None:
    """Until the units have answered. Raises TryAgain when it takes longer; they go on."""
    call.output.say(t("cmd.packet.asked", request=request))
    with _bar(call) as draw:
        waited = 0.0
        while True:
            state = call.client.get(f"/v1/packets/{request}").data
            draw(state["units"])
            if state["is_done"]:
                return
            if waited >= seconds:
                break
            call.world.sleep(POLL_S)
            waited += POLL_S
    late = ", ".join(clean(unit["unit"]) for unit in state["units"] if not unit["is_done"])
    raise TryAgain(t("cmd.packet.late", units=late), hint=f"soc packet get --request {request} -o FILE")


@contextmanager
def _bar(call: Call) -> Iterator[Callable[[Sequence[Mapping[str, Any]]], None]]:
    """A progress bar for each unit on stderr where a person watches; nothing otherwise."""
    if not call.output.err.isatty():
        yield lambda units: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Progress(*columns, console=call.output.console(call.output.err), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def draw(units: Sequence[Mapping[str, Any]]) -> None:
            for unit in units:
                name = unit["unit"]
                if name not in tasks:
                    tasks[name] = bar.add_task(clean(name) or t("cmd.packet.here"), total=None)
                bar.update(tasks[name], completed=unit["bytes"], total=unit["size"])

        yield draw
