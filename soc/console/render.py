"""Puts answers on the screen: a table on a terminal, tab-separated lines in a pipe, the envelope for `--json`."""

from __future__ import annotations

import datetime as dt
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import orjson

from soc.console.i18n import number, t
from soc.console.text import clean, when
from soc.model.clock import VIETNAM

if TYPE_CHECKING:
    from rich.console import Console

    from soc.client import Answer

Row = Mapping[str, Any]
_FIELD = "field:"
# What a terminal could act on although JSON lets it stand: DEL, C1 controls, bidirectional and other format marks.
_HIDDEN = re.compile(
    "[\u007f-\u009f\u00ad\u0600-\u0605\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
STYLES = {
    "critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan", "breach": "bold red", "failed": "red",
    "unknown": "bold red", "verified": "green", "compliant": "green", "rejected": "red", "dead": "red",
}  # fmt: skip
"""How a word is drawn. Never the only carrier of a meaning: the word itself stands there."""


@dataclass(frozen=True)
class Column:
    """One column: the message id of its heading, what it takes from a row, and how a person sees it.

    `value` is a key (dots go inside) or a function; pipes get it as it is, people get `shown(value)`. A `fold` column
    may take several lines. On a narrow terminal columns with the highest `drop` are left out first, 0 never.
    """

    heading: str
    value: str | Callable[[Row], Any]
    shown: Callable[[Any], str] | None = None
    fold: bool = False
    right: bool = False
    drop: int = 0

    def raw(self, row: Row) -> str:
        """The value for programs, on one line; a time as ISO 8601 in Vietnam's zone."""
        value = self.take(row)
        return clean(iso(value) if self._is_time() else plain(value))

    def _is_time(self) -> bool:
        return self.shown is moment or (isinstance(self.value, str) and self.value.endswith("_us"))

    def words(self, row: Row) -> str:
        """The value for people."""
        value = self.take(row)
        return clean(self.shown(value) if self.shown is not None else plain(value))

    def take(self, row: Row) -> Any:
        """What the row holds for this column; None for nothing."""
        return self.value(row) if callable(self.value) else at(row, self.value)


def at(row: Row, key: str) -> Any:
    """The value of a flat key, else of a dotted path; None when it is missing."""
    if key in row:
        return row[key]
    value: Any = row
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def plain(value: Any) -> str:
    """A value as text: lists with commas, objects as JSON, nothing as empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return orjson.dumps(value, default=str).decode() if isinstance(value, dict) else str(value)


def short(id: Any) -> str:
    """The end of a UUID: of version 7 the beginning is the time, only the end tells two of one minute apart."""
    return str(id or "")[-8:]


def moment(value: Any) -> str:
    """A time for people, from µs UTC or ISO 8601 text, in Vietnam's zone."""
    if value in (None, "", 0):
        return ""
    if isinstance(value, int | float):
        return when(int(value))
    try:
        at = dt.datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    at = at if at.tzinfo else at.replace(tzinfo=dt.UTC)
    return when(int(at.timestamp() * 1_000_000))


def iso(value: Any) -> str:
    """A time for programs that read lines: µs UTC as ISO 8601 in Vietnam's zone, to the millisecond; text as it is."""
    if not isinstance(value, int | float) or not value:
        return plain(value or None)
    at = dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=int(value))
    return at.astimezone(VIETNAM).isoformat(timespec="milliseconds")


def size(value: Any) -> str:
    """Bytes in the largest unit that leaves a number of one or more."""
    left = float(value or 0)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if left < 1024:
            return f"{number(int(left)) if unit == 'B' else number(left)} {unit}"
        left /= 1024
    return f"{number(left)} TiB"


def word(family: str) -> Callable[[Any], str]:
    """Turns a stored word (`acknowledged`) into the reader's; one without a translation stays as it is."""

    def shown(value: Any) -> str:
        try:
            return t(f"cmd.{family}.{value}")
        except KeyError:
            return plain(value)

    return shown


def counted(family: str, counts: Mapping[str, int]) -> str:
    """How many of each, with the reader's words."""
    return ", ".join(f"{word(family)(name)}: {number(count)}" for name, count in counts.items())


def yes_no(value: Any) -> str:
    """`yes` or `no`, empty when it is not known."""
    return "" if value is None else t("cmd.yes" if value else "cmd.no")


def json_text(document: Any) -> str:
    """One line of JSON in which nothing can steer a terminal (RFC 8259 allows every escape inside a string)."""
    text = orjson.dumps(document, default=str).decode()
    return text if text.isascii() and "\x7f" not in text else _HIDDEN.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def field_heading(name: str) -> str:
    """The heading id of a column that is headed by a field's own name."""
    return f"{_FIELD}{name}"


def _headed(id: str) -> str:
    return clean(id.removeprefix(_FIELD)) if id.startswith(_FIELD) else t(id)


class Output:
    """Where a command writes: data to `out`, remarks to `err`."""

    def __init__(
        self,
        *,
        json: bool = False,
        terminal: bool | None = None,
        colour: bool = True,
        width: int | None = None,
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self.json = json
        self.terminal = self.out.isatty() if terminal is None else terminal
        self.colour = colour
        self.width = width

    def aside(self) -> Output:
        """The same, with everything on `err`."""
        terminal = self.err.isatty() if self.out is not self.err else self.terminal
        return Output(terminal=terminal, colour=self.colour, width=self.width, out=self.err, err=self.err)

    def console(self, file: TextIO | None = None) -> Console:
        """A rich console that adds nothing of its own: no markup, no highlighting, no emoji."""
        from rich.console import Console

        return Console(
            file=file or self.out, force_terminal=self.terminal, no_color=not self.colour, width=self.width,
            highlight=False, markup=False, emoji=False,
            color_system="auto" if self.colour and self.terminal else None,
        )  # fmt: skip

    # -- data

    def envelope(self, answer: Answer) -> None:
        """The answer as the API gave it."""
        self.document(
            {
                "schema": answer.schema, "data": answer.data, "truncated": answer.truncated,
                "warnings": list(answer.warnings), "cursor": answer.cursor, "total": answer.total,
            }
        )  # fmt: skip

    def own(self, schema: str, data: Any) -> None:
        """The envelope of a command that needs no service: whole, without warnings."""
        self.document({"schema": schema, "data": data, "truncated": False, "warnings": [], "cursor": None})

    def document(self, document: Any) -> None:
        """One object on one line."""
        self.out.write(json_text(document) + "\n")

    def answer(
        self, answer: Answer, columns: Sequence[Column], rows: Iterable[Row] | None = None, *, before: bool = False
    ) -> None:
        """A list of things: envelope, table or lines; `rows` when the data are not the list itself."""
        self.remarks(answer, before=before)
        if self.json:
            self.envelope(answer)
        else:
            self.table(columns, answer.data if rows is None else rows)

    def remarks(self, answer: Answer, *, before: bool = False) -> None:
        """Warnings and what was cut, to stderr; `before` when the command goes on with `--before`."""
        if self.json:
            return
        for warning in answer.warnings:
            self.say(t("cmd.warning", text=warning))
        if answer.cursor and answer.truncated and before:
            self.say(t("cmd.more", cursor=answer.cursor))
        elif answer.truncated:
            self.say(t("cmd.truncated"))

    def table(self, columns: Sequence[Column], rows: Iterable[Row]) -> None:
        """The rows; on a terminal with headings, cut to its width."""
        if not self.terminal:
            for row in rows:
                self.line("\t".join(column.raw(row) for column in columns))
            return
        held = list(rows)
        if not held:
            self.say(t("cmd.nothing"))
            return
        console = self.console()
        kept = fitting(columns, held, console.width)
        console.print(_drawn(kept, held))
        lost = (c for c in columns if c not in kept and any(c.words(row) for row in held))
        left = ", ".join(_headed(column.heading) for column in lost)
        if left:
            self.say(t("cmd.left_out", columns=left))

    def fields(self, pairs: Iterable[tuple[str, Any]]) -> None:
        """One thing: a line for each heading (message id) that has a value."""
        held = [
            (_headed(heading), clean(plain(value))) for heading, value in pairs if value not in (None, "", [], (), {})
        ]
        if not self.terminal:
            for heading, value in held:
                self.line(f"{heading}\t{value}")
            return
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for heading, value in held:
            grid.add_row(Text(heading, style="bold"), Text(value))
        self.console().print(grid)

    def section(self, heading: str) -> None:
        """A heading (message id) above what follows, for people only."""
        if self.terminal:
            from rich.text import Text

            self.console().print()
            self.console().print(Text(t(heading), style="bold underline"))

    def text(self, text: str) -> None:
        """Lines of prose, wrapped for people."""
        for line in text.split("\n"):
            if self.terminal:
                self.console().print(clean(line))
            else:
                self.line(clean(line))

    def line(self, text: str) -> None:
        """One line of data; the caller cleaned it."""
        self.out.write(text + "\n")

    # -- remarks

    def say(self, text: str) -> None:
        """A remark to stderr, safe whatever is in it."""
        for line in text.split("\n"):
            self.err.write(clean(line) + "\n")
        self.err.flush()


FOLDED = 16
"""A column that folds is not made narrower than this, if its words are longer."""
GAP = 2


def fitting(columns: Sequence[Column], rows: Sequence[Row], width: int) -> list[Column]:
    """The columns that fit so many cells: without those that say nothing, then without those to be dropped first."""
    needs = {column.heading: _needed(column, rows) for column in columns}
    kept = [c for c in columns if not c.drop or any(c.words(row) for row in rows)]
    while sum(needs[column.heading] + GAP for column in kept) - GAP > width:
        droppable = max(kept, key=lambda column: column.drop)
        if not droppable.drop:
            break
        kept.remove(droppable)
    return kept


def _needed(column: Column, rows: Sequence[Row]) -> int:
    from rich.cells import cell_len

    heading = cell_len(_headed(column.heading))
    widest = max((cell_len(column.words(row)) for row in rows), default=0)
    return max(heading, min(widest, FOLDED) if column.fold else widest)


def _drawn(columns: Sequence[Column], rows: Sequence[Row]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for column in columns:
        table.add_column(
            Text(_headed(column.heading)),
            justify="right" if column.right else "left",
            overflow="fold" if column.fold else "ellipsis",
            no_wrap=not column.fold,
            min_width=_needed(column, rows) if column.fold else None,
        )
    for row in rows:
        table.add_row(*(Text(c.words(row), style=STYLES.get(str(c.take(row)), "")) for c in columns))
    return table
