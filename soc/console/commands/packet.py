"""`soc packet …`: captured packets of a flow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from soc.console.commands.call import Call, command, group
from soc.console.i18n import t
from soc.console.render import number, size
from soc.errors import EXIT_PARTIAL, SocError, UsageError


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
        flow: Annotated[str, typer.Option("--community-id", help="network.community_id of the flow's events.")],
        output: Annotated[Path, typer.Option("-o", "--output", help="File to write; it must not be there yet.")],
        reason: Annotated[str, typer.Option(help="Why; it stays in the ledger.")],
        since: Annotated[
            str | None, typer.Option(help="Events of the flow from then on: 1h, 2026-11-20T08:00.")
        ] = None,
        until: Annotated[str | None, typer.Option(help="And before then.")] = None,
    ) -> int:
        """Write the packets of a flow to a file, as far as the rings still have them. Exit 4 when it was too much."""
        if output.exists():
            raise UsageError(t("cmd.packet.exists", path=output))
        body = {"community_id": flow, "since": since, "until": until, "reason": reason}
        data, told = call.client.fetch("/v1/packets", {key: value for key, value in body.items() if value is not None})
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
