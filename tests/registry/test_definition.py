"""A system's file: what is read, and every fault at its line."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from soc.errors import ContentError
from soc.model.system import InformationSystem, LevelDecision
from soc.registry import Registry, load_systems, to_document, validate

GOOD = """\
kind: system
id: congdvc
name: Cổng dịch vụ công tỉnh
code: H55.01
organization_id: so-tttt
organization_name: Sở Thông tin và Truyền thông
site: ttdl
type: portal
levels:
  - {level: 2, since: 2024-01-01, decision: 12/QĐ-UBND}
  - {level: 3, since: 2026-06-01}
registered: 2024-01-01
networks: [10.20.0.0/24, "2001:db8::/64"]
hosts: [10.9.9.9, web01]
sources: [10.20.0.1]
"""


def write(folder: Path, text: str, name: str = "s.yml") -> Path:
    (folder / name).write_text(text, "utf-8")
    return folder / name


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ContentError) as caught:
        load_systems(write(folder, text))
    return [f"{fault.line}: {fault.message}" for fault in caught.value.faults]


def test_a_file_becomes_a_system(tmp_path: Path) -> None:
    """Every key has its place; `type` is what kind of system it is."""
    (system,) = load_systems(write(tmp_path, GOOD))
    assert system == InformationSystem(
        "congdvc", "Cổng dịch vụ công tỉnh", "H55.01", "so-tttt", "Sở Thông tin và Truyền thông", "ttdl",
        (LevelDecision(2, dt.date(2024, 1, 1), "12/QĐ-UBND"), LevelDecision(3, dt.date(2026, 6, 1))),
        dt.date(2024, 1, 1), ("10.20.0.0/24", "2001:db8::/64"), ("10.9.9.9", "web01"), sources=("10.20.0.1",),
        kind="portal",
    )  # fmt: skip


def test_a_document_reads_back_as_the_same_system(tmp_path: Path) -> None:
    """`soc system add` stores what `to_document` makes."""
    (system,) = load_systems(write(tmp_path, GOOD))
    assert validate(to_document(system)) == system


def test_several_systems_stand_in_one_file(tmp_path: Path) -> None:
    """One YAML document each."""
    two = (
        GOOD
        + "---\n"
        + GOOD.replace("congdvc", "mail")
        .replace("10.20.0.0", "10.21.0.0")
        .replace("2001:db8::", "2001:db9::")
        .replace("10.9.9.9, ", "")
    )
    assert [s.id for s in load_systems(write(tmp_path, two))] == ["congdvc", "mail"]


def test_all_faults_are_shown_at_once_with_their_lines(tmp_path: Path) -> None:
    """Level, dates, networks, unknown and missing keys, all in one go."""
    text = (
        GOOD.replace("level: 2", "level: 6")
        .replace("registered: 2024-01-01", "registered: hôm qua")
        .replace("10.20.0.0/24", "10.20.0.5/24")
        .replace("code: H55.01\n", "")
        .replace("sources:", "source:")
        .replace("10.9.9.9", '"2001:DB8::1"')
    )
    assert faults(tmp_path, text) == [
        "1: 'code' is missing",
        "9: level 6; one of 1, 2, 3, 4, 5",
        "11: 'registered' should be a date like 2026-11-20, not 'hôm qua'",
        "12: '10.20.0.5/24' is not canonical; write 10.20.0.0/24",
        "13: '2001:DB8::1' is not canonical; write 2001:db8::1",
        "14: unknown key 'source' (did you mean 'sources'?)",
    ]


@pytest.mark.parametrize("network", ["10.0.0.1", "10.0.0.0/33", "mạng", '"2001:db8:0::/64"'])
def test_a_network_that_is_not_canonical_is_refused(tmp_path: Path, network: str) -> None:
    """One way of writing, so that equal networks are equal texts."""
    assert len(faults(tmp_path, GOOD.replace("10.20.0.0/24", network))) == 1


def test_an_id_stands_once_in_a_folder(tmp_path: Path) -> None:
    """The second place names the first."""
    write(tmp_path, GOOD, "a.yml")
    write(tmp_path, GOOD, "b.yml")
    with pytest.raises(ContentError, match=r"b\.yml:2: id 'congdvc' stands in .*a\.yml:2 already"):
        load_systems(tmp_path)


def test_a_document_replaces_the_system_of_a_file(tmp_path: Path) -> None:
    """What `soc system` changed is newer than what the file says."""
    path = write(tmp_path, GOOD)
    (system,) = load_systems(path)
    registry = Registry.load({**to_document(system), "name": "Tên mới"}, path)
    assert [s.name for s in registry.systems()] == ["Tên mới"]


def test_a_retirement_before_registration_is_refused(tmp_path: Path) -> None:
    """A system lives forward."""
    assert faults(tmp_path, GOOD + "retired: 2023-01-01\n") == [
        "16: retired 2023-01-01 before it was registered 2024-01-01"
    ]
