"""Rows of tables in: a real PostgreSQL (verified: real) and SQLite; commits out of order, types, refusals."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from soc.collectors.poll import databases
from soc.collectors.poll.secrets import Secrets
from soc.collectors.poll.table import MAX_GAPS, Table
from soc.errors import ConfigError, SocError, TryAgain
from soc.model.clock import FixedClock
from tests.collectors.polls import Home, all_of, driver, poll, settings
from tests.collectors.postgres import Server
from tests.ports import free_port

NOW = 1_795_600_000_000_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for this module."""
    root = Path(f"/tmp/pg{os.getpid()}")  # its socket's path is short, and `postgres` may go there
    (root / "data").mkdir(parents=True)
    made = Server(root / "data")
    made.start()
    yield made
    made.stop("immediate")
    shutil.rmtree(root)


@pytest.fixture
def table(server: Server) -> Iterator[psycopg.Connection[Any]]:
    """A connection, and an empty table `log`."""
    with server.connect() as connection:
        connection.execute("DROP TABLE IF EXISTS log")
        connection.execute("CREATE TABLE log (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), text text)")
        connection.commit()
        yield connection


def source(server: Server, home: Path, **options: Any) -> Table:
    """The driver over `log`."""
    made = driver(poll("sql", **{"url": server.url, "tls": "none", "table": "log", "key": "id", **options}), home)
    assert isinstance(made, Table)
    return made


def add(connection: psycopg.Connection[Any], *texts: str) -> None:
    """Rows, committed."""
    for text in texts:
        connection.execute("INSERT INTO log (text) VALUES (%s)", (text,))
    connection.commit()


def texts(home: Home) -> list[str]:
    """What is in the queue, in order."""
    return [orjson.loads(record)["text"] for record in home.records()]


BY_KEY: dict[str, Any] = {"limit": 7}
BY_TIME: dict[str, Any] = {"limit": 7, "time": "at"}


@pytest.mark.parametrize("how", [BY_KEY, BY_TIME], ids=["key", "time"])
def test_every_row_comes_once(tmp_path: Path, server: Server, table: Any, how: dict[str, Any]) -> None:
    """Rows grow between looks, and the process starts anew between them and amid a look."""
    home, total = Home(tmp_path), 0
    for more in (0, 3, 7, 20, 0, 1):
        add(table, *(f"row {n}" for n in range(total, total + more)))
        total += more
        for _ in range(2):
            made = source(server, tmp_path, **how)
            poller = home.poller(made)
            poller.sources[0].step()
            made.close()
        made = source(server, tmp_path, **how)
        all_of(home.poller(made))
        made.close()
    assert Counter(texts(home)) == Counter(f"row {n}" for n in range(total))


@pytest.mark.parametrize("how", [BY_KEY, BY_TIME], ids=["key", "time"])
def test_a_row_that_is_committed_late_is_not_missed(
    tmp_path: Path, server: Server, table: Any, how: dict[str, Any]
) -> None:
    """Its number and its time are older than those of rows that were read; also when it is the very first."""
    home = Home(tmp_path)
    with server.connect() as slow, server.connect() as slower:
        slow.execute("INSERT INTO log (text) VALUES ('late 1'), ('late 2')")
        add(table, "a", "b")
        slower.execute("INSERT INTO log (text) VALUES ('later')")
        add(table, "c")
        made = source(server, tmp_path, **how)
        poller = home.poller(made)
        all_of(poller)
        assert Counter(texts(home)) == Counter("abc")
        slow.commit()
        all_of(poller)
        assert Counter(texts(home)) == Counter(["a", "b", "c", "late 1", "late 2"])
        shutil.rmtree(tmp_path / "poll")  # killed before the file was written: the gaps stand in the frames
        poller = home.poller(made)
        slower.commit()
        add(table, "d")
        all_of(poller)
        all_of(poller)
    made.close()
    assert Counter(texts(home)) == Counter(["a", "b", "c", "d", "late 1", "late 2", "later"])


def test_without_gaps_the_late_row_would_be_lost(tmp_path: Path, server: Server, table: Any) -> None:
    """The mutant of the test above: `gap_s = 0`."""
    home = Home(tmp_path)
    with server.connect() as slow:
        slow.execute("INSERT INTO log (text) VALUES ('late')")
        add(table, "a")
        made = source(server, tmp_path, gap_s=0.0)
        poller = home.poller(made)
        all_of(poller)
        slow.commit()
        all_of(poller)
    made.close()
    assert texts(home) == ["a"]


def test_a_gap_is_given_up_when_nothing_can_fill_it_any_more(tmp_path: Path, server: Server, table: Any) -> None:
    """Not before `gap_s`, and not while a transaction runs that may fill it, however long it takes."""
    clock = FixedClock(NOW)
    section = poll("sql", url=server.url, tls="none", table="log", key="id", gap_s=60.0)
    made = Table(section, Secrets(tmp_path), clock)
    with server.connect() as slow:
        slow.execute("INSERT INTO log (text) VALUES ('slow')")
        with server.connect() as undone:
            undone.execute("INSERT INTO log (text) VALUES ('undone')")
            undone.rollback()
        add(table, "a")
        page = made.fetch(None)
        assert [gap[:2] for gap in page.cursor["gaps"]] == [[1, 2]]
        for seconds in (59, 2, 10_000):
            clock.advance(seconds)
            page = made.fetch(page.cursor)
            assert [gap[:2] for gap in page.cursor["gaps"]] == [[1, 2]]
        slow.commit()
        page = made.fetch(page.cursor)
        assert [orjson.loads(r)["text"] for r in page.records] == ["slow"]
        assert page.counts == {"late_rows": 1}
        page = made.fetch(page.cursor)
        assert page.cursor["gaps"] == []
    made.close()


def test_gaps_are_bounded_and_counted(tmp_path: Path, server: Server, table: Any) -> None:
    """The newest are kept."""
    table.execute("INSERT INTO log (id, text) SELECT 10 * n, 'x' FROM generate_series(1, %s) n", (MAX_GAPS + 5,))
    table.commit()
    made = source(server, tmp_path, limit=5000)
    page = made.fetch(None)
    made.close()
    assert len(page.cursor["gaps"]) == MAX_GAPS
    assert page.cursor["gaps"][-1][:2] == [10 * (MAX_GAPS + 4) + 1, 10 * (MAX_GAPS + 5) - 1]
    assert page.counts == {"gaps_given_up": 5}


@pytest.mark.parametrize("how", [{"limit": 50}, {"limit": 50, "time": "at"}], ids=["key", "time"])
def test_many_writers_at_once(tmp_path: Path, server: Server, table: Any, how: dict[str, Any]) -> None:
    """Six connections with transactions of all lengths, some undone, while we look: all that was committed, once."""
    home, is_over, committed = Home(tmp_path), threading.Event(), Counter[str]()

    def write(name: int) -> None:
        chance = random.Random(name)
        with server.connect() as connection:
            for n in range(40):
                mine = [f"{name}-{n}-{k}" for k in range(chance.randint(1, 4))]
                for text in mine:
                    connection.execute("INSERT INTO log (text) VALUES (%s)", (text,))
                time.sleep(chance.random() * 0.03)
                if chance.random() < 0.2:
                    connection.rollback()
                else:
                    connection.commit()
                    committed.update(mine)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    made = source(server, tmp_path, **how)
    poller = home.poller(made)
    while any(thread.is_alive() for thread in threads):
        poller.sources[0].step()
        is_over.wait(0.01)
    for _ in range(3):
        all_of(poller)
    made.close()
    assert Counter(texts(home)) == committed


def test_a_server_that_crashes_is_asked_again(tmp_path: Path, server: Server, table: Any) -> None:
    """The fault is told, the look goes on where it stood."""
    add(table, *(f"row {n}" for n in range(20)))
    table.close()
    home = Home(tmp_path)
    made = source(server, tmp_path, limit=10)
    poller = home.poller(made)
    poller.sources[0].step()
    server.stop("immediate")
    poller.sources[0].step()
    assert poller.health()[0]["state"] == "failing"
    assert poller.health()[0]["fault"].startswith("PostgreSQL says: ")
    server.start()
    all_of(poller)
    made.close()
    assert texts(home) == [f"row {n}" for n in range(20)]


def test_types_become_json_as_postgresql_writes_them(tmp_path: Path, server: Server, table: Any) -> None:
    """Digits are not rounded, bytes and documents are whole."""
    table.execute("DROP TABLE IF EXISTS odd")
    table.execute(
        "CREATE TABLE odd (id int, n numeric, f float8, b bytea, j jsonb, u uuid, a int[], i inet, t timestamp,"
        ' d date, v interval, big bigint, no text, "Tên" text)'
    )
    table.execute(
        "INSERT INTO odd VALUES (1, 12345678901234567890.123456789, 0.1, '\\x00ff', '{\"k\": [1, 1e400]}',"
        " 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{1,NULL}', '10.0.0.1/8', '2026-11-20 03:00:00.123456', '2026-11-20',"
        " '1 day 02:00', 9223372036854775807, NULL, 'Việt')"
    )
    table.commit()
    made = source(server, tmp_path, table="public.odd")
    [record] = made.fetch(None).records
    made.close()
    text = record.decode()
    assert '"n":12345678901234567890.123456789' in text
    assert '"big":9223372036854775807' in text
    assert '"b":"\\\\x00ff"' in text
    assert '"t":"2026-11-20T03:00:00.123456"' in text
    assert '"a":[1,null]' in text
    assert '"Tên":"Việt"' in text
    assert '"no":null' in text
    assert '"i":"10.0.0.1/8"' in text


def test_rows_that_change_come_again(tmp_path: Path, server: Server, table: Any) -> None:
    """By time: an update with a new time is another record."""
    home = Home(tmp_path)
    add(table, "one", "two")
    made = source(server, tmp_path, time="at", columns=("text",))
    poller = home.poller(made)
    all_of(poller)
    table.execute("UPDATE log SET text = 'changed', at = now() WHERE text = 'one'")
    table.commit()
    all_of(poller)
    made.close()
    assert texts(home) == ["one", "two", "changed"]
    assert set(orjson.loads(home.records()[0])) == {"id", "at", "text"}


def test_rows_without_a_time_are_counted(tmp_path: Path, server: Server, table: Any) -> None:
    """A look by time cannot see them; each is told once, also when the look after it fails, and none by key."""
    home = Home(tmp_path)
    add(table, "seen")
    made = source(server, tmp_path, time="at")
    poller = home.poller(made)
    all_of(poller)
    assert "without_time" not in poller.health()[0]["counts"]
    table.execute("INSERT INTO log (at, text) SELECT NULL, 'unseen' FROM generate_series(1, 3)")
    table.commit()
    all_of(poller)
    all_of(poller)
    assert poller.health()[0]["counts"] == {"without_time": 3}
    table.execute("INSERT INTO log (at, text) VALUES (NULL, 'unseen too')")
    table.execute("ALTER TABLE log RENAME COLUMN id TO other")
    table.commit()
    poller.sources[0].step()
    assert poller.health()[0]["state"] == "failing"
    table.execute("ALTER TABLE log RENAME COLUMN other TO id")
    table.commit()
    all_of(poller)
    assert poller.health()[0]["counts"] == {"without_time": 4}
    assert texts(home) == ["seen"]
    made.close()
    by_key = source(server, tmp_path)
    assert (len(by_key.fetch(None).records), by_key.fetch(None).counts) == (5, {})
    by_key.close()


def test_a_column_that_is_mostly_empty_is_counted_up_to_a_bound(
    tmp_path: Path, server: Server, table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL and SQLite stop at the same number."""
    monkeypatch.setattr(databases, "MAX_WITHOUT_TIME", 5)
    table.execute("INSERT INTO log (at) SELECT NULL FROM generate_series(1, 9)")
    table.commit()
    made = source(server, tmp_path, time="at")
    assert made.fetch(None).counts == {"without_time": 5}
    made.close()
    path = tmp_path / "app.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, at TEXT)")
        connection.executemany("INSERT INTO log (at) VALUES (?)", [(None,)] * 9 + [("2026-11-20 10:00:00",)])
    light = driver(poll("sql", url=f"sqlite://{path}", table="log", key="id", time="at", time_form="sql"), tmp_path)
    page = light.fetch(None)
    assert (len(page.records), page.counts) == (1, {"without_time": 5})


def test_times_beyond_all_bounds_come_once(tmp_path: Path, server: Server, table: Any) -> None:
    """`infinity` and a clock that runs ahead: read, and the rows of today still come."""
    home = Home(tmp_path)
    table.execute("INSERT INTO log (at, text) VALUES ('infinity', 'never'), ('2090-01-01', 'ahead')")
    add(table, "now")
    made = source(server, tmp_path, time="at")
    poller = home.poller(made)
    for text in ("today", "later"):
        all_of(poller)
        add(table, text)
    all_of(poller)
    poller.sources[0]._save(now=True)
    all_of(home.poller(made))
    made.close()
    assert Counter(texts(home)) == Counter(["never", "ahead", "now", "today", "later"])


def test_a_page_fits_a_frame(tmp_path: Path, server: Server, table: Any) -> None:
    """Large rows: each page one frame, whose cursor stands for all of it."""
    home = Home(tmp_path)
    add(table, *(str(n) + "x" * 400_000 for n in range(12)))
    made = source(server, tmp_path)
    all_of(home.poller(made))
    made.close()
    assert [text[:2].strip("x") for text in texts(home)] == [str(n) for n in range(12)]
    assert all("poll.cursor" in block.origin for block in home.blocks())


def test_nothing_is_ever_written(server: Server, tmp_path: Path, table: Any) -> None:
    """The session is read-only: not even a view that writes can."""
    table.execute("CREATE OR REPLACE FUNCTION sneaky() RETURNS int LANGUAGE sql AS 'DELETE FROM log; SELECT 1'")
    table.execute("CREATE OR REPLACE VIEW trap AS SELECT sneaky() AS id")
    add(table, "kept")
    made = source(server, tmp_path, table="trap")
    with pytest.raises(TryAgain, match="read-only transaction"):
        made.fetch(None)
    assert table.execute("SELECT count(*) FROM log").fetchone() == (1,)


def test_names_are_names(server: Server, tmp_path: Path, table: Any) -> None:
    """What stands in soc.toml is quoted: no statement can be slipped in."""
    add(table, "kept")
    for wrong in (
        {"table": 'log";DROP'},
        {"key": 'id" OR true; DROP TABLE log; --'},
        {"columns": ("text FROM log; --",)},
    ):
        made = source(server, tmp_path, **wrong)
        with pytest.raises(ConfigError, match="does not exist"):
            made.fetch(None)
    assert table.execute("SELECT count(*) FROM log").fetchone() == (1,)


def test_refusals_say_no_secret(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away, without TLS, or with a password in the clear."""
    monkeypatch.setenv("PG_SECRET", "Geheim")
    away = source(server, tmp_path, url=f"postgresql://soc@127.0.0.1:{free_port()}/x", password="env:PG_SECRET")
    with pytest.raises(TryAgain) as caught:
        away.fetch(None)
    assert "Geheim" not in str(caught.value)
    with pytest.raises(SocError, match="SSL"):
        source(server, tmp_path, tls="verify").fetch(None)
    with pytest.raises(ConfigError, match="may not travel"):
        source(server, tmp_path, url="postgresql://soc@db.example/x", password="env:PG_SECRET")


# SQLite -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A database file with the same table."""
    connection = sqlite3.connect(tmp_path / "app.db")
    connection.execute("CREATE TABLE log (id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT, text)")
    yield connection
    connection.close()


@pytest.mark.parametrize("how", [{}, {"time": "at", "time_form": "iso"}], ids=["key", "time"])
def test_a_file_of_sqlite(tmp_path: Path, file: sqlite3.Connection, how: dict[str, Any]) -> None:
    """Rows once; bytes as PostgreSQL writes them."""
    home, url = Home(tmp_path), f"sqlite://{tmp_path}/app.db"
    made = driver(poll("sql", url=url, table="log", key="id", limit=3, **how), tmp_path)
    for n in range(12):
        file.execute("INSERT INTO log (at, text) VALUES (?, ?)", (f"2026-11-20T03:00:{n:02d}.5Z", f"row {n}"))
        file.commit()
        if n % 5 == 4:
            all_of(home.poller(made))
    file.execute("INSERT INTO log (at, text) VALUES ('2026-11-20T03:00:13Z', ?)", (b"\x00\xff",))
    file.commit()
    all_of(home.poller(made))
    assert texts(home) == [*(f"row {n}" for n in range(12)), "\\x00ff"]


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """It is opened for reading alone."""
    made = driver(poll("sql", url=f"sqlite://{tmp_path}/none.db", table="log", key="id"), tmp_path)
    with pytest.raises(TryAgain, match="unable to open"):
        made.fetch(None)
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('url = "postgresql://u:p@h/d"\ntable = "t"\nkey = "id"', "without a password in it"),
        ('url = "mysql://h/d"\ntable = "t"\nkey = "id"', "postgresql://user@host"),
        ('url = "sqlite:///x"\nkey = "id"', "'table' is missing"),
        ('url = "sqlite:///x"\ntable = "t"\nkey = "id"\nstart = "2026-11-20"', "needs the column 'time'"),
    ],
)
def test_a_wrong_section_is_told(tmp_path: Path, body: str, fault: str) -> None:
    """With its place."""
    with pytest.raises(ConfigError, match=fault) as caught:
        settings(tmp_path, f'[poll.db]\ndriver = "sql"\n{body}\n')
    assert "soc.toml:" in str(caught.value)
