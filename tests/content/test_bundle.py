"""A bundle is taken whole and as it was signed, or not at all."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from soc.content import bundle
from soc.errors import ConfigError, PermissionRefused, SocError, UsageError

KEY = Ed25519PrivateKey.generate()
FILES = {"linux/ssh.yml": b"title: one\n", "net.yml": b"title: two\n", "regression/a.json": b"{}"}


def _folder(root: Path) -> Path:
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("x")
    return root


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A bundle of three files."""
    path = tmp_path / "rules.zip"
    path.write_bytes(bundle.make(_folder(tmp_path / "rules"), "rules", "1", KEY, 5))
    return path


def _signer(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        return str(orjson.loads(archive.read("manifest.json"))["key"])


def _changed(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The bundle with other members, written anew as any zip program would."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    path.write_bytes(out.getvalue())
    return path


def test_what_was_packed_is_there(made: Path) -> None:
    """But for hidden names."""
    found = bundle.read(made, frozenset({_signer(made)}))
    assert (found.name, found.version, found.made_us, dict(found.files)) == ("rules", "1", 5, FILES)


def test_nobody_is_trusted_by_himself(made: Path) -> None:
    """The key in a bundle proves nothing about who it belongs to."""
    with pytest.raises(PermissionRefused, match="nobody here trusts"):
        bundle.read(made, frozenset())


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update({"files/net.yml": b"title: six\n"}),
        lambda m: m.update({"files/net.yml": b"x" * 100_000}),
        lambda m: m.pop("files/net.yml"),
        lambda m: m.update({"files/more.yml": b""}),
        lambda m: m.update({"files/../../evil.yml": b""}),
        lambda m: m.update({"manifest.json": m["manifest.json"].replace(b'"version":"1"', b'"version":"2"')}),
        lambda m: m.update({"manifest.sig": b"00" * 64}),
        lambda m: m.update({"manifest.sig": b"no hex"}),
        lambda m: m.update({"manifest.json": b"[]"}),
        lambda m: m.update({"manifest.json": b"{"}),
        lambda m: m.pop("manifest.sig"),
    ],
)  # fmt: skip
def test_whatever_was_changed_behind_the_signature_is_refused(
    made: Path, change: Callable[[dict[str, bytes]], None]
) -> None:
    """A file, one more, one less, the list, the signature."""
    signer = _signer(made)
    with pytest.raises(SocError):
        bundle.read(_changed(made, change), frozenset({signer}))


def test_any_damage_is_an_error_and_no_crash(made: Path) -> None:
    """Each octet of the file turned over, and the file cut at each place, with steps so that it stays quick."""
    signer, whole = frozenset({_signer(made)}), made.read_bytes()
    for at in range(0, len(whole), 7):
        for damaged in (whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :], whole[:at]):
            made.write_bytes(damaged)
            try:
                found = bundle.read(made, signer)
            except (ConfigError, PermissionRefused):
                continue
            assert dict(found.files) == FILES, f"octet {at}"  # what no reader looks at may be anything


@pytest.mark.parametrize(
    "name",
    ["../x.yml", "/x.yml", "a/../b", ".hidden", "a/.b", "a\\b", "a//b", "a\x00b", "x" * 201, "a/" * 17 + "b", ""],
)
def test_a_signer_cannot_write_elsewhere_either(name: str) -> None:
    """Trust in a signer is trust in rules, not in paths."""
    entry = {"sha256": "0" * 64, "bytes": 0}
    with pytest.raises(UsageError):
        bundle._checked({"format": 1, "name": "x", "version": "1", "files": {name: entry}}, "x.zip")


def test_more_than_it_says_is_not_read(made: Path) -> None:
    """A bomb stops at the size that was signed."""
    signer = _signer(made)
    _changed(made, lambda members: members.update({"files/net.yml": b"\x00" * (64 << 20)}))
    with pytest.raises(ConfigError, match="larger than it may be"):
        bundle.read(made, frozenset({signer}))
