"""`soc up` and the processes it starts: each runs until it is told to stop, and leaves its stores in order.

What only one of them needs is imported by that one: a collector without the databases and the API is 60 MiB smaller.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from soc import pipeline
from soc.collectors import memory
from soc.collectors.authority import Issued, SiteAuthority
from soc.collectors.collect import Collector, Watermarks
from soc.collectors.listeners import ListenerSpec, Tls
from soc.collectors.packet_asks import Asks
from soc.collectors.poll.runner import Poller
from soc.collectors.pollers import polled
from soc.collectors.relay import Link, Relay, join
from soc.config import Listen, Sense, Settings
from soc.connectors.drivers.nftables import DemoWorld
from soc.errors import ConfigError, SocError, TryAgain, nearest
from soc.model.clock import VIETNAM, Clock, SystemClock
from soc.model.daily import Daily
from soc.pipeline import places
from soc.pipeline.states import STATE, read_state, read_states, state_file
from soc.store.queue import trim

STEP_S = 0.1
"""Pause of an idle worker; the collector commits every 50 ms."""
STATE_S = 2.0
EASE_S = 60.0
BUDGETS_MIB = {"collect": 150, "work": 400, "correlate": 400, "compact": 400, "lookback": 500, "serve": 500}
"""Resident memory that a process stays below with 3,700 rules at 10,000 events a second; `soc status` shows both."""
COMPACT_S = 15.0
IDLE_S = 0.5
"""Between two looks for something to look back for."""
READY_S = 60.0
GIVE_UP = 3
STEADY_S = 60.0
"""Who ran so long before it died is started again at once."""
STOP_S = 20.0
RELOAD_S = 10.0
SUPERVISED = "SOC_SUPERVISED"
FRUGAL = {"MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "jemalloc"}
"""For the processes it starts, unless somebody set them: what was used is given back, and threads share their heaps.
Measured on `soc compact`: 514 MiB at most, 336 afterwards without, 398 and 199 with."""
SENSE = "sense"
_log = logging.getLogger("soc.up")

# --- each process ----------------------------------------------------------------------------------------------------


def collect(settings: Settings, read_again: Callable[[], Settings] | None = None) -> None:
    """Listen until stopped. Raises ConfigError when a port cannot be had, or a listener's product is none.

    On SIGHUP `read_again` gives the settings of now, and the listeners become those; no connection is dropped.
    """
    _check_products(settings)
    with _running(settings, "collect") as me:
        log = places.open_log(settings, places.RAW, "collect", me.clock, max_bytes=settings.queue_max_bytes)
        specs = [spec_of(settings, listen) for listen in settings.listen]
        memory.keep()
        memory.give_back()  # what reading the modules and the settings left
        marks = Watermarks(settings.queue_high, settings.queue_low)
        collector = Collector(specs, log, me.clock, counters_path=places.counters(settings), watermarks=marks)
        again = _Again(me, settings, read_again or (lambda: settings), collector.pressure)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGHUP, lambda *_: again.asked.set())
        try:
            collector.run(me.stop, lambda ports: me.ready(ports=_told(settings, ports)), again)
        finally:
            log.close()


RELOAD = "reload"
"""What the collector says of its last reload: `at_us`, `fault`, `hint`, `restart` (settings that wait for one)."""


class _Again:
    """Reads the settings again when it is asked to, and says what came of it in the log and the state file."""

    def __init__(
        self, me: _Process, settings: Settings, read: Callable[[], Settings], counts: Callable[[], dict[str, int]]
    ) -> None:
        self.asked = threading.Event()
        self._counts = counts
        self._me, self._began, self._next, self._read = me, settings, settings, read

    def wanted(self) -> list[ListenerSpec] | None:
        """The listeners of the file as it is now, when somebody asked; now and then the state is told."""
        self._me.tell_when_due(self._counts())
        if not self.asked.is_set():
            return None
        self.asked.clear()
        try:
            self._next = self._read()
            _check_products(self._next)
        except SocError as error:
            self.refused(error)
            return None
        return [spec_of(self._next, listen) for listen in self._next.listen]

    def done(self, ports: dict[str, int]) -> None:
        """The listeners are those of the file."""
        waits = _waits_for_restart(self._began, self._next)
        _log.info("reloaded: %s", ", ".join(f"{name} {port}" for name, port in ports.items()) or "no listener")
        if waits:
            _log.warning("these hold from a restart on: %s", ", ".join(waits))
        self._tell("", "", waits)
        self._me.ready(ports=_told(self._next, ports))

    def refused(self, error: SocError) -> None:
        """The file is wrong, or cannot be had; what was in force stays in force."""
        _log.error("not reloaded, everything stays as it was: %s", error)
        self._tell(str(error), error.hint or "", [])
        self._me.ready()

    def _tell(self, fault: str, hint: str, restart: list[str]) -> None:
        at_us = self._me.clock.now_ns() // 1000
        self._me.facts[RELOAD] = {"at_us": at_us, "fault": fault, "hint": hint, "restart": restart}


def _waits_for_restart(began: Settings, now: Settings) -> list[str]:
    """Names of settings that differ and are no listener's."""
    before = {row.name: row.value for row in began.shown()}
    after = {row.name: row.value for row in now.shown()}
    names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return sorted(name for name in names if not name.startswith("listen."))


def reload(settings: Settings) -> dict[str, Any]:
    """Have the running collector read its settings again; what it says of that, with its ports.

    Raises TryAgain when none is running or it does not answer, ConfigError with the place when it refused the file.
    """
    before = read_state(state_file(settings, "collect")) or {}
    if before.get("state") != "running" or not _is_alive(before.get("pid", 0)):
        raise TryAgain("no collector is running here", hint="soc up starts it")
    was = before.get(RELOAD, {}).get("at_us", 0)
    os.kill(before["pid"], signal.SIGHUP)
    web = read_state(state_file(settings, "serve")) or {}
    if web.get("state") == "running" and _is_alive(web.get("pid", 0)):
        os.kill(web["pid"], signal.SIGHUP)  # it reads its certificate again
    deadline = time.monotonic() + RELOAD_S
    while time.monotonic() < deadline:
        state = read_state(state_file(settings, "collect")) or {}
        said = state.get(RELOAD, {})
        if said.get("at_us", 0) > was:
            if said["fault"]:
                raise ConfigError(f"not reloaded, everything stays as it was: {said['fault']}", hint=said["hint"])
            return {**said, "ports": state.get("ports", {})}
        time.sleep(0.05)
    raise TryAgain(f"the collector did not answer within {RELOAD_S:.0f} s", hint="see logs/collect.log in SOC_HOME")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return pid > 0


def poll(settings: Settings) -> None:
    """Ask every [poll.<name>] until stopped. Raises ConfigError when there is none, or one that can never work."""
    if not settings.poll:
        raise ConfigError("no [poll.<name>] in soc.toml", hint="docs/poll.md shows one for each kind of source")
    with _running(settings, "poll") as me:
        log = places.open_log(settings, places.RAW, places.POLL, me.clock, max_bytes=settings.queue_max_bytes)
        poller = Poller(
            [polled(each, settings.home, me.clock) for each in settings.poll],
            settings.site_id, log, me.clock,
            folder=settings.path("run", "poll"), counters_path=places.poll_counters(settings),
        )  # fmt: skip

        def tell() -> None:
            rows = me.facts[places.POLLS] = poller.health()
            me.tell_when_due(_poll_sums(rows))

        try:
            me.ready(**{places.POLLS: poller.health()})
            poller.run(me.stop, tell)
        finally:
            log.close()


def sense(settings: Settings, entry: Sense) -> Mapping[str, Any]:
    """Follow the packets of an interface until stopped; what was seen.

    Raises ConfigError for an interface or a filter that is none, PermissionRefused without CAP_NET_RAW, SocError when
    the interface goes away.
    """
    with _running(settings, places.sense_node(entry.name)) as me:
        sensing = pipeline.Sensing(settings, entry, me.clock)
        thread = threading.Thread(target=sensing.run, args=(me.stop, me.ready))
        thread.start()
        while thread.is_alive():
            if me.facts:
                me.tell_when_due(sensing.counts)
            if sensing.fault:
                me.stop.set()
            thread.join(STEP_S)
        if sensing.fault:
            raise SocError(sensing.fault, hint="soc sense IFACE --name NAME starts it again")
        return sensing.counts


def _poll_sums(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    sums = {name: sum(row[name] for row in rows) for name in ("pages", "records", "repeated", "errors")}
    return {"sources": len(rows), "failing": sum(row["state"] == "failing" for row in rows), **sums}


def _check_products(settings: Settings) -> None:
    """A product that no parser has would bury every line of its files."""
    if not any(listen.product for listen in settings.listen):
        return
    known = places.load_parsers(settings).products
    for listen in settings.listen:
        if listen.product and listen.product not in known:
            raise ConfigError(
                f"[listen.{listen.name}] product: no parser '{listen.product}'{nearest(listen.product, known)}",
                hint="parsers/ has one file for each; a site's own lie in [content] roots",
            )


def spec_of(settings: Settings, listen: Listen) -> ListenerSpec:
    """A `[listen.<name>]` as the collectors take it; its files lie relative to SOC_HOME."""
    tls = None
    if listen.certificate:
        authority = settings.path(listen.clients_ca) if listen.clients_ca else None
        tls = Tls(settings.path(listen.certificate), settings.path(listen.key), authority, listen.clients)
    return ListenerSpec(
        name=listen.name,
        protocol=listen.protocol,
        host=listen.host,
        port=listen.port,
        site=listen.site or settings.site_id,
        max_bytes=listen.max_bytes,
        allow=listen.allow,
        rate=listen.rate,
        burst=listen.burst,
        rates=listen.rates,
        zone=listen.zone,
        system=listen.system,
        fallback=listen.fallback,
        tls=tls,
        tokens=settings.path(listen.tokens) if listen.tokens else None,
        users=settings.path(listen.users) if listen.users else None,
        paths=listen.paths,
        product=listen.product,
        multiline=listen.multiline,
        multiline_wait_s=listen.multiline_wait_s,
        guarded=settings.home,
    )


def _told(settings: Settings, ports: Mapping[str, int]) -> dict[str, int]:
    for listen in settings.listen:
        if listen.port and ports.get(listen.name, listen.port) != listen.port:
            print(f"{listen.name}: port {listen.port} is taken, listening on {ports[listen.name]}", flush=True)
    return dict(ports)


def work(settings: Settings, index: int = 0) -> None:
    """Parse, enrich, store and match until stopped."""
    with _running(settings, f"work{index}") as me:
        worker = pipeline.Worker(settings, me.clock, index)
        for refused in worker.detections.refused:
            _log.warning("%s:%s: %s is refused: %s", refused.path, refused.line, refused.id, refused.reason)
        me.ready(rules=worker.detections.loaded, refused=len(worker.detections.refused))
        _steps(me, worker.step, lambda: worker.counts)
        worker.close()


def correlate(settings: Settings, index: int = 0) -> None:
    """Correlate and watch for silence until stopped; one of `[detections] correlators`.

    Raises ConfigError when there are not so many, TryAgain while processes of another number still run.
    """
    from soc.pipeline.sharing import opened

    with _running(settings, places.correlate_node(index)) as me, contextlib.ExitStack() as stack:
        correlating = opened(settings, me.clock, index, stack)
        me.ready()
        _steps(me, correlating.step, correlating.told)
        correlating.close()


def _steps(me: _Process, step: Callable[[], int], counts: Callable[[], Mapping[str, Any]]) -> None:
    """Call a step until stopped; a store that takes nothing at the moment is said once and asked again."""
    said = ""
    while not me.stop.is_set():
        began = time.monotonic()
        try:
            busy, said = step(), ""
        except SocError as error:
            if error.exit_code != TryAgain.exit_code:
                raise
            busy, said = 0, _once(str(error), said)
        me.tell_when_due(counts())
        me.ease()
        # Small steps are gathered: every append is one fdatasync, whatever it holds.
        me.stop.wait(max(STEP_S - (time.monotonic() - began), 0.0) if busy < 64 else 0.0)


def _once(text: str, said: str) -> str:
    if text != said:
        _log.error("%s", text)
    return text


def compact(settings: Settings) -> None:
    """Seal and merge files, and let passed queue segments go, until stopped."""
    from soc.store.events import EventStore

    with _running(settings, "compact") as me:
        fields = places.load_parsers(settings).fields
        store = EventStore(places.events(settings), me.clock, fields)
        me.ready()
        said = ""
        while not me.stop.is_set():
            try:
                # First what frees room: sealing needs some, and a full disk must not keep the queue from shrinking.
                trim(places.queue(settings), places.RAW, places.passed(store.cursors(), places.RAW))
                report = store.compact()
                me.tell_when_due({"sealed_rows": report.sealed_rows, "merged": report.segments_merged})
                said = ""
            except SocError as error:
                if error.exit_code != TryAgain.exit_code:
                    raise
                said = _once(str(error), said)
            memory.give_back()
            me.stop.wait(COMPACT_S)
        store.close()


def lookback(settings: Settings) -> None:
    """Work off backtests and hunts until stopped, behind everything else that wants the processor."""
    from soc.pipeline.lookback.jobs import Jobs

    with _running(settings, "lookback") as me:
        os.nice(10)
        jobs = Jobs(places.lookbacks(settings), me.clock)
        me.ready()
        while not me.stop.is_set():
            if any(jobs.is_open(id) for id in jobs.ids()):
                _look_back(me)
            me.tell_when_due({})
            me.stop.wait(IDLE_S)


def _look_back(me: _Process) -> None:
    """Until nothing is open. Rules, parsers and store are loaded for it and let go after it."""
    from soc.pipeline.lookback.runner import Runner

    runner = Runner(me.settings, me.clock)
    said = ""
    try:
        busy = True
        while busy and not me.stop.is_set():
            try:
                busy, said = runner.step(me.stop), ""
            except TryAgain as error:
                said = _once(str(error), said)
                me.stop.wait(IDLE_S)
            me.tell_when_due(runner.counts)
    finally:
        runner.close()


def serve(settings: Settings) -> None:
    """The API, and alerts, tickets, playbooks, outbox and imports behind it, until stopped."""
    from soc.pipeline.services import NO_GATEWAY
    from soc.web import server

    with _running(settings, "serve") as me, contextlib.ExitStack() as stack:
        world, why_not = stack.enter_context(_world()) if settings.simulated else (None, NO_GATEWAY)
        services = pipeline.Services.open(settings, me.clock, world=world, why_not=why_not)
        stack.callback(services.close)
        _first_people(services)
        unix = server.open_unix_socket(settings.socket)
        stack.callback(unix.close)
        tcp = _listen("web", settings.web_host, settings.web_port)
        stack.callback(tcp.close)
        threads = services.background(me.stop)

        def alive() -> None:
            me.tell_when_due({})
            me.ease()

        again = threading.Event()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGHUP, lambda *_: again.set())
        me.ready(socket=str(settings.socket), port=tcp.getsockname()[1])
        try:
            server.serve(services, sock=unix, tcp=tcp, stop=me.stop, alive=alive, again=again)
        finally:
            me.stop.set()
            for thread in threads:
                thread.join(STOP_S)


def hub(settings: Settings) -> None:
    """The centre's door for distant units, until stopped."""
    from soc.collectors.hub import Hub, Intake

    with _running(settings, "hub") as me:
        sock = _hub_socket(settings.relay_host or "127.0.0.1", settings.relay_port)
        intake = Intake(
            places.queue(settings), places.relay_counters(settings), me.clock, max_bytes=settings.queue_max_bytes
        )
        authority = places.relay_authority(settings, me.clock)
        me.ready(port=sock.getsockname()[1])
        asks = Asks(places.packet_asks(settings), me.clock)
        Hub(authority, intake, places.relay_health(settings), me.clock, asks).serve(sock, me.stop)


def _hub_socket(host: str, port: int) -> socket.socket:
    """The port that the units' settings name, or none: on another one nobody would find us. Raises ConfigError."""
    from soc.web import server

    try:
        return server.open_tcp_socket(host, port)
    except ConfigError as error:
        hint = f"units call this port: free it, or change it here and in each unit's url ([relay] port = {port} now)"
        raise ConfigError(f"the hub {error}", hint=hint) from error


def relay(settings: Settings) -> None:
    """A distant unit: hand the raw log to the centre until stopped. Raises ConfigError without [relay] url."""
    from soc.pipeline import flow_packets

    with _running(settings, "relay") as me:
        sender = Relay(
            places.queue(settings),
            relay_link(settings),
            me.clock,
            max_bytes_s=settings.relay_max_kib_s * 1024,
            times=Daily(settings.relay_windows, ZoneInfo(settings.relay_zone) if settings.relay_zone else VIETNAM),
            health=lambda: {"processes": read_states(settings)},
            packets=lambda asked: flow_packets.answer(settings, asked),
        )
        me.ready(centre=settings.relay_url)
        thread = threading.Thread(target=sender.run, args=(me.stop,))
        thread.start()
        while thread.is_alive():
            me.tell_when_due({**sender.counts, "fault": sender.fault})
            thread.join(STATE_S)


def relay_link(settings: Settings) -> Link:
    """How the centre is reached. Raises ConfigError when the settings do not say."""
    if not settings.relay_url:
        raise ConfigError("[relay] url is not set", hint="soc relay join URL TOKEN tries it; soc.toml keeps it")
    return Link(settings.relay_url.rstrip("/"), settings.path("relay"))


def relay_join(settings: Settings, url: str, token: str) -> str:
    """Trade a token for a certificate below SOC_HOME/relay; the unit's name."""
    make_home(settings)
    return join(Link(url.rstrip("/"), settings.path("relay")), token)


def issue_certificate(settings: Settings, name: str, hosts: tuple[str, ...], *, client: bool, days: int) -> Issued:
    """A key and a certificate of the site's own authority, below SOC_HOME/tls. Raises UsageError."""
    make_home(settings)
    return SiteAuthority(settings.path("tls"), SystemClock()).issue(name, hosts, client=client, days=days)


@contextlib.contextmanager
def _world() -> Iterator[tuple[DemoWorld | None, str]]:
    """Two namespaces of our own for the firewall to act in; None, and why, where they cannot be had."""
    try:
        world = DemoWorld()
    except SocError as error:
        _log.warning("no network namespaces here, blocking stays a manual task: %s", error)
        yield None, str(error)
        return
    with world:
        yield world, ""


DEMO_PEOPLE = (("lan", "tier1"), ("minh", "tier3"), ("hoa", "manager"), ("tuan", "auditor"))
"""Who acts with `--as NAME` on a simulated site, beside one officer of the first owner unit."""
DEMO_OFFICER = "yte"


def _first_people(services: pipeline.Services) -> None:
    """The first start makes an admin for the uid that runs it; a simulated site gets its demo people too."""
    if services.access.people():
        return
    uid = os.getuid()
    name = re.sub(r"[^a-z0-9_.-]", "", pwd.getpwuid(uid).pw_name.lower()) or "admin"
    services.access.add_person(name, "admin", uid=uid, reason="first start")
    if not services.settings.simulated:
        return
    for person, role in DEMO_PEOPLE:
        services.access.add_person(person, role, reason="simulated site")
    units = sorted({s.organization_id for s in services.registry.systems()})
    if units:
        services.access.add_person(DEMO_OFFICER, "tier2-unit", units=units[1:2] or units[:1], reason="simulated site")


def _listen(section: str, host: str, port: int) -> socket.socket:
    """A listening TCP socket on the first free port from `port` on; `section` of soc.toml names it.

    Raises TryAgain when twenty are taken, ConfigError for an address or a port that cannot be had at all.
    """
    from soc.web import server

    for candidate in range(port, port + 20):
        try:
            sock = server.open_tcp_socket(host, candidate)
        except ConfigError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE:
                continue
            raise
        if candidate != port:
            print(f"{section}: port {port} is taken, listening on {candidate}", flush=True)
        return sock
    raise TryAgain(f"no free port from {port} to {port + 19} on {host}", hint=f"set [{section}] port in soc.toml")


def receiver(settings: Settings, *, host: str = "127.0.0.1", port: int | None = None, drop_replies: int = 0) -> None:
    """The reference national receiver, until stopped. `port` None: the port of the first [national.<name>] url."""
    from soc.connectors.national.receiver import Receiver

    with _running(settings, "receiver") as me:
        wanted = port if port is not None else _port_of(settings)
        made = Receiver(settings.path("national"), host=host, port=wanted, clock=me.clock, drop_replies=drop_replies)
        me.ready(port=made.start())
        while not me.stop.wait(STATE_S):
            me.tell_when_due({})
        made.stop()


def _port_of(settings: Settings) -> int:
    found = re.search(r":(\d+)", settings.national[0].url.partition("//")[2]) if settings.national else None
    return int(found.group(1)) if found else 0


# --- a process ---------------------------------------------------------------------------------------------------


@dataclass
class _Process:
    """What a running process says of itself in `run/<name>.state.json`."""

    settings: Settings
    name: str
    clock: Clock
    stop: threading.Event = field(default_factory=threading.Event)
    facts: dict[str, Any] = field(default_factory=dict)
    _told_at: float = 0.0
    _eased_at: float = float("-inf")

    def ready(self, **facts: Any) -> None:
        """It does its work now."""
        self.facts |= facts
        self._write("running", {})

    def tell_when_due(self, counts: Mapping[str, Any]) -> None:
        """Write the counts, every `STATE_S` seconds."""
        if time.monotonic() - self._told_at >= STATE_S:
            self._write("running", counts)

    def ease(self) -> None:
        """Give free memory back, every `EASE_S` seconds: of a process that read its rules it is a third."""
        if time.monotonic() - self._eased_at >= EASE_S:
            self._eased_at = time.monotonic()
            memory.give_back()

    def _write(self, state: str, counts: Mapping[str, Any]) -> None:
        self._told_at = time.monotonic()
        now_us = self.clock.now_ns() // 1000
        document = {"name": self.name, "pid": os.getpid(), "state": state, "at_us": now_us, "counts": dict(counts)}
        document |= {
            "memory": memory.resident(),
            "memory_budget": BUDGETS_MIB.get(self.name.rstrip("0123456789"), 0) << 20,
        }
        path = state_file(self.settings, self.name)
        fresh = path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full disk must not stop the work that frees it
            fresh.write_bytes(orjson.dumps({**document, **self.facts}))
            fresh.replace(path)

    def ended(self, state: str) -> None:
        """The last word."""
        self._write(state, {})


@contextlib.contextmanager
def _running(settings: Settings, name: str) -> Iterator[_Process]:
    """Folders, signals and the state file around a process's work."""
    make_home(settings)
    me = _Process(settings, name, SystemClock())
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: me.stop.set())
    if os.environ.get(SUPERVISED):
        threading.Thread(target=_until_orphaned, args=(me.stop,), daemon=True).start()
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        yield me
    except BaseException:
        me.ended("failed")
        raise
    me.ended("stopped")


def _until_orphaned(stop: threading.Event) -> None:
    """Standard input is a pipe that only `soc up` holds: its end means that nobody watches any more."""
    with contextlib.suppress(OSError):
        while os.read(0, 1):  # not sys.stdin: its lock would still be held when the process ends
            pass
    stop.set()


def make_home(settings: Settings) -> None:
    """The folder of data, keys and logs: mode 0700, one service user owns it all."""
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings.home.chmod(0o700)
        for name in ("run", "logs"):
            settings.path(name).mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise SocError(
            f"cannot use {settings.home}: {error.strerror}", hint="set SOC_HOME to a folder you own"
        ) from error


# --- soc up ------------------------------------------------------------------------------------------------------


@dataclass
class _Child:
    name: str
    arguments: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    next_start: float = 0.0
    began: float = 0.0


class Supervisor:
    """Starts the processes, starts again what died, and stops them in the order of the flow."""

    def __init__(
        self, settings: Settings, names: Sequence[tuple[str, tuple[str, ...]]], config: Path | None = None
    ) -> None:
        self.settings = settings
        self.environment = {"SOC_HOME": str(settings.home), "SOC_SOCKET": str(settings.socket)}
        self.environment |= {"SOC_CONFIG": str(config.absolute())} if config else {}
        self.children = [_Child(name, arguments) for name, arguments in names]

    def start(self, child: _Child) -> None:
        """Start one; its words go to `logs/<name>.log`."""
        child.began = time.monotonic()
        state_file(self.settings, child.name).unlink(missing_ok=True)
        environment = {**FRUGAL, **os.environ, SUPERVISED: "1", "PYTHONUNBUFFERED": "1", **self.environment}
        with self.settings.path("logs", f"{child.name}.log").open("ab") as log:
            child.process = subprocess.Popen(
                (sys.executable, "-m", "soc", *child.arguments),
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip

    def watch(self) -> list[str]:
        """Start again what died, slower each time; names of those that died since the last look."""
        died = []
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                died.append(child.name)
                self._died(child)
            elif child.process is None and time.monotonic() >= child.next_start:
                try:
                    self.start(child)
                except OSError as error:  # no room for its log, no process left: that passes, watching must not end
                    _log.error("%s could not be started: %s", child.name, error)
                    self._died(child)
        return died

    def reload(self) -> None:
        """Have who can do it read the settings, or its certificate, again."""
        for child in self.children:
            is_ready = child.name == "collect" or (self.state(child.name) or {}).get("state") == "running"
            if child.name in ("collect", "serve") and child.process is not None and is_ready:
                child.process.send_signal(signal.SIGHUP)

    def _died(self, child: _Child) -> None:
        if child.process is not None and child.process.stdin is not None:
            child.process.stdin.close()
        child.process = None
        child.restarts = child.restarts + 1 if time.monotonic() - child.began < STEADY_S else 1
        child.next_start = time.monotonic() + min(0.5 * 2 ** min(child.restarts, 6), 30.0)

    def stop(self) -> None:
        """Tell them to stop one after another: first who receives, last who serves."""
        for child in self.children:
            if child.process is None:
                continue
            child.process.terminate()
            try:
                child.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                _log.error("%s did not stop within %s s and was killed", child.name, STOP_S)
                child.process.kill()
                child.process.wait()
            if child.process.stdin is not None:
                child.process.stdin.close()

    def state(self, name: str) -> dict[str, Any] | None:
        """What the process says of itself, None before it does."""
        return read_state(state_file(self.settings, name))

    def wait_ready(self, names: Sequence[str], stop: threading.Event) -> list[str]:
        """Wait until these run; the names of those that do not after `READY_S` seconds."""
        deadline = time.monotonic() + READY_S
        waiting = list(names)
        while waiting and time.monotonic() < deadline and not stop.wait(0.1):
            self.watch()
            waiting = [name for name in waiting if (self.state(name) or {}).get("state") != "running"]
            failed = [child.name for child in self.children if child.restarts >= GIVE_UP and child.name in waiting]
            if failed:
                return failed
        return waiting

    def last_words(self, name: str) -> str:
        """The last line of its log."""
        try:
            lines = self.settings.path("logs", f"{name}.log").read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return next((line for line in reversed(lines) if line.startswith("soc: ")), lines[-1] if lines else "")


Ready = Callable[[dict[str, Any], threading.Event], None]
"""Called once everything is up: what each process says of itself, and the event that says stop."""


def up(settings: Settings, *, simulate: bool = False, config: Path | None = None, ready: Ready | None = None) -> None:
    """Start everything, call `ready`, and watch until Ctrl-C, SIGTERM or a lost terminal; then stop in order.

    The processes read the same `config` file and serve the same socket as the caller.

    With `simulate`, `settings` are those of `simulation.prepare`: a receiver and the province are started too.
    Raises TryAgain when this home is running already, or when a process does not come up.
    """
    make_home(settings)
    with _only_one(settings):
        for stale in settings.path("run").glob(f"*{STATE}"):
            stale.unlink(missing_ok=True)  # of a start that was killed, or of workers that are fewer now
        stop = threading.Event()
        supervisor = Supervisor(settings, _commands(settings, simulate), config)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
            # With a terminal it says that this is gone; a service has none, and is asked to read its settings again.
            on_terminal = _has_terminal()
            signal.signal(signal.SIGHUP, lambda *_: stop.set() if on_terminal else supervisor.reload())
        try:
            _start(supervisor, simulate, stop)
            if not stop.is_set():
                _watch(supervisor, stop, ready)
        finally:
            supervisor.stop()


def _has_terminal() -> bool:
    """Whether a terminal controls us."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _commands(settings: Settings, simulate: bool) -> list[tuple[str, tuple[str, ...]]]:
    """In the order in which they stop: senders, listeners, workers, then those behind them."""
    workers = [(f"work{i}", ("work", "--index", str(i))) for i in range(settings.workers)]
    commands: list[tuple[str, tuple[str, ...]]] = [("simulate", ("simulate", "run"))] if simulate else []
    commands += [("collect", ("collect",))]
    commands += [("poll", ("poll",))] if settings.poll else []
    commands += [
        (places.sense_node(sense.name), (SENSE, sense.interface, "--name", sense.name)) for sense in settings.sense
    ]
    if settings.relay_url:  # a distant unit collects and hands on; the centre does the rest
        return [*commands, ("relay", ("relay", "run"))]
    commands += [("hub", ("relay", "hub"))] if settings.relay_host else []
    indexes = range(settings.correlators)
    commands += [*workers, *((places.correlate_node(i), ("correlate", "--index", str(i))) for i in indexes)]
    commands += [("compact", ("compact",))]
    commands += [("lookback", ("lookback",))]
    commands += [("serve", ("serve",))]
    return [*commands, ("receiver", ("national", "serve"))] if simulate else commands


def _start(supervisor: Supervisor, simulate: bool, stop: threading.Event) -> None:
    # A monitoring point whose interface is missing must not keep the rest from running: it is told and tried again.
    names = [child.name for child in supervisor.children if child.name != "simulate" and child.arguments[0] != SENSE]
    for child in supervisor.children:
        child.next_start = float("inf") if child.name == "simulate" else 0.0
    supervisor.watch()
    missing = supervisor.wait_ready(names, stop)
    if missing and not stop.is_set():
        name = missing[0]
        raise TryAgain(f"{name} did not start: {supervisor.last_words(name)}", hint=f"see logs/{name}.log in SOC_HOME")
    if simulate:
        supervisor.children[0].next_start = 0.0
        supervisor.watch()


def _watch(supervisor: Supervisor, stop: threading.Event, ready: Ready | None) -> None:
    def look() -> None:
        while not stop.wait(0.5):
            for name in supervisor.watch():
                _log.error("%s ended and is started again: %s", name, supervisor.last_words(name))

    watcher = threading.Thread(target=look, name="soc-watch")
    watcher.start()
    try:
        if ready is not None:
            ready({child.name: supervisor.state(child.name) for child in supervisor.children}, stop)
        while not stop.wait(1.0):
            pass
    except KeyboardInterrupt:
        pass
    finally:
        stop.set()
        watcher.join()


@contextlib.contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    path = settings.path("run", "up.lock")
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TryAgain(
                f"soc is running already in {settings.home}", hint="soc console opens it; or set another SOC_HOME"
            ) from None
        yield
    finally:
        os.close(fd)


# --- the simulated province ------------------------------------------------------------------------------------------


def prepare_simulation(home: Path, *, seed: int, progress: Callable[[int, int, int], None]) -> Settings:
    """Make or find a simulated site in `home`: settings, registry, certificates, months of history.

    `progress` gets days done, days in all and events stored while history is written.
    """
    from soc.pipeline import simulation

    return simulation.prepare(home, seed=seed, progress=progress)


def simulate(settings: Settings, *, rate: float | None = None) -> None:
    """Send the province's packets to the listeners of the running collector, until stopped."""
    from soc.pipeline import simulation

    with _running(settings, "simulate") as me:
        ports = _ports(settings)
        sender = simulation.sender(settings, me.clock, ports, rate=rate)
        me.ready(ports=ports)
        thread = threading.Thread(target=sender.run, args=(me.stop,))
        thread.start()
        while thread.is_alive():
            me.tell_when_due(sender.counters())
            thread.join(STATE_S)


def _ports(settings: Settings) -> dict[str, int]:
    ports = (read_state(state_file(settings, "collect")) or {}).get("ports")
    if ports is None:
        raise TryAgain("no collector is running here", hint="soc up starts it")
    return dict(ports)


def score(settings: Settings, alerts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What was raised against what the simulator did; the only reader of the truth."""
    from soc.pipeline import simulation

    return simulation.score(settings, alerts)


__all__ = [
    "collect",
    "compact",
    "correlate",
    "hub",
    "lookback",
    "make_home",
    "poll",
    "prepare_simulation",
    "receiver",
    "relay",
    "relay_join",
    "reload",
    "score",
    "sense",
    "serve",
    "simulate",
    "up",
    "work",
]
