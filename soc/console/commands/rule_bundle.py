"""`soc rule bundle …`: rules for a place without a network, signed; what a site changed stays when they come anew."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soc.console.commands.call import Call, command, group
from soc.console.i18n import number, t
from soc.console.render import Column, word
from soc.console.text import clean
from soc.errors import EXIT_PARTIAL, UsageError
from soc.model.names import SHORT_NAME

if TYPE_CHECKING:
    from soc.content.bundle import Bundle

STEPS = (
    Column("cmd.col.change", "change", word("bundle")),
    Column("cmd.col.file", "path", fold=True),
)
File = Annotated[Path, typer.Argument(metavar="FILE", help="The bundle.")]
Trust = Annotated[list[str] | None, typer.Option(help="A signer's public key; beside [content] trust.")]


def add(rule: typer.Typer) -> None:
    """Add the commands."""
    bundle = group(rule, "bundle", "Signed bundles of rules: made here, checked and taken elsewhere.")

    @command(
        bundle, "make", "soc rule bundle make rules/ --name so-tttt --bundle-version 2026.11 --key signer.key "
        "--out so-tttt.zip", local=True,
    )  # fmt: skip
    def make(
        call: Call,
        folder: Annotated[Path, typer.Argument(help="Everything in it but hidden names.")],
        name: Annotated[str, typer.Option(help="The same for all versions: small letters, digits and -.")],
        version: Annotated[str, typer.Option("--bundle-version", help="What people call this one.")],
        key: Annotated[Path, typer.Option(help="The signer's key; made at the first use. It never leaves.")],
        out: Annotated[Path, typer.Option(help="Write the bundle there.")],
    ) -> None:
        """Pack a folder and sign the list of its files; the public key that others have to trust is printed."""
        from soc.model.clock import SystemClock
        from soc.pipeline import bundles

        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder")
        public = bundles.write(folder, _named(name), version, key, out, SystemClock())
        if call.json:
            call.output.own("soc.rule.bundle/v1", {"file": str(out), "key": public})
            return
        call.output.line(public)
        call.output.say(t("cmd.bundle.made", file=clean(str(out))))

    @command(bundle, "verify", "soc rule bundle verify so-tttt.zip --trust 8a88…", local=True)
    def verify(call: Call, file: File, trust: Trust = None) -> None:
        """Check the signature and every file; exit 5 when nobody here trusts the signer."""
        found = _read(call, file, trust)
        told = {"name": found.name, "version": found.version, "key": found.key, "files": len(found.files)}
        if call.json:
            call.output.own("soc.rule.bundle/v1", told)
        else:
            call.output.say(t("cmd.bundle.good", name=clean(found.name), version=clean(found.version),
                              files=number(len(found.files)), key=found.key))  # fmt: skip

    @command(
        bundle, "apply", "soc rule bundle apply so-tttt.zip --into rules/ --dry-run",
        "soc rule bundle apply so-tttt.zip --into rules/ --keep linux/ssh.yml", local=True,
    )  # fmt: skip
    def apply(
        call: Call,
        file: File,
        into: Annotated[Path, typer.Option(help="The folder of the site; made when it is not there.")],
        trust: Trust = None,
        keep: Annotated[list[str] | None, typer.Option(help="A conflict is settled: the site's text stays.")] = None,
        older: Annotated[bool, typer.Option("--older", help="Also one that is older than what is here.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would become of each file.")] = False,
    ) -> int:
        """Take a bundle in: what the site changed stays, what both changed is merged, what meets is told (exit 4)."""
        from soc.pipeline.bundles import CONFLICTS, HIDDEN, Installed

        found = _read(call, file, trust)
        installed = Installed(into, _named(found.name))
        steps = installed.plan(found, keep=keep or (), older=older)
        if not dry_run:
            installed.apply(found, steps)
        shown = [{"path": step.path, "change": step.change} for step in steps if step.change != "same"]
        if call.json:
            data = {"name": found.name, "version": found.version, "applied": not dry_run, "files": shown}
            call.output.own("soc.rule.bundle.apply/v1", data)
        else:
            call.output.table(STEPS, shown)
            counts = Counter(step.change for step in steps)
            told = ", ".join(f"{t(f'cmd.bundle.{change}')} {number(n)}" for change, n in sorted(counts.items()))
            call.output.say(t("cmd.bundle.planned" if dry_run else "cmd.bundle.applied", counts=told))
        conflicts = any(step.change in CONFLICTS for step in steps)
        if conflicts:
            call.output.say(t("cmd.bundle.settle", folder=f"{into}/{HIDDEN}/{found.name}/conflicts"))
        return EXIT_PARTIAL if conflicts else 0


def _named(name: str) -> str:
    if not SHORT_NAME.fullmatch(name):
        raise UsageError(f"'{name[:60]}' is no name for a bundle", hint="small letters, digits and -, at most 40")
    return name


def _read(call: Call, file: Path, trust: list[str] | None) -> Bundle:
    from soc.content.bundle import read

    return read(file, frozenset((*call.settings.trusted_signers, *(trust or ()))))
