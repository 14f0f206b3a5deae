"""The field dictionary: which names an event may carry, and the one type each of them has, for ever.

Source of the names: Elastic Common Schema 8.17 (https://www.elastic.co/guide/en/ecs/8.17/), plus our own `soc.*`
prefix and the Windows prefixes `winlog.*` (names of Winlogbeat) and `winlog.event_data.*` (every key a keyword).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from soc.errors import Fault
from soc.model import flow_elements


class FieldType(enum.StrEnum):
    """What a column holds.

    `date` is int64 microseconds since 1970-01-01 UTC; `ip` is canonical RFC 5952 text; `object` is any JSON value.
    """

    KEYWORD = "keyword"
    TEXT = "text"
    LONG = "long"
    ULONG = "ulong"
    DOUBLE = "double"
    BOOL = "bool"
    DATE = "date"
    IP = "ip"
    BINARY = "binary"
    OBJECT = "object"


@dataclass(frozen=True)
class Field:
    """One entry: a dotted name, its type, and whether an event may carry several values (`many`)."""

    name: str
    type: FieldType
    many: bool = False


class FieldTypeChanged(ValueError):
    """Somebody tried to give a known name another type."""


class FieldDictionary:
    """All known fields. Immutable; `extended` returns a larger one and refuses a change of type.

    `called` says by dataset what else its fields are called: the names that rules use, to those of the table.
    """

    def __init__(
        self,
        fields: Iterable[Field],
        families: Iterable[Field] = (),
        called: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._fields: dict[str, Field] = {field.name: field for field in fields}
        # A family's name ends in `.*`: any name below the prefix has its type.
        self._families: dict[str, Field] = {field.name[:-1]: field for field in families}
        self.called = dict(called or {})

    def of_dataset(self, dataset: str, name: str) -> str | None:
        """The field that is called `name` in events of this dataset, or stands under `<dataset>.<name>`; one that is
        a part of another (`linux.auditd.execve`) has the names of that one."""
        while "." in dataset:
            found = self.called.get(dataset, {}).get(name)
            if found is not None or (found := f"{dataset}.{name}") in self._fields:
                return found
            dataset = dataset.rpartition(".")[0]
        return None

    def get(self, name: str) -> Field | None:
        """The entry of `name`, from the table or from its family (`winlog.event_data.*`), or None."""
        field = self._fields.get(name)
        if field is not None:
            return field
        for prefix, family in self._families.items():
            if name.startswith(prefix) and len(name) > len(prefix):
                return Field(name, family.type, family.many)
        return None

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __iter__(self) -> Iterator[Field]:
        return iter(self._fields.values())

    def __len__(self) -> int:
        return len(self._fields)

    def names(self) -> tuple[str, ...]:
        """All names of the table (families are not listed), sorted."""
        return tuple(sorted(self._fields))

    def families(self) -> tuple[str, ...]:
        """The prefixes whose members need no entry of their own, each ending in a dot."""
        return tuple(self._families)

    def extended(
        self, fields: Iterable[Field], called: Mapping[str, Mapping[str, str]] | None = None
    ) -> FieldDictionary:
        """A larger dictionary. Raises FieldTypeChanged when a known name would get another type."""
        table = dict(self._fields)
        for field in fields:
            known = self.get(field.name)
            if known is not None and known != field:
                raise FieldTypeChanged(
                    f"field '{field.name}' is {describe(known)} already, not {describe(field)}; "
                    "a change of type is a new name"
                )
            table[field.name] = field
        families = (Field(f"{p}*", f.type, f.many) for p, f in self._families.items())
        return FieldDictionary(table.values(), families, {**self.called, **(called or {})})


def describe(field: Field) -> str:
    """`keyword` or `many keyword`."""
    return f"many {field.type.value}" if field.many else field.type.value


def parse_type(text: str) -> tuple[FieldType, bool]:
    """Read `ip` or `many ip`. Raises ValueError with the list of known types."""
    words = text.split()
    many = len(words) == 2 and words[0] == "many"
    name = words[-1] if words else ""
    if (len(words) == 1 or many) and name in FieldType._value2member_map_:
        return FieldType(name), many
    raise ValueError(
        f"unknown type '{text}'; one of {', '.join(t.value for t in FieldType)}, or 'many' and one of them"
    )


def _table(text: str) -> Iterator[Field]:
    for line in text.strip().splitlines():
        type_text, _, names = line.partition(":")
        kind, many = parse_type(type_text.strip())
        for name in names.split():
            yield Field(name, kind, many)


_CORE = """
date: @timestamp event.created event.ingested event.start event.end
date: file.created file.mtime process.start soc.time.device
binary: event.id soc.original_bytes
keyword: event.dataset event.kind event.module event.action event.outcome event.code event.provider event.reason
many keyword: event.category event.type
long: event.severity event.duration event.sequence
text: event.original message
double: event.risk_score
keyword: ecs.version

keyword: soc.site soc.source soc.system.id soc.system.name soc.system.code soc.time.basis soc.time.offset
keyword: soc.position soc.closed_by soc.import.id soc.listener soc.product soc.shape
long: soc.part soc.record soc.joined soc.system.level
many keyword: soc.flags
object: soc.rest
keyword: organization.id organization.name
many keyword: tags

keyword: agent.id agent.name agent.type agent.version
keyword: observer.name observer.vendor observer.product observer.type observer.hostname observer.version
keyword: observer.serial_number observer.ingress.interface.name observer.egress.interface.name
keyword: observer.ingress.zone observer.egress.zone
many ip: observer.ip
keyword: host.name host.hostname host.id host.architecture host.type host.os.name host.os.family host.os.version
keyword: host.os.platform host.os.kernel host.domain
many ip: host.ip
many keyword: host.mac

ip: source.ip destination.ip client.ip server.ip source.nat.ip destination.nat.ip
keyword: source.address destination.address client.address server.address source.domain destination.domain
keyword: source.mac destination.mac source.user.name destination.user.name source.user.domain destination.user.domain
long: source.port destination.port client.port server.port source.bytes destination.bytes source.packets
long: destination.packets source.nat.port destination.nat.port
long: source.as.number destination.as.number
keyword: source.geo.country_iso_code source.geo.country_name destination.geo.country_iso_code
keyword: destination.geo.country_name
keyword: network.transport network.protocol network.type network.application network.direction network.community_id
keyword: network.iana_number network.name network.vlan.id
long: network.bytes network.packets
keyword: rule.id rule.name rule.category rule.ruleset rule.uuid rule.version
keyword: flow.exporter.ip flow.tcp_flags
long: flow.exporter.version flow.exporter.source_id flow.sequence flow.input_interface flow.output_interface
long: flow.tos flow.tcp_control_bits flow.sampling_interval flow.exporter.uptime_ms flow.engine_type
long: flow.template_id flow.sequence_lost flow.exporter.lost flow.icmp.type flow.icmp.code
many long: flow.template_ids flow.mpls.labels
keyword: flow.end_reason flow.forwarding_status flow.source_tcp_flags flow.destination_tcp_flags
long: packet.number packet.offset packet.captured packet.octets packet.truncated packet.unread packet.open_flows
keyword: packet.file packet.interface packet.ether_type
many keyword: packet.vlans
bool: flow.is_continued
object: packet.counts
ip: flow.exporter.agent_ip
long: sflow.sample_sequence sflow.sampling_rate sflow.sample_pool sflow.drops sflow.drop_reason sflow.input_interfaces
long: sflow.output_interfaces sflow.source_id_type sflow.source_id_index sflow.header_protocol sflow.frame_length
long: sflow.stripped sflow.header_length sflow.ip_length sflow.src_vlan sflow.src_priority sflow.dst_vlan
long: sflow.dst_priority sflow.src_mask_length sflow.dst_mask_length sflow.as sflow.src_peer_as sflow.local_pref
long: sflow.url_direction sflow.ether_type sflow.ttl sflow.machine_type sflow.os_name
many long: sflow.dst_as_path sflow.mpls_out_labels
ip: sflow.next_hop sflow.bgp_next_hop sflow.mpls_next_hop
many keyword: sflow.communities sflow.vlan_stack
keyword: sflow.src_user sflow.dst_user sflow.url sflow.url_host sflow.host_uuid sflow.os_release
long: sflow.ifIndex sflow.ifType sflow.ifDirection sflow.ifStatus sflow.ifInUcastPkts sflow.ifInMulticastPkts
long: sflow.ifInBroadcastPkts sflow.ifInDiscards sflow.ifInErrors sflow.ifInUnknownProtos sflow.ifOutUcastPkts
long: sflow.ifOutMulticastPkts sflow.ifOutBroadcastPkts sflow.ifOutDiscards sflow.ifOutErrors sflow.ifPromiscuousMode
long: sflow.dot3StatsAlignmentErrors sflow.dot3StatsFCSErrors sflow.dot3StatsSingleCollisionFrames
long: sflow.dot3StatsMultipleCollisionFrames sflow.dot3StatsSQETestErrors sflow.dot3StatsDeferredTransmissions
long: sflow.dot3StatsLateCollisions sflow.dot3StatsExcessiveCollisions sflow.dot3StatsInternalMacTransmitErrors
long: sflow.dot3StatsCarrierSenseErrors sflow.dot3StatsFrameTooLongs sflow.dot3StatsInternalMacReceiveErrors
long: sflow.dot3StatsSymbolErrors sflow.vlan_id sflow.vlan_ucastPkts sflow.vlan_multicastPkts sflow.vlan_broadcastPkts
long: sflow.vlan_discards sflow.cpu_5s sflow.cpu_1m sflow.cpu_5m sflow.proc_run sflow.proc_total sflow.cpu_num
long: sflow.cpu_speed sflow.uptime sflow.cpu_user sflow.cpu_nice sflow.cpu_system sflow.cpu_idle sflow.cpu_wio
long: sflow.cpu_intr sflow.cpu_sintr sflow.interrupts sflow.contexts sflow.page_in sflow.page_out sflow.swap_in
long: sflow.swap_out sflow.part_max_used sflow.disk_reads sflow.read_time sflow.disk_writes sflow.write_time
long: sflow.pkts_in sflow.errs_in sflow.drops_in sflow.pkts_out sflow.errs_out sflow.drops_out
ulong: sflow.ifSpeed sflow.ifInOctets sflow.ifOutOctets sflow.vlan_octets sflow.total_memory sflow.free_memory
ulong: sflow.mem_total sflow.mem_free sflow.mem_shared sflow.mem_buffers sflow.mem_cached sflow.swap_total
ulong: sflow.swap_free sflow.disk_total sflow.disk_free sflow.bytes_read sflow.bytes_written sflow.bytes_in
ulong: sflow.bytes_out
double: sflow.load_one sflow.load_five sflow.load_fifteen

keyword: user.name user.id user.domain user.email user.full_name user.group.name user.group.id
keyword: user.target.name user.target.id user.target.domain user.effective.name user.effective.id
keyword: user.changes.name
many keyword: user.roles
keyword: group.name group.id group.domain

long: process.pid process.parent.pid process.thread.id process.exit_code
keyword: process.name process.executable process.command_line process.working_directory process.title
keyword: process.entity_id process.parent.name process.parent.executable process.parent.command_line
keyword: process.parent.entity_id process.pe.original_file_name process.pe.product process.pe.company
keyword: process.pe.description process.pe.imphash process.hash.md5 process.hash.sha1 process.hash.sha256
keyword: process.user.name process.tty.name
many keyword: process.args
keyword: file.name file.path file.directory file.extension file.hash.md5 file.hash.sha1 file.hash.sha256 file.owner
keyword: file.type file.mode
long: file.size
keyword: registry.path registry.key registry.value registry.hive registry.data.type
many keyword: registry.data.strings
keyword: dll.name dll.path dll.hash.sha256 dll.hash.md5 dll.hash.sha1
keyword: service.name service.type service.state service.id
keyword: hash.md5 hash.sha1 hash.sha256 pe.imphash

keyword: url.original url.full url.scheme url.domain url.path url.query url.fragment url.extension url.username
long: url.port
keyword: http.request.method http.request.referrer http.request.body.content http.version http.request.id
keyword: http.request.mime_type http.response.mime_type http.request.auth_scheme http.request.proxy_auth_scheme
keyword: http.response.server http.response.location
bool: http.request.has_cookie
long: http.response.status_code http.request.bytes http.response.bytes http.request.body.bytes
long: http.response.body.bytes
keyword: user_agent.original user_agent.name user_agent.version user_agent.os.name
keyword: dns.question.name dns.question.type dns.question.class dns.response_code dns.id dns.type dns.op_code
many ip: dns.resolved_ip
many keyword: dns.answers.data dns.answers.name dns.answers.type dns.answers.class dns.header_flags
many long: dns.answers.ttl
long: dns.answers_count dns.authorities_count dns.additionals_count dns.edns.udp_size dns.edns.version
keyword: dns.edns.client_subnet
many keyword: dns.more_questions
keyword: tls.version tls.version_protocol tls.cipher tls.curve tls.next_protocol tls.alert
bool: tls.established tls.resumed
keyword: tls.client.server_name tls.client.ja3 tls.client.ja4 tls.server.ja3s tls.client.subject tls.client.issuer
keyword: tls.client.hash.sha256 tls.client.hash.sha1 tls.server.hash.sha256 tls.server.hash.sha1
keyword: tls.server.subject tls.server.issuer tls.server.x509.serial_number tls.client.x509.serial_number
date: tls.server.not_before tls.server.not_after tls.client.not_before tls.client.not_after
many keyword: tls.client.supported_ciphers tls.client.offered_protocols tls.server.chain_sha256 tls.client.chain_sha256
many keyword: tls.server.x509.alternative_names tls.client.x509.alternative_names
keyword: quic.version
keyword: dhcp.type dhcp.operation dhcp.transaction_id dhcp.client_mac dhcp.client_hardware dhcp.client_id
keyword: dhcp.host_name dhcp.fqdn dhcp.domain dhcp.vendor_class dhcp.message dhcp.circuit_id dhcp.remote_id
keyword: dhcp.boot_server dhcp.boot_file dhcp.client_duid dhcp.server_duid dhcp.iaid dhcp.status
many keyword: dhcp.prefixes
ip: dhcp.client_ip dhcp.assigned_ip dhcp.next_server_ip dhcp.relay_ip dhcp.requested_ip dhcp.server_id dhcp.subnet_mask
many ip: dhcp.routers dhcp.dns_servers dhcp.ntp_servers dhcp.addresses
many long: dhcp.parameters dhcp.options
long: dhcp.lease_s dhcp.renewal_s dhcp.rebinding_s dhcp.seconds dhcp.hops
bool: dhcp.is_broadcast arp.is_gratuitous arp.is_probe
keyword: arp.operation arp.previous_mac
keyword: email.from.address email.subject email.message_id
many keyword: email.to.address

keyword: log.level log.logger log.file.path log.syslog.hostname log.syslog.appname log.syslog.procid log.syslog.msgid
keyword: log.syslog.version log.syslog.facility.name log.syslog.severity.name
long: log.syslog.priority log.syslog.facility.code log.syslog.severity.code log.offset
object: log.syslog.structured_data
keyword: error.code error.message error.type

keyword: threat.framework threat.indicator.type threat.indicator.name
many keyword: threat.technique.id threat.technique.name threat.tactic.id threat.tactic.name
many ip: related.ip
many keyword: related.user related.hosts related.hash

keyword: winlog.channel winlog.provider_name winlog.provider_guid winlog.computer_name winlog.event_id winlog.level
keyword: winlog.task winlog.opcode winlog.keywords winlog.record_id winlog.activity_id winlog.user.identifier
keyword: winlog.user.name winlog.user.domain winlog.user.type winlog.logon.type winlog.logon.id
long: winlog.version winlog.process.pid winlog.process.thread.id

keyword: snmp.version snmp.community snmp.trap_oid snmp.trap_name snmp.enterprise snmp.generic_trap
keyword: snmp.specific_trap snmp.agent_address snmp.pdu_type
keyword: snmp.user snmp.security_level snmp.engine_id snmp.context_engine_id snmp.context_name
keyword: snmp.interface.name snmp.interface.description snmp.interface.alias snmp.interface.admin_status
keyword: snmp.interface.oper_status
text: snmp.trap_description
keyword: snmp.system.description snmp.system.object_id snmp.storage.name snmp.storage.type
keyword: snmp.value.name snmp.value.oid snmp.value.text
long: snmp.interface.speed snmp.interface.ingress.bytes snmp.interface.ingress.packets
long: snmp.interface.ingress.dropped snmp.interface.ingress.errors snmp.interface.egress.bytes
long: snmp.interface.egress.packets snmp.interface.egress.dropped snmp.interface.egress.errors
long: snmp.memory.total snmp.memory.used snmp.storage.total snmp.storage.used snmp.cpu.count snmp.value.number
long: host.network.ingress.bytes host.network.ingress.packets host.network.egress.bytes host.network.egress.packets
long: host.uptime
double: snmp.interface.ingress.bytes_per_s snmp.interface.egress.bytes_per_s host.cpu.usage
double: snmp.load.1 snmp.load.5 snmp.load.15
bool: snmp.is_verified
long: snmp.request_id snmp.uptime snmp.interface.index
object: snmp.varbinds
"""

_FAMILIES = """
keyword: winlog.event_data.* winlog.user_data.* labels.*
keyword: netflow.other.* sflow.other.*
"""

FIELDS = FieldDictionary(
    _table("\n".join(line for line in (_CORE + flow_elements.field_table()).splitlines() if line.strip())),
    _table(_FAMILIES),
)
"""The dictionary that ships; parsers and sites extend it."""

ALWAYS = (
    "@timestamp", "event.id", "event.created", "event.ingested", "event.dataset", "event.kind", "soc.site",
    "soc.source", "soc.system.id", "organization.id", "soc.time.basis", "soc.flags",
)  # fmt: skip
"""Fields that every stored event has (design, section 5)."""


def read_field_table(
    entries: Mapping[str, str], place: str, lines: Mapping[str, int]
) -> tuple[list[Field], list[Fault]]:
    """Turn `{name: type text}` of a definition or a site file into fields; faults carry the entry's line."""
    fields: list[Field] = []
    faults: list[Fault] = []
    for name, text in entries.items():
        try:
            kind, many = parse_type(str(text))
        except ValueError as error:
            faults.append(Fault(place, lines.get(name, 1), f"field '{name}': {error}"))
        else:
            fields.append(Field(name, kind, many))
    return fields, faults
