"""`soc certificate …`: how long those in use still hold, and new ones from the site's own authority."""

from __future__ import annotations

from typing import Annotated

import typer

from soc.console.commands.call import Call, command, group
from soc.console.i18n import number, t
from soc.console.render import Column, moment, word

ROWS = (
    Column("cmd.col.use", "use"),
    Column("cmd.col.state", "state", word("certificate")),
    Column("cmd.col.days_left", lambda r: None if r["days"] is None else int(r["days"] // 1), number, right=True),
    Column("cmd.col.until", "until_us", moment),
    Column("cmd.col.subject", "subject", fold=True, drop=2),
    Column("cmd.col.file", "path", fold=True, drop=1),
)


def add(app: typer.Typer) -> None:
    """Add the commands."""
    certificate = group(app, "certificate", "TLS certificates: how long they hold, and new ones of our own authority.")

    @command(certificate, "list", "soc certificate list", "soc certificate list --json")
    def listed(call: Call) -> None:
        """List the certificates in use, those that end first in front. An alert comes at 30, 14 and 7 days."""
        call.output.answer(call.client.get("/v1/certificates"), ROWS)

    @command(
        certificate, "issue", "soc certificate issue syslog.tinh.example --host 10.0.0.9",
        "soc certificate issue firewall-01 --client", local=True,
    )  # fmt: skip
    def issue(
        call: Call,
        name: Annotated[str, typer.Argument(help="Its common name: a host name, or the name of a device.")],
        host: Annotated[
            list[str] | None, typer.Option(help="Host name or address that it stands for; default: its name.")
        ] = None,
        client: Annotated[bool, typer.Option("--client", help="For a device that sends, not for a server.")] = False,
        days: Annotated[int, typer.Option(min=1, max=3650, help="How long it holds.")] = 397,
    ) -> None:
        """Make a key and a certificate below SOC_HOME/tls, signed by the site's own authority (made at first)."""
        made = call.processes.issue_certificate(call.settings, name, tuple(host or ()), client=client, days=days)
        if call.json:
            data = {name: str(path) for name, path in vars(made).items()}
            call.output.own("soc.certificate/v1", data)
            return
        for path in (made.certificate, made.key, made.authority):
            call.output.line(str(path))
        call.output.say(t("cmd.certificate.issued", authority=str(made.authority)))
