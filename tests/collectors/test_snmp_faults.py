"""The SNMP engine dies at every step of writing its boots; replays are recognised by what it kept."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from soc.collectors.snmp import engine_path
from tests import programs
from tests.collectors.running import MemoryQueue, running, total, until
from tests.collectors.test_snmp import asking, client, events, security, spec, users_file

TOP = Path(__file__).parents[2]
OTHER_ENGINE = "0x8000000001020304"


def opened(path, mutant="", under=()):
    """What the engine said: (identity, boots), or None when it died before."""
    command = [*under, sys.executable, "-m", "tests.collectors.snmp_engine_program", str(path), mutant]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=TOP, timeout=60, check=False)
    words = done.stdout.split()
    return (words[0], int(words[1])) if words else None


def tool(name):
    return programs.program(name)


def dying(call, path, nth):
    """strace kills it as it enters the n-th call that has to do with this file or its folder."""
    under = [tool("strace"), "-qq", "-f", "-o", os.devnull, "-P", str(path.parent), "-P", f"{path}.new"]
    return [*under, "-P", str(path), "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={nth}"]


def no_boots_come_twice(path, mutant=""):
    """Whoever was told some boots is never told them again, whatever happened in between."""
    told = []
    for call in ("openat", "write", "fsync", "rename", "/.*sync"):
        for nth in (1, 2):
            told.append(opened(path, mutant, dying(call, path, nth)))
            told.append(opened(path, mutant))
    said = [boots for boots in told if boots is not None]
    assert None in told, "nothing died: the test reaches no step of the writing"
    assert len(said) >= 10
    return len({identity for identity, _ in said}) == 1 and [b for _, b in said] == sorted({b for _, b in said})


def test_no_boots_come_twice_though_it_dies_at_every_step(tmp_path):
    """Killed while it opens, writes, syncs and renames: the boots that were said rise, the identity stays."""
    assert no_boots_come_twice(tmp_path / "users.engine.json")


def test_boots_that_are_not_written_are_found_out(tmp_path):
    """The mutant that forgets its boots would make old informs good again."""
    assert not no_boots_come_twice(tmp_path / "users.engine.json", "forgets")


def calls(path, mutant=""):
    """Its system calls about the file, in order, until it speaks."""
    trace = path.with_name("trace")
    under = [
        tool("strace"),
        "-f",
        "-qq",
        "-o",
        str(trace),
        "-e",
        "trace=write,fsync,fdatasync,rename,renameat2,renameat",
    ]
    assert opened(path, mutant, under)
    lines = [line.split(None, 1)[1] for line in trace.read_text().splitlines()]
    names = [line.partition("(")[0] for line in lines]
    renamed = next(i for i, name in enumerate(names) if name.startswith("rename"))
    spoke = next(i for i, line in enumerate(lines) if line.startswith("write(1,"))
    return names, renamed, spoke


def is_durable_first(names, renamed, spoke):
    """Whether the content is synced before the rename, and the folder before anybody hears of it."""
    synced = [i for i, name in enumerate(names) if name in ("fsync", "fdatasync")]
    return any(i < renamed for i in synced) and any(renamed < i < spoke for i in synced)


def test_boots_are_synced_before_they_are_used(tmp_path):
    """Content, rename, folder, and only then the first word; a mutant without syncs is found out."""
    assert is_durable_first(*calls(tmp_path / "users.engine.json"))
    assert not is_durable_first(*calls(tmp_path / "mutant.engine.json", "unsynced"))


def captured(folder, tool, *options):
    """A datagram of net-snmp, as it came over the wire."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(30)
        assert client(folder, tool, sock.getsockname()[1], *options).returncode == 0
        return sock.recv(65536)


def test_a_replay_is_refused_and_counted(tmp_path):
    """A trap of net-snmp from before its agent started again, after one from then; also when we start again."""
    queue = MemoryQueue()
    users = users_file(tmp_path)
    agent = ("-e", OTHER_ENGINE, *security("SHA-256.AES"))
    old, new = (captured(tmp_path, "snmptrap", *agent, "-Z", clock) for clock in ("3,500", "4,7"))  # boots, time
    for turn in (1, 2):
        with running([spec(users)], queue, tmp_path / "c.json") as (collector, ports), asking(ports["traps"]) as sock:
            sock.send(new if turn == 1 else old)
            sock.send(old)
            assert until(lambda turn=turn: total(collector, "queued") == 2 * turn)
            [row] = collector.counters()
        assert row["unbelieved"] == {"outside of the time window": 2 * turn - 1}
    assert [isinstance(event, str) for event in events(queue)] == [False, True, True, True]
    assert engine_path(users).exists()


def test_an_inform_to_another_engine_is_refused_and_counted(tmp_path):
    """We are not the engine that it believes to talk to; the report tells ours."""
    queue = MemoryQueue()
    with running([spec(users_file(tmp_path))], queue, tmp_path / "c.json") as (collector, ports):
        failed = client(tmp_path, "snmpinform", ports["traps"], "-e", OTHER_ENGINE, *security("SHA-256.AES"))
        assert until(lambda: total(collector, "queued") > 0)
    [row] = collector.counters()
    assert failed.returncode == 1
    assert row["unbelieved"] == {"an inform to another engine": row["queued"]}
