"""Blocks addresses with an nftables set with timeouts, in a named network namespace, never in the machine's own."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from soc.errors import SocError, TryAgain, UsageError
from soc.model.clock import Clock
from soc.model.run import DAY_S, ActionPlan, Active, Capability

TABLE = ("inet", "soc")
HOOKS = ("input", "forward")
TIMEOUT_S = 30
RULESET = """\
table inet soc {
  set blocked4 { type ipv4_addr; flags timeout; }
  set blocked6 { type ipv6_addr; flags timeout; }
  chain input {
    type filter hook input priority -310; policy accept;
    ip saddr @blocked4 drop
    ip6 saddr @blocked6 drop
  }
  chain forward {
    type filter hook forward priority -310; policy accept;
    ip saddr @blocked4 drop
    ip6 saddr @blocked6 drop
  }
}
"""
"""Priority -310 comes before raw (-300) and connection tracking (-200): flows that stand already are cut as well."""
_HOLD = ("sh", "-c", "echo ready; exec cat")
"""Holds a namespace until its standard input closes, which it does with the death of the one who opened it."""


class NamespaceError(SocError):
    """The network namespace cannot be had, or is the machine's own."""


def _inode(pid: int | str) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


def _machine_inodes() -> set[str]:
    """The namespaces no rule may ever be written to: the one this process lives in and that of init."""
    found = {_inode("self")}
    with contextlib.suppress(OSError):  # an ordinary user may not look at init, nor could it harm it
        found.add(_inode(1))
    return found


def _ran(arguments: Sequence[str], *, text: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            arguments, input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired as error:
        raise TryAgain(f"{arguments[0]} did not answer within {TIMEOUT_S} s") from error
    except OSError as error:
        raise NamespaceError(
            f"cannot start {arguments[0]}: {error.strerror}", hint="install nftables, iproute2 and util-linux"
        ) from error


@dataclass(frozen=True)
class Namespace:
    """A network namespace, held by the process `pid`; `user` when it lies in a user namespace of its own."""

    name: str
    pid: int
    user: bool
    holder: subprocess.Popen[bytes] | None = None
    inode: str = ""

    @classmethod
    def open(cls, name: str, *, within: Namespace | None = None) -> Self:
        """A new namespace that lives until `close` or until this process ends. `within` shares its user namespace.

        As root a plain network namespace; otherwise one in a user namespace. Raises NamespaceError.
        """
        user = within.user if within is not None else os.geteuid() != 0
        unshare = ("unshare", "-rn") if user and within is None else ("unshare", "-n")
        enter = within.entering() if within is not None else ()
        try:
            holder = subprocess.Popen(
                (*enter, *unshare, *_HOLD), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            raise NamespaceError(f"cannot start unshare: {error.strerror}", hint="install util-linux") from error
        assert holder.stdout is not None
        assert holder.stderr is not None
        if holder.stdout.readline() != b"ready\n":
            why = holder.stderr.read().decode(errors="replace").strip()
            holder.wait()
            raise NamespaceError(f"no network namespace '{name}': {why}")
        return cls(name, holder.pid, user, holder, _inode(holder.pid))

    def entering(self) -> tuple[str, ...]:
        """The command prefix that runs a program inside. Raises NamespaceError when it is the machine's own.

        Checked before every use: the holder may have died and its number been given to another process.
        """
        try:
            inode = _inode(self.pid)
        except OSError as error:
            raise NamespaceError(f"network namespace '{self.name}' is gone: {error.strerror}") from error
        if inode in _machine_inodes():
            raise NamespaceError(f"'{self.name}' is the machine's own network; soc never changes its firewall")
        if self.inode and inode != self.inode:
            raise NamespaceError(f"network namespace '{self.name}' is gone: process {self.pid} is another one now")
        credentials = ("-U", "--preserve-credentials") if self.user else ()
        return ("nsenter", "-t", str(self.pid), *credentials, "-n")

    def run(self, arguments: Sequence[str], *, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program inside, without a shell. Raises NamespaceError, TryAgain."""
        return _ran((*self.entering(), *arguments), text=text)

    def must(self, *arguments: str, text: str | None = None) -> str:
        """`run`, and its output; raises NamespaceError with the program's own words when it fails."""
        result = self.run(arguments, text=text)
        if result.returncode != 0:
            raise NamespaceError(f"{' '.join(arguments)}: {result.stderr.strip().splitlines()[0:1] or 'failed'}")
        return result.stdout

    def close(self) -> None:
        """Let the namespace go, with everything in it."""
        if self.holder is None or self.holder.stdin is None:
            return
        for stream in (self.holder.stdin, self.holder.stdout, self.holder.stderr):
            if stream is not None:
                stream.close()
        self.holder.wait(TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None) -> None:
        self.close()


class NftActuator:
    """Blocks one source address in a namespace for a time. `namespace` None: only plans, for people to carry out."""

    def __init__(self, namespace: Namespace | None, clock: Clock, why_not: str = "no network namespace here") -> None:
        self._namespace = namespace
        self._clock = clock
        self._why_not = why_not

    def prepare(self) -> None:
        """Lay table, sets and chains if they are not there yet. Raises NamespaceError."""
        if self._table() is None:
            self._inside().must("nft", "-f", "-", text=RULESET)

    def check(self) -> Capability:
        """Whether nft can be had in the namespace; lays the table when it is missing."""
        try:
            self.prepare()
        except SocError as error:
            return Capability(False, str(error))
        if not _drops(self._table() or []):
            return Capability(False, "the table inet soc has no rule that drops what its sets name")
        return Capability(True)

    def plan(self, params: Mapping[str, Any]) -> ActionPlan:
        """The plan for `{address, ttl_s}`; touches nothing. Raises UsageError."""
        address = _address(str(params.get("address", "")))
        ttl_s = int(params.get("ttl_s", DAY_S))
        element = f"{{ {address} timeout {ttl_s}s }}"
        name = f"blocked{address.version}"
        return ActionPlan(
            commands=(("nft", "add", "element", *TABLE, name, element),),
            target=str(address),
            expires_us=0,
            revert=(("nft", "delete", "element", *TABLE, name, f"{{ {address} }}"),),
            text=f"drop packets from {address} for {ttl_s} s",
            ttl_s=ttl_s,
        )

    def apply(self, plan: ActionPlan, key: str) -> None:
        """Carry the plan out; adding an element that is there changes nothing. Raises NamespaceError, TryAgain."""
        del key  # the kernel's set is its own idempotency: one element per address
        self.prepare()
        for command in self._rebuilt(plan).commands:
            self._inside().must(*command)

    def verify(self, plan: ActionPlan) -> str:
        """Re-reads the live table: the address in the set, and rules on both hooks that drop the set."""
        try:
            table = self._table()
        except SocError:
            return "unknown"
        if table is None:
            return "absent"
        if not _drops(table):
            return "unknown" if plan.target in _elements(table) else "absent"
        return "verified" if plan.target in _elements(table) else "absent"

    def revert(self, plan: ActionPlan) -> None:
        """Lift the block; nothing happens when it is gone already. Raises NamespaceError, TryAgain."""
        if self.verify(plan) == "absent":
            return
        for command in self._rebuilt(plan).revert:
            self._inside().must(*command)

    def list(self) -> Sequence[Active]:
        """The addresses that are blocked now, with their end (µs UTC). Raises NamespaceError, TryAgain."""
        now_us = self._clock.now_ns() // 1000
        found = _elements(self._table() or [])
        return [Active(a, None if left is None else now_us + left * 1_000_000) for a, left in sorted(found.items())]

    def _rebuilt(self, plan: ActionPlan) -> ActionPlan:
        """The plan made anew from its target: a stored command line is compared, never run as it was found."""
        again = self.plan({"address": plan.target, "ttl_s": plan.ttl_s})
        if (again.commands, again.revert) != (plan.commands, plan.revert):
            raise UsageError(f"the plan for {plan.target} does not hold the commands of this actuator")
        return again

    def _inside(self) -> Namespace:
        if self._namespace is None:
            raise NamespaceError(self._why_not)
        return self._namespace

    def _table(self) -> Sequence[dict[str, Any]] | None:
        """What nft says of the table, None when there is none. Raises NamespaceError when nft cannot answer."""
        result = self._inside().run(("nft", "-j", "list", "table", *TABLE))
        if result.returncode == 0:
            found: Sequence[dict[str, Any]] = json.loads(result.stdout)["nftables"]
            return found
        if "No such file or directory" in result.stderr and "table" in result.stderr:
            return None
        raise NamespaceError(f"nft cannot be used in '{self._inside().name}': {result.stderr.strip()}")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    host = re.sub(r"/(32|128)$", "", text)
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise UsageError(
            f"'{text}' is no single address", hint="only one address (/32, /128) can be blocked"
        ) from error
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise UsageError(f"'{text}' names a zone; give the address alone")
        return address.ipv4_mapped or address
    return address


def _elements(table: Sequence[Mapping[str, Any]]) -> dict[str, int | None]:
    """`{address: seconds left}` of both sets."""
    found: dict[str, int | None] = {}
    for item in table:
        if item.get("set", {}).get("name") not in ("blocked4", "blocked6"):
            continue
        for element in item["set"].get("elem", ()):
            body = element["elem"] if isinstance(element, dict) and "elem" in element else {"val": element}
            found[str(ipaddress.ip_address(body["val"]))] = body.get("expires")
    return found


def _drops(table: Sequence[Mapping[str, Any]]) -> bool:
    """Whether both hooks drop both sets."""
    live = set()
    for item in table:
        rule = item.get("rule")
        if rule is None or not any("drop" in expression for expression in rule["expr"]):
            continue
        for expression in rule["expr"]:
            live.add((rule["chain"], expression.get("match", {}).get("right")))
    return live >= {(chain, f"@blocked{version}") for chain in HOOKS for version in (4, 6)}


class DemoWorld:
    """Two namespaces joined by a cable: an attacker who connects, and a gateway with a listening service.

    `attacker_address` can be blocked at the gateway; `reaches()` tries a real TCP connection. `python` is the
    interpreter that the two small peers run in. Raises NamespaceError where namespaces cannot be had.
    """

    attacker_address = "203.0.113.9"
    gateway_address = "203.0.113.1"
    port = 2222

    def __init__(self, python: str | Path = sys.executable) -> None:
        self._python = str(python)
        self._listener: subprocess.Popen[bytes] | None = None
        self.gateway = Namespace.open("gateway")
        try:
            self.attacker = Namespace.open("attacker", within=self.gateway)
            self._cable()
            self._listen()
        except BaseException:
            self.close()
            raise

    def _cable(self) -> None:
        self.gateway.must("ip", "link", "add", "soc-gw", "type", "veth", "peer", "name", "soc-at")
        self.gateway.must("ip", "link", "set", "soc-at", "netns", str(self.attacker.pid))
        for world, device, address in (
            (self.gateway, "soc-gw", self.gateway_address),
            (self.attacker, "soc-at", self.attacker_address),
        ):
            world.must("ip", "address", "add", f"{address}/24", "dev", device)
            for link in ("lo", device):
                world.must("ip", "link", "set", link, "up")

    def _listen(self) -> None:
        program = (
            "import socket, sys\n"
            "server = socket.create_server((sys.argv[1], int(sys.argv[2])))\n"
            "print('ready', flush=True)\n"
            "while True:\n"
            "    server.accept()[0].close()\n"
        )
        arguments = (self._python, "-I", "-c", program, self.gateway_address, str(self.port))
        self._listener = subprocess.Popen((*self.gateway.entering(), *arguments), stdout=subprocess.PIPE)
        assert self._listener.stdout is not None
        if self._listener.stdout.readline() != b"ready\n":
            raise NamespaceError("the demo service did not start")

    def reaches(self, timeout_s: float = 1.0) -> bool:
        """Whether a TCP connection from the attacker to the service comes about."""
        program = (
            "import socket, sys\n"
            "try:\n"
            "    socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).close()\n"
            "except OSError:\n"
            "    sys.exit(3)\n"
        )
        arguments = (self._python, "-I", "-c", program, self.gateway_address, str(self.port), str(timeout_s))
        result = self.attacker.run(arguments)
        if result.returncode not in (0, 3):
            raise NamespaceError(f"the demo client failed: {result.stderr.strip()}")
        return result.returncode == 0

    def close(self) -> None:
        """Stop the service and let both namespaces go."""
        if self._listener is not None:
            self._listener.kill()
            self._listener.wait(TIMEOUT_S)
            if self._listener.stdout is not None:
                self._listener.stdout.close()
        for name in ("attacker", "gateway"):
            namespace = getattr(self, name, None)
            if namespace is not None:
                namespace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None) -> None:
        self.close()
