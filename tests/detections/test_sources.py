"""Rules out of archives, and lists that rules expand."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from soc.detections import DetectionSet, Detector
from soc.detections.lists import read_lists
from soc.errors import ConfigError
from soc.model.batch import EventBatch
from tests.detections.sigma.test_collection import FAILED, FILTER
from tests.detections.support import write


def archive(path: Path, **members: str) -> Path:
    """A zip of YAML files; `__` in a name is `/`, `_dot_` a dot."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in members.items():
            file.writestr(name.replace("__", "/").replace("_dot_", ".") + ".yml", text)
    return path


def test_an_archive_is_a_folder(tmp_path: Path) -> None:
    """Its files by name, hidden ones passed over; refusals name the file inside; the cache changes nothing."""
    path = archive(tmp_path / "r.zip", a__failed=FAILED, a___dot_git__x=FAILED, b="a: [", c=FILTER)
    made = [DetectionSet.load([path], cache=cache) for cache in (None, tmp_path / "cache", tmp_path / "cache")]
    for each in made:
        assert [(rule.path, rule.filters) for rule in each.rules] == [
            (f"{path}!a/failed.yml", ("22222222-2222-4222-8222-222222222222",))
        ]
        assert [refused.path for refused in each.refused] == [f"{path}!b.yml"]


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    """By name, and what lies beside it is read."""
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 no archive")
    good = write(tmp_path, FAILED)
    made = DetectionSet.load([tmp_path / "x.zip", good])
    assert len(made.rules) == 1
    assert "no zip archive" in made.refused[0].reason


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the archive says of itself, and file by file by what comes out."""
    path = archive(tmp_path / "r.zip", bomb="#" * (2 << 20), good=FAILED)
    made = DetectionSet.load([path])
    assert len(made.rules) == 1
    assert "larger than" in made.refused[0].reason
    monkeypatch.setattr("soc.content.archive.MAX_EXPANDED", 1 << 20)
    assert "MiB of YAML" in DetectionSet.load([path]).refused[0].reason


EXPANDED = """
title: expanded
name: expanded
logsource: {product: linux, service: sshd}
detection:
  s: {host.name|expand: '%Jump_Hosts%'}
  condition: s
"""


def test_a_list_stands_in_the_place_of_its_name(tmp_path: Path) -> None:
    """`|expand`: any of the values, wildcards too; without the list the rule is refused by its name."""
    folder = tmp_path / "lists"
    folder.mkdir()
    write(folder, "# who may\njump1\n\n  jump2* \njump1\n", "Jump_Hosts.txt")
    path = write(tmp_path, EXPANDED)
    lists = read_lists([folder])
    assert lists == {"Jump_Hosts": ["jump1", "jump2*"]}
    made = DetectionSet.load([path], lists=lists)
    events = EventBatch.from_rows("linux.sshd", [{"host.name": name} for name in ("jump1", "JUMP22", "jump3")])
    assert len(Detector(made).match(events)) == 2
    assert "'Jump_Hosts'" in DetectionSet.load([path]).refused[0].reason


def test_another_list_is_another_rule(tmp_path: Path) -> None:
    """What is kept for the next start belongs to the values it was read with."""
    path = write(tmp_path, EXPANDED)
    made = [DetectionSet.load([path], lists={"Jump_Hosts": values}, cache=tmp_path / "c") for values in (["a"], ["b"])]
    assert made[0].rules != made[1].rules


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A rule that silently expands to nothing would hide everything."""
    with pytest.raises(ConfigError, match="no such folder"):
        read_lists([tmp_path / "none"])


def test_a_broken_document_hides_no_rule_of_its_file(tmp_path: Path) -> None:
    """The one that cannot be read is told with its line; before, the whole file was lost with it."""
    second = FAILED.replace("11111111-1111", "11111111-2222").replace("name: failed", "name: second")
    path = write(tmp_path, f"{FAILED}---\ntitle: [broken\nx: {{\n---\n{second}")
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        made = DetectionSet.load([path], cache=cache)
        assert [rule.name for rule in made.rules] == ["failed", "second"]
        assert [(refused.path, refused.line) for refused in made.refused] == [(str(path), 11)]


def test_a_name_that_leads_out_of_the_archive_is_told(tmp_path: Path) -> None:
    """It was passed over in silence as a hidden one."""
    path = archive(tmp_path / "r.zip", ok=FAILED, **{"..__evil": FAILED.replace("11111111-1111", "11111111-3333")})
    made = DetectionSet.load([path])
    assert [rule.path for rule in made.rules] == [f"{path}!ok.yml"]
    assert [refused.reason for refused in made.refused] == ["its name leads out of the archive"]


def test_a_pipe_among_the_rules_is_told(tmp_path: Path) -> None:
    """It was waited for, for ever."""
    os.mkfifo(tmp_path / "x.yml")
    assert [refused.reason for refused in DetectionSet.load([tmp_path]).refused] == ["cannot be read: no plain file"]
