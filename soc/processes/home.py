"""The folder that a service owns: made with its modes, one `soc up` at a time, its own certificate authority."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from soc.collectors.authority import Issued, SiteAuthority
from soc.config import Settings
from soc.errors import SocError, TryAgain
from soc.model.clock import SystemClock


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


@contextlib.contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Hold the home as the only `soc up` in it. Raises TryAgain when another one does."""
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


def issue_certificate(settings: Settings, name: str, hosts: tuple[str, ...], *, client: bool, days: int) -> Issued:
    """A key and a certificate of the site's own authority, below SOC_HOME/tls. Raises UsageError."""
    make_home(settings)
    return SiteAuthority(settings.path("tls"), SystemClock()).issue(name, hosts, client=client, days=days)
