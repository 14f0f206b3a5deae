"""What tests need of others is had, or named; it is left out only where somebody says so."""

from __future__ import annotations

import pytest

from tests import programs


def test_what_is_missing_fails_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that cannot run is no test that passed."""
    monkeypatch.setenv("SOC_TEST_WITHOUT", "other")
    with pytest.raises(pytest.fail.Exception, match="no-such-program is missing: apt-get install its-package"):
        programs.program("no-such-program", "its-package")
    with pytest.raises(pytest.fail.Exception, match=r"tests/servers/no_such.sh failed, or SOC_TEST_WITHOUT=no_such"):
        programs.server("no_such")
    assert programs.program("sh").endswith("/sh")


def test_what_is_left_out_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it is there: so that it is known what a run did not look at."""
    monkeypatch.setenv("SOC_TEST_WITHOUT", "kafka, sh")
    for get, name in ((programs.program, "sh"), (programs.server, "kafka")):
        with pytest.raises(pytest.skip.Exception, match=f"SOC_TEST_WITHOUT={name}"):
            get(name)
