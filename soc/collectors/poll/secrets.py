"""Secrets by reference: `file:PATH` below SOC_HOME that only the service reads, or `env:NAME`."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from soc.errors import ConfigError

MAX_SECRET = 65_536


@dataclass(frozen=True)
class Secrets:
    """Reads references when they are needed, so that a changed secret holds from the next connection on."""

    home: Path
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def read(self, reference: str) -> str:
        """The secret behind a reference, without the line's end. Raises ConfigError; no error repeats the secret."""
        kind, _, name = reference.partition(":")
        if kind == "env":
            if not self.environ.get(name):
                raise ConfigError(f"the environment variable {name} is not set", hint=f"a [poll] section names {name}")
            return self.environ[name]
        if kind != "file":
            raise ConfigError("a secret is file:PATH or env:NAME")
        return self._file(self.home / name)

    def _file(self, path: Path) -> str:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(f"cannot read the secret {path}: {error.strerror}") from error
        try:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                raise ConfigError(f"the secret {path} is no file")
            if mode & 0o077:
                raise ConfigError(f"others may read the secret {path}", hint=f"chmod 600 {path}")
            data = os.read(fd, MAX_SECRET + 1)
        finally:
            os.close(fd)
        try:
            text = data.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise ConfigError(f"the secret {path} is no text") from None
        if not text or len(data) > MAX_SECRET or any(ord(c) < 32 for c in text):
            raise ConfigError(f"the secret {path} should be one line of text")
        return text

    def fill(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Headers with the secrets in the place of their references."""
        return {name: self.read(text) if text.startswith(("file:", "env:")) else text for name, text in headers.items()}
