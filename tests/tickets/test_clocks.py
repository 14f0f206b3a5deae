"""Legal deadlines, as the regulation's acceptance checks state them."""

from __future__ import annotations

import datetime as dt

import pytest

from soc.content import shipped
from soc.errors import ConfigError, ContentError
from soc.model.clock import VIETNAM
from soc.tickets import deadlines, load_clocks

CLOCKS = load_clocks([shipped("playbooks")])
T0 = dt.datetime(2026, 11, 20, 22, 40, tzinfo=VIETNAM)
T0_US = int(T0.timestamp()) * 1_000_000


def _due(profile: str, serious: bool = False, flags: tuple[str, ...] = ()) -> dict[str, str]:
    found = deadlines(CLOCKS, profile, T0_US, serious=serious, flags=flags)
    return {d.id: dt.datetime.fromtimestamp(d.due_us / 1e6, VIETNAM).strftime("%Y-%m-%d %H:%M") for d in found}


def test_ac1_24_and_72_hours_run_through_the_weekend() -> None:
    """AC1: Friday 22:40 is due on Saturday 22:40 and on Monday... of the clock, Sunday included."""
    assert _due("2026", serious=True) == {"NW2": "2026-11-21 22:40", "NW3": "2026-11-23 22:40"}


def test_an_incident_that_is_not_serious_starts_no_clock() -> None:
    """NW1: it is only registered."""
    assert _due("2026") == {}


def test_ac11_personal_data_start_a_second_clock() -> None:
    """AC11: two 72-hour clocks with different recipients."""
    found = deadlines(CLOCKS, "2026", T0_US, serious=True, flags=("du_lieu_ca_nhan",))
    late = [d for d in found if d.due_us == T0_US + 72 * 3_600_000_000]
    assert [d.id for d in late] == ["NW3", "NW7"]
    assert len({d.recipient for d in late}) == 2


def test_ac11_the_profile_changes_the_deadlines_without_code() -> None:
    """AC11: the old regime has five days and a form at once."""
    assert _due("legacy-2017", serious=True) == {"LG2": "2026-11-20 22:40", "LG1": "2026-11-25 22:40"}


def test_a_flag_is_due_at_once() -> None:
    """NW4: 'immediately' is due at T0."""
    assert _due("2026", flags=("anqg",))["NW4"] == "2026-11-20 22:40"


def test_t0_counts_to_the_minute() -> None:
    """Seconds do not give a later deadline."""
    (first, _) = deadlines(CLOCKS, "2026", T0_US + 59_000_000, serious=True)
    assert first.due_us == T0_US + 24 * 3_600_000_000


def test_every_clock_has_a_citation_and_vietnamese_words() -> None:
    """Nothing is printed as law without saying where it stands."""
    assert all(c.citation and c.evidence and c.title_vi and c.recipient for c in CLOCKS)


def test_an_unknown_profile_is_refused() -> None:
    """A wrong profile never means 'no deadlines'."""
    with pytest.raises(ConfigError, match="2026"):
        deadlines(CLOCKS, "2027", T0_US, serious=True)


def test_a_wrong_clock_names_line_and_trigger(tmp_path: object) -> None:
    """All faults of the file are shown."""
    path = tmp_path / "c.yml"  # type: ignore[operator]
    path.write_text(
        "id: c\nkind: clocks\nclocks:\n- id: X\n  profile: '2026'\n  when: [seriuos]\n  hours: -1\n  title: t\n"
        "  recipient: r\n  citation: c\n  evidence: F\n"
    )
    with pytest.raises(ContentError) as caught:
        load_clocks([tmp_path])  # type: ignore[list-item]
    text = str(caught.value)
    assert "c.yml:6: unknown trigger 'seriuos'" in text
    assert "did you mean 'serious'" in text
    assert "negative" in text
    assert "'i18n' is missing" in text
