"""What a table is asked of PostgreSQL and of SQLite: rows behind a key, as JSON text; nothing is ever written."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import orjson
import psycopg
from psycopg import sql

from soc.collectors.poll.rest import seconds
from soc.collectors.poll.secrets import Secrets
from soc.errors import ConfigError, PermissionRefused, SocError, TryAgain
from soc.model.poll import Poll

CONNECT_S = 10
BATCH = 50
"""Rows that come over the wire at a time."""
MAX_WITHOUT_TIME = 10_000
"""So many rows without a time are counted: a column that is mostly empty must not make each look slow."""


class Row(NamedTuple):
    """Key and time as the database compares them (PostgreSQL: as text), the time in seconds, and the row as JSON."""

    key: Any
    time: Any
    at: float | None
    record: bytes


class Where(NamedTuple):
    """A condition over `{key}` and `{time}`, with `{}` for each of its values."""

    text: str
    values: Sequence[Any] = ()


class Look(Protocol):
    """One look at the table, in one transaction; later statements see at least what earlier ones saw."""

    horizon: int | None
    """Transactions below this number have ended, all of them; None where writers come one after another anyway."""
    next_transaction: int | None
    """No transaction has this number yet."""

    def rows(self, where: Where, order: Sequence[str], limit: int) -> Iterator[Row]:
        """Rows in order, at most so many."""
        ...

    def newest(self) -> Any:
        """The highest key; None in an empty table."""
        ...

    def without_time(self) -> int:
        """Rows whose time is NULL, at most `MAX_WITHOUT_TIME`; a look by time never sees them."""
        ...

    def oldest_start(self) -> float | None:
        """When the oldest transaction began that still runs (seconds since the epoch); None when nobody says."""
        ...


class Postgres:
    """A connection that reads; made when it is needed, and anew after an error."""

    def __init__(self, poll: Poll, secrets: Secrets) -> None:
        self._poll, self._secrets = poll, secrets
        self._connection: psycopg.Connection[Any] | None = None
        info = psycopg.conninfo.conninfo_to_dict(poll["url"])
        self.peer = str(info.get("host") or "127.0.0.1")
        if poll["tls"] == "none" and poll["password"] and self.peer not in ("127.0.0.1", "::1", "localhost"):
            raise ConfigError(
                f"[poll.{poll.name}] a password may not travel to {self.peer} without TLS", hint="leave tls = 'verify'"
            )

    def _connect(self) -> psycopg.Connection[Any]:
        poll, home = self._poll, self._secrets.home
        more: dict[str, Any] = {"sslmode": "disable" if poll["tls"] == "none" else "verify-full"}
        if poll["tls"] != "none":
            more["sslrootcert"] = str(home / poll["ca"]) if poll["ca"] else "system"
        if poll["certificate"]:
            more |= {"sslcert": str(home / poll["certificate"]), "sslkey": str(home / poll["key_file"])}
        if poll["password"]:
            more["password"] = self._secrets.read(poll["password"])
        options = f"-c statement_timeout={int(poll['timeout_s'] * 1000)} -c timezone=UTC -c datestyle=ISO"
        connection = psycopg.connect(
            poll["url"], connect_timeout=CONNECT_S, application_name="soc-toolkit",
            options=f"{options} -c default_transaction_read_only=on", **more,
        )  # fmt: skip
        connection.prepare_threshold = None
        return connection

    @contextmanager
    def look(self) -> Iterator[Look]:
        """A transaction. Raises TryAgain, PermissionRefused, ConfigError."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection.transaction():
                yield _PostgresLook(self._connection, self._poll)
        except psycopg.Error as error:
            self.close()
            raise _said(error) from error

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


_STAMP = "r.{0}::text, extract(epoch FROM r.{0})::float8"
_TIMES = {
    "iso": _STAMP,
    "sql": _STAMP,
    "epoch": "r.{0}::text, r.{0}::float8",
    "epoch_ms": "r.{0}::text, r.{0}::float8 / 1000",
}


class _PostgresLook:
    def __init__(self, connection: psycopg.Connection[Any], poll: Poll) -> None:
        self._connection, self._poll = connection, poll
        self.horizon: int | None
        self.next_transaction: int | None
        # Before any row is read: what had ended by then is in what the rows are read from.
        found = connection.execute(
            "SELECT pg_snapshot_xmin(pg_current_snapshot())::text, pg_snapshot_xmax(pg_current_snapshot())::text"
        ).fetchone()
        assert found is not None
        self.horizon, self.next_transaction = int(found[0]), int(found[1])

    def rows(self, where: Where, order: Sequence[str], limit: int) -> Iterator[Row]:
        poll = self._poll
        names = {"key": sql.Identifier(poll["key"]), "time": sql.Identifier(poll["time"] or poll["key"])}
        columns = [poll["key"], *([poll["time"]] if poll["time"] else []), *poll["columns"]]
        time = sql.SQL(_TIMES[poll["time_form"]] if poll["time"] else "NULL, NULL")
        listed = sql.SQL(", ").join(map(sql.Identifier, dict.fromkeys(columns))) if poll["columns"] else sql.SQL("*")
        inner = sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT {}").format(
            listed, sql.Identifier(*poll["table"].split(".")),
            sql.SQL(where.text).format(*(sql.Placeholder() for _ in where.values), **names),
            sql.SQL(", ").join(names[name] for name in order), sql.Literal(limit),
        )  # fmt: skip
        whole = sql.SQL("SELECT r.{}::text, {}, row_to_json(r)::text FROM ({}) r ORDER BY {}").format(
            names["key"], time.format(names["time"]), inner,
            sql.SQL(", ").join(sql.SQL("r.{}").format(names[name]) for name in order),
        )  # fmt: skip
        with self._connection.cursor(name="soc") as cursor:
            cursor.itersize = BATCH
            cursor.execute(whole, list(where.values))
            for key, at_text, at, record in cursor:
                yield Row(key, at_text, at, record.encode())

    def newest(self) -> Any:
        poll = self._poll
        query = sql.SQL("SELECT max({})::text FROM {}").format(
            sql.Identifier(poll["key"]), sql.Identifier(*poll["table"].split("."))
        )
        found = self._connection.execute(query).fetchone()
        return None if found is None else found[0]

    def without_time(self) -> int:
        query = sql.SQL("SELECT count(*) FROM (SELECT 1 FROM {} WHERE {} IS NULL LIMIT {}) r").format(
            sql.Identifier(*self._poll["table"].split(".")), sql.Identifier(self._poll["time"]), MAX_WITHOUT_TIME
        )
        found = self._connection.execute(query).fetchone()
        return 0 if found is None else int(found[0])

    def oldest_start(self) -> float | None:
        found = self._connection.execute(
            "SELECT extract(epoch FROM min(xact_start))::float8 FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        ).fetchone()
        return None if found is None else found[0]


def _said(error: psycopg.Error) -> SocError:
    """The same fault in our words; psycopg names host and user, never the password."""
    text = " ".join(str(error).split())[:300]
    state = error.sqlstate or ""
    # libpq keeps no state of a connection that was refused, only the server's words.
    if state in ("28P01", "28000", "42501") or (not state and "authentication failed" in text):
        return PermissionRefused(f"PostgreSQL says: {text}")
    if state[:3] in ("42P", "427", "422", "428") or state in ("42703", "42883"):
        return ConfigError(f"PostgreSQL says: {text}", hint="look at table, columns, key and time")
    return TryAgain(f"PostgreSQL says: {text}")


class Sqlite:
    """A database file, opened for reading alone."""

    def __init__(self, poll: Poll) -> None:
        self._poll = poll
        self.peer = "127.0.0.1"

    @contextmanager
    def look(self) -> Iterator[Look]:
        """A transaction. Raises TryAgain, ConfigError."""
        path = self._poll["url"].removeprefix("sqlite://")
        quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        try:
            connection = sqlite3.connect(f"file:{quoted}?mode=ro", uri=True, timeout=self._poll["timeout_s"])
            connection.text_factory = bytes
            try:
                connection.execute("BEGIN")
                yield _SqliteLook(connection, self._poll)
            finally:
                connection.close()
        except sqlite3.Error as error:
            kind = ConfigError if "no such" in str(error) else TryAgain
            raise kind(f"SQLite says of {path}: {error}") from error

    def close(self) -> None:
        """Nothing stays open."""


class _SqliteLook:
    horizon: int | None = None
    next_transaction: int | None = None

    def __init__(self, connection: sqlite3.Connection, poll: Poll) -> None:
        self._connection, self._poll = connection, poll

    def rows(self, where: Where, order: Sequence[str], limit: int) -> Iterator[Row]:
        poll = self._poll
        names = {"key": _quoted(poll["key"]), "time": _quoted(poll["time"] or poll["key"])}
        table = _table(poll)
        listed = ", ".join(map(_quoted, poll["columns"])) if poll["columns"] else "*"
        condition = where.text.format(*("?" for _ in where.values), **names)
        by = ", ".join(names[name] for name in order)
        statement = (
            f"SELECT {names['key']}, {names['time']}, {listed} FROM {table} WHERE {condition} ORDER BY {by} LIMIT ?"  # noqa: S608 -- names are quoted, values bound
        )
        cursor = self._connection.execute(statement, (*where.values, limit))
        titles = [column[0] for column in cursor.description][2:]
        for key, at, *values in cursor:
            time = _text(at) if poll["time"] else None
            yield Row(
                _text(key), time, _seconds(time, poll["time_form"]), _json(dict(zip(titles, values, strict=True)))
            )

    def newest(self) -> Any:
        query = f"SELECT max({_quoted(self._poll['key'])}) FROM {_table(self._poll)}"  # noqa: S608 -- names are quoted
        return _text(self._connection.execute(query).fetchone()[0])

    def without_time(self) -> int:
        rows = f"SELECT 1 FROM {_table(self._poll)} WHERE {_quoted(self._poll['time'])} IS NULL LIMIT ?"  # noqa: S608 -- names are quoted
        return int(self._connection.execute(f"SELECT count(*) FROM ({rows})", (MAX_WITHOUT_TIME,)).fetchone()[0])  # noqa: S608

    def oldest_start(self) -> float | None:
        return None


def _table(poll: Poll) -> str:
    return ".".join(map(_quoted, poll["table"].split(".")))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: Any) -> Any:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _seconds(value: Any, form: str) -> float | None:
    try:
        return seconds(value, "iso" if form == "sql" else form)
    except (ValueError, OverflowError):
        return None


def _json(row: dict[str, Any]) -> bytes:
    """Bytes that are no text as `\\\\x…`, which is how PostgreSQL writes them; what JSON has no number for as text."""
    return orjson.dumps({name: _value(value) for name, value in row.items()})


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return "\\x" + value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
