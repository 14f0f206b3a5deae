"""Where definitions lie: the shipped ones, then a site's own; the later root wins by id."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from soc.content import KINDS, documents, roots, shipped
from soc.errors import ContentError


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return folder


def said(*folders: Path) -> list[str]:
    with pytest.raises(ContentError) as caught:
        documents(folders)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_what_ships_is_there(kind):
    """Five kinds of content, in a checkout and in the wheel."""
    assert shipped(kind).is_dir()


def test_a_site_adds_roots_behind_the_shipped_one(tmp_path):
    """Weakest first; a root without that kind is left out."""
    (tmp_path / "a" / "parsers").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "c" / "parsers").mkdir(parents=True)
    found = roots("parsers", [tmp_path / name for name in "abc"])
    assert found == [shipped("parsers"), tmp_path / "a" / "parsers", tmp_path / "c" / "parsers"]


def test_the_later_root_wins_by_id(tmp_path):
    """Whatever the files are called; what it does not name stays."""
    one = write(tmp_path / "one", "x.yml", "id: a\nv: 1\n---\nid: b\nv: 1\n")
    two = write(tmp_path / "two", "sub/y.yaml", "id: a\nv: 2\n")
    found = documents([one, two])
    assert {name: document.data["v"] for name, document in found.items()} == {"a": 2, "b": 1}
    assert found["a"].path == str(two / "sub" / "y.yaml")


def test_one_id_twice_in_one_root_names_both_places(tmp_path):
    """Within a root nobody could say which wins."""
    root = write(tmp_path, "a.yml", "title: x\nid: a\n")
    write(tmp_path, "b.yml", "id: a\n")
    assert said(root) == [f"{root}/b.yml:1: id 'a' stands in {root}/a.yml:2 already"]


def test_the_faults_of_all_files_come_at_once(tmp_path):
    """No id, no mapping, no YAML, no file: each with its place."""
    root = write(tmp_path, "a.yml", "title: x\n")
    write(tmp_path, "b.yml", "- x\n")
    write(tmp_path, "c.yml", "a: 1\na: 2\n")
    write(tmp_path, "d.yml", "id: 7\n")
    write(tmp_path, "e.yml", "id: ok\n")
    os.symlink("nowhere", tmp_path / "f.yml")
    (tmp_path / "g.yml").mkdir()
    assert said(root) == [
        f"{root}/a.yml:1: 'id' is missing",
        f"{root}/b.yml:1: 'id' is missing",
        f"{root}/c.yml:2: key 'a' stands twice",
        f"{root}/d.yml:1: 'id' is missing",
        f"{root}/f.yml:1: cannot be read: No such file or directory",
        f"{root}/g.yml:1: cannot be read: Is a directory",
    ]
