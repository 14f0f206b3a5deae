"""Kill -9 of the collector behind its HTTP listener: what was answered 2xx is in the log, once."""

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from soc.store.queue import LogReader
from tests import programs
from tests.collectors.running import until

TOP = Path(__file__).parents[2]
HOST = "127.7.4.2"
BATCH = 5


@contextlib.contextmanager
def collector(root, *options, port=0, under=()):
    """A collector in a process of its own, and its port; dead at the end, however."""
    command = [sys.executable, "-m", "tests.collectors.collect_program", str(root), "http", HOST, str(port)]
    program = subprocess.Popen(
        [*under, *command, *options],
        stdout=subprocess.PIPE, cwd=TOP, env={**os.environ, "PYTHONPATH": str(TOP)}, start_new_session=True,
    )  # fmt: skip
    try:
        yield program, int(program.stdout.readline())
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
        program.stdout.close()


class Senders:
    """Each sends bulk requests one after the other, until the collector is gone; what was sent and what was taken."""

    def __init__(self, port, name, n):
        self.sent, self.acknowledged, self.faults = set(), set(), []
        self._threads = [threading.Thread(target=self._guarded, args=(port, f"{name}-{i}")) for i in range(n)]
        for thread in self._threads:
            thread.start()

    def _guarded(self, port, name):
        try:
            self._send(port, name)
        except BaseException as error:
            self.faults.append(error)

    def _send(self, port, name):
        connection = http.client.HTTPConnection(HOST, port, timeout=30)
        for n in range(100_000):
            mine = [f"{name}-{n}-{i}" for i in range(BATCH)]
            body = "".join(f'{{"create":{{"_index":"i"}}}}\n{{"n":"{one}"}}\n' for one in mine)
            self.sent.update(mine)
            try:
                connection.request("POST", "/_bulk", body, {"Content-Type": "application/x-ndjson"})
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                break
            if answer.status == 200 and not json.loads(text)["errors"]:
                self.acknowledged.update(mine)
        connection.close()

    def end(self):
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()
        assert not self.faults


def in_log(root):
    blocks = LogReader(root, "raw").read({}, None, 1_000_000)
    return [json.loads(record.split(b"\n")[1])["n"] for block in blocks for record in block.records()]


def judge(root, sent, acknowledged, in_flight):
    """Nothing taken is lost, nothing is there twice, nothing is invented; open is only what had no answer."""
    stored = in_log(root)
    assert acknowledged <= set(stored) <= sent
    assert len(stored) == len(set(stored))
    assert len(set(stored) - acknowledged) <= in_flight


def test_what_was_acknowledged_survives_kill_9(tmp_path):
    """Four senders, killed in mid flight three times, after so many answers and not after so much time."""
    dice = random.Random(4)
    acknowledged, sent = set(), set()
    for turn in range(3):
        with collector(tmp_path) as (program, port):
            senders = Senders(port, turn, 4)
            wanted = dice.randrange(100, 400)
            assert until(lambda wanted=wanted, senders=senders: len(senders.acknowledged) >= wanted, 60)
            os.kill(program.pid, signal.SIGKILL)
            senders.end()
        acknowledged |= senders.acknowledged
        sent |= senders.sent
    judge(tmp_path, sent, acknowledged, 3 * 4 * BATCH)


def killed_at(root, call, nth, mutant=""):
    """Killed as the thread of the group commit enters the n-th call of this name; what had been sent and taken."""
    strace = programs.program("strace")
    options = [strace, "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}"]
    under = [*options, "-e", f"inject={call}:signal=SIGKILL:when={nth}"]
    with collector(root, *([mutant] if mutant else []), under=under) as (program, port):
        senders = Senders(port, call, 2)
        program.wait(60)
        senders.end()
    return senders


WRITE = "pwritev,pwritev2"
"""Of frames; which of the two is the C library's choice."""


# Waking the HTTP thread is a sendto of the commit's, an answer is one of the HTTP thread's; strace counts for each.
@pytest.mark.parametrize(
    ("call", "nth"),
    [(WRITE, 1), (WRITE, 3), ("fdatasync", 1), ("fdatasync", 4), ("sendto", 1), ("sendto", 4)],
)
def test_death_at_each_step_of_a_commit(tmp_path, call, nth):
    """Before the write, between write and sync, after it and before the answer."""
    senders = killed_at(tmp_path, call, nth)
    assert senders.sent
    judge(tmp_path, senders.sent, senders.acknowledged, 2 * BATCH)
    with collector(tmp_path) as (program, _):  # starts again over what is there, and counts it
        program.send_signal(signal.SIGTERM)
        queued = int(program.stdout.readline().split()[0])
    assert queued == len(in_log(tmp_path))
    assert senders.acknowledged <= set(in_log(tmp_path)) <= senders.sent


def test_an_answer_before_the_sync_is_caught(tmp_path):
    """The mutant of the test above: a collector that says 201 first."""
    senders = killed_at(tmp_path, WRITE, 2, "early")
    assert senders.acknowledged - set(in_log(tmp_path))
