"""The port of the API."""

from __future__ import annotations

import pytest

from soc.errors import ConfigError
from soc.processes import serving


def test_a_taken_port_gives_the_next_one_and_a_wrong_address_is_said_at_once() -> None:
    """Also where the address is of IPv6."""
    with serving._listen("web", "::1", 0) as first:
        port = first.getsockname()[1]
        with serving._listen("web", "::1", port) as second:
            assert port < second.getsockname()[1] < port + 20
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
        serving._listen("web", "192.0.2.1", 18_600)
