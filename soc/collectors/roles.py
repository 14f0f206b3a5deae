"""What a collector asks of its parts: the queue that it fills, the receivers that hear, and who changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

from soc.collectors.counters import Counters
from soc.collectors.intake import Intake
from soc.collectors.listeners import ListenerSpec
from soc.errors import SocError
from soc.model.clock import Clock
from soc.model.record import RawBlock


class QueueWriter(Protocol):
    """Where blocks go: durable when `append` returns; it raises DiskFull or StoreError and then keeps none of them."""

    def append(self, blocks: Sequence[RawBlock]) -> Sequence[int] | None:
        """The sequence numbers of the frames written, or None when the queue does not number them."""
        ...


@runtime_checkable
class Measurable(Protocol):
    """A queue with a share of the disk."""

    max_bytes: int | None

    @property
    def used(self) -> int:
        """At most so many bytes it has on the disk; told without looking."""
        ...

    def measured(self) -> int:
        """Bytes it has on the disk now."""
        ...


@runtime_checkable
class Recountable(Protocol):
    """A queue that can tell after a crash what it holds above a sequence number."""

    def frames_after(self, seq: int) -> Iterable[RawBlock]:
        """Durable frames in order."""
        ...


class Receiver(Protocol):
    """What serves one or several listeners in threads of its own."""

    def start(self) -> None:
        """Begin to receive."""
        ...

    @property
    def is_alive(self) -> bool:
        """Whether it runs; asked only of those that were started and not stopped."""
        ...

    def stop(self) -> None:
        """Begin to end: take what the kernel has already, then close."""
        ...

    def ended(self, wait_s: float) -> bool:
        """Whether the end has come, within so many seconds."""
        ...


Making = Callable[[Intake, Counters, Clock], Receiver]
"""Makes the receiver of a source that has no port of its own."""


@runtime_checkable
class Changeable(Protocol):
    """A receiver whose listeners can change while it runs."""

    def prepared(self, spec: ListenerSpec) -> Callable[[], None]:
        """What makes its listener of that name be as `spec` says; what can fail fails now. Raises ConfigError."""
        ...

    def drop(self, name: str) -> bool:
        """End one listener, or answer True: it is the only one left, so stop the receiver."""
        ...


@runtime_checkable
class Keeping(Protocol):
    """A receiver that keeps on disk how far the queue has its source, which can be read again."""

    def save(self, seq: int) -> None:
        """Everything up to frame `seq` is settled. Raises StoreError."""
        ...


class Reloading(Protocol):
    """Who asks for other listeners while the collector runs; asked after every group commit, from its thread."""

    def wanted(self) -> Sequence[ListenerSpec] | None:
        """The listeners there should be, once for each wish; None when nobody wishes anything."""
        ...

    def done(self, ports: dict[str, int]) -> None:
        """It is so; the ports by name."""
        ...

    def refused(self, error: SocError) -> None:
        """It cannot be so, and everything is as it was."""
        ...
