"""What tshark says of a capture, and what we say of it."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from soc.parsers import packets

CAPTURES = Path(__file__).parent / "captures"


def capture(name: str) -> Path:
    """A capture of real programs (see docs/packets.md)."""
    return CAPTURES / name


@cache
def ours(path: Path) -> list[dict[str, Any]]:
    """Our records of a file."""
    return of(path.read_bytes())


def of(data: bytes) -> list[dict[str, Any]]:
    """Our records of the octets of a capture file."""
    return [json.loads(record) for record in packets.records(io.BytesIO(data))]


def kind(records: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Those of one kind."""
    return [record for record in records if record["kind"] == name]


def tshark(path: Path, *fields: str, show: str = "", options: Sequence[str] = ()) -> list[dict[str, list[str]]]:
    """The values of these fields of each packet, every occurrence of them."""
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a"]
    command += ["-E", "aggregator=|", *options]
    for field in fields:
        command += ["-e", field]
    if show:
        command += ["-Y", show]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return [{name: value.split("|") if value else [] for name, value in zip(fields, row, strict=True)} for row in rows]
