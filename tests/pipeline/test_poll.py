"""`soc poll` as `soc up` starts it, through to `soc source list`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from soc.config import load
from soc.model.clock import SystemClock
from soc.model.query import MatchAll
from soc.model.scope import Scope
from soc.pipeline import Services, Worker, places
from soc.store.queue import LogReader
from tests.collectors.polls import serving, until

EVERYTHING = Scope.everything("test", "test")


def test_polled_records_are_stored_and_the_sources_health_is_shown(tmp_path: Path) -> None:
    """Two sources, one of which is away: the account balances, and each says how it is doing."""
    rows = [{"id": n, "message": f"row {n}", "source": {"ip": "203.0.113.9"}} for n in range(30)]

    def answer(_method: str, path: str, params: dict[str, Any], _headers: Any) -> Any:
        if path != "/items":
            return 500, {}, b""
        return rows[int(params["from"]) :][:10]

    with serving(answer) as api:
        settings_file = tmp_path / "soc.toml"
        settings_file.write_text(
            f'[poll.cloud]\ndriver = "rest"\nurl = "{api.url}"\npaging = "offset"\nnext_param = "from"\n'
            f'dataset = "acme.cloud"\n[poll.away]\ndriver = "rest"\nurl = "{api.url}/none"\n'
        )
        settings = load(settings_file, home=tmp_path, environ={})
        environment = {**os.environ, "SOC_HOME": str(tmp_path), "SOC_CONFIG": str(settings_file)}
        process = subprocess.Popen([sys.executable, "-m", "soc", "poll"], env=environment)
        try:
            until(lambda: sum(b.n for b in LogReader(places.queue(settings), places.RAW).read({}, None, 100)) == 30)
            pending = _sources(settings)["cloud"]
            until(lambda: _health(settings, "away").get("errors", 0) > 0)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
    assert (pending["received"], pending["pending"], pending["balanced"]) == (30, 30, True)
    worker = Worker(settings, SystemClock())
    while worker.step():
        pass
    worker.close()
    found = _sources(settings)
    assert (found["cloud"]["stored"], found["cloud"]["balanced"]) == (30, True)
    assert found["cloud"]["datasets"] == ["acme.cloud"]
    assert found["cloud"]["poll"]["state"] == "ok"
    assert found["cloud"]["poll"]["last_success_us"]
    assert (found["away"]["received"], found["away"]["poll"]["state"]) == (0, "failing")
    assert found["away"]["poll"]["fault"] == "127.0.0.1 answers 500"
    services = Services.open(settings, SystemClock())
    page = services.store.search(EVERYTHING, MatchAll(), limit=1)
    services.close()
    assert page.rows[0]["source.ip"] == "203.0.113.9"


def _sources(settings: Any) -> dict[str, dict[str, Any]]:
    services = Services.open(settings, SystemClock())
    found = services.books.sources(0)["sources"]
    services.close()
    return {row["listener"]: row for row in found}


def _health(settings: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = _sources(settings).get(name, {}).get("poll", {})
    return found
