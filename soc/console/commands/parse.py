"""`soc parse`: files to flat ECS documents, without any service."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from soc.console.commands.call import Call, command
from soc.console.i18n import errors, number, t
from soc.console.render import json_text
from soc.errors import EXIT_PARTIAL, EXIT_RUNTIME, SocError, UsageError

if TYPE_CHECKING:
    from soc.model.batch import EventBatch
    from soc.model.joined import Joined
    from soc.parsers import ParserSet

FORMAT_HELP = (
    "auto, lines, json, csv, w3c, xml, evtx or pcap; of a capture also netflow, sflow, snmp or syslog: its datagrams."
)
Files = Annotated[list[str], typer.Argument(help="Files to read; - is standard input.")]


class Reading:
    """Files one after another; one that cannot be read is told, counted, and never stops the others."""

    def __init__(self, call: Call, files: Sequence[str], *, format: str = "auto", product: str | None = None) -> None:
        self.call = call
        self.paths = [None if name == "-" else Path(name) for name in files]
        self.format = format
        self.product = product
        self.failed = 0
        _refuse_missing(self.paths)

    def blocks(self, parsers: ParserSet) -> Iterator[list[EventBatch]]:
        """The batches of each block. Raises UsageError for a format or a product that there is not."""
        from soc import pipeline

        for path in self.paths:
            members: list[Any] = []
            error: Exception | None = None
            try:
                yield from pipeline.parse_file(
                    parsers, path, self.call.world.clock, format=self.format, product=self.product, members=members
                )
            except UsageError:
                raise
            except (SocError, OSError) as raised:
                error = raised
            self._told(path, members, error)

    def joined(self, parsers: ParserSet) -> Iterator[Joined]:
        """The same for matching: what small files hold comes in large batches. Raises UsageError, too."""
        from soc import pipeline

        clock = self.call.world.clock
        return pipeline.parse_files(parsers, self.paths, clock, self._told, format=self.format, product=self.product)

    def _told(self, path: Path | None, members: Sequence[Any], error: Exception | None) -> None:
        if error is not None:
            self.failed += 1
            self.call.output.say(f"soc: {errors.told(_sentence(path, error))}")
        if passed := sum(member.passed_over for member in members):
            self.call.output.say(f"soc: {path}: " + t("cmd.parse.passed_over", n=number(passed)))

    @property
    def exit_code(self) -> int:
        """0, 4 when some files could not be read, 1 when none could."""
        if not self.failed:
            return 0
        return EXIT_PARTIAL if self.failed < len(self.paths) else EXIT_RUNTIME


def _sentence(path: Path | None, error: Exception) -> str:
    return f"{path}: {error.strerror}" if isinstance(error, OSError) else str(error)


def _refuse_missing(paths: Sequence[Path | None]) -> None:
    wrong = [(path, "no_file" if not path.exists() else "is_folder") for path in paths if path and not path.is_file()]
    # Pipes and devices (/dev/stdin, a process substitution) are no regular files and can be read all the same.
    told = [t(f"cmd.{why}", path=path) for path, why in wrong if why == "no_file" or path.is_dir()]
    if told:
        raise UsageError("\n".join(told))


def writer(call: Call) -> Callable[[Any], None]:
    """Writes one object a line: bytes as they are for a pipe, escaped for a terminal."""
    output = call.output
    if output.terminal or not hasattr(sys.stdout, "buffer"):
        return output.document
    raw = sys.stdout.buffer
    return lambda document: _bytes(raw, document)


def _bytes(raw: Any, document: Any) -> None:
    try:
        raw.write(orjson.dumps(document) + b"\n")
    except TypeError:  # a value that orjson does not know
        raw.write(json_text(document).encode() + b"\n")


def add(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "parse", "soc parse /var/log/auth.log", "soc parse --as cisco.asa - < asa.log",
             "soc parse --format netflow exporter.pcap", local=True)  # fmt: skip
    def parse(
        call: Call,
        files: Files,
        product: Annotated[str | None, typer.Option("--as", help="Take every record as this product.")] = None,
        format: Annotated[str, typer.Option(help=FORMAT_HELP)] = "auto",
    ) -> int:
        """Normalise files: one flat ECS document a line, in order, nothing dropped."""
        from soc import pipeline

        reading = Reading(call, files, format=format, product=product)
        write = writer(call)
        for batches in reading.blocks(pipeline.load_parsers(call.settings.content_roots)):
            for document in pipeline.ordered_documents(batches):
                write(document)
        return reading.exit_code
