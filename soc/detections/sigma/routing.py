"""From a Sigma log source to the events it means: Windows channels and event ids, or our datasets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from soc.detections.sigma.rule import Route

# Channels as in the Sigma project's `windows` log source guide and pySigma-pipeline-windows.
_SERVICES: dict[str, tuple[str, ...]] = {
    "application": ("Application",),
    "security": ("Security",),
    "system": ("System",),
    "sysmon": ("Microsoft-Windows-Sysmon/Operational",),
    "powershell": ("Microsoft-Windows-PowerShell/Operational", "PowerShellCore/Operational"),
    "powershell-classic": ("Windows PowerShell",),
    "taskscheduler": ("Microsoft-Windows-TaskScheduler/Operational",),
    "wmi": ("Microsoft-Windows-WMI-Activity/Operational",),
    "dns-server": ("DNS Server",),
    "dns-server-audit": ("Microsoft-Windows-DNS-Server/Audit",),
    "dns-server-analytic": ("Microsoft-Windows-DNS-Server/Analytical",),
    "dns-client": ("Microsoft-Windows-DNS Client Events/Operational",),
    "driver-framework": ("Microsoft-Windows-DriverFrameworks-UserMode/Operational",),
    "ntlm": ("Microsoft-Windows-NTLM/Operational",),
    "dhcp": ("Microsoft-Windows-DHCP-Server/Operational",),
    "msexchange-management": ("MSExchange Management",),
    "applocker": (
        "Microsoft-Windows-AppLocker/EXE and DLL",
        "Microsoft-Windows-AppLocker/MSI and Script",
        "Microsoft-Windows-AppLocker/Packaged app-Deployment",
        "Microsoft-Windows-AppLocker/Packaged app-Execution",
    ),
    "printservice-admin": ("Microsoft-Windows-PrintService/Admin",),
    "printservice-operational": ("Microsoft-Windows-PrintService/Operational",),
    "codeintegrity-operational": ("Microsoft-Windows-CodeIntegrity/Operational",),
    "smbclient-security": ("Microsoft-Windows-SmbClient/Security",),
    "smbclient-connectivity": ("Microsoft-Windows-SmbClient/Connectivity",),
    "smbserver-connectivity": ("Microsoft-Windows-SMBServer/Connectivity",),
    "firewall-as": ("Microsoft-Windows-Windows Firewall With Advanced Security/Firewall",),
    "bits-client": ("Microsoft-Windows-Bits-Client/Operational",),
    "windefend": ("Microsoft-Windows-Windows Defender/Operational",),
    "terminalservices-localsessionmanager": ("Microsoft-Windows-TerminalServices-LocalSessionManager/Operational",),
    "microsoft-servicebus-client": ("Microsoft-ServiceBus-Client", "Microsoft-ServiceBus-Client/Admin"),
    "ldap": ("Microsoft-Windows-LDAP-Client/Debug",),
    "ldap_debug": ("Microsoft-Windows-LDAP-Client/Debug",),
    "security-mitigations": (
        "Microsoft-Windows-Security-Mitigations/KernelMode",
        "Microsoft-Windows-Security-Mitigations/Kernel Mode",
        "Microsoft-Windows-Security-Mitigations/UserMode",
        "Microsoft-Windows-Security-Mitigations/User Mode",
    ),
    "diagnosis-scripted": ("Microsoft-Windows-Diagnosis-Scripted/Operational",),
    "shell-core": ("Microsoft-Windows-Shell-Core/Operational",),
    "openssh": ("OpenSSH/Operational",),
    "capi2": ("Microsoft-Windows-CAPI2/Operational",),
    "certificateservicesclient-lifecycle-system": (
        "Microsoft-Windows-CertificateServicesClient-Lifecycle-System/Operational",
    ),
    "appxdeployment-server": ("Microsoft-Windows-AppXDeploymentServer/Operational",),
    "appxpackaging-om": ("Microsoft-Windows-AppxPackaging/Operational",),
    "appmodel-runtime": ("Microsoft-Windows-AppModel-Runtime/Admin",),
    "lsa-server": ("Microsoft-Windows-LSA/Operational",),
    "vhdmp": ("Microsoft-Windows-VHDMP/Operational",),
    "sense": ("Microsoft-Windows-SENSE/Operational",),
    "iis-configuration": ("Microsoft-IIS-Configuration/Operational",),
    "ntfs": ("Microsoft-Windows-Ntfs/Operational",),
    "hyper-v-worker": ("Microsoft-Windows-Hyper-V-Worker",),
    "kernel-event-tracing": ("Microsoft-Windows-Kernel-EventTracing",),
    "kernel-shimengine": (
        "Microsoft-Windows-Kernel-ShimEngine/Operational",
        "Microsoft-Windows-Kernel-ShimEngine/Diagnostic",
    ),
    "application-experience": (
        "Microsoft-Windows-Application-Experience/Program-Telemetry",
        "Microsoft-Windows-Application-Experience/Program-Compatibility-Assistant",
    ),
    "wmi-activity": ("Microsoft-Windows-WMI-Activity/Operational",),
}
_LINUX_SYSMON = ("Linux-Sysmon/Operational",)
# Event ids as in Sysmon 15's documentation and the Sigma taxonomy appendix.
_SYSMON: dict[str, tuple[int, ...]] = {
    "process_creation": (1,),
    "file_change": (2,),
    "network_connection": (3,),
    "sysmon_status": (4, 16),
    "process_termination": (5,),
    "driver_load": (6,),
    "image_load": (7,),
    "create_remote_thread": (8,),
    "raw_access_thread": (9,),
    "process_access": (10,),
    "file_event": (11,),
    "registry_add": (12,),
    "registry_delete": (12,),
    "registry_set": (13,),
    "registry_rename": (14,),
    "registry_event": (12, 13, 14),
    "create_stream_hash": (15,),
    "pipe_created": (17, 18),
    "wmi_event": (19, 20, 21),
    "dns_query": (22,),
    "file_delete": (23, 26),
    "file_delete_detected": (26,),
    "clipboard_capture": (24,),
    "process_tampering": (25,),
    "file_block_executable": (27,),
    "file_block": (27,),
    "file_block_shredding": (28,),
    "file_executable_detected": (29,),
    "sysmon_error": (255,),
}
_POWERSHELL: dict[str, tuple[str, int]] = {
    "ps_script": ("powershell", 4104),
    "ps_module": ("powershell", 4103),
    "ps_classic_start": ("powershell-classic", 400),
    "ps_classic_provider_start": ("powershell-classic", 600),
    "ps_classic_script": ("powershell-classic", 800),
}
# Security 4688 says the same as Sysmon 1 in other words (Sigma taxonomy, process creation).
_AUDIT_NAMES = {
    "Image": "NewProcessName",
    "ParentImage": "ParentProcessName",
    "ProcessId": "NewProcessId",
    "ParentProcessId": "ProcessId",
    "User": "SubjectUserName",
    "LogonId": "SubjectLogonId",
    "IntegrityLevel": "MandatoryLabel",
}
# What Microsoft Defender found or did about it (its events 1006 to 1119), in Sigma's words for any antivirus.
_DEFENDER = (1006, 1007, 1008, 1015, 1116, 1117, 1118, 1119)
_DEFENDER_NAMES = {"Signature": "ThreatName", "Filename": "Path"}
# An EXECVE record and what the other records of its event say; who its parent was it does not know.
_EXECVE = Route(datasets=("linux.auditd.execve",))
_EXECVE_NAMES = {
    "Image": "process.executable",
    "CommandLine": "process.command_line",
    "CurrentDirectory": "process.working_directory",
    "ProcessId": "process.pid",
    "ParentProcessId": "process.parent.pid",
    "User": "user.name",
}
_DATASETS: dict[tuple[str, str, str], tuple[str, ...]] = {
    # (category, product, service); a missing part is an empty text
    ("", "linux", "sshd"): ("linux.sshd",),
    ("", "linux", "sudo"): ("linux.sudo",),
    ("", "linux", "auditd"): ("linux.auditd", "linux.auditd.execve"),
    ("", "linux", "auth"): ("linux.sshd", "linux.sudo", "linux.auth"),
    ("", "linux", "syslog"): ("linux.*",),
    ("", "linux", ""): ("linux.*",),
    ("", "linux", "cron"): ("linux.cron",),
    ("application", "jvm", ""): ("application.java",),
    ("application", "spring", ""): ("application.java",),
    ("application", "velocity", ""): ("application.java",),
    ("application", "django", ""): ("application.python",),
    ("application", "python", ""): ("application.python",),
    ("application", "nodejs", ""): ("application.nodejs",),
    ("application", "ruby_on_rails", ""): ("application.ruby",),
    ("application", "sql", ""): ("application.*", "postgresql.log"),
    ("database", "", ""): ("postgresql.log",),
    ("firewall", "", ""): ("cisco.asa", "fortinet.fortigate"),
    ("network_connection", "", ""): (
        "netflow.*",
        "sflow.*",
        "packet.flow",
        "zeek.conn",
        "cisco.asa",
        "fortinet.fortigate",
    ),
    ("dns", "", ""): ("packet.dns", "zeek.dns"),
    ("proxy", "", ""): ("packet.http", "squid.access"),
    ("netflow", "", ""): ("netflow.*",),
    ("", "netflow", ""): ("netflow.*",),
    ("", "", "netflow"): ("netflow.*",),
    ("webserver", "", ""): ("nginx.access", "apache.access", "iis.w3c", "packet.http"),
    ("webserver", "apache", ""): ("apache.access",),
    ("webserver", "iis", ""): ("iis.w3c",),
    ("", "apache", ""): ("apache.access", "apache.error"),
    ("", "", "apache"): ("apache.access", "apache.error"),
    ("", "", "nginx"): ("nginx.access", "nginx.error"),
    ("", "squid", ""): ("squid.access",),
    ("webserver", "nginx", ""): ("nginx.access",),
    ("", "nginx", ""): ("nginx.access", "nginx.error"),
    ("", "nginx", "access"): ("nginx.access",),
    ("", "cisco", ""): ("cisco.*",),
    ("", "cisco", "aaa"): ("cisco.aaa",),
    ("", "cisco", "bgp"): ("cisco.ios",),
    ("", "cisco", "ldp"): ("cisco.ios",),
    ("", "cisco", "syslog"): ("cisco.ios",),
    ("", "cisco", "asa"): ("cisco.asa",),
    ("firewall", "cisco", ""): ("cisco.asa",),
    ("firewall", "cisco", "asa"): ("cisco.asa",),
    ("", "fortigate", ""): ("fortinet.fortigate",),
    ("", "fortigate", "event"): ("fortinet.fortigate",),
    ("", "fortinet", ""): ("fortinet.*",),
    ("", "fortinet", "fortigate"): ("fortinet.fortigate",),
    ("firewall", "fortinet", ""): ("fortinet.fortigate",),
    ("firewall", "fortigate", ""): ("fortinet.fortigate",),
    ("application", "kubernetes", "audit"): ("kubernetes.audit",),
    ("application", "opencanary", ""): ("opencanary.events",),
    ("file_event", "macos", ""): ("apple.es_file",),
    ("process_creation", "macos", ""): ("apple.es_exec",),
    ("", "gcp", "gcp.audit"): ("gcp.audit",),
    ("", "gcp", "google_workspace.admin"): ("google_workspace.admin",),
    ("", "gcp", "google_workspace.login"): ("google_workspace.login",),
    ("", "m365", "exchange"): ("m365.audit",),
    ("", "m365", "threat_detection"): ("m365.audit",),
    ("", "m365", "threat_management"): ("m365.audit",),
    ("", "onelogin", "onelogin.events"): ("onelogin.events",),
    ("", "huawei", "bgp"): ("huawei.vrp",),
    ("", "juniper", "bgp"): ("juniper.junos",),
    ("", "fortios", "sslvpnd"): ("fortinet.fortigate",),
    ("", "snmp", ""): ("snmp.trap",),
    ("", "snmp", "trap"): ("snmp.trap",),
}

# Sigma taxonomy appendix: what these categories call fields that other ones call otherwise, or not at all.
_CATEGORY_NAMES: dict[str, dict[str, str]] = {
    "dns": {
        "query": "dns.question.name",
        "record_type": "dns.question.type",
        "answer": "dns.answers.data",
    },
    "proxy": {
        "c-uri": "url.full",  # the whole URL, as a proxy is asked for it
        "cs-uri": "url.full",
        "r-dns": "url.domain",
    },
}


KEYS = ("category", "product", "service")
Key = tuple[str, str, str]
"""A log source by these; a missing part is an empty text."""


class NoRoute(ValueError):
    """Nobody writes the events that a log source means; the text says which."""


@dataclass(frozen=True)
class Way:
    """A route, and the names that its events use instead of the rule's."""

    route: Route
    renamed: tuple[tuple[str, str], ...] = ()


def windows(channels: Iterable[str], ids: Iterable[int | str] | None = None) -> Route:
    """Events of these channels, whatever their case; all of them, or those with these ids."""
    event_ids = None if ids is None else frozenset(map(str, ids))
    return Route(True, frozenset(channel.lower() for channel in channels), event_ids)


def _windows_ways(category: str, service: str) -> list[Way]:
    if not category:
        if service and service not in _SERVICES:
            raise NoRoute(f"unknown Windows service '{service}'")
        return [Way(windows(_SERVICES[service] if service else ()))]
    found: dict[str, Way] = {}
    if category in _SYSMON:
        found["sysmon"] = Way(windows(_SERVICES["sysmon"], _SYSMON[category]))
    if category == "process_creation":
        found["security"] = Way(windows(_SERVICES["security"], (4688,)), tuple(_AUDIT_NAMES.items()))
    if category in _POWERSHELL:
        name, event_id = _POWERSHELL[category]
        found[name] = Way(windows(_SERVICES[name], (event_id,)))
    if not found:
        raise NoRoute(f"no Windows source writes category '{category}'")
    if service and service not in found:
        raise NoRoute(f"service '{service}' of Windows writes no category '{category}'; {', '.join(found)} does")
    return [found[service]] if service else list(found.values())


def _linux_ways(category: str) -> list[Way]:
    """The categories of Sysmon for Linux; processes are known from the audit log, too."""
    found = [Way(windows(_LINUX_SYSMON, _SYSMON[category]))]
    if category == "process_creation":
        found.append(Way(_EXECVE, tuple(_EXECVE_NAMES.items())))
    return found


def ways(category: str | None, product: str | None, service: str | None) -> list[Way]:
    """The events a log source means, one way or several. Raises NoRoute."""
    key = (category or "", product or "", service or "")
    if key[1] == "windows":
        return _windows_ways(key[0], key[2])
    if key[1] == "linux" and key[0] in _SYSMON and key[2] in ("", "sysmon"):
        return _linux_ways(key[0])
    if not key[1] and key[0] in {**_SYSMON, **_POWERSHELL} and key not in _DATASETS:
        return _windows_ways(key[0], key[2])
    if key == ("antivirus", "", ""):
        return [
            Way(windows(_SERVICES["windefend"], _DEFENDER), tuple(_DEFENDER_NAMES.items())),
            Way(Route(datasets=("linux.clamav",))),
        ]
    if key in _DATASETS:
        return [Way(Route(datasets=_DATASETS[key]), tuple(_CATEGORY_NAMES.get(key[0], {}).items()))]
    if not key[0] and key[1] and key[2]:
        return [Way(Route(datasets=(f"{key[1]}.{key[2]}",)))]
    words = ", ".join(f"{n} '{v}'" for n, v in zip(KEYS, key, strict=True) if v)
    raise NoRoute(f"no source writes {words or 'for a log source without category, product and service'}")


def _renames() -> dict[Route, dict[str, str]]:
    processes = (("process_creation", "windows", ""), ("process_creation", "linux", ""))
    known = [*processes, *(key for key in _DATASETS if key[0] in _CATEGORY_NAMES)]
    return {way.route: dict(way.renamed) for key in known for way in ways(*key) if way.renamed}


_RENAMES = _renames()


def renamed(route: Route) -> dict[str, str]:
    """The names that the events of a route use instead of Sigma's, for fields that a rule itself does not read."""
    return _RENAMES.get(route, {})


def log_source_of(dataset: str, channel: str, event_id: str) -> dict[str, str]:
    """The narrowest log source that means events like this one: the other way round of `ways`."""
    if not channel:
        product, _, service = dataset.partition(".")
        return {"product": product, "service": service} if service else {"product": product}
    folded = channel.lower()
    service = next((name for name, known in _SERVICES.items() if folded in map(str.lower, known)), "")
    if service == "sysmon" or (service == "security" and event_id == "4688"):
        for category, ids in _SYSMON.items():
            if event_id in map(str, ids) or (category == "process_creation" and event_id == "4688"):
                return {"category": category, "product": "windows"}
    return {"product": "windows", "service": service} if service else {"product": "windows"}
