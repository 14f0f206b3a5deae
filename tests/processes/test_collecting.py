"""Settings that a collector refuses, and those that wait for a restart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from soc.config import Listen
from soc.errors import ConfigError
from soc.processes import collecting
from tests.pipeline.world import settings_of


def test_settings_that_wait_for_a_restart_are_named(tmp_path: Path) -> None:
    """A reload is for listeners; of the rest a person is told."""
    before = settings_of(tmp_path)
    after = replace(before, queue_max_bytes=1 << 30, listen=before.listen[:1])
    assert collecting._waits_for_restart(before, after) == ["queue.max_bytes"]


def test_a_followed_file_s_product_that_no_parser_has_is_refused(tmp_path: Path) -> None:
    """With the nearest name, before the first line is read: it would bury every line."""
    listen = Listen("web", "file", paths=("/var/log/nginx/*.log",), product="nginx.acces")
    with pytest.raises(ConfigError, match=r"\[listen\.web\] product: no parser 'nginx\.acces'"):
        collecting.collect(replace(settings_of(tmp_path), listen=(listen,)))
