"""Opens the case database: SQLite in WAL mode, brought to the newest revision, its errors in our own words."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from soc.errors import ConfigError, DiskFull, NewerStore, StoreError, TryAgain

HEAD_REVISION = "0001"
"""The newest revision in `migrations/`; a test holds the two together."""
BUSY_SECONDS = 10
"""How long a writer waits for another before it gives up with TryAgain."""
_MIGRATIONS = Path(__file__).parent / "migrations"
_WRITE = "soc_write"
_NEEDED = 64 << 10


def sqlite_path(url_or_path: str | Path) -> Path:
    """The file behind a path or a `sqlite:///` address. Raises ConfigError for another engine."""
    text = str(url_or_path)
    if "://" not in text:
        return Path(url_or_path)
    scheme, _, rest = text.partition(":///")
    if scheme != "sqlite":
        raise ConfigError(f"cases cannot be kept in '{scheme.split(':')[0]}' yet; use a file path or sqlite:///PATH")
    return Path(rest)


def open_engine(path: Path) -> sa.Engine:
    """An engine on that file, created with mode 0600 and migrated. Raises NewerStore, StoreError."""
    _create_file(path)
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )
    event.listen(engine, "connect", _settle)
    event.listen(engine, "begin", _begin)
    try:
        with translated(path):
            _migrate(engine, path)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _create_file(path: Path) -> None:
    if path.exists():
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"cannot create the case database {path}: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _settle(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # sqlite3 would begin transactions by itself, and too late
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    # A reader that turns writer can fail half-way (SQLITE_BUSY_SNAPSHOT); a writer therefore says so from the start.
    write = connection.get_execution_options().get(_WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def transaction(engine: sa.Engine, *, write: bool) -> Iterator[sa.Connection]:
    """One transaction: committed on a clean exit, else rolled back."""
    with engine.connect() as connection, connection.execution_options(**{_WRITE: write}).begin():
        yield connection


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours: TryAgain when it stayed locked, DiskFull, else StoreError with the file's name."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        cause = str(error.orig)
        if "locked" in cause or "busy" in cause:
            raise TryAgain(f"the case database is busy: {path}", hint="try again in a moment") from error
        if "full" in cause or ("disk I/O error" in cause and _is_full(path)):
            raise DiskFull(f"no room for the case database {path}; nothing was written") from error
        raise StoreError(f"the case database {path} failed: {cause}") from error


def _is_full(path: Path) -> bool:
    # SQLite says only "disk I/O error" when its shared memory (32 KiB beside the database) finds no room.
    return shutil.disk_usage(path.parent).free < _NEEDED


def _migrate(engine: sa.Engine, path: Path) -> None:
    with transaction(engine, write=False) as connection:
        if _revision(connection) == HEAD_REVISION:
            return  # the usual start does not pay for importing Alembic
    with transaction(engine, write=True) as connection:
        _upgrade(connection, path)


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: sa.Connection, path: Path) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    revision = _revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise NewerStore(
            f"the case database {path} was written by a newer soc: revision {revision}, not {HEAD_REVISION}",
            hint="install the newer version again, or restore a backup made by this one",
        )
    command.upgrade(config, "head")
