"""Checks sealed files, deletions and certificates against a chain of signed manifests; one file, standard library only.

Run it away from the system that made the data: `python verify.py FOLDER PUBLIC_KEY_HEX`. FOLDER holds `manifests/`,
`certificates/` and the sealed files at the paths that the manifests name. Exit 0 = all holds, 3 = not.
The public key must come from somewhere else than the folder; without it a whole forged folder would hold together.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Edwards curve of RFC 8032 section 5.1, after the sample code of its section 6.
_P = 2**255 - 19
_Q = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_SQRT_M1 = pow(2, (_P - 1) // 4, _P)
_Point = tuple[int, int, int, int]


MANIFESTS = "manifests"
GENESIS = "0" * 64
_Document = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """What is wrong where: `kind` is altered, missing, renamed, swapped, unlisted, merge, chain, signature,
    uncertified, form or foreign_key (`soc.retention.audit` has more)."""

    kind: str
    what: str
    message: str


@dataclass(frozen=True)
class Verdict:
    """`ok` when there is no fault; the counts say how much was looked at, `seq` and `head` name the last manifest."""

    faults: tuple[Fault, ...]
    segments: int = 0
    tombstones: int = 0
    certificates: int = 0
    seq: int = 0
    head: str = GENESIS

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.faults


@dataclass
class Chain:
    """What all manifests say together: every file that ever was sealed by id, how those that are gone went, the
    certificates (name to SHA-256), and the digests of the manifests by number."""

    known: dict[str, _Document] = field(default_factory=dict)
    gone: dict[str, _Document] = field(default_factory=dict)
    certificates: dict[str, str] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)

    @property
    def segments(self) -> dict[str, _Document]:
        """The sealed files that should be there, by id."""
        return {name: segment for name, segment in self.known.items() if name not in self.gone}

    @property
    def dropped(self) -> dict[str, _Document]:
        """The tombstones of what was deleted, by id."""
        return {name: entry["tombstone"] for name, entry in self.gone.items() if "tombstone" in entry}

    @property
    def seq(self) -> int:
        """The number of the last manifest, 0 when there is none."""
        return max(self.digests, default=0)

    @property
    def head(self) -> str:
        """The digest of the last manifest."""
        return self.digests.get(self.seq, GENESIS)


def verify(
    folder: Path, public_key: str | None = None, *, manifests: Path | None = None, certificates: Path | None = None
) -> Verdict:
    """Check everything under the folder. `public_key` is 32 bytes of hex, the key trusted beforehand.

    Never raises for what it finds in files: a file that cannot be read or understood is a fault.
    """
    faults: list[Fault] = []
    chain = read_chain(manifests or folder / MANIFESTS, public_key, faults)
    if not chain.seq:
        faults.append(Fault("missing", MANIFESTS, "there is no manifest"))
        return Verdict(tuple(faults))
    _check_files(folder, chain, faults)
    _check_merges(chain, faults)
    found = _check_certificates(certificates or folder / "certificates", chain, public_key, faults)
    _check_tombstones(chain, found, faults)
    counts = (len(chain.segments), len(chain.dropped), len(found))
    return Verdict(tuple(faults), *counts, chain.seq, chain.head)


def read_chain(folder: Path, public_key: str | None = None, faults: list[Fault] | None = None) -> Chain:
    """The manifests in their order. What breaks the chain is a fault; what they say is taken all the same.

    Without `faults` no signature is looked at, which would take some milliseconds.
    """
    chain, check = Chain(), faults is not None
    faults = [] if faults is None else faults
    paths = _numbered(folder)
    documents = {seq: _document(path, faults) for seq, path in sorted(paths.items())}
    for seq, path in sorted(paths.items()):
        chain.digests[seq] = file_digest(path)
        if seq > 1 and seq - 1 not in paths:
            first = max((n for n in paths if n < seq), default=0) + 1
            faults.append(Fault("chain", f"{first:08d}.json", f"manifests {first} to {seq - 1} are gone"))
    for seq, document in documents.items():
        if document is not None:
            if check:
                _check_link(seq, document, documents.get(seq + 1), paths[seq], public_key, chain, faults)
            _fold(document, chain, faults)
    return chain


def read_on(folder: Path, chain: Chain, held: Container[str]) -> None:
    """Add to the chain what the manifests after its last one say, unchecked; of what is gone only what is `held` yet.

    So what is in memory grows with the files that are there, and not with those that ever were.
    """
    unheard: list[Fault] = []
    for seq, path in sorted(_numbered(folder).items()):
        if seq > chain.seq and (document := _document(path, unheard)) is not None:
            chain.digests = {seq: file_digest(path)}
            _fold(document, chain, unheard)
            for name in [name for name in chain.gone if name not in held]:
                del chain.gone[name]
                chain.known.pop(name, None)


def _numbered(folder: Path) -> dict[int, Path]:
    return {int(path.stem): path for path in folder.glob("*.json") if path.stem.isdecimal()}


def _check_link(
    seq: int,
    document: _Document,
    following: _Document | None,
    path: Path,
    public_key: str | None,
    chain: Chain,
    faults: list[Fault],
) -> None:
    if document.get("seq") != seq:
        faults.append(Fault("chain", path.name, f"is manifest {document.get('seq')} under another name"))
    before = chain.digests.get(seq - 1, GENESIS if seq == 1 else None)
    if before is not None and document.get("prev") != before:
        faults.append(Fault("chain", path.name, "does not follow the manifest before it"))
    # Where the next one names its digest, the signature of that one is over it too.
    if following is None or following.get("prev") != chain.digests[seq]:
        _check_signature(path.name, document, public_key, faults)


def _fold(manifest: _Document, chain: Chain, faults: list[Fault]) -> None:
    for segment in _mappings(manifest, "added", faults):
        if isinstance(segment.get("rows"), int) and "\0" not in str(segment.get("path")):
            chain.known.setdefault(str(segment.get("id")), segment)
        else:
            faults.append(Fault("form", str(segment.get("id")), "has no number of rows, or no path"))
    for entry in _mappings(manifest, "gone", faults):
        if isinstance(entry.get("tombstone"), dict) or isinstance(entry.get("into"), str):
            chain.gone.setdefault(str(entry.get("id")), entry)
        else:
            faults.append(Fault("form", str(entry.get("id")), "is gone without a tombstone, and merged into nothing"))
    for listed in _mappings(manifest, "certificates", faults):
        chain.certificates.setdefault(str(listed.get("name")), str(listed.get("sha256")))


def _document(path: Path, faults: list[Fault]) -> _Document | None:
    """The document of a file, None when it is unreadable; its faults are noted."""
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
    return document


def _check_signature(name: str, document: _Document, public_key: str | None, faults: list[Fault]) -> None:
    body = {key: value for key, value in document.items() if key != "signature"}
    own = str(document.get("public_key"))
    if public_key is not None and own != public_key:
        faults.append(Fault("foreign_key", name, f"signed by {own[:16]}…, not by the trusted key"))
    if not _verify_hex(own, _canonical(body), str(document.get("signature"))):
        faults.append(Fault("signature", name, "the signature does not fit"))


def _check_files(folder: Path, chain: Chain, faults: list[Fault]) -> None:
    """Every file below `seg/` is one that was signed, at its place; and every one that was signed is there."""
    root = folder.resolve()
    found = dict(_sealed(root))
    places = {str(segment.get("path")): name for name, segment in chain.known.items()}
    owners: dict[str, list[str]] = {}
    for place, name in places.items():
        owners.setdefault(str(chain.known[name].get("sha256")), []).append(place)
    for segment in chain.segments.values():
        place = str(segment.get("path"))
        if not (root / place).resolve().is_relative_to(root):
            faults.append(Fault("form", place, "lies outside the folder"))
        elif place not in found:
            faults.append(_missing(place, segment, found, places))
        elif found[place] != segment.get("sha256"):
            faults.append(_altered(root / place, place, segment, owners.get(found[place], [])))
    moved = {str(segment.get("sha256")) for segment in chain.segments.values() if str(segment.get("path")) not in found}
    for place, digest in found.items():
        if place not in places and digest not in moved:
            faults.append(Fault("unlisted", place, "no manifest lists this file"))
        elif (entry := chain.gone.get(places.get(place, ""))) is not None:
            if "tombstone" in entry:
                faults.append(Fault("unlisted", place, "was deleted, and is there again"))
            elif digest != chain.known[places[place]].get("sha256"):
                faults.append(
                    Fault("altered", place, "was merged into another, and its bytes are not its own any more")
                )


def _sealed(root: Path) -> Iterator[tuple[str, str]]:
    """Path and digest of every file below `seg/`; one that vanishes while it is read is not there."""
    for path in sorted((root / "seg").rglob("*.parquet")):
        try:
            yield path.relative_to(root).as_posix(), file_digest(path)
        except OSError:
            continue


def _missing(place: str, segment: _Document, found: dict[str, str], places: dict[str, str]) -> Fault:
    for other, digest in found.items():
        if digest == segment.get("sha256") and other not in places:
            return Fault("renamed", place, f"lies at {other}")
    return Fault("missing", place, "the sealed file is gone and no tombstone says why")


def _altered(path: Path, place: str, segment: _Document, owners: list[str]) -> Fault:
    if owners:
        return Fault("swapped", place, f"holds the bytes of {owners[0]}")
    size, signed = path.stat().st_size, segment.get("bytes")
    if size != signed:
        return Fault(
            "altered", place, f"its bytes are not those that were sealed: {size} of them, {signed} were signed"
        )
    return Fault("altered", place, "its bytes are not those that were sealed")


def _check_merges(chain: Chain, faults: list[Fault]) -> None:
    """What was merged lives on in a file that was signed, of the same day and level, with as many rows."""
    parents: dict[str, list[_Document]] = {}
    for name, entry in chain.gone.items():
        if "into" in entry:
            parents.setdefault(str(entry["into"]), []).append(chain.known.get(name, {}))
    for into, several in parents.items():
        merged = chain.known.get(into)
        if merged is None:
            faults.append(Fault("merge", into, "files were merged into it, and no manifest lists it"))
            continue
        place = str(merged.get("path"))
        if any((p.get("day"), p.get("level")) != (merged.get("day"), merged.get("level")) for p in several):
            faults.append(Fault("merge", place, "was merged from files of another day or level"))
        rows = sum(parent.get("rows", 0) for parent in several)
        if rows != merged.get("rows"):
            faults.append(Fault("merge", place, f"has {merged.get('rows')} rows, what was merged into it had {rows}"))


def _check_certificates(folder: Path, chain: Chain, key: str | None, faults: list[Fault]) -> dict[str, _Document]:
    listed = chain.certificates
    present = {path.name: path for path in sorted(folder.glob("*.json"))} if folder.is_dir() else {}
    for name in sorted(listed.keys() - present.keys()):
        faults.append(Fault("missing", name, "the certificate is gone"))
    for name in sorted(present.keys() - listed.keys()):
        faults.append(Fault("unlisted", name, "no manifest lists this certificate"))
    found: dict[str, _Document] = {}
    for name, path in present.items():
        document = _document(path, faults)
        if document is not None:
            _check_signature(name, document, key, faults)
            found[name] = document
        if name in listed and file_digest(path) != listed[name]:
            faults.append(Fault("altered", name, "its bytes are not those a manifest lists"))
    return found


def _check_tombstones(chain: Chain, certificates: dict[str, _Document], faults: list[Fault]) -> None:
    """What was dropped has a certificate and is the file that was signed; what is certified has a tombstone."""
    certified = {
        str(stone.get("segment_id")): stone
        for certificate in certificates.values()
        for stone in _mappings(certificate, "tombstones", faults)
    }
    left = chain.dropped
    for name, stone in left.items():
        if certified.get(name) != stone:
            faults.append(Fault("uncertified", name, "deleted, and no certificate says the same of it"))
        signed = chain.known.get(name)
        if signed is not None and any(stone.get(key) != signed.get(key) for key in ("sha256", "rows", "day", "level")):
            faults.append(Fault("altered", name, "its tombstone is not of the file that was signed"))
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
