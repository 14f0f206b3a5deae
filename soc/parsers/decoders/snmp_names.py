"""Names, indices and enumerations of the objects that standard notifications carry.

The numbers are those of SNMPv2-MIB (RFC 3418), IF-MIB (RFC 2863), SNMP-COMMUNITY-MIB (RFC 3584), IANAifType-MIB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from soc.model.ber import oid

_MAX_CACHED, _MAX_CACHED_BYTES = 8192, 64


class Named(NamedTuple):
    """An object identifier: dotted; the object's name and the rest as its instance, or None; labels of its values."""

    oid: str
    name: str | None
    instance: str | None
    labels: Mapping[int, str]


_TRUTH = {1: "true", 2: "false"}
_ADMIN = {1: "up", 2: "down", 3: "testing"}
_OPER = {**_ADMIN, 4: "unknown", 5: "dormant", 6: "notPresent", 7: "lowerLayerDown"}
_NONE: Mapping[int, str] = {}
# The values of IANAifType-MIB that are met on routers, switches and servers; others keep their number.
_TYPES = {
    1: "other", 6: "ethernetCsmacd", 23: "ppp", 24: "softwareLoopback", 37: "atm", 39: "sonet", 53: "propVirtual",
    71: "ieee80211", 131: "tunnel", 135: "l2vlan", 136: "l3ipvlan", 161: "ieee8023adLag", 166: "mpls", 209: "bridge",
}  # fmt: skip
_SYSTEM = ("sysDescr", "sysObjectID", "sysUpTime", "sysContact", "sysName", "sysLocation", "sysServices")
_INTERFACE = (
    "ifIndex", "ifDescr", "ifType", "ifMtu", "ifSpeed", "ifPhysAddress", "ifAdminStatus", "ifOperStatus",
    "ifLastChange", "ifInOctets", "ifInUcastPkts", "ifInNUcastPkts", "ifInDiscards", "ifInErrors",
    "ifInUnknownProtos", "ifOutOctets", "ifOutUcastPkts", "ifOutNUcastPkts", "ifOutDiscards", "ifOutErrors",
    "ifOutQLen", "ifSpecific",
)  # fmt: skip
_INTERFACE_X = (
    "ifName", "ifInMulticastPkts", "ifInBroadcastPkts", "ifOutMulticastPkts", "ifOutBroadcastPkts", "ifHCInOctets",
    "ifHCInUcastPkts", "ifHCInMulticastPkts", "ifHCInBroadcastPkts", "ifHCOutOctets", "ifHCOutUcastPkts",
    "ifHCOutMulticastPkts", "ifHCOutBroadcastPkts", "ifLinkUpDownTrapEnable", "ifHighSpeed", "ifPromiscuousMode",
    "ifConnectorPresent", "ifAlias", "ifCounterDiscontinuityTime",
)  # fmt: skip
OBJECTS: Mapping[str, str] = {
    **{f"1.3.6.1.2.1.1.{i}": name for i, name in enumerate(_SYSTEM, 1)},
    **{f"1.3.6.1.2.1.2.2.1.{i}": name for i, name in enumerate(_INTERFACE, 1)},
    **{f"1.3.6.1.2.1.31.1.1.1.{i}": name for i, name in enumerate(_INTERFACE_X, 1)},
    "1.3.6.1.2.1.2.1": "ifNumber",
    "1.3.6.1.2.1.11.30": "snmpEnableAuthenTraps",
    "1.3.6.1.6.3.1.1.4.1": "snmpTrapOID",
    "1.3.6.1.6.3.1.1.4.3": "snmpTrapEnterprise",
    "1.3.6.1.6.3.18.1.3": "snmpTrapAddress",
    "1.3.6.1.6.3.18.1.4": "snmpTrapCommunity",
}
LABELS: Mapping[str, Mapping[int, str]] = {
    "ifAdminStatus": _ADMIN,
    "ifOperStatus": _OPER,
    "ifType": _TYPES,
    "ifLinkUpDownTrapEnable": {1: "enabled", 2: "disabled"},
    "ifPromiscuousMode": _TRUTH,
    "ifConnectorPresent": _TRUTH,
    "snmpEnableAuthenTraps": {1: "enabled", 2: "disabled"},
}
_cached: dict[bytes, Named] = {}


def named(raw: bytes) -> Named:
    """The identifier with these BER content bytes. Remembers what it read, up to a bound. Raises BadBer."""
    found = _cached.get(raw)
    if found is None:
        found = _named(oid(raw, 0, len(raw)))
        if len(raw) <= _MAX_CACHED_BYTES:
            if len(_cached) >= _MAX_CACHED:
                _cached.clear()
            _cached[raw] = found
    return found


def _named(dotted: str) -> Named:
    prefix = dotted
    while prefix:
        name = OBJECTS.get(prefix)
        if name is not None:
            return Named(dotted, name, dotted[len(prefix) + 1 :] or None, LABELS.get(name, _NONE))
        prefix = prefix.rpartition(".")[0]
    return Named(dotted, None, None, _NONE)
