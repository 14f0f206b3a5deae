"""The verifier: one changed byte anywhere is found, without any library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from soc.retention import verify as module
from soc.retention.keys import public_hex
from soc.retention.verify import ed25519_verify, verify
from tests.retention.test_apply import House


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("export"))
    house.apply()
    assert house.verify().ok
    return house


def files(folder: Path) -> list[Path]:
    return [*folder.glob("seg/*"), *folder.glob("certificates/*.json"), *folder.glob("manifests/*.json")]


@given(st.data())
def test_ac8_one_changed_byte_is_found(house, data):
    """AC8: in any sealed file, certificate or the manifest, at any place, to any value."""
    path = data.draw(st.sampled_from(files(house.folder)))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda value: value != whole[at]))
    path.write_bytes(whole[:at] + bytes([other]) + whole[at + 1 :])
    try:
        assert not verify(house.folder, public_hex(house.key)).ok
    finally:
        path.write_bytes(whole)


def test_a_missing_sealed_file_is_found(house):
    """Gone without a tombstone."""
    path = next(house.folder.glob("seg/*"))
    whole = path.read_bytes()
    path.unlink()
    kinds = {fault.kind for fault in verify(house.folder, public_hex(house.key)).faults}
    path.write_bytes(whole)
    assert kinds == {"missing"}


def test_a_folder_signed_by_another_key_is_found(house):
    """Everything fits together, but the key is not the trusted one."""
    stranger = public_hex(Ed25519PrivateKey.generate())
    assert "foreign_key" in {fault.kind for fault in verify(house.folder, stranger).faults}


def test_an_empty_folder_is_a_fault_not_a_crash(tmp_path):
    """No manifest."""
    assert [fault.kind for fault in verify(tmp_path).faults] == ["missing"]


def test_the_verifier_runs_alone_without_any_library(house):
    """`python -I -S verify.py FOLDER KEY`: no site packages, no soc."""
    command = [sys.executable, "-I", "-S", module.__file__, str(house.folder), public_hex(house.key)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@given(st.binary(max_size=200), st.binary(min_size=64, max_size=64))
def test_ed25519_agrees_with_the_library(message, noise):
    """Right signatures pass; noise does not."""
    key = Ed25519PrivateKey.from_private_bytes(noise[:32])
    public = bytes.fromhex(public_hex(key))
    assert ed25519_verify(public, message, key.sign(message))
    assert not ed25519_verify(public, message, noise)


def test_ed25519_vector_of_rfc_8032():
    """RFC 8032 section 7.1, test 2."""
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert ed25519_verify(public, b"\x72", signature)
