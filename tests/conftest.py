"""How hard Hypothesis tries: `default` for a change, `ci` the same on every machine, `fuzz` for `make fuzz`; minutes.

`--hypothesis-profile=NAME` chooses; a test that states its own `max_examples` keeps it.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings

# Without deadlines: on a shared machine a slow example says nothing; pytest-timeout ends what hangs.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "10000")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Minutes per part of the suite, the longest first."""
    parts: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                folder = report.nodeid.split("/")
                parts[folder[1].partition(".")[0] if len(folder) > 1 else folder[0]] += report.duration
    terminalreporter.write_line("minutes per part: " + ", ".join(f"{k} {v / 60:.1f}" for k, v in parts.most_common(12)))
