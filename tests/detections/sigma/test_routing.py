"""Which events a log source means: Windows channels and ids, our datasets, and what a site maps itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from soc.detections import DetectionSet, Detector
from soc.detections.sigma.routing import NoRoute, ways
from soc.errors import ConfigError
from soc.model.batch import EventBatch
from tests.detections.support import write

SYSMON = "microsoft-windows-sysmon/operational"
POWERSHELL = "microsoft-windows-powershell/operational"


@pytest.mark.parametrize(
    ("category", "service", "expected"),
    [
        ("process_creation", "", [(SYSMON, "1"), ("security", "4688")]),
        ("process_creation", "sysmon", [(SYSMON, "1")]),
        ("process_creation", "security", [("security", "4688")]),
        ("registry_set", "", [(SYSMON, "13")]),
        ("file_delete_detected", "", [(SYSMON, "26")]),
        ("ps_script", "", [(POWERSHELL, "4104")]),
        ("ps_script", "powershell", [(POWERSHELL, "4104")]),
        ("ps_classic_start", "powershell-classic", [("windows powershell", "400")]),
        ("", "security", [("security", "1102")]),
        ("", "", [("any channel at all", "1")]),
    ],
)
def test_windows_log_sources(category: str, service: str, expected: list[tuple[str, str]]) -> None:
    """Category and service together mean what both mean."""
    found = ways(category, "windows", service)
    assert len(found) == len(expected)
    for way, (channel, event_id) in zip(found, expected, strict=True):
        assert way.route.takes("windows.x", channel, event_id)
        assert not way.route.takes("linux.sshd", "", "")


@pytest.mark.parametrize(
    ("category", "product", "service", "reason"),
    [
        ("file_access", "windows", "", "no Windows source writes category 'file_access'"),
        ("registry_set", "windows", "security", "service 'security' of Windows writes no category 'registry_set'"),
        ("", "windows", "nonsense", "unknown Windows service 'nonsense'"),
        ("nonsense", "linux", "x", "no source writes category 'nonsense', product 'linux', service 'x'"),
    ],
)
def test_an_unknown_log_source_is_refused_with_the_reason(
    category: str, product: str, service: str, reason: str
) -> None:
    """Known fault of peers: they run such rules over everything."""
    with pytest.raises(NoRoute, match=reason):
        ways(category, product, service)


def test_a_rule_of_another_log_source_never_fires() -> None:
    """Known fault of peers: rules firing on events that are not theirs. Each way takes only what it names."""
    every = [("security", "4688"), (SYSMON, "1"), (SYSMON, "3"), (POWERSHELL, "4104"), ("system", "7045")]
    [security] = ways("", "windows", "security")
    assert [key for key in every if security.route.takes("windows.x", *key)] == [("security", "4688")]
    [created] = ways("process_creation", "windows", "sysmon")
    assert [key for key in every if created.route.takes("windows.x", *key)] == [(SYSMON, "1")]
    [sshd] = ways("", "linux", "sshd")
    assert not any(sshd.route.takes(name, "security", "4688") for name in ("windows.security", "linux.sudo", ""))


RULE = """
title: VPN login from abroad
name: vpn
logsource: {product: acme, category: vpn}
detection:
  s: {acct: root, src_ip|cidr: 203.0.113.0/24}
  condition: s
"""
MAPPING = """
title: Our VPN gateways
name: acme_vpn
logsource: {product: acme, category: vpn}
mapping:
  datasets: [cisco.asa, fortinet.*]
  fields: {acct: user.name}
"""
EVENT = {"user.name": "root", "source.ip": "203.0.113.9"}


def hits(made: DetectionSet, dataset: str = "cisco.asa", **event: str) -> list[str]:
    """The rules that find an event."""
    batch = EventBatch.from_rows(dataset, [{**EVENT, **event}])
    return [finding.rule_id for finding in Detector(made).match(batch)]


def test_a_site_maps_its_own_log_source(tmp_path: Path) -> None:
    """Which datasets it means and what its fields are called; without the mapping the rule is refused by name."""
    rule, mapping = write(tmp_path, RULE, "rule.yml"), write(tmp_path, MAPPING, "mapping.yml")
    assert "product 'acme'" in DetectionSet.load([rule]).refused[0].reason
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        made = DetectionSet.load([rule, mapping], cache=cache)
        assert made.refused == ()
        assert hits(made) == ["vpn"]
        assert hits(made, "fortinet.fortigate") == ["vpn"]
        assert hits(made, "linux.sshd") == []
    assert DetectionSet.load([rule], cache=tmp_path / "cache").refused  # what was kept knew the mapping


def test_a_mapping_adds_to_what_we_know(tmp_path: Path) -> None:
    """The firewalls of everybody stay, the site's own comes to them; an event that both take is found once."""
    rule = RULE.replace("{product: acme, category: vpn}", "{category: firewall}").replace("acct", "user.name")
    mapping = MAPPING.replace("{product: acme, category: vpn}", "{category: firewall}").replace("fortinet.*", "acme.x")
    made = DetectionSet.load([write(tmp_path, rule, "rule.yml"), write(tmp_path, mapping, "mapping.yml")])
    assert [hits(made, name) for name in ("cisco.asa", "fortinet.fortigate", "acme.x", "b")] == [*([["vpn"]] * 3), []]


def test_a_mapping_of_windows_channels(tmp_path: Path) -> None:
    """Channels, whatever their case, and event ids; names stay those of Windows."""
    mapping = MAPPING[: MAPPING.index("mapping:")] + "mapping: {channels: [Acme VPN/Admin], event_ids: [7, '8']}\n"
    rule = RULE.replace(", src_ip|cidr: 203.0.113.0/24", "")
    made = DetectionSet.load([write(tmp_path, rule, "rule.yml"), write(tmp_path, mapping, "mapping.yml")])
    events = [
        {"winlog.channel": channel, "winlog.event_id": id, "winlog.event_data.acct": "ROOT"}
        for channel, id in (("acme vpn/admin", "7"), ("Acme VPN/Admin", "9"), ("Security", "8"))
    ]
    assert len(Detector(made).match(EventBatch.from_rows("windows.x", events))) == 1


@pytest.mark.parametrize(
    ("mapping", "reason"),
    [
        ("mapping: {dataset: a.b}", r"no 'dataset' \(did you mean 'datasets'"),
        ("mapping: {datasets: [a.b], channels: [c]}", "either 'datasets', or 'channels'"),
        ("mapping: {fields: {a: b}}", "either 'datasets', or 'channels'"),
        ("mapping: {datasets: [[a]]}", "a text or a list of texts"),
        ("mapping: {datasets: a.b, fields: {acct: user.nam}}", r"unknown field 'user.nam' \(did you mean 'user.name'"),
        ("mapping: all", "are mappings"),
        ("mapping: {datasets: a.b, fields: [a]}", "from Sigma's names"),
    ],
)
def test_a_faulty_mapping_is_refused(tmp_path: Path, mapping: str, reason: str) -> None:
    """With its place, and it maps nothing."""
    path = write(tmp_path, MAPPING[: MAPPING.index("mapping:")] + mapping + "\n", "mapping.yml")
    [refused] = DetectionSet.load([path]).refused
    assert (refused.id, refused.line) == ("acme_vpn", 5)
    assert re.search(reason, refused.reason), refused.reason


PIPELINE = """
name: ours
priority: 10
transformations:
  - id: names
    type: field_name_mapping
    mapping: {acct: user.name}
  - id: source
    type: change_logsource
    category: firewall
"""


def test_a_user_pipeline_renames_and_routes(tmp_path: Path) -> None:
    """`-p FILE`: fields and the log source of a rule that nobody here knows, before it is routed."""
    rule, pipeline = write(tmp_path, RULE, "rule.yml"), write(tmp_path, PIPELINE, "pipeline.yml")
    assert hits(DetectionSet.load([rule], pipelines=[pipeline])) == ["vpn"]
    assert DetectionSet.load([rule]).rules == ()


def test_an_installed_pipeline_by_its_name(tmp_path: Path) -> None:
    """`-p NAME`: as pySigma's own test package brings one; a wrong name says what there is."""
    rule = "title: t\nname: t\nlogsource: {product: windows}\ndetection:\n  s: {fieldA: x}\n  condition: s\n"
    path = write(tmp_path, rule)
    event = {"winlog.channel": "a", "winlog.event_data.mappedA": "x"}
    made = DetectionSet.load([path], pipelines=["dummy_test"], cache=tmp_path / "cache")
    assert len(Detector(made).match(EventBatch.from_rows("windows.x", [event]))) == 1
    with pytest.raises(ConfigError, match=r"dummy_tets: no file.*did you mean 'dummy_test'"):
        DetectionSet.load([path], pipelines=["dummy_tets"])
