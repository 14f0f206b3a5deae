"""An SNMP agent that is asked through pysnmp: values and tables, within bounds of time and rows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from soc.collectors import snmp_users
from soc.collectors.poll.secrets import Secrets
from soc.errors import ConfigError, PermissionRefused, TryAgain
from soc.model.poll import Poll

MAX_ROWS = 4096
"""Rows of a table; what is behind them is not asked for, and counted."""
LONGEST_S = 50.0
"""Seconds for all the questions of one look."""
REPETITIONS = 20
Oid = tuple[int, ...]
Value = int | bytes | str
Row = dict[int, Value]
"""Values by the number of their column."""

_AUTHENTICATIONS = {
    "MD5": "usmHMACMD5AuthProtocol", "SHA": "usmHMACSHAAuthProtocol", "SHA-224": "usmHMAC128SHA224AuthProtocol",
    "SHA-256": "usmHMAC192SHA256AuthProtocol", "SHA-384": "usmHMAC256SHA384AuthProtocol",
    "SHA-512": "usmHMAC384SHA512AuthProtocol", "": "usmNoAuthProtocol",
}  # fmt: skip
_PRIVACIES = {
    "DES": "usmDESPrivProtocol", "AES": "usmAesCfb128Protocol", "AES-192": "usmAesBlumenthalCfb192Protocol",
    "AES-256": "usmAesBlumenthalCfb256Protocol", "AES-192-C": "usmAesCfb192Protocol",
    "AES-256-C": "usmAesCfb256Protocol", "": "usmNoPrivProtocol",
}  # fmt: skip
# What the agent, or the report it sent back, says when it does not believe us; waiting does not help.
_REFUSED = ("unknownUserName", "wrongDigest", "unsupportedSecurityLevel", "decryptionError", "authenticationFailure")


class Agent:
    """One agent. For one thread; what it needs lives until `close`."""

    def __init__(self, poll: Poll, secrets: Secrets) -> None:
        self._poll, self._secrets = poll, secrets
        self._runner: asyncio.Runner | None = None
        self._asking: tuple[Any, ...] | None = None
        self.rows_left_out = 0

    def ask(self, questions: Callable[[], Awaitable[Any]]) -> Any:
        """Run questions to this agent. Raises TryAgain when it does not answer, PermissionRefused, ConfigError."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        try:
            return self._runner.run(asyncio.wait_for(self._asked(questions), LONGEST_S))
        except TimeoutError as error:
            raise TryAgain(f"{self._poll['host']} takes longer than {LONGEST_S:.0f} s to answer") from error

    async def _asked(self, questions: Callable[[], Awaitable[Any]]) -> Any:
        if self._asking is None:
            self._asking = await self._begin()
        return await questions()

    async def _begin(self) -> tuple[Any, ...]:
        from pysnmp.error import PySnmpError
        from pysnmp.hlapi.v3arch import asyncio as hlapi

        poll = self._poll
        try:
            target = await hlapi.UdpTransportTarget.create(
                (poll["host"], poll["port"]), timeout=poll["timeout_s"], retries=poll["retries"]
            )
        except PySnmpError as error:
            raise TryAgain(f"{poll['host']} is no address that can be reached: {error}") from error
        context = hlapi.ContextData(contextName=poll["context"].encode())
        return hlapi, hlapi.SnmpEngine(), self._credentials(hlapi), target, context

    def _credentials(self, hlapi: Any) -> Any:
        poll = self._poll
        if poll["version"] == "2c":
            return hlapi.CommunityData(self._secrets.read(poll["community"]), mpModel=1)
        user = snmp_users.load(self._secrets.home / poll["users"]).get(poll["user"].encode())
        if user is None:
            raise ConfigError(f"[poll.{poll.name}] no user '{poll['user']}' in {poll['users']}")
        return hlapi.UsmUserData(
            user.name.decode(), user.auth_passphrase.decode() or None, user.privacy_passphrase.decode() or None,
            getattr(hlapi, _AUTHENTICATIONS[user.auth]), getattr(hlapi, _PRIVACIES[user.privacy]),
        )  # fmt: skip

    # questions ------------------------------------------------------------------------------------------------------

    async def values(self, oids: Sequence[Oid]) -> dict[Oid, Value]:
        """Those that exist."""
        found: dict[Oid, Value] = {}
        for start in range(0, len(oids), REPETITIONS):
            binds = await self._send("get_cmd", (), oids[start : start + REPETITIONS])
            found |= {tuple(name): value for name, raw in binds if (value := _plain(raw)) is not None}
        return found

    async def table(self, entry: Oid, columns: Sequence[int]) -> dict[Oid, Row]:
        """Rows by index of a table's columns. An agent that goes backwards ends it."""
        rows: dict[Oid, Row] = {}
        left = {column: (*entry, column) for column in columns}
        while left:
            order = list(left)
            binds = await self._send("bulk_cmd", (0, REPETITIONS), [left[column] for column in order])
            if not binds:
                break
            ended: set[int] = set()
            for i, (name, raw) in enumerate(binds):
                column = order[i % len(order)]
                if column in ended:
                    continue
                oid, value = tuple(name), _plain(raw)
                prefix = (*entry, column)
                if value is None or oid[: len(prefix)] != prefix or oid <= left[column]:
                    ended.add(column)
                    continue
                left[column] = oid
                index = oid[len(prefix) :]
                if index not in rows and len(rows) >= MAX_ROWS:
                    self.rows_left_out += 1
                    ended.add(column)
                    continue
                rows.setdefault(index, {})[column] = value
            left = {column: oid for column, oid in left.items() if column not in ended}
        return rows

    async def _send(self, command: str, options: Sequence[int], oids: Sequence[Oid]) -> Sequence[Any]:
        assert self._asking is not None
        hlapi, engine, who, target, context = self._asking
        from pysnmp.proto.rfc1902 import Null

        asked = [(oid, Null("")) for oid in oids]
        error, status, _, binds = await getattr(hlapi, command)(
            engine, who, target, context, *options, *asked, lookupMib=False
        )
        if error is not None:
            words = f"{self._poll['host']}: {error}"
            if type(error).__name__[:1].lower() + type(error).__name__[1:] in _REFUSED:
                raise PermissionRefused(words, hint="check the community or user of this [poll] section")
            raise TryAgain(words)
        if status and int(status) != 0:
            raise TryAgain(f"{self._poll['host']} answers with error status {int(status)}")
        return list(binds)

    def close(self) -> None:
        """Let the socket go."""
        asking, self._asking = self._asking, None
        runner, self._runner = self._runner, None
        if asking is not None:
            asking[1].close_dispatcher()
        if runner is not None:
            runner.close()


def _plain(raw: Any) -> Value | None:
    """A number, octets or an identifier; None for what the agent does not have."""
    kind = type(raw).__name__
    if kind in ("NoSuchObject", "NoSuchInstance", "EndOfMibView", "Null"):
        return None
    if kind == "ObjectIdentifier":
        return str(raw)
    if hasattr(raw, "asOctets"):
        return bytes(raw)
    return int(raw)


def text(row: Mapping[int, Value], column: int) -> str | None:
    """Text of a column, None when it is missing or empty."""
    value = row.get(column)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip("\0 ") or None
    return None if value is None else str(value)


def number(row: Mapping[int, Value], column: int) -> int | None:
    """A number of a column."""
    value = row.get(column)
    return value if isinstance(value, int) else None
