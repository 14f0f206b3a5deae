"""The MIB modules a site added: planned, kept, used for names, undone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.errors import NotFound, UsageError
from soc.model.ber import tlv, write_integer, write_oid
from soc.parsers.decoders.snmp_traps import Reader
from soc.parsers.mibs import packed, site
from soc.parsers.mibs.site import SiteMibs
from tests.parsers.mibs.test_compile import ACME, OLD

ROOT = "1.3.6.1.4.1.32473"


def added(folder: Path, *texts: str, by: str = "an", now_us: int = 1) -> SiteMibs:
    """A folder with these."""
    mibs = SiteMibs(folder)
    planned, faults = mibs.plan([(f"{i}.mib", text) for i, text in enumerate(texts)], by=by, now_us=now_us)
    assert not faults
    mibs.keep(planned)
    return mibs


def trap(oid: str, *binds: tuple[str, bytes]) -> bytes:
    """A v2c trap."""
    whole = (("1.3.6.1.6.3.1.1.4.1.0", write_oid(oid)), *binds)
    inner = tlv(0x30, *(tlv(0x30, write_oid(name), value) for name, value in whole))
    pdu = tlv(0xA7, write_integer(1), write_integer(0), write_integer(0), inner)
    return tlv(0x30, write_integer(1), tlv(4, b"public"), pdu)


def test_traps_are_named_by_what_was_added(tmp_path: Path) -> None:
    """The notification, its severity and text, its objects, instances and words; standard names stay."""
    reader = Reader(added(tmp_path, ACME).names())
    sent = trap(f"{ROOT}.0.1", (f"{ROOT}.1.1.0", write_integer(2)), (f"{ROOT}.1.3.1.2.7", write_integer(1)))
    for _ in range(2):
        found = reader.read([sent, trap("1.3.6.1.6.3.1.1.5.3")], is_verified=False)
        assert found.column("trap_name") == (False, ["acmeFanFailed", "linkDown"])
        assert found.column("trap_severity") == (False, ["critical", None])
        assert found.column("trap_description")[1][0] == "A fan stopped, and nobody turns it."
        assert '"name":"acmeFanState","index":"0","value":2,"label":"stopped"' in found.varbinds[0]
        assert '"name":"acmePortFlapping","index":"7","value":1,"label":"true"' in found.varbinds[0]


def test_a_plan_changes_nothing_and_says_what_would(tmp_path: Path) -> None:
    """New, replaced, unchanged; kept by whom and when."""
    mibs = added(tmp_path, OLD)
    planned, _ = mibs.plan([("old", OLD), ("new", ACME)], by="an", now_us=5)
    assert [(p.module, p.state) for p in planned] == [("ACME-ALARM-MIB", "new"), ("ACME-OLD-MIB", "unchanged")]
    planned, _ = mibs.plan([("old", OLD.replace("MINOR", "MAJOR"))], by="an", now_us=5)
    assert [p.state for p in planned] == ["replaced"]
    assert [d["module"] for d in mibs.modules()] == ["ACME-OLD-MIB"]


def test_what_was_added_earlier_can_be_imported(tmp_path: Path) -> None:
    """A second call finds the first one's modules; what others import is not removed."""
    mibs = added(tmp_path, ACME)
    user = OLD.replace("FROM RFC1213-MIB", "FROM RFC1213-MIB acmeObjects FROM ACME-ALARM-MIB")
    planned, faults = mibs.plan([("user", user)], by="an", now_us=2)
    assert not faults
    mibs.keep(planned)
    with pytest.raises(UsageError, match="imported by ACME-OLD-MIB"):
        mibs.remove("ACME-ALARM-MIB")


def test_a_removal_and_a_replacement_are_undone(tmp_path: Path) -> None:
    """As it was before, and a second undo is a redo."""
    mibs = added(tmp_path, OLD)
    before = mibs.stamp
    mibs.remove("ACME-OLD-MIB")
    assert mibs.names().notification(f"{ROOT}.9.0.7") is None
    assert mibs.stamp != before
    mibs.restore("ACME-OLD-MIB")
    assert mibs.names().notification(f"{ROOT}.9.0.7") is not None
    added(tmp_path, OLD.replace("MINOR", "MAJOR"))
    severities = []
    for _ in range(3):
        severities.append(mibs.names().notifications[f"{ROOT}.9.0.7"].severity)
        mibs.restore("ACME-OLD-MIB")
    assert severities == ["major", "minor", "major"]


@pytest.mark.parametrize("name", ["../etc", "ACME", "a-b", "", "A/B"])
def test_only_names_of_modules_are_looked_for(tmp_path: Path, name: str) -> None:
    """A name is part of a path."""
    with pytest.raises(NotFound):
        SiteMibs(tmp_path).module(name)


def test_a_damaged_file_costs_only_its_own_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The others are used; the log says which one is not."""
    mibs = added(tmp_path, ACME, OLD)
    (tmp_path / "ACME-OLD-MIB.json").write_bytes(b"{")
    assert mibs.names().notification(f"{ROOT}.0.1") is not None
    assert "ACME-OLD-MIB.json" in caplog.text


def test_files_that_are_no_mib_or_too_many_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their names; one module in two files is a question, not an answer."""
    mibs = SiteMibs(tmp_path)
    _, faults = mibs.plan([("readme.txt", "hello"), ("a", OLD), ("b", OLD + " ")], by="an", now_us=1)
    assert [(f.file, f.line) for f in faults] == [("readme.txt", 1), ("b", 1)]
    monkeypatch.setattr(site, "MAX_FILES", 1)
    with pytest.raises(UsageError, match="more than 1 files"):
        mibs.plan([("a", OLD), ("b", ACME)], by="an", now_us=1)


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=200)), max_size=5))
def test_what_is_packed_is_unpacked(files: list[tuple[str, str]]) -> None:
    """Names and texts, whatever is in them."""
    assert packed.unpack(packed.pack(files)) == files


@given(st.text(max_size=100))
def test_what_was_not_packed_is_refused(text: str) -> None:
    """Nothing else is raised."""
    with pytest.raises(UsageError):
        packed.unpack(text)


def test_a_bomb_is_not_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops at its bound."""
    monkeypatch.setattr(packed, "MAX_EXPANDED", 1000)
    with pytest.raises(UsageError, match="more than"):
        packed.unpack(packed.pack([("a", "x" * 100_000)]))
