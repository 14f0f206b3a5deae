"""Rules kept for the next start: the same set as reading them anew, whatever changed or broke in between."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from soc.content import archive
from soc.detections import DetectionSet
from soc.detections.sigma import read as reading
from tests.detections.sigma.test_collection import FAILED, FILTER, GLOBAL
from tests.detections.support import write

KINDS = r"""
title: kinds
name: kinds
logsource: {product: windows, category: process_creation}
level: high
tags: [attack.t1059]
detection:
  a: {Image|endswith: '\x.exe', CommandLine|re: 'a.b|c', User: null, Hashes|contains|all: [1, b]}
  b: {CommandLine|cased: 'a*b', ParentProcessId|gte: 4, Image|exists: true, User|fieldref: ParentUser}
  condition: a or not b
---
title: refused
name: refused
logsource: {product: linux, service: sshd}
detection: {s: {no.such.field: x}, condition: s}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Rules of several kinds and shapes."""
    rules = tmp_path / "rules"
    rules.mkdir()
    for name, text in (("failed", FAILED), ("kinds", KINDS), ("collection", GLOBAL)):
        write(rules, text, f"{name}.yml")
    return rules


def loaded(folder: Path) -> tuple[object, ...]:
    """What a load with the cache gives."""
    made = DetectionSet.load([folder], cache=folder.parent / "cache")
    return made.rules, made.correlations, made.models, made.refused


def pack(path: Path, folder: Path) -> None:
    """The files of a folder in a zip archive."""
    with zipfile.ZipFile(path, "w") as packed:
        for each in sorted(folder.iterdir()):
            packed.writestr(each.name, each.read_bytes())


def plainly(folder: Path) -> tuple[object, ...]:
    """What a load without it gives."""
    made = DetectionSet.load([folder])
    return made.rules, made.correlations, made.models, made.refused


def test_a_second_load_reads_no_rule_and_gives_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules with every kind of value, and refusals with their place."""
    whole = plainly(folder)
    assert loaded(folder) == whole

    def never(*_: object) -> None:
        raise AssertionError("a rule was read")

    monkeypatch.setattr(reading, "_rule", never)
    assert loaded(folder) == whole


def test_a_changed_file_is_read_anew(folder: Path) -> None:
    """By its content: neither its time nor its name counts."""
    loaded(folder)
    stamp = (folder / "failed.yml").stat().st_mtime_ns
    write(folder, FAILED.replace("failure", "success"), "failed.yml")
    os.utime(folder / "failed.yml", ns=(stamp, stamp))
    (folder / "kinds.yml").rename(folder / "moved.yml")
    assert loaded(folder) == plainly(folder)


def test_a_filter_beside_them_changes_them(folder: Path) -> None:
    """What was read without it, or with another one, is read anew; and again when it goes."""
    for change in (FILTER, FILTER.replace("backup", "admin"), None, FILTER.replace("[failed]", "[nobody]")):
        loaded(folder)
        (folder / "filter.yml").unlink(missing_ok=True)
        if change:
            write(folder, change, "filter.yml")
        assert loaded(folder) == loaded(folder) == plainly(folder)


def test_two_files_with_one_id(folder: Path) -> None:
    """The second is refused, also from the cache."""
    write(folder, FAILED, "twice.yml")
    first, second = loaded(folder), loaded(folder)
    assert [r.reason[:40] for r in second[3]] == [r.reason[:40] for r in first[3]]  # type: ignore[attr-defined]
    assert first[0] == second[0]


@pytest.mark.parametrize("damage", [b"", b"{", b'{"files": {}, "filters": 3}', b'{"files": [], "filters": ""}'])
def test_a_damaged_cache_is_passed_over(folder: Path, damage: bytes) -> None:
    """It is read anew and written again."""
    loaded(folder)
    [path] = (folder.parent / "cache").glob("rules-*.json")
    path.write_bytes(damage)
    assert loaded(folder) == loaded(folder) == plainly(folder)


def test_what_was_tampered_with_is_read_anew(folder: Path) -> None:
    """Another word in a condition would go unseen until an event met it: the digest over all tells at once."""
    whole = loaded(folder)
    [path] = (folder.parent / "cache").glob("rules-*.json")
    data = path.read_bytes()
    assert b"x.exe" in data
    path.write_bytes(data.replace(b"x.exe", b"y.exe"))
    assert loaded(folder) == whole
    assert path.read_bytes() == data


def test_a_condition_is_made_when_an_event_needs_it(folder: Path) -> None:
    """Most rules of a collection never meet an event of theirs."""
    loaded(folder)
    rules = DetectionSet.load([folder], cache=folder.parent / "cache").rules
    variants = [variant for rule in rules for variant in rule.variants]
    assert variants
    assert not any("node" in vars(variant) for variant in variants)
    assert [variant.node for variant in variants] == [
        v.node for r in DetectionSet.load([folder]).rules for v in r.variants
    ]


def test_an_archive_that_did_not_change_is_not_unpacked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest of the whole names each file in it; another archive of the same name is read."""
    packed = folder.parent / "rules.zip"
    pack(packed, folder)
    whole = loaded(packed)
    assert whole[0]

    def never(*_: object) -> None:
        raise AssertionError("a file was unpacked")

    with monkeypatch.context() as patch:
        patch.setattr(archive, "_bytes", never)
        assert loaded(packed) == whole
    write(folder, FAILED.replace("failure", "success"), "failed.yml")
    pack(packed, folder)
    assert loaded(packed) == plainly(packed) != whole


def test_two_sets_of_rules_take_turns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading another set does not push out what is kept of the first one."""
    other = folder.parent / "other"
    other.mkdir()
    write(other, FAILED.replace("name: failed", "name: another"), "other.yml")
    wholes = [loaded(folder), loaded(other)]
    monkeypatch.setattr(reading, "_rule", lambda *_: 1 / 0)
    assert [loaded(folder), loaded(other)] == wholes


def test_a_folder_that_cannot_be_written_stops_nothing(folder: Path) -> None:
    """The cache is a help, never a need."""
    (folder.parent / "cache").write_text("no folder")
    assert loaded(folder) == plainly(folder)


def test_what_is_kept_needs_no_pysigma(folder: Path) -> None:
    """To import it takes longer than to load two thousand kept rules."""
    plain = loaded(folder)
    program = (
        "import sys; from pathlib import Path; from soc.detections import DetectionSet, Detector\n"
        "made = DetectionSet.load([Path(sys.argv[1])], cache=Path(sys.argv[2])); Detector(made)\n"
        "print(len(made.rules), *(name for name in sys.modules if name.partition('.')[0] == 'sigma'))"
    )
    command = [sys.executable, "-c", program, str(folder), str(folder.parent / "cache")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == [str(len(plain[0]))]
