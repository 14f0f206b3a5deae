"""A province's day as seeded streams of packets, with the attacks in it marked beside them."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from soc.simulate.devices import LISTENER, SECOND_NS, Asa, Nginx, Sshd, ephemeral, speaker
from soc.simulate.province import CADENCE_S, Device, Province
from soc.simulate.truth import Truth, truth_id

DEFAULT_RATE = 20.0
"""Packets a second of the whole province, attacks apart."""
PERIOD_S = 600
"""Every so often a round of attacks begins anew, from other addresses."""
BRUTE_FORCE_AT_S, INJECTION_AT_S, SCAN_AT_S = 10, 30, 45
"""When in a round each attack begins, in seconds."""
SILENT_AT_S = 90
"""When the silent device falls silent: its cadence has to be known first (the model asks for twenty gaps, and records
that wait together are one)."""
SILENT_ROUNDS = 6
"""It falls silent in every sixth round only, and speaks again with the next: one hour's alerts join into one."""
_GUESSED = ("admin", "root", "oracle", "test", "ubuntu", "postgres", "git", "deploy")
_PORTS = (
    21, 22, 23, 25, 53, 80, 110, 111, 135, 139, 143, 389, 443, 445, 465, 587, 631, 993, 995, 1080, 1433, 1521, 2049,
    2375, 3128, 3306, 3389, 5432, 5900, 5985, 6379, 7001, 8000, 8080, 8081, 8443, 8888, 9000, 9090, 9200, 9300, 10000,
    11211, 27017,
)  # fmt: skip
_INJECTIONS = (
    "/tin-tuc?id=1%20UNION%20SELECT%20taikhoan,matkhau%20FROM%20nguoidung",
    "/dang-nhap?user=admin%27%20OR%20%271%27=%271",
    "/tai-ve?tep=../../../../etc/passwd",
    "/tim?q=%3Cscript%3Ealert(1)%3C/script%3E",
)


class Packet(NamedTuple):
    """One message or datagram, as the device sends it (TCP framing apart). `at_ns` is when, ns since the epoch."""

    at_ns: int
    device: Device
    listener: str
    payload: bytes


class Mark(NamedTuple):
    """An attack begins, or `is_over`. Never sent anywhere."""

    at_ns: int
    truth: Truth
    is_over: bool


Step = Packet | Mark


def generator(seed: int, name: str) -> Random:
    """A stream's own randomness: adding a stream changes no other."""
    return Random(f"{seed}:{name}")  # noqa: S311 - play, not secrets


def stream(
    province: Province, seed: int, start_ns: int, rate: float = DEFAULT_RATE, first_round: int = 0
) -> Iterator[Step]:
    """Everything from `start_ns` on in order of time, without end; the same for the same arguments.

    `first_round` above 0 begins with later attackers: who goes on after a stop must not repeat the story's.
    """
    attacks = [_rounds(kind, province, seed, start_ns, first_round) for kind in _KINDS]
    ordinary_day = ordinary(province, seed, start_ns, rate)
    return heapq.merge(ordinary_day, _silent(province, seed, start_ns), *attacks, key=lambda step: step.at_ns)


def ordinary(province: Province, seed: int, start_ns: int, rate: float = DEFAULT_RATE) -> Iterator[Step]:
    """The background alone: what no rule should speak of."""
    total = sum(device.weight for device in province.devices)
    streams = [
        background(device, generator(seed, device.hostname), start_ns, total / (rate * device.weight))
        for device in province.devices
        if device.weight > 0
    ]
    return heapq.merge(*streams, key=lambda step: step.at_ns)


def background(device: Device, rng: Random, start_ns: int, every_s: float) -> Iterator[Step]:
    """A device's ordinary messages, on average one each `every_s` seconds.

    The gaps stay within half of that: a longer one would be what a silent source looks like.
    """
    voice, at_ns = speaker(device, rng), start_ns + int(rng.random() * every_s * SECOND_NS)
    while True:
        yield Packet(at_ns, device, LISTENER[device.role], voice.say(at_ns))
        at_ns += int(rng.uniform(0.5, 1.5) * every_s * SECOND_NS)


# attacks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Round:
    """One attack of one round: who attacks what, and when it begins (ns)."""

    number: int
    start_ns: int
    attacker: str
    device: Device
    rng: Random


@dataclass(frozen=True)
class _Kind:
    name: str
    role: str
    first: str
    at_s: int
    pool: str
    technique: tuple[str, ...]
    lines: Callable[[Round], list[tuple[int, bytes]]]
    user: str = ""


def _brute_force(attack: Round) -> list[tuple[int, bytes]]:
    """Twenty-four guesses, 1.5 s apart, and then one that is right."""
    sshd, rng = Sshd(attack.device, attack.rng), attack.rng
    lines = []
    for n in range(24):
        at_ns = attack.start_ns + n * 1_500_000_000
        user = _GUESSED[n % len(_GUESSED)]
        known = "" if user == "root" else "invalid user "
        text = f"Failed password for {known}{user} from {attack.attacker} port {ephemeral(rng)} ssh2"
        lines.append((at_ns, sshd.line(at_ns, text)))
    at_ns = attack.start_ns + 40 * SECOND_NS
    text = f"Accepted password for backup from {attack.attacker} port {ephemeral(rng)} ssh2"
    return [*lines, (at_ns, sshd.line(at_ns, text))]


def _scan(attack: Round) -> list[tuple[int, bytes]]:
    """Forty-four ports in half a minute, each denied."""
    asa = Asa(attack.device, attack.rng)
    ports = attack.rng.sample(_PORTS, len(_PORTS))
    times = [attack.start_ns + n * 700_000_000 for n in range(len(ports))]
    return [(at_ns, asa.deny(at_ns, attack.attacker, port)) for at_ns, port in zip(times, ports, strict=True)]


def _injection(attack: Round) -> list[tuple[int, bytes]]:
    """Four kinds of injection among a few harmless requests of the same client."""
    nginx = Nginx(attack.device, attack.rng)
    paths = [
        path for pair in zip(("/", "/tin-tuc", "/dang-nhap", "/lien-he"), _INJECTIONS, strict=True) for path in pair
    ]
    lines = []
    for n, path in enumerate(paths):
        at_ns = attack.start_ns + n * 2 * SECOND_NS
        status = 200 if n % 2 == 0 else 403
        lines.append((at_ns, nginx.request(at_ns, attack.attacker, f"GET {path} HTTP/1.1", status, "curl/8.5.0")))
    return lines


# The first round's addresses and targets are those of the story; later ones are drawn.
_KINDS = (
    _Kind("ssh-brute-force", "sshd", "ttdl-bastion01", BRUTE_FORCE_AT_S, "203.0.113.9",
          ("T1110.001", "T1078"), _brute_force, "backup"),
    _Kind("web-injection", "nginx", "dvc-web01", INJECTION_AT_S, "203.0.113.77", ("T1190",), _injection),
    _Kind("port-scan", "asa", "ttdl-asa01", SCAN_AT_S, "198.51.100.23", ("T1046",), _scan),
)  # fmt: skip


def _attackers(kind: _Kind, seed: int) -> Iterator[str]:
    """The kind's own address first, then shuffled ones of its network's lower half, no two kinds the same; again and
    again. The upper halves are the province's own Internet links."""
    network, _, first = kind.pool.rpartition(".")
    sharing = [k for k in _KINDS if k.pool.startswith(f"{network}.")]
    fixed = {int(k.pool.rpartition(".")[2]) for k in sharing}
    hosts = [n for n in range(1, 128) if n not in fixed and n % len(sharing) == sharing.index(kind)]
    generator(seed, f"attackers {kind.name}").shuffle(hosts)
    return (f"{network}.{n}" for n in itertools.cycle([int(first), *hosts]))


def _rounds(kind: _Kind, province: Province, seed: int, start_ns: int, first_round: int) -> Iterator[Step]:
    rng = generator(seed, kind.name)
    devices = province.of_role(kind.role)
    first = next(device for device in devices if device.hostname == kind.first)
    for number, attacker in enumerate(_attackers(kind, seed)):
        device = rng.choice(devices) if number else first
        if number < first_round:
            continue
        begin_ns = start_ns + ((number - first_round) * PERIOD_S + kind.at_s) * SECOND_NS
        yield from _attack(kind, province, seed, Round(number, begin_ns, attacker, device, rng))


def _attack(kind: _Kind, province: Province, seed: int, attack: Round) -> Iterator[Step]:
    lines = kind.lines(attack)
    entity = [attack.attacker, attack.device.hostname, *([kind.user] if kind.user else [])]
    truth = _truth(province, seed, kind.name, kind.technique, entity, attack.start_ns, lines[-1][0])
    yield Mark(attack.start_ns, truth, False)
    for at_ns, payload in lines:
        yield Packet(at_ns, attack.device, LISTENER[attack.device.role], payload)
    yield Mark(lines[-1][0], truth, True)


def _silent(province: Province, seed: int, start_ns: int) -> Iterator[Step]:
    """The device that falls silent: a line each `CADENCE_S`, but for the silence in every sixth round."""
    device = province.silent_device
    voice = speaker(device, generator(seed, device.hostname))
    at_ns = start_ns
    for cycle in itertools.count():
        first_ns = start_ns + cycle * SILENT_ROUNDS * PERIOD_S * SECOND_NS
        quiet_ns, again_ns = first_ns + SILENT_AT_S * SECOND_NS, first_ns + PERIOD_S * SECOND_NS
        while at_ns < quiet_ns:
            yield Packet(at_ns, device, LISTENER[device.role], voice.say(at_ns))
            at_ns += int(CADENCE_S * SECOND_NS)
        entity = [device.address, device.hostname]
        truth = _truth(province, seed, "source-silent", ("T1562",), entity, at_ns, again_ns)
        yield Mark(at_ns, truth, False)
        yield Mark(again_ns, truth, True)
        at_ns = again_ns


def _truth(
    province: Province,
    seed: int,
    name: str,
    technique: tuple[str, ...],
    entity: Sequence[str],
    start_ns: int,
    end_ns: int,
) -> Truth:
    start_us, end_us = start_ns // 1000, end_ns // 1000
    return Truth(truth_id(seed, name, start_us), name, technique, tuple(entity), province.site, start_us, end_us)
