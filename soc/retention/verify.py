"""Checks sealed files, tombstones and certificates against a signed manifest; one file, standard library only.

Run it away from the system that made the data: `python verify.py FOLDER PUBLIC_KEY_HEX`. FOLDER holds
`manifest.json`, `certificates/` and the sealed files at the paths that the manifest names. Exit 0 = all holds, 3 = not.
The public key must come from somewhere else than the folder; without it a whole forged folder would hold together.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Edwards curve of RFC 8032 section 5.1, after the sample code of its section 6.
_P = 2**255 - 19
_Q = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_SQRT_M1 = pow(2, (_P - 1) // 4, _P)
_Point = tuple[int, int, int, int]


@dataclass(frozen=True)
class Fault:
    """What is wrong where: `kind` is altered, missing, unlisted, signature, uncertified, form or foreign_key."""

    kind: str
    what: str
    message: str


@dataclass(frozen=True)
class Verdict:
    """`ok` when there is no fault; the counts say how much was looked at."""

    faults: tuple[Fault, ...]
    segments: int = 0
    tombstones: int = 0
    certificates: int = 0

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.faults


def verify(folder: Path, public_key: str | None = None, *, certificates: Path | None = None) -> Verdict:
    """Check everything under the folder. `public_key` is 32 bytes of hex, the key trusted beforehand.

    Never raises for what it finds in files: a file that cannot be read or understood is a fault.
    """
    faults: list[Fault] = []
    manifest = _signed(folder / "manifest.json", public_key, faults)
    if manifest is None:
        return Verdict(tuple(faults))
    key = public_key or str(manifest.get("public_key"))
    segments, stones = _mappings(manifest, "segments", faults), _mappings(manifest, "tombstones", faults)
    _check_segments(folder, segments, faults)
    found = _check_certificates(certificates or folder / "certificates", manifest, key, faults)
    _check_tombstones(segments, stones, found, faults)
    return Verdict(tuple(faults), len(segments), len(stones), len(found))


def _signed(path: Path, public_key: str | None, faults: list[Fault]) -> dict[str, Any] | None:
    """The document of a signed file, None when it is unreadable; its faults are noted."""
    try:
        data = path.read_bytes()
        document = json.loads(data)
    except OSError as error:
        faults.append(Fault("missing", path.name, f"cannot be read: {error.strerror}"))
        return None
    except (ValueError, RecursionError) as error:
        faults.append(Fault("form", path.name, f"no JSON: {error}"))
        return None
    if not isinstance(document, dict):
        faults.append(Fault("form", path.name, "no JSON object"))
        return None
    if _canonical(document) != data:  # white space, key order, letter case of escapes: one form only
        faults.append(Fault("altered", path.name, "not in its canonical form"))
    body = {key: value for key, value in document.items() if key != "signature"}
    own = str(document.get("public_key"))
    if public_key is not None and own != public_key:
        faults.append(Fault("foreign_key", path.name, f"signed by {own[:16]}…, not by the trusted key"))
    if not _verify_hex(own, _canonical(body), str(document.get("signature"))):
        faults.append(Fault("signature", path.name, "the signature does not fit"))
    return document


def _check_segments(folder: Path, segments: list[dict[str, Any]], faults: list[Fault]) -> None:
    root = folder.resolve()
    for segment in segments:
        name = str(segment.get("path"))
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            faults.append(Fault("form", name, "lies outside the folder"))
        elif not path.is_file():
            faults.append(Fault("missing", name, "the sealed file is gone and no tombstone says why"))
        elif file_digest(path) != segment.get("sha256"):
            faults.append(Fault("altered", name, "its bytes are not those that were sealed"))


def _check_certificates(
    folder: Path, manifest: dict[str, Any], key: str, faults: list[Fault]
) -> dict[str, dict[str, Any]]:
    listed = {str(entry.get("name")): entry.get("sha256") for entry in _mappings(manifest, "certificates", faults)}
    present = {path.name: path for path in sorted(folder.glob("*.json"))} if folder.is_dir() else {}
    for name in sorted(listed.keys() - present.keys()):
        faults.append(Fault("missing", name, "the certificate is gone"))
    for name in sorted(present.keys() - listed.keys()):
        faults.append(Fault("unlisted", name, "the manifest does not list this certificate"))
    found: dict[str, dict[str, Any]] = {}
    for name, path in present.items():
        document = _signed(path, key, faults)
        if name in listed and file_digest(path) != listed[name]:
            faults.append(Fault("altered", name, "its bytes are not those the manifest lists"))
        if document is not None:
            found[name] = document
    return found


def _check_tombstones(
    segments: list[dict[str, Any]],
    stones: list[dict[str, Any]],
    certificates: dict[str, dict[str, Any]],
    faults: list[Fault],
) -> None:
    """Every dropped segment has its certificate, and every certified deletion its tombstone."""
    certified = {
        str(stone.get("segment_id")): stone
        for certificate in certificates.values()
        for stone in _mappings(certificate, "tombstones", faults)
    }
    held = {str(segment.get("id")) for segment in segments}
    left = {str(stone.get("segment_id")): stone for stone in stones}
    for name, stone in left.items():
        if certified.get(name) != stone:
            faults.append(Fault("uncertified", name, "deleted, and no certificate says the same of it"))
        if name in held:
            faults.append(Fault("form", name, "is both held and deleted"))
    for name in sorted(certified.keys() - left.keys()):
        faults.append(Fault("missing", name, "certified as deleted, and its tombstone is gone"))


def file_digest(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mappings(document: dict[str, Any], key: str, faults: list[Fault]) -> list[dict[str, Any]]:
    value = document.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        faults.append(Fault("form", key, f"'{key}' should be a list of objects"))
        return []
    return value


def _canonical(value: Any) -> bytes:
    """RFC 8785 for what our files hold: no fractions, and no key beyond the Basic Multilingual Plane."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def _verify_hex(public: str, message: bytes, signature: str) -> bool:
    try:
        key, mark = bytes.fromhex(public), bytes.fromhex(signature)
    except ValueError:
        return False
    return (key.hex(), mark.hex()) == (public, signature) and ed25519_verify(key, message, mark)


def ed25519_verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """RFC 8032 section 5.1.7, some milliseconds a signature; only public values, so constant time is not needed."""
    if len(public) != 32 or len(signature) != 64:
        return False
    a, r = _decompress(public), _decompress(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= _Q:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _Q
    return _equal(_multiply(s, _BASE), _add(r, _multiply(h, a)))


def _add(p: _Point, q: _Point) -> _Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % _P, (p[1] + p[0]) * (q[1] + q[0]) % _P
    c, d = 2 * p[3] * q[3] * _D % _P, 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _multiply(factor: int, point: _Point) -> _Point:
    total: _Point = (0, 1, 1, 0)
    while factor > 0:
        if factor & 1:
            total = _add(total, point)
        point = _add(point, point)
        factor >>= 1
    return total


def _equal(p: _Point, q: _Point) -> bool:
    return (p[0] * q[2] - q[0] * p[2]) % _P == 0 and (p[1] * q[2] - q[1] * p[2]) % _P == 0


def _decompress(data: bytes) -> _Point | None:
    value = int.from_bytes(data, "little")
    sign, y = value >> 255, value & ((1 << 255) - 1)
    x = _recover_x(y, sign) if y < _P else None
    return None if x is None else (x, y, 1, x * y % _P)


def _recover_x(y: int, sign: int) -> int | None:
    x2 = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    if x2 == 0:
        return None if sign else 0
    x = pow(x2, (_P + 3) // 8, _P)
    if (x * x - x2) % _P:
        x = x * _SQRT_M1 % _P
    if (x * x - x2) % _P:
        return None
    return _P - x if x & 1 != sign else x


def _base() -> _Point:
    y = 4 * pow(5, _P - 2, _P) % _P
    x = _recover_x(y, 0) or 0
    return (x, y, 1, x * y % _P)


_BASE = _base()


def main(arguments: list[str]) -> int:
    """The command line of this file."""
    if len(arguments) not in (1, 2):
        print("usage: verify.py FOLDER [PUBLIC_KEY_HEX]", file=sys.stderr)
        return 2
    verdict = verify(Path(arguments[0]), arguments[1] if len(arguments) == 2 else None)
    for fault in verdict.faults:
        print(f"{fault.kind}: {fault.what}: {fault.message}")
    counts = f"{verdict.segments} files, {verdict.tombstones} tombstones, {verdict.certificates} certificates"
    print(f"{'holds' if verdict.ok else 'DOES NOT HOLD'}: {counts}", file=sys.stderr)
    return 0 if verdict.ok else 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
