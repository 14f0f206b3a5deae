"""`Session`: the link to the service that all screens share; requests run in threads, so that no key ever waits.

The threads are daemons of our own and not Textual's workers: those are joined when the program ends, and somebody
who leaves while the service hangs would wait for its timeout.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from soc.console import words
from soc.console.i18n import t
from soc.console.text import clean
from soc.errors import NotFound, PermissionRefused, SocError, TryAgain
from soc.model.clock import Clock, SystemClock

BEAT_S = 3.0
"""How often the service is asked whether it is there."""
T = TypeVar("T")
Deliver = Callable[..., object]
"""Runs a callable with its arguments in the thread that draws; may be called from any thread."""


class Answer(Protocol):
    """What the service said."""

    @property
    def data(self) -> Any: ...
    @property
    def truncated(self) -> bool: ...
    @property
    def cursor(self) -> str | None: ...


class Service(Protocol):
    """What the screens need of `soc.client.Client`."""

    def get(self, path: str, **params: Any) -> Answer: ...
    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Answer: ...
    def changes(self, after: int | None = None, *, stop: threading.Event | None = None) -> Iterator[dict[str, Any]]: ...


class Listener(Protocol):
    """Who is told what happens on the link, in the thread that draws."""

    def changed(self, change: Mapping[str, Any]) -> None: ...
    def connected(self) -> None: ...
    def lost(self) -> None: ...


class Session:
    """Who is asking, whether the service answers, and the threads that talk to it.

    `me` is the answer of `/v1/me`, empty until it came. `lost_us` is since when the service does not answer (µs UTC),
    None while it does; `why` is what it refused with,
    empty when it is simply not there.
    """

    def __init__(self, service: Service, clock: Clock | None = None, *, beat_s: float = BEAT_S) -> None:
        self.clock: Clock = clock or SystemClock()
        self.me: Mapping[str, Any] = {}
        self.lost_us: int | None = None
        self.why = ""
        self._service = service
        self._beat_s = beat_s
        self._stop = threading.Event()
        self._deliver: Deliver = lambda *_: None
        self._last_seq: int | None = None

    # What the screens read

    def now_us(self) -> int:
        """µs UTC."""
        return self.clock.now_ns() // 1000

    @property
    def is_simulated(self) -> bool:
        """Whether the service's data are made up."""
        return bool(self.me.get("simulated"))

    @property
    def gaps(self) -> int:
        """Rule × windows of the last hour that no rule saw; 0 where one is not told."""
        return int(self.me.get("coverage_gaps") or 0)

    def person(self) -> str:
        """`lan · Tier 1`, and through whom when somebody acts for another."""
        if not self.me:
            return ""
        name = clean(self.me.get("name"))
        real = self.me.get("acting_for")
        shown = t("ui.acting", name=name, real=clean(real)) if real else name
        return f"{shown} · {words.word('role', str(self.me.get('role')))}"

    def state(self) -> str:
        """The state of the link in one or two words."""
        if self.lost_us is not None:
            return t("ui.refused" if self.why else "ui.disconnected")
        return t("ui.connected") if self.me else t("ui.connecting")

    def refusal(self, permission: str) -> str | None:
        """Why this person may not do something; None when they may (the service decides in the end)."""
        if not self.me or permission in self.me.get("permissions", ()):
            return None
        return t("ui.may_not", role=words.word("role", str(self.me.get("role"))), permission=permission)

    # Talking

    def start(self, deliver: Deliver, listener: Listener) -> None:
        """Begin to watch the service; everything heard goes to the listener."""
        self._deliver = deliver
        self._thread(lambda: self._watch(listener))
        self._thread(lambda: self._follow(listener))

    def stop(self) -> None:
        """Let the threads end."""
        self._stop.set()

    def ask(
        self, call: Callable[[Service], T], then: Callable[[T], object], failed: Callable[[SocError], object]
    ) -> None:
        """Run `call` in a thread, then `then` with its result or `failed` with its error in the drawing thread."""

        def work() -> None:
            try:
                result = call(self._service)
            except SocError as error:
                self._tell(failed, error)
            else:
                self._tell(then, result)

        self._thread(work)

    def _thread(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except Exception as error:  # a fault of ours: it ends the console with its traceback, not the thread alone
                self._tell(_raise, error)  # (after the end it is only that the client was closed under the thread)

        threading.Thread(target=guarded, daemon=True).start()

    def _tell(self, callback: Callable[..., object], *args: object) -> None:
        """Deliver, unless the console has ended: then nobody is there to be told."""
        if self._stop.is_set():
            return
        try:
            self._deliver(callback, *args)
        except RuntimeError:  # the event loop closed in between
            if not self._stop.is_set():
                raise

    def _watch(self, listener: Listener) -> None:
        while not self._stop.is_set():
            try:
                # Once somebody is known a plain sign of life will do: tokens cost the service time to check.
                me = self._who() if not self._is_known() else self._alive()
            except SocError as error:
                self._tell(self._is_lost, error, listener)
            else:
                self._tell(self._is_there, me, listener)
            self._stop.wait(self._beat_s)

    def _is_known(self) -> bool:
        return bool(self.me) and self.lost_us is None

    def _who(self) -> Mapping[str, Any]:
        me: Mapping[str, Any] = self._service.get("/v1/me").data
        return me

    def _alive(self) -> Mapping[str, Any]:
        self._service.get("/v1/health")
        return self.me

    def _is_lost(self, error: SocError, listener: Listener) -> None:
        self.why = "" if isinstance(error, TryAgain) else words.error(error)
        if self.lost_us is None:
            self.lost_us = self.now_us()
        listener.lost()

    def _is_there(self, me: Mapping[str, Any], listener: Listener) -> None:
        is_news = self.lost_us is not None or not self.me
        self.me, self.lost_us, self.why = me, None, ""
        if is_news:
            listener.connected()

    def _follow(self, listener: Listener) -> None:
        """Changes as they come. The client resumes by itself; what it gives up on is tried again from where it was."""
        while not self._stop.is_set():
            try:
                for change in self._service.changes(self._last_seq, stop=self._stop):
                    self._last_seq = change.get("seq", self._last_seq)
                    self._tell(listener.changed, change)
                    if self._stop.is_set():
                        return
            except SocError:
                pass  # the watch shows it
            self._stop.wait(self._beat_s)


def _raise(error: Exception) -> None:
    raise error


def found(call: Callable[[], Answer]) -> Any | None:
    """The data of a call; None for what is gone or not for this person."""
    try:
        return call().data
    except (NotFound, PermissionRefused):
        return None
