"""Opening: new, again, too new, not a database, not ours."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from soc.errors import ConfigError, NewerStore, StoreError
from soc.model.clock import FixedClock
from soc.store.cases import Cases, database, tables


def opened(folder: Path) -> Cases:
    return Cases(folder / "c.db", FixedClock(0), head_path=folder / "h" / "head.json")


def test_the_newest_revision_is_the_one_in_the_code() -> None:
    """`HEAD_REVISION` and the migrations are held together."""
    scripts = ScriptDirectory(str(Path(database.__file__).parent / "migrations"))
    assert scripts.get_current_head() == database.HEAD_REVISION


def test_the_migrations_make_the_tables_of_the_code(tmp_path: Path) -> None:
    """Alembic finds no table or column that differs."""
    engine = database.open_engine(tmp_path / "c.db")
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), tables.metadata)
    engine.dispose()
    assert [d for d in found if d[0] not in ("remove_index", "remove_fk", "add_fk")] == []


def test_settings_make_commits_durable(tmp_path: Path) -> None:
    """WAL, synchronous=FULL (2), foreign keys, a busy timeout."""
    engine = database.open_engine(tmp_path / "c.db")
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    with engine.connect() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]
    engine.dispose()
    assert found == ["wal", 2, 1, 10_000]


def test_a_database_opens_again_with_what_it_had(tmp_path: Path) -> None:
    """Nothing is made twice."""
    first = opened(tmp_path)
    with first.begin("an") as tx:
        tx.put("alert", "a", {"x": 1}, None)
    first.close()
    second = opened(tmp_path)
    with second.read("an") as tx:
        assert tx.count("alert") == 1
    second.close()


def test_a_newer_database_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """Nothing is touched, the way out is said."""
    opened(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "c.db")
    connection.execute("UPDATE alembic_version SET version_num='0999'")
    connection.commit()
    with pytest.raises(NewerStore, match="written by a newer soc: revision 0999") as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)
    assert caught.value.hint is not None
    assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0999",)]


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """Somebody else's file is not overwritten."""
    (tmp_path / "c.db").write_bytes(b"not a database, but long enough to look at" * 50)
    with pytest.raises(StoreError, match=r"c\.db failed: file is not a database"):
        opened(tmp_path)


def test_an_engine_not_built_yet_is_named(tmp_path: Path) -> None:
    """PostgreSQL comes with the cluster."""
    with pytest.raises(ConfigError, match="'postgresql'"):
        Cases("postgresql://h/d", FixedClock(0), head_path=tmp_path / "h.json")


def test_a_sqlite_address_is_a_path(tmp_path: Path) -> None:
    """`sqlite:////absolute` names the file."""
    cases = Cases(f"sqlite:///{tmp_path}/c.db", FixedClock(0), head_path=tmp_path / "h.json")
    cases.close()
    assert cases.path == tmp_path / "c.db"
