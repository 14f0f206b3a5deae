"""Names, indices and enumerations of the objects and notifications that SNMP messages carry.

The numbers are facts of these modules: SNMPv2-MIB (RFC 3418), IF-MIB (RFC 2863), SNMP-COMMUNITY-MIB (RFC 3584),
IANAifType-MIB, RFC1213-MIB (egpNeighborLoss), CISCO-CONFIG-MAN-MIB, CISCO-SYSLOG-MIB, NET-SNMP-AGENT-MIB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from soc.model.ber import oid

_MAX_CACHED, _MAX_CACHED_BYTES = 8192, 64


class Named(NamedTuple):
    """An object identifier: dotted; the object's name and the rest as its instance, or None; labels of its values."""

    oid: str
    name: str | None
    instance: str | None
    labels: Mapping[int, str]


@dataclass(frozen=True)
class Notification:
    """What a notification is called, and what its MIB says of it."""

    name: str
    severity: str = ""
    description: str = ""


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
_GENERIC = ("coldStart", "warmStart", "linkDown", "linkUp", "authenticationFailure", "egpNeighborLoss")
_NET_SNMP = ("nsNotifyStart", "nsNotifyShutdown", "nsNotifyRestart")
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
NOTIFICATIONS: Mapping[str, Notification] = {
    **{f"1.3.6.1.6.3.1.1.5.{i}": Notification(name) for i, name in enumerate(_GENERIC, 1)},
    **{f"1.3.6.1.4.1.8072.4.0.{i}": Notification(name) for i, name in enumerate(_NET_SNMP, 1)},
    "1.3.6.1.4.1.9.9.43.2.0.1": Notification("ciscoConfigManEvent"),
    "1.3.6.1.4.1.9.9.41.2.0.1": Notification("clogMessageGenerated"),
}


@dataclass(frozen=True)
class Names:
    """Tables by dotted identifier: objects, labels of their values, notifications. What it reads is remembered."""

    objects: Mapping[str, str] = field(default_factory=lambda: OBJECTS)
    labels: Mapping[str, Mapping[int, str]] = field(
        default_factory=lambda: {i: LABELS[name] for i, name in OBJECTS.items() if name in LABELS}
    )
    notifications: Mapping[str, Notification] = field(default_factory=lambda: NOTIFICATIONS)
    _cached: dict[bytes, Named] = field(default_factory=dict, repr=False, compare=False)

    def named(self, raw: bytes) -> Named:
        """The identifier with these BER content bytes. Remembers what it read, up to a bound. Raises BadBer."""
        found = self._cached.get(raw)
        if found is None:
            found = self._named(oid(raw, 0, len(raw)))
            if len(raw) <= _MAX_CACHED_BYTES:
                if len(self._cached) >= _MAX_CACHED:
                    self._cached.clear()
                self._cached[raw] = found
        return found

    def _named(self, dotted: str) -> Named:
        prefix = dotted
        while prefix:
            name = self.objects.get(prefix)
            if name is not None:
                return Named(dotted, name, dotted[len(prefix) + 1 :] or None, self.labels.get(prefix, _NONE))
            prefix = prefix.rpartition(".")[0]
        return Named(dotted, None, None, _NONE)

    def notification(self, trap_oid: str) -> Notification | None:
        """By its identifier, also when it has no zero before its number and its v1 form got one (RFC 3584, 3.1)."""
        found = self.notifications.get(trap_oid)
        if found is None:
            enterprise, _, number = trap_oid.rpartition(".")
            if enterprise.endswith(".0"):
                found = self.notifications.get(f"{enterprise[:-2]}.{number}")
        return found


STANDARD = Names()
"""What we know without a site's own MIBs."""
