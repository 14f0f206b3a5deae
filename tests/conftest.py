"""How hard Hypothesis tries: `default` for a change, `ci` the same on every machine, `fuzz` for `make fuzz`.

`--hypothesis-profile=NAME` chooses; a test that states its own `max_examples` keeps it.
"""

from __future__ import annotations

import os

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
