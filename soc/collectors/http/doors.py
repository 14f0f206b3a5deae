"""`Door`: one HTTP listener: who may come in, with which token or certificate, and the forms of its records."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from pathlib import Path

from soc.collectors.http import tokens
from soc.collectors.listeners import AllowList, ListenerSpec
from soc.collectors.rates import Rates
from soc.collectors.tls import server_context
from soc.errors import ConfigError

_log = logging.getLogger("soc.collectors.http")


@dataclass(frozen=True)
class FormSpec(ListenerSpec):
    """The same listener, for records of a form of their own."""

    form: str = "json"

    @property
    def format(self) -> str:
        """Not that of its protocol."""
        return self.form


class Door:
    """One listener: who may come in, and the forms of its records."""

    def __init__(self, spec: ListenerSpec) -> None:
        self.spec = spec
        self.allowed = AllowList(spec)
        self.rates = Rates(spec)
        self.context = server_context(spec) if spec.tls is not None else None
        self.tokens = tokens.load(spec.tokens) if spec.tokens is not None else None
        self._stamp = _stamp(spec.tokens)
        self._forms: dict[tuple[str, str], FormSpec] = {}
        self.trusts_certificates = spec.tls is not None and spec.tls.clients_ca is not None
        if self.tokens is None and not self.trusts_certificates:
            _log.warning("listener %s has no 'tokens': only senders on this machine are let in", spec.name)

    def become(self, other: Door) -> None:
        """Be as another door of the same name."""
        self.__dict__.update(other.__dict__)

    def reload(self) -> None:
        """Read the token file again when it changed; one with faults changes nothing."""
        path = self.spec.tokens
        stamp = _stamp(path)
        if path is None or stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self.tokens = tokens.load(path)
        except ConfigError as error:
            _log.error("listener %s keeps the tokens it had: %s", self.spec.name, error)
        else:
            _log.info("listener %s: %d tokens", self.spec.name, len(self.tokens))

    def form(self, form: str, site: str) -> FormSpec:
        """The listener as the intake takes it."""
        key = (form, site)
        if key not in self._forms:
            values = {f.name: getattr(self.spec, f.name) for f in fields(ListenerSpec)}
            self._forms[key] = FormSpec(**{**values, "site": site, "form": form})
        return self._forms[key]


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
