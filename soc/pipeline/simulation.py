"""The simulated province in a home of its own: made once, sent as real packets, scored against its truth."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from soc import config
from soc.config import Settings
from soc.connectors.national import pki
from soc.errors import ConfigError, NotFound
from soc.model.clock import Clock, FixedClock, SystemClock
from soc.model.position import Position
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from soc.pipeline import places
from soc.pipeline.accounting import HISTORY
from soc.pipeline.worker import flag_simulated, merged
from soc.registry import Registry
from soc.simulate import history, province, truth
from soc.simulate.run import Sender, truth_path
from soc.simulate.score import score as compare
from soc.simulate.traffic import DEFAULT_RATE
from soc.store import files
from soc.store.events import EventStore

RECEIVER_PORT = 8643
DAYS_AT_ONCE = 30
"""Days in one append: frames of few rows and many columns cost every reader memory until they are sealed."""
ROUNDS_A_START = 7
"""A start after a stop begins with attackers that the last one did not reach, so that nothing looks like a repeat."""
_SETTINGS = """\
# A simulated site: made by `make run` (soc up --simulate). Everything in it is made up and says so.
[site]
id = "{site}"
name = "{name}"
simulated = true

[national.reference]
# The reference national receiver on this machine; no official centre is spoken to.
url = "https://127.0.0.1:{port}"
ca = "national/pki/{ca}"
certificate = "national/pki/{certificate}"
key = "national/pki/{key}"
minimum_level = "high"
sender_code = "H40"
sender_name = "{name}"
"""


Progress = Callable[[int, int, int], None]
"""Called with days done, days in all and events stored so far."""


def prepare(home: Path, *, seed: int, progress: Progress) -> Settings:
    """Make what is missing: settings, registry, certificates, months of history; then the settings, loaded.

    `progress` is called while history is written. Raises ConfigError when `home` holds a site that is not simulated.
    """
    facts = _facts(home, seed)
    epoch = FixedClock(facts["epoch_ns"])
    made = province.build(facts["seed"], epoch)
    certificates = pki.ensure(home / "national" / "pki", SystemClock())
    _settings_file(home, certificates)
    settings = config.load(home=home)
    if not settings.simulated:
        raise ConfigError(f"{home} holds a site that is not simulated", hint="choose another SOC_HOME")
    if not (home / places.REGISTRY / "simulated.yml").is_file():
        made.write_registry(home / places.REGISTRY)
    if not facts.get("history"):
        write_history(settings, made, facts["seed"], epoch, progress)
        _save_facts(home, {**facts, "history": True})
    return settings


def _facts(home: Path, seed: int) -> dict[str, Any]:
    """Seed and beginning of the simulation in this home, so that starting again goes on with the same province."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileNotFoundError):
        found: dict[str, Any] = orjson.loads((home / "simulation.json").read_bytes())
        return found
    facts = {"seed": seed, "epoch_ns": SystemClock().now_ns()}
    _save_facts(home, facts)
    return facts


def _save_facts(home: Path, facts: Mapping[str, Any]) -> None:
    files.replace(home / "simulation.json", orjson.dumps(facts))


def _settings_file(home: Path, certificates: pki.Pki) -> None:
    """Write soc.toml, or move the receiver's port when another program has taken it since."""
    path = home / "soc.toml"
    if not path.exists():
        text = _SETTINGS.format(
            site=province.SITE, name=province.PROVINCE_NAME, port=_free_port(RECEIVER_PORT),
            ca=certificates.authority.name, certificate=certificates.client.certificate.name,
            key=certificates.client.key.name,
        )  # fmt: skip
        path.write_text(text, "utf-8")
        return
    text = path.read_text("utf-8")
    found = re.search(r"https://127\.0\.0\.1:(\d+)", text)
    if found and (port := _free_port(int(found.group(1)))) != int(found.group(1)):
        path.write_text(text.replace(found.group(0), f"https://127.0.0.1:{port}"), "utf-8")


def _free_port(wanted: int) -> int:
    for port in range(wanted, wanted + 20):
        with socket.socket() as sock, suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            return port
    return wanted


def write_history(settings: Settings, made: province.Province, seed: int, clock: Clock, progress: Progress) -> int:
    """Store the past through the same parsers and registry, receipt times and all; how many events were new.

    Written again after a crash, what is stored already is skipped by its position.
    """
    parsers, registry = places.load_parsers(settings), places.load_registry(settings)
    store = EventStore(places.events(settings), clock, parsers.fields, writer=HISTORY)
    try:
        stored = 0
        days = list(history.days(made, seed=seed, clock=clock))
        for first in range(0, len(days), DAYS_AT_ONCE):
            some = days[first : first + DAYS_AT_ONCE]
            stored += _append(store, parsers, registry, [block for blocks in some for block in blocks])
            progress(first + len(some), len(days), stored)
        store.roll()
    finally:
        store.close()
    return stored


def _append(store: EventStore, parsers: ParserSet, registry: Registry, blocks: Sequence[RawBlock]) -> int:
    parsed = (parsers.parse(block, ParserState(), int(block.receipt_ns[-1]))[0] for block in blocks)
    whole = merged(batch for batches in parsed for batch in batches)
    upto = {block.partition: Position(block.node, block.log, block.seq) for block in blocks}
    return store.append([registry.enrich(flag_simulated(batch)) for batch in whole], upto)


def sender(settings: Settings, clock: Clock, ports: Mapping[str, int], *, rate: float | None = None) -> Sender:
    """The province's devices, aimed at these listeners. Raises NotFound in a home without a simulation."""
    facts = _known(settings)
    starts = facts.get("starts", 0)
    _save_facts(settings.home, {**facts, "starts": starts + 1})
    made = province.build(facts["seed"], FixedClock(facts["epoch_ns"]))
    return Sender(
        made,
        ports,
        seed=facts["seed"],
        clock=clock,
        truth=truth_path(settings.home),
        rate=rate or DEFAULT_RATE,
        first_round=starts * ROUNDS_A_START,
    )


def score(settings: Settings, alerts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What was raised against what was done. Raises NotFound when nothing was simulated here."""
    _known(settings)
    path = truth_path(settings.home)
    if not path.exists():
        raise NotFound("the simulator has done nothing here yet", hint="make run, and wait a minute")
    return compare(truth.read(path), alerts, now_us=SystemClock().now_ns() // 1000).to_document()


def _known(settings: Settings) -> dict[str, Any]:
    try:
        found: dict[str, Any] = orjson.loads(settings.path("simulation.json").read_bytes())
    except FileNotFoundError:
        raise NotFound(f"{settings.home} holds no simulation", hint="make run makes one") from None
    return found
