"""What leaves the house: messages without internal addresses and without anything that is classified."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from soc.errors import PermissionRefused
from soc.model.message import Message
from soc.model.system import InformationSystem
from soc.model.values import iso

CLASSIFIED = ("tuyệt mật", "tối mật", "mật")
"""The three degrees of state secrets; what is marked so never leaves, and is never mapped to TLP."""
EVIDENCE_CHARS = 512
"""An evidence excerpt is cut here."""
_ADDRESS4 = re.compile(r"(?<!\d)\d{1,3}(?:\.\d{1,3}){3}(?!\d)")
_ADDRESS6 = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]*(?::[0-9A-Fa-f]*){2,8}(?:\d{0,3}(?:\.\d{1,3}){3})?")
_CGNAT = ipaddress.ip_network("100.64.0.0/10")
_SEEN_ANYWHERE = re.compile(r"(?<!\w)(?:tuyệt|tối)[\s_-]+mật(?!\w)", re.IGNORECASE)
# `mật` alone is an everyday syllable (mật khẩu = password, bảo mật = security): only a stamp in capitals counts.
_STAMP = re.compile(r"(?<!BẢO )(?<!BÍ )(?<!CƠ )(?<!\w)MẬT(?!\w)(?! KHẨU)(?! MÃ)(?! ĐỘ)")
_MARK_KEYS = frozenset({"classification", "do_mat", "độ mật", "độ_mật", "marking", "secrecy", "tlp", "tags", "label"})
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Privacy:
    """What becomes of internal addresses: `remove` (the default without a key), `pseudonymise` with the key, or `keep`.

    Internal are private, shared, link-local and loopback ranges and the `internal` networks of the house itself.
    """

    mode: str = "pseudonymise"
    key: bytes = b""
    internal: tuple[str, ...] = ()

    def scrub(self, value: Any) -> Any:
        """The same value with every internal address in its texts (keys too) replaced; shapes stay."""
        if self.mode == "keep":
            return value
        networks = tuple(ipaddress.ip_network(text, strict=False) for text in self.internal)
        return _scrub(value, lambda text: self._scrub_text(text, networks))

    def _scrub_text(self, text: str, networks: Sequence[_Network]) -> str:
        def replace(match: re.Match[str]) -> str:
            address, rest = _read_address(match.group())
            if address is None or not is_internal(address, networks):
                return match.group()
            return self._stand_in(address) + rest

        return _ADDRESS4.sub(replace, _ADDRESS6.sub(replace, text))

    def _stand_in(self, address: _Address) -> str:
        if self.mode == "remove" or not self.key:
            return "[internal]"
        # Keyed, because four thousand million unkeyed hashes of IPv4 are reversed within minutes.
        return "host-" + hmac.new(self.key, str(address).encode(), hashlib.sha256).hexdigest()[:16]


def is_internal(address: _Address, networks: Sequence[_Network] = ()) -> bool:
    """Whether an address belongs to the inside: private by its range, or in one of the networks."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if any(address.version == network.version and address in network for network in networks):
        return True
    documentation = any(address in network for network in _DOCUMENTATION if network.version == address.version)
    shared = address.version == 4 and address in _CGNAT
    return shared or (address.is_private and not documentation) or address.is_link_local


# Python counts the ranges of RFC 5737 and 3849 as private; they stand for public addresses in examples and drills.
_DOCUMENTATION = tuple(
    ipaddress.ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
)


def _read_address(text: str) -> tuple[_Address | None, str]:
    """The address at the start of a candidate, and what follows it (a colon that only ends a sentence)."""
    for candidate in (text, text.rstrip(":"), text.rstrip(":.")):
        try:
            return ipaddress.ip_address(_plain(candidate)), text[len(candidate) :]
        except ValueError:
            continue
    return None, ""


def _plain(text: str) -> str:
    """010.000.0.1 as 10.0.0.1: devices write it, `ipaddress` refuses it."""
    return ".".join(str(int(part)) for part in text.split(".")) if ":" not in text else text


def _scrub(value: Any, text: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping):
        return {text(str(key)): _scrub(item, text) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_scrub(item, text) for item in value]
    return value


def classified_mark(value: Any) -> str | None:
    """The first mark of a state secret found anywhere in a payload, None when there is none.

    A field that states the classification is read by its value; texts are searched for the two long marks in any
    case and for the stamp MẬT in capitals.
    """
    for key, text in _texts(value, ""):
        plain = _normal(text)
        if key.casefold() in _MARK_KEYS and plain.casefold().strip(" []().:!") in CLASSIFIED:
            return plain
        found = _SEEN_ANYWHERE.search(plain) or _STAMP.search(plain)
        if found:
            return found.group()
    return None


def _normal(text: str) -> str:
    """NFC without invisible characters, white space collapsed: `T\u200bỐI  MẬT` hides nothing."""
    composed = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text))
    return " ".join("".join(c for c in composed if unicodedata.category(c) != "Cf").split())


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield "", str(name)
            yield from _texts(item, _normal(str(name)))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item, key)


def gate(message: Message) -> None:
    """The last door: raises PermissionRefused for anything that must not leave (regulation.md, section 9)."""
    mark = classified_mark({"payload": message.payload, "extra": message.extra, "tlp": message.tlp})
    if mark is not None:
        raise PermissionRefused(
            f"message {message.id} is marked '{mark}' and cannot leave", hint="state secrets go by their own channel"
        )
    if message.kind == "incident_report" and not (message.approved_by or "").strip():
        raise PermissionRefused(
            f"incident report {message.id} names no person who approved it", hint="a person on duty sends it"
        )


@dataclass(frozen=True)
class Sender:
    """Who speaks: identification code (mã định danh) and name."""

    code: str
    name: str

    def to_document(self) -> dict[str, str]:
        """A JSON-able dict."""
        return {"code": self.code, "name": self.name}


def build(
    kind: str,
    payload: Mapping[str, Any],
    *,
    id: str,
    destination: str,
    created_us: int,
    sender: Sender,
    privacy: Privacy,
    system: InformationSystem | None = None,
    approved_by: str | None = None,
    relation: str = "new",
    previous_id: str | None = None,
    tlp: str = "AMBER",
    simulated: bool = False,
) -> Message:
    """A message ready for the outbox. `id` is a UUID; the outbox gives the sequence. Raises PermissionRefused."""
    message = Message(
        id=id,
        kind=kind,
        destination=destination,
        created_us=created_us,
        sender=sender.to_document(),
        organization_id=system.organization_id if system else None,
        system=_system(system, created_us),
        payload=privacy.scrub(payload),
        relation=relation,
        previous_id=previous_id,
        tlp=tlp,
        approved_by=approved_by,
        simulated=simulated,
    )
    gate(message)
    return message


def alert_payload(alert: Mapping[str, Any]) -> dict[str, Any]:
    """The `alert` payload of regulation.md, section 9, from an alert document, without what the alert does not know.

    Reads `title`, `kind`, `level`, `dataset`, `first_us`, `last_us`, `count`, `tags`, `entity`, `group`, `matched` or
    `why`, `observables`, `verdict`, `action`; addresses come from `source`/`destination`, or from what names them
    (`source.ip=…`) in observables, group and entity.
    """
    names = _named_values(alert)
    payload = {
        "title": alert.get("title"),
        "type": alert.get("kind"),
        "severity": alert.get("level") or alert.get("severity"),
        "device": alert.get("device") or alert.get("dataset"),
        "source": _end(alert, names, "source"),
        "destination": _end(alert, names, "destination"),
        "service": alert.get("service") or names.get("service.name"),
        "first": _moment(alert.get("first_us")),
        "last": _moment(alert.get("last_us")),
        "count": alert.get("count"),
        "techniques": sorted(_techniques(alert.get("tags") or ())),
        "evidence": _evidence(alert),
        "verdict": alert.get("verdict"),
        "action": alert.get("action"),
        "classification": alert.get("classification"),
    }
    return {key: value for key, value in payload.items() if value not in (None, "", [], {})}


def alert_message(alert: Mapping[str, Any], **envelope: Any) -> Message:
    """An `alert` message from an alert document; `envelope` as in `build`."""
    # The whole alert is searched, not only what the payload takes: a mark in a note binds the alert.
    mark = classified_mark(alert)
    if mark is not None:
        raise PermissionRefused(f"alert {alert.get('id', '')} is marked '{mark}' and cannot leave")
    return build("alert", alert_payload(alert), simulated=bool(alert.get("simulated")), **envelope)


def _system(system: InformationSystem | None, at_us: int) -> dict[str, Any]:
    if system is None:
        return {"id": ""}
    decision = system.levels[0]
    for later in system.levels:
        if later.since.isoformat() <= iso(at_us)[:10]:
            decision = later
    return {
        "id": system.id,
        "code": system.code,
        "name": system.name,
        "level": decision.level,
        "decision": decision.decision,
    }


def _named_values(alert: Mapping[str, Any]) -> dict[str, str]:
    """Field names with values out of observables, group and `entity` (`source.ip=203.0.113.9`); the first one wins."""
    group = alert.get("group")
    names = {str(k): str(v) for k, v in group.items()} if isinstance(group, Mapping) else {}
    for observable in alert.get("observables") or ():
        if isinstance(observable, Mapping):
            names.setdefault(str(observable.get("field")), str(observable.get("value")))
    name, equals, value = str(alert.get("entity") or "").partition("=")
    return {**names, name: value} if equals else names


def _end(alert: Mapping[str, Any], names: Mapping[str, str], side: str) -> Any:
    given = alert.get(side)
    if given:
        return given
    end = {part: names[f"{side}.{part}"] for part in ("ip", "port") if f"{side}.{part}" in names}
    return end or None


def _moment(us: Any) -> str | None:
    return iso(us) if isinstance(us, int) else None


def _techniques(tags: Sequence[Any]) -> set[str]:
    """ATT&CK technique ids out of Sigma tags (`attack.t1110.001`)."""
    found = (re.fullmatch(r"attack\.(t\d{4}(?:\.\d{3})?)", str(tag), re.IGNORECASE) for tag in tags)
    return {match.group(1).upper() for match in found if match}


def _evidence(alert: Mapping[str, Any]) -> list[str]:
    """What matched, as `field: value`; excerpts are cut to EVIDENCE_CHARS."""
    matched = alert.get("matched") or alert.get("why")
    if not isinstance(matched, list | tuple):
        return []
    rows = (row for row in matched if isinstance(row, Mapping))
    return [f"{row.get('field')}: {row.get('value')}"[:EVIDENCE_CHARS] for row in rows]
