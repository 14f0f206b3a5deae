"""`Threaded`: what runs in a thread of its own from `start` until its end, which comes some time after `stop`."""

from __future__ import annotations

import threading


class Threaded:
    """The skeleton of a receiver; `_run` looks at `_stop`."""

    def __init__(self, name: str) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        """All that is done, until the end."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it runs; False before its end was asked for means that it broke."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Begin to end: take what is here already, then close."""
        self._stop.set()

    def ended(self, wait_s: float) -> bool:
        """Whether the end has come, within so many seconds; somebody must empty the intake meanwhile."""
        self._thread.join(wait_s)
        return not self._thread.is_alive()
