"""The modules that nearly every MIB imports, as far as another module can need them: names, numbers and value ranges.

A site has its vendor's MIBs and seldom these. Their texts are not ours to ship; that `enterprises` is 1.3.6.1.4.1 and
`TruthValue` has two values are facts. Sources: SNMPv2-SMI (RFC 2578), SNMPv2-TC (RFC 2579), SNMPv2-CONF (RFC 2580),
RFC1155-SMI, RFC-1212, RFC-1215, RFC1213-MIB, SNMPv2-MIB (RFC 3418), SNMP-FRAMEWORK-MIB (RFC 3411), IF-MIB (RFC 2863),
INET-ADDRESS-MIB (RFC 4001), HCNUM-TC (RFC 2856), BRIDGE-MIB (RFC 4188), ENTITY-MIB (RFC 6933), IANAifType-MIB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from soc.parsers.decoders.snmp_names import LABELS, OBJECTS


@dataclass(frozen=True)
class Module:
    """What a module gives to others: identifiers by dotted number, and types with their SMI syntax."""

    identifiers: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """An SMI module that says just this."""
        lines = [f"{name} DEFINITIONS ::= BEGIN", ""]
        if self.types and name not in ("SNMPv2-SMI", "RFC1213-MIB"):
            lines.append("IMPORTS Integer32, Unsigned32, Counter64, TimeTicks FROM SNMPv2-SMI")
            lines.append(f"{'' if name == 'SNMPv2-TC' else ' TEXTUAL-CONVENTION FROM SNMPv2-TC'};")
        for symbol, oid in self.identifiers.items():
            numbers = " ".join(oid.split(".")[1:])
            lines.append(f"{symbol} OBJECT IDENTIFIER ::= {{ iso {numbers} }}")
        lines += [f"{symbol} ::= {syntax}" for symbol, syntax in self.types.items()]
        return "\n".join((*lines, "", "END", ""))


def _convention(syntax: str) -> str:
    return f'TEXTUAL-CONVENTION STATUS current DESCRIPTION "" SYNTAX {syntax}'


def _words(labels: Mapping[int, str]) -> str:
    return "INTEGER { " + ", ".join(f"{label}({number})" for number, label in labels.items()) + " }"


def _objects(prefix: str) -> dict[str, str]:
    return {name: oid for oid, name in OBJECTS.items() if oid.startswith(f"{prefix}.")}


_NUMBER = "INTEGER (0..4294967295)"
_BASIC = {
    "Integer32": "INTEGER (-2147483648..2147483647)",
    "IpAddress": "[APPLICATION 0] IMPLICIT OCTET STRING (SIZE (4))",
    "Counter32": f"[APPLICATION 1] IMPLICIT {_NUMBER}",
    "Gauge32": f"[APPLICATION 2] IMPLICIT {_NUMBER}",
    "Unsigned32": f"[APPLICATION 2] IMPLICIT {_NUMBER}",
    "TimeTicks": f"[APPLICATION 3] IMPLICIT {_NUMBER}",
    "Opaque": "[APPLICATION 4] IMPLICIT OCTET STRING",
    "Counter64": "[APPLICATION 6] IMPLICIT INTEGER (0..18446744073709551615)",
}
_ROOTS = {
    "org": "1.3", "dod": "1.3.6", "internet": "1.3.6.1", "directory": "1.3.6.1.1", "mgmt": "1.3.6.1.2",
    "mib-2": "1.3.6.1.2.1", "transmission": "1.3.6.1.2.1.10", "experimental": "1.3.6.1.3", "private": "1.3.6.1.4",
    "enterprises": "1.3.6.1.4.1",
}  # fmt: skip
_TREE = {
    **_ROOTS, "security": "1.3.6.1.5", "snmpV2": "1.3.6.1.6", "snmpDomains": "1.3.6.1.6.1",
    "snmpProxys": "1.3.6.1.6.2", "snmpModules": "1.3.6.1.6.3",
}  # fmt: skip
_SYSTEM = {"system": "1.3.6.1.2.1.1", **_objects("1.3.6.1.2.1.1")}
_INTERFACES = {
    "interfaces": "1.3.6.1.2.1.2", "ifTable": "1.3.6.1.2.1.2.2", "ifEntry": "1.3.6.1.2.1.2.2.1",
    **_objects("1.3.6.1.2.1.2"),
}  # fmt: skip
_INDEX = "Integer32 (1..2147483647)"
_BYTES = "OCTET STRING"
_ROW_STATUS = {1: "active", 2: "notInService", 3: "notReady", 4: "createAndGo", 5: "createAndWait", 6: "destroy"}
_STORAGE = {1: "other", 2: "volatile", 3: "nonVolatile", 4: "permanent", 5: "readOnly"}
_ADDRESS_TYPES = {0: "unknown", 1: "ipv4", 2: "ipv6", 3: "ipv4z", 4: "ipv6z", 16: "dns"}
_GENERIC = ("coldStart", "warmStart", "linkDown", "linkUp", "authenticationFailure", "egpNeighborLoss")
_TRAPS = {name: f"1.3.6.1.6.3.1.1.5.{i}" for i, name in enumerate(_GENERIC, 1)}

MODULES: Mapping[str, Module] = {
    "SNMPv2-SMI": Module({**_TREE, "zeroDotZero": "0.0"}, _BASIC),
    "SNMPv2-CONF": Module(),
    "RFC1155-SMI": Module(_ROOTS),
    "RFC1065-SMI": Module(_ROOTS),
    "RFC-1212": Module(),
    "RFC-1215": Module(),
    "SNMPv2-TC": Module(
        types={
            "DisplayString": _convention(_BYTES),
            "PhysAddress": _convention(_BYTES),
            "MacAddress": _convention(f"{_BYTES} (SIZE (6))"),
            "TruthValue": _convention(_words({1: "true", 2: "false"})),
            "TestAndIncr": _convention("INTEGER (0..2147483647)"),
            "AutonomousType": _convention("OBJECT IDENTIFIER"),
            "InstancePointer": _convention("OBJECT IDENTIFIER"),
            "VariablePointer": _convention("OBJECT IDENTIFIER"),
            "RowPointer": _convention("OBJECT IDENTIFIER"),
            "RowStatus": _convention(_words(_ROW_STATUS)),
            "TimeStamp": _convention("TimeTicks"),
            "TimeInterval": _convention("INTEGER (0..2147483647)"),
            "DateAndTime": _convention(f"{_BYTES} (SIZE (8 | 11))"),
            "StorageType": _convention(_words(_STORAGE)),
            "TDomain": _convention("OBJECT IDENTIFIER"),
            "TAddress": _convention(f"{_BYTES} (SIZE (1..255))"),
        }
    ),
    "RFC1213-MIB": Module(
        {
            "mib-2": "1.3.6.1.2.1", **_SYSTEM, **_INTERFACES, "at": "1.3.6.1.2.1.3", "ip": "1.3.6.1.2.1.4",
            "icmp": "1.3.6.1.2.1.5", "tcp": "1.3.6.1.2.1.6", "udp": "1.3.6.1.2.1.7", "egp": "1.3.6.1.2.1.8",
            "transmission": "1.3.6.1.2.1.10", "snmp": "1.3.6.1.2.1.11",
        },
        {"DisplayString": _BYTES, "PhysAddress": _BYTES},
    ),
    "SNMPv2-MIB": Module(
        {
            **_SYSTEM, "snmpMIB": "1.3.6.1.6.3.1", "snmpMIBObjects": "1.3.6.1.6.3.1.1", "snmp": "1.3.6.1.2.1.11",
            "snmpTrap": "1.3.6.1.6.3.1.1.4", "snmpTraps": "1.3.6.1.6.3.1.1.5", **_objects("1.3.6.1.6.3.1.1.4"),
            **_objects("1.3.6.1.2.1.11"), **{name: _TRAPS[name] for name in ("coldStart", "warmStart")},
            "authenticationFailure": _TRAPS["authenticationFailure"], "snmpGroup": "1.3.6.1.6.3.1.2.2.8",
            "systemGroup": "1.3.6.1.6.3.1.2.2.6",
        }
    ),
    "SNMP-FRAMEWORK-MIB": Module(
        {"snmpFrameworkMIB": "1.3.6.1.6.3.10", "snmpEngineID": "1.3.6.1.6.3.10.2.1.1"},
        {
            "SnmpAdminString": _convention(f"{_BYTES} (SIZE (0..255))"),
            "SnmpEngineID": _convention(f"{_BYTES} (SIZE (5..32))"),
            "SnmpSecurityModel": _convention("INTEGER (0..2147483647)"),
            "SnmpMessageProcessingModel": _convention("INTEGER (0..2147483647)"),
            "SnmpSecurityLevel": _convention(_words({1: "noAuthNoPriv", 2: "authNoPriv", 3: "authPriv"})),
        },
    ),
    "IF-MIB": Module(
        {
            "ifMIB": "1.3.6.1.2.1.31", "ifMIBObjects": "1.3.6.1.2.1.31.1", **_INTERFACES,
            "ifXTable": "1.3.6.1.2.1.31.1.1", "ifXEntry": "1.3.6.1.2.1.31.1.1.1", **_objects("1.3.6.1.2.1.31"),
            "linkDown": _TRAPS["linkDown"], "linkUp": _TRAPS["linkUp"],
        },
        {
            "InterfaceIndex": _convention(_INDEX),
            "InterfaceIndexOrZero": _convention("Integer32 (0..2147483647)"),
            "OwnerString": _convention(f"{_BYTES} (SIZE (0..255))"),
        },
    ),
    "IANAifType-MIB": Module(
        {"ianaifType": "1.3.6.1.2.1.30"}, {"IANAifType": _convention(_words(LABELS["ifType"]))}
    ),
    "INET-ADDRESS-MIB": Module(
        {"inetAddressMIB": "1.3.6.1.2.1.76"},
        {
            "InetAddressType": _convention(_words(_ADDRESS_TYPES)),
            "InetAddress": _convention(f"{_BYTES} (SIZE (0..255))"),
            "InetAddressIPv4": _convention(f"{_BYTES} (SIZE (4))"),
            "InetAddressIPv6": _convention(f"{_BYTES} (SIZE (16))"),
            "InetAddressDNS": _convention(f"{_BYTES} (SIZE (1..255))"),
            "InetAddressPrefixLength": _convention("Unsigned32 (0..2040)"),
            "InetPortNumber": _convention("Unsigned32 (0..65535)"),
            "InetVersion": _convention(_words({0: "unknown", 1: "ipv4", 2: "ipv6"})),
        },
    ),
    "HCNUM-TC": Module(
        {"hcnumTC": "1.3.6.1.2.1.78"},
        {
            "CounterBasedGauge64": _convention("Counter64"),
            "ZeroBasedCounter64": _convention("Counter64"),
        },
    ),
    "BRIDGE-MIB": Module(
        {"dot1dBridge": "1.3.6.1.2.1.17", "dot1dBasePort": "1.3.6.1.2.1.17.1.4.1.1"},
        {"BridgeId": _convention(f"{_BYTES} (SIZE (8))"), "Timeout": _convention("INTEGER (-32768..32767)")},
    ),
    "ENTITY-MIB": Module(
        {
            "entityMIB": "1.3.6.1.2.1.47", "entPhysicalEntry": "1.3.6.1.2.1.47.1.1.1.1",
            "entPhysicalIndex": "1.3.6.1.2.1.47.1.1.1.1.1", "entPhysicalDescr": "1.3.6.1.2.1.47.1.1.1.1.2",
            "entPhysicalName": "1.3.6.1.2.1.47.1.1.1.1.7", "entPhysicalSerialNum": "1.3.6.1.2.1.47.1.1.1.1.11",
        },
        {"PhysicalIndex": _convention(_INDEX), "PhysicalIndexOrZero": _convention("Integer32 (0..2147483647)")},
    ),
}  # fmt: skip
