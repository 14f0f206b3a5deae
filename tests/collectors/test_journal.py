"""The `journal` driver on real journals: of systemd-journal-remote, and of a systemd-journald of our own."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from soc.collectors.journal import Journal
from soc.collectors.poll.page import Page
from soc.errors import ConfigError, TryAgain
from soc.model.journal_export import fields
from tests.collectors.polls import CLOCK, Home, driver, poll, process, settings, until

REMOTE = "/lib/systemd/systemd-journal-remote"
JOURNALD = "/lib/systemd/systemd-journald"
BOOTS = ("a" * 32, "b" * 32)


def binary(name: str, value: bytes) -> bytes:
    """A field with its length."""
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"


def exported(numbers: range) -> bytes:
    """Entries of two boots, every tenth of several lines, every eleventh with bytes."""
    made = b""
    for n in numbers:
        message = f"entry {n}".encode()
        if n % 10 == 3:
            message += b"\nsecond line\n\nfourth"
        if n % 11 == 4:
            message += b" \x00\xff\xfe"
        second_boot = n >= 50
        at = 1_795_600_000_000_000 + n * 1_000_000
        made += f"__REALTIME_TIMESTAMP={at}\n__MONOTONIC_TIMESTAMP={(n % 50 + 1) * 1_000_000}\n".encode()
        made += f"_BOOT_ID={BOOTS[second_boot]}\n_HOSTNAME=web01\nPRIORITY=6\nSYSLOG_IDENTIFIER=acme\n".encode()
        made += binary("MESSAGE", message) + b"N=%d\n\n" % n
    return made


def journal_of(folder: Path, numbers: range, name: str = "remote.journal") -> None:
    """A real journal file with these entries; an existing one is written on."""
    folder.mkdir(exist_ok=True)
    stream = folder.parent / "in.export"
    stream.write_bytes(exported(numbers))
    subprocess.run([REMOTE, f"--output={folder / name}", str(stream)], check=True, capture_output=True, timeout=60)


def numbers_in(home: Home) -> list[int]:
    """Which entries are in the queue."""
    return [int(dict(fields(record))["N"]) for record in home.records()]


def looked(source: Journal, cursor: Any, least: int) -> tuple[list[bytes], Any]:
    """Pages until there are so many records."""
    records: list[bytes] = []
    end = time.monotonic() + 20
    while len(records) < least and time.monotonic() < end:
        page = source.fetch(cursor)
        records += page.records
        cursor = page.cursor
    return records, cursor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hundred entries of two boots."""
    journal_of(tmp_path / "journal", range(100))
    return tmp_path / "journal"


@contextlib.contextmanager
def journal(folder: Path, home: Path, **options: Any) -> Iterator[Journal]:
    """A driver over a folder; ended at the end."""
    made = driver(poll("journal", directory=str(folder), **options), home)
    try:
        yield made
    finally:
        made.close()


def test_every_entry_of_all_boots_comes_once_with_its_lines_and_bytes(tmp_path: Path, folder: Path) -> None:
    """In order, as journalctl has them; and no more when asked again."""
    with journal(folder, tmp_path) as source:
        records, cursor = looked(source, None, 100)
        page = source.fetch(cursor)
    found = [dict(fields(record)) for record in records]
    assert [int(one["N"]) for one in found] == list(range(100))
    assert found[3]["MESSAGE"] == b"entry 3\nsecond line\n\nfourth"
    assert found[4]["MESSAGE"] == b"entry 4 \x00\xff\xfe"
    assert {one["_BOOT_ID"].decode() for one in found} == set(BOOTS)
    assert (page.records, page.cursor) == ([], cursor)


def test_a_new_start_goes_on_behind_the_last_entry(tmp_path: Path, folder: Path) -> None:
    """Twice in a row, with entries written meanwhile; the process that read before was killed."""
    home = Home(tmp_path)
    for upto in (100, 130, 131):
        with journal(folder, tmp_path) as source:
            poller = home.poller(source)
            until(lambda n=upto, p=poller: p.sources[0].step() is not None and len(home.records()) >= n)
            shutil.rmtree(tmp_path / "poll", ignore_errors=True)  # killed before it was written
        journal_of(folder, range(upto, {100: 130, 130: 131, 131: 131}[upto]))
    assert numbers_in(home) == list(range(131))


def test_an_entry_that_is_written_while_we_look_comes_at_once(tmp_path: Path, folder: Path) -> None:
    """journalctl follows."""
    with journal(folder, tmp_path) as source:
        _, cursor = looked(source, None, 100)
        journal_of(folder, range(100, 105))
        records, _ = looked(source, cursor, 5)
    assert [int(dict(fields(r))["N"]) for r in records] == list(range(100, 105))


def test_a_cursor_that_was_vacuumed_loses_nothing_that_is_there(tmp_path: Path) -> None:
    """The cursor's entry is gone: the next there is comes, and it is counted. `--after-cursor` would pass over it."""
    folder = tmp_path / "journal"
    journal_of(folder, range(20), "a.journal")
    with journal(folder, tmp_path) as source:
        _, cursor = looked(source, None, 20)
    (folder / "a.journal").unlink()
    journal_of(folder, range(30, 40), "b.journal")
    with journal(folder, tmp_path) as source:
        page: Page = source.fetch(cursor)
    assert [int(dict(fields(r))["N"]) for r in page.records] == list(range(30, 40))
    assert page.counts == {"cursor_gone": 1}


def test_where_it_begins_and_what_it_takes(tmp_path: Path, folder: Path) -> None:
    """From a time on; from now on; only what matches."""
    with journal(folder, tmp_path, start="2026-11-25T09:47:50Z") as source:
        records, _ = looked(source, None, 1)
    first = int(dict(fields(records[0]))["__REALTIME_TIMESTAMP"])
    assert first // 1_000_000 == 1_795_600_070
    with journal(folder, tmp_path, match=("N=7", "SYSLOG_IDENTIFIER=acme")) as source:
        records, _ = looked(source, None, 1)
    assert [dict(fields(r))["N"] for r in records] == [b"7"]
    with journal(folder, tmp_path, start="now") as source:
        page = source.fetch(None)
        assert page.records == []
        assert page.cursor["since"].startswith("@")


def test_pages_fit_a_frame(tmp_path: Path) -> None:
    """Many entries at once become several pages, each one frame whose cursor is its last entry."""
    folder = tmp_path / "journal"
    folder.mkdir()
    stream = tmp_path / "big.export"
    entry = b"__REALTIME_TIMESTAMP=%d\n_BOOT_ID=" + b"a" * 32 + b"\nN=%d\nMESSAGE=" + b"x" * 40_000 + b"\n\n"
    stream.write_bytes(b"".join(entry % (1_795_600_000_000_000 + n, n) for n in range(120)))
    subprocess.run(
        [REMOTE, f"--output={folder / 'b.journal'}", str(stream)], check=True, capture_output=True, timeout=60
    )
    home = Home(tmp_path)
    with journal(folder, tmp_path) as source:
        poller = home.poller(source)
        until(lambda: poller.sources[0].step() is not None and len(home.records()) == 120)
    assert numbers_in(home) == list(range(120))
    blocks = home.blocks()
    assert len(blocks) >= 3
    assert all("poll.cursor" in block.origin for block in blocks)


def test_a_journal_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """Its folder is not there; the program is not there."""
    with (
        journal(tmp_path / "none", tmp_path) as source,
        pytest.raises(TryAgain, match=r"journalctl ended with 1: .*none"),
    ):
        source.fetch(None)
    with pytest.raises(ConfigError, match="cannot be started"):
        Journal(poll("journal"), CLOCK, program="no-such-journalctl").fetch(None)


def test_a_section_for_the_journal(tmp_path: Path) -> None:
    """Matches are fields; options that journalctl would take as flags are not."""
    made = settings(
        tmp_path, '[poll.j]\ndriver = "journal"\nmatch = ["_SYSTEMD_UNIT=ssh.service", "+", "PRIORITY=3"]\n'
    )
    assert made.poll[0]["match"] == ("_SYSTEMD_UNIT=ssh.service", "+", "PRIORITY=3")
    for wrong in ('match = ["--vacuum-size=1"]', 'match = ["-f"]', 'directory = "relative"', 'direktory = "/x"'):
        with pytest.raises(ConfigError, match=r"soc\.toml:3"):
            settings(tmp_path, f'[poll.j]\ndriver = "journal"\n{wrong}\n')


@pytest.mark.slow
def test_killed_amid_reading_every_entry_comes_once_and_no_child_stays(tmp_path: Path) -> None:
    """The poller as a process, kill -9 while it reads and while entries are written; journalctl ends by itself."""
    folder, total = tmp_path / "journal", 0
    home, chance = Home(tmp_path), random.Random(3)
    for _ in range(3):
        journal_of(folder, range(total, total + 400))
        child, before = process(tmp_path, "journal", directory=str(folder)), len(home.records())
        until(lambda b=before: len(home.records()) > b)
        journal_of(folder, range(total + 400, total + 600))
        total += 600
        time.sleep(chance.uniform(0.0, 0.2))
        child.kill()
        child.wait()
    journal_of(folder, range(total, total + 1))  # what is written to nobody tells it that we are gone
    until(lambda: not _followers(folder))
    child = process(tmp_path, "journal", directory=str(folder))
    until(lambda: len(home.records()) >= total + 1)
    child.terminate()
    assert child.wait(60) == 0
    assert numbers_in(home) == list(range(total + 1))
    until(lambda: not _followers(folder))


def _followers(folder: Path) -> list[str]:
    """Command lines of programs that read the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if words[0].endswith(b"journalctl") and f"--directory={folder}".encode() in words:
                found.append(str(path))
    return found


# a journald of our own ----------------------------------------------------------------------------------------------

_WORLD = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log
[ -e /etc/machine-id ] || touch /etc/machine-id
echo 0123456789abcdef0123456789abcdef > /run/machine-id
mount --bind /run/machine-id /etc/machine-id
mount --bind "$1/log" /run/log
mount --bind "$1/sockets" /run/systemd/journal
exec /lib/systemd/systemd-journald
"""


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Path]:
    """A systemd-journald in a mount namespace; its folder, with `sockets/` and `log/journal/`."""
    root = Path("/tmp") / f"jd{os.getpid()}"  # socket paths are short
    for name in ("log", "sockets"):
        (root / name).mkdir(parents=True, exist_ok=True)
    with (tmp_path / "journald.log").open("wb") as said:
        process = subprocess.Popen(
            ["unshare", "-m", "bash", "-c", _WORLD, "bash", str(root)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    try:
        until(lambda: (root / "sockets" / "socket").exists() or process.poll() is not None)
        assert process.poll() is None, (tmp_path / "journald.log").read_text()
        yield root
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(root)


@pytest.mark.root
def test_a_running_journald_is_followed(tmp_path: Path, journald: Path) -> None:
    """Programs write to its sockets while we look: syslog, native with lines and bytes."""
    home = Home(tmp_path)
    with journal(
        journald / "log" / "journal", tmp_path, match=("SYSLOG_IDENTIFIER=acme", "SYSLOG_IDENTIFIER=sshd")
    ) as source:
        poller = home.poller(source)
        poller.sources[0].step()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as native:
            for n in range(200):
                field = binary("MESSAGE", b"entry %d\nof two lines\x00\xff" % n)
                native.sendto(b"SYSLOG_IDENTIFIER=acme\nN=%d\n" % n + field, str(journald / "sockets" / "socket"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
            line = b"<86>Nov 25 18:00:10 sshd[77]: Failed password for root from 203.0.113.9 port 4 ssh2"
            syslog.sendto(line, str(journald / "sockets" / "dev-log"))
        until(lambda: poller.sources[0].step() is not None and len(home.records()) == 201)
    found = [dict(fields(record)) for record in home.records()]
    ours = [one for one in found if one["SYSLOG_IDENTIFIER"] == b"acme"]
    assert [int(one["N"]) for one in ours] == list(range(200))
    assert ours[7]["MESSAGE"] == b"entry 7\nof two lines\x00\xff"
    [sshd] = [one for one in found if one["SYSLOG_IDENTIFIER"] == b"sshd"]
    assert sshd["MESSAGE"] == b"Failed password for root from 203.0.113.9 port 4 ssh2"
    assert sshd["SYSLOG_PID"] == b"77"
