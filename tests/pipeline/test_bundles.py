"""A bundle comes into a site's folder: edits of the site survive updates, and a crash at any write is finished by the
same command again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from soc.content.bundle import Bundle
from soc.errors import Conflict
from soc.pipeline.bundles import Installed
from soc.store import files

RULE = (
    "title: {title}\nid: 1\nlogsource: {{product: linux}}\ndetection:\n  a: {{x: 1}}\n  condition: a\nlevel: {level}\n"
)
ONE = RULE.format(title="one", level="low").encode()
Files = Mapping[str, bytes]


def _bundle(made_us: int, **contents: bytes) -> Bundle:
    return Bundle("rules", str(made_us), made_us, "ab", {f"{name}.yml": data for name, data in contents.items()})


def _apply(folder: Path, bundle: Bundle, **options: object) -> dict[str, str]:
    installed = Installed(folder, "rules")
    steps = installed.plan(bundle, **options)  # type: ignore[arg-type]
    installed.apply(bundle, steps)
    return {step.path: step.change for step in steps}


def _seen(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.yml")}


def test_a_first_bundle_then_the_next_one(tmp_path: Path) -> None:
    """Added, updated, taken away."""
    assert _apply(tmp_path, _bundle(1, a=b"a\n", b=b"b\n", c=b"c\n")) == dict.fromkeys(
        ("a.yml", "b.yml", "c.yml"), "added"
    )
    assert _apply(tmp_path, _bundle(2, a=b"a\n", b=b"B\n", d=b"d\n")) == {
        "a.yml": "same", "b.yml": "updated", "c.yml": "removed", "d.yml": "added",
    }  # fmt: skip
    assert _seen(tmp_path) == {"a.yml": b"a\n", "b.yml": b"B\n", "d.yml": b"d\n"}


def test_edits_of_the_site_stay_and_are_merged(tmp_path: Path) -> None:
    """The site raised a level, upstream changed the title: both."""
    _apply(tmp_path, _bundle(1, a=ONE, b=ONE))
    mine = ONE.replace(b"level: low", b"level: high")
    (tmp_path / "a.yml").write_bytes(mine)
    (tmp_path / "b.yml").write_bytes(mine)
    theirs = ONE.replace(b"title: one", b"title: better")
    assert _apply(tmp_path, _bundle(2, a=theirs, b=ONE)) == {"a.yml": "merged", "b.yml": "kept"}
    assert _seen(tmp_path) == {"a.yml": theirs.replace(b"level: low", b"level: high"), "b.yml": mine}
    assert _apply(tmp_path, _bundle(3, a=theirs, b=ONE)) == {"a.yml": "kept", "b.yml": "kept"}


def test_what_meets_stays_as_the_site_had_it_until_it_is_settled(tmp_path: Path) -> None:
    """Told each time; upstream's text lies beside; `keep` or a merge by hand ends it."""
    _apply(tmp_path, _bundle(1, a=ONE, b=ONE))
    mine, theirs = ONE.replace(b"low", b"high"), ONE.replace(b"low", b"medium")
    for name in ("a.yml", "b.yml"):
        (tmp_path / name).write_bytes(mine)
    new = _bundle(2, a=theirs, b=theirs)
    assert _apply(tmp_path, new) == _apply(tmp_path, new) == {"a.yml": "conflict", "b.yml": "conflict"}
    assert _seen(tmp_path) == {"a.yml": mine, "b.yml": mine}
    beside = tmp_path / ".bundle" / "rules" / "conflicts"
    assert (beside / "a.yml").read_bytes() == theirs
    (tmp_path / "b.yml").write_bytes(theirs)
    assert _apply(tmp_path, new, keep=("a.yml",)) == {"a.yml": "kept", "b.yml": "same"}
    assert list(beside.iterdir()) == []
    assert _apply(tmp_path, new) == {"a.yml": "kept", "b.yml": "same"}


def test_taken_away_on_one_side(tmp_path: Path) -> None:
    """What the site took away stays away; what it had changed is not taken from it."""
    _apply(tmp_path, _bundle(1, a=ONE, b=ONE, c=ONE))
    (tmp_path / "a.yml").unlink()
    (tmp_path / "b.yml").write_bytes(ONE + b"# ours\n")
    assert _apply(tmp_path, _bundle(2, a=ONE + b"# new\n", c=ONE)) == {
        "a.yml": "kept", "b.yml": "removed_conflict", "c.yml": "same",
    }  # fmt: skip
    assert set(_seen(tmp_path)) == {"b.yml", "c.yml"}


def test_a_merge_that_cannot_be_read_is_a_conflict(tmp_path: Path) -> None:
    """Lines come together and make the same key twice: no rule any more."""
    _apply(tmp_path, _bundle(1, a=ONE))
    (tmp_path / "a.yml").write_bytes(b"author: lan\n" + ONE)
    assert _apply(tmp_path, _bundle(2, a=ONE + b"author: hoa\n")) == {"a.yml": "conflict"}


def test_an_older_one_is_refused(tmp_path: Path) -> None:
    """Somebody who can hand in files could bring back a rule that was mended."""
    _apply(tmp_path, _bundle(2, a=b"new\n"))
    with pytest.raises(Conflict, match="older"):
        _apply(tmp_path, _bundle(1, a=b"old\n"))
    assert _apply(tmp_path, _bundle(1, a=b"old\n"), older=True) == {"a.yml": "updated"}


def test_a_crash_at_any_write_is_finished_by_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off before each write in turn; then the same bundle ends where an undisturbed run ends."""
    theirs = ONE.replace(b"title: one", b"title: better")
    new = _bundle(2, a=theirs, b=theirs, d=ONE)

    def prepared(folder: Path) -> Path:
        _apply(folder, _bundle(1, a=ONE, b=ONE, c=ONE))
        (folder / "a.yml").write_bytes(ONE.replace(b"level: low", b"level: high"))
        return folder

    wanted = prepared(tmp_path / "whole")
    _apply(wanted, new)
    whole, real = _seen(wanted), files.replace
    for n in range(20):
        folder, left = prepared(tmp_path / str(n)), n

        def failing(path: Path, data: bytes, **options: int) -> None:
            nonlocal left
            if left == 0:
                raise OSError(5, "power is gone")
            left -= 1
            real(path, data, **options)

        monkeypatch.setattr(files, "replace", failing)
        try:
            _apply(folder, new)
        except OSError:
            monkeypatch.setattr(files, "replace", real)
            _apply(folder, new)
        else:
            break
        finally:
            monkeypatch.setattr(files, "replace", real)
        assert _seen(folder) == whole, n
    assert n >= 6
