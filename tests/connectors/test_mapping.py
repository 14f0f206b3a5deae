"""Mapping files: shape a message, refuse what is wrong with every fault at once."""

from __future__ import annotations

import pytest

from soc.connectors.national import mapping
from soc.content import loads
from soc.errors import ConfigError, ContentError
from tests.connectors.fakes import REFERENCE, message


def test_the_reference_mapping_fills_envelope_and_payload():
    """Nested targets, translated severity, fixed values."""
    body = REFERENCE.shape(message(7))
    assert body["sender"] == {"ma_dinh_danh": "H40.15", "name": "Sở Thông tin"}
    assert body["system"] == {"id": "a", "name": "Hệ thống a", "level": 3, "decision": "12/QĐ"}
    assert body["payload"]["alert"] == {"name": "cảnh báo 7", "severity": 4}
    assert (body["tlp"], body["classification_check"], body["relation"]) == ("AMBER", "passed", "new")


def test_no_shipped_mapping_calls_itself_official():
    """The formats of CV 2973 and CV 2290 are not public."""
    assert [m.id for m in mapping.load().values() if m.is_official] == []


def test_a_kind_the_destination_does_not_take_is_named():
    """The gateway example takes alerts only."""
    with pytest.raises(ValueError, match="takes no 'heartbeat'"):
        mapping.load()["national.example-gateway"].shape(message(1, kind="heartbeat"))


def test_a_missing_required_value_is_named():
    """Source and target."""
    with pytest.raises(ValueError, match=r"'title' is missing for 'alert\.name'"):
        REFERENCE.shape(message(1, payload={"severity": "low"}))


def test_all_faults_come_at_once_with_lines():
    """An unknown kind, an unknown adapter and a rule without a source."""
    text = (
        "id: x\nadapter: soap\nschema_version: v\npath: /\nenvelope:\n  id: {require: true}\npayload:\n  alarm: '*'\n"
    )
    with pytest.raises(ContentError) as caught:
        mapping.read(loads(text, "x.yml")[0])
    said = str(caught.value)
    assert "x.yml:2: unknown adapter 'soap'" in said
    assert "x.yml:6: expected a source path" in said
    assert "x.yml:8: unknown kind 'alarm'" in said


def test_an_unknown_mapping_names_the_nearest():
    """For a typing error in soc.toml."""
    with pytest.raises(ConfigError, match=r"did you mean 'national\.reference'"):
        mapping.named(mapping.load(), "national.referense")
