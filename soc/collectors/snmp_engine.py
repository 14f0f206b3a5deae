"""Our SNMPv3 engine (identity, boots, time) and what we know of the time of others; kept over restarts and crashes."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import orjson

from soc.errors import NewerStore, StoreError
from soc.model.clock import Clock
from soc.store import files

WINDOW_S = 150  # RFC 3414 section 2.2.3
MAX_BOOTS = MAX_TIME = 2**31 - 1
MAX_ENGINES = 16384
"""Senders whose time is followed; only authenticated messages get one in, the one that was silent longest goes."""
# RFC 3411 section 5: bit 1, an enterprise number (32473 is that of RFC 5612, nobody's), format 5: octets of our own.
_PREFIX = (0x8000_0000 | 32473).to_bytes(4, "big") + b"\5"
_VERSION = 1
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class _Heard:
    """An engine's boots, the highest time it told, and our monotonic clock then (None: before we started)."""

    boots: int
    time: int
    at_ns: int | None


class Engine:
    """One engine, stored in one file. Each opening raises the boots, durably, before anything is answered."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Raises StoreError when the file cannot be read or written: without it a replayed inform would be believed."""
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._heard: OrderedDict[bytes, _Heard] = OrderedDict()
        self._changed = True
        self.engine_id = _PREFIX + secrets.token_bytes(12)
        self.boots = 0
        self._load()
        self.boots = min(self.boots + 1, MAX_BOOTS)
        self._started_ns = clock.monotonic_ns()
        self._salt = secrets.randbits(64)
        self.save()

    @property
    def time(self) -> int:
        """Seconds since these boots began."""
        return min((self._clock.monotonic_ns() - self._started_ns) // _SECOND_NS, MAX_TIME)

    def salt(self) -> int:
        """64 bits that do not come again while these boots last (RFC 3826 section 3.1.2.1)."""
        with self._lock:
            self._salt = (self._salt + 1) % (1 << 64)
            return self._salt

    def is_timely(self, boots: int, time: int) -> bool:
        """RFC 3414 section 3.2 (7a): whether a message to us, who are authoritative, lies within the window."""
        return boots == self.boots < MAX_BOOTS and abs(time - self.time) <= WINDOW_S

    def hears(self, engine_id: bytes, boots: int, time: int) -> bool:
        """RFC 3414 section 3.2 (7b): whether an authentic message of a sender that is authoritative lies within the
        window; its boots and time are remembered when they are later than what we knew."""
        now = self._clock.monotonic_ns()
        with self._lock:
            known = self._heard.get(engine_id)
            if known is None or (boots, time) > (known.boots, known.time):
                if known is None and len(self._heard) >= MAX_ENGINES:
                    self._heard.popitem(last=False)
                known = self._heard[engine_id] = _Heard(boots, time, now)
                self._changed = True
            self._heard.move_to_end(engine_id)
        passed = 0 if known.at_ns is None else (now - known.at_ns) // _SECOND_NS
        return boots == known.boots < MAX_BOOTS and time >= known.time + passed - WINDOW_S

    @property
    def known(self) -> int:
        """How many senders' times are followed."""
        return len(self._heard)

    # keeping --------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Replace the file, durably, when something changed. Raises StoreError; the old file is whole then."""
        with self._saving:
            self._save()

    def _save(self) -> None:
        with self._lock:
            if not self._changed:
                return
            heard = [[key.hex(), known.boots, known.time] for key, known in self._heard.items()]
            self._changed = False
        data = orjson.dumps({
            "version": _VERSION, "engine_id": self.engine_id.hex(), "boots": self.boots, "heard": heard,
        })  # fmt: skip
        try:
            files.replace(self.path, data, what="cannot write the SNMP engine's boots")
        except StoreError:
            self._changed = True
            raise

    def _load(self) -> None:
        try:
            document = orjson.loads(self.path.read_bytes())
            if document["version"] > _VERSION:
                raise NewerStore(
                    f"the SNMP engine {self.path} is of version {document['version']}, this soc reads up to {_VERSION}",
                    hint="install the version of soc that wrote it",
                )
            self.engine_id, self.boots = bytes.fromhex(document["engine_id"]), int(document["boots"])
            for key, boots, time in document["heard"][-MAX_ENGINES:]:
                self._heard[bytes.fromhex(key)] = _Heard(int(boots), int(time), None)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"cannot read the SNMP engine's boots {self.path}: {error}",
                hint="move the file away: a new engine id is made, and senders of informs find it by themselves",
            ) from error
