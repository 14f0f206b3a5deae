"""Audit events that lie over several frames, and a worker that is killed: each record says what it would have said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.world import World

HEAD = "msg=audit(1795143600.1:{n}):"
SYSCALL = (
    f'type=SYSCALL {HEAD} arch=c000003e syscall=59 success=yes ppid=7 pid={{n}} uid=33 euid=0 comm="cp" '
    'exe="/usr/bin/cp" key="proc"'
)
FIRST, SECOND = f'type=EXECVE {HEAD} argc=3 a0="cp" a1="/etc/{{n}}"', f'type=EXECVE {HEAD} a2="/tmp/{{n}}"'
PATH = f'type=PATH {HEAD} item=0 name="/usr/bin/cp" nametype=NORMAL'
END = f"type=PROCTITLE {HEAD} proctitle=6370"
SAID = ("event.code", "linux.auditd.type", "process.executable", "process.command_line", "process.pid", "user.id")


def records(n: int, *shapes: str) -> list[bytes]:
    """Records of event `n`."""
    return [shape.format(n=n).encode() for shape in shapes]


FRAMES = (
    records(1, SYSCALL) + records(2, SYSCALL),
    records(1, FIRST) + records(2, FIRST, SECOND),
    records(1, SECOND, PATH) + records(2, PATH, END),
    records(1, END),
)


def said(world: World) -> list[tuple[Any, ...]]:
    """What each event says of its process, by position."""
    events = sorted(world.events(), key=lambda event: event["soc.position"])
    return [tuple(event.get(name) for name in SAID) for event in events]


@pytest.fixture
def undisturbed(tmp_path: Path, content_once: None) -> list[tuple[Any, ...]]:
    """What a worker that nobody kills makes of the frames, one at a time."""
    world = World.make(tmp_path / "undisturbed")
    for frame in FRAMES:
        world.receive(frame)
        world.work()
    found = said(world)
    commands = [row[3] for row in found if row[1] == "EXECVE"]
    assert commands == ["cp /etc/1", "cp /etc/2 /tmp/2", "cp /etc/2 /tmp/2", "cp /etc/1 /tmp/1"]
    assert {row[2] for row in found} == {"/usr/bin/cp"}
    return found


@pytest.mark.parametrize("moment", ["before the state", "before the store", "after the store"])
def test_kill_9_neither_doubles_nor_loses_what_an_audit_event_says(
    tmp_path: Path, undisturbed: list[tuple[Any, ...]], moment: str
) -> None:
    """With each frame but the first: amid a command of two records, where one event ends, where the last one does."""
    world = World.make(tmp_path / "killed")
    for n, frame in enumerate(FRAMES):
        world.receive(frame)
        if n:
            world.killed(moment)
        world.work()
    assert said(world) == undisturbed
