"""From Sigma's field names to those of our events."""

from __future__ import annotations

from collections.abc import Sequence

from soc.model.fields import FieldDictionary

_WINDOWS = {
    "EventID": "winlog.event_id",
    "Channel": "winlog.channel",
    "Provider_Name": "winlog.provider_name",
    "Provider_Guid": "winlog.provider_guid",
    "ProviderName": "winlog.event_data.ProviderName",
    "Computer": "winlog.computer_name",
    "ComputerName": "winlog.computer_name",
    "Level": "winlog.level",
    "Task": "winlog.task",
    "Opcode": "winlog.opcode",
    "Keywords": "winlog.keywords",
    "EventRecordID": "winlog.record_id",
    "Execution_ProcessID": "winlog.process.pid",
}
# Sigma taxonomy appendix: web server, proxy, firewall and network names.
_GENERAL = {
    "cs-uri-query": "url.query",
    "cs-uri-stem": "url.path",
    "cs-uri": "url.original",
    "c-uri": "url.original",
    "c-uri-path": "url.path",
    "c-uri-query": "url.query",
    "c-uri-extension": "url.extension",
    "cs-method": "http.request.method",
    "sc-status": "http.response.status_code",
    "sc-bytes": "http.response.bytes",
    "cs-bytes": "http.request.bytes",
    "c-useragent": "user_agent.original",
    "cs-user-agent": "user_agent.original",
    "cs-referer": "http.request.referrer",
    "cs-referrer": "http.request.referrer",
    "cs-host": "url.domain",
    "cs-username": "user.name",
    "c-ip": "source.ip",
    "src_ip": "source.ip",
    "dst_ip": "destination.ip",
    "src_port": "source.port",
    "dst_port": "destination.port",
    "SourceIp": "source.ip",
    "DestinationIp": "destination.ip",
    "SourcePort": "source.port",
    "DestinationPort": "destination.port",
    "protocol": "network.transport",
    "app": "network.application",
    "action": "event.action",
    "user": "user.name",
    "username": "user.name",
    "message": "message",
}


def field_name(
    name: str, *, windows: bool, renamed: dict[str, str], fields: FieldDictionary, datasets: Sequence[str] = ()
) -> str | None:
    """The event's name of a Sigma field, None when no parser can write it.

    What the parser of a dataset calls it comes first, for the general names mean other things elsewhere; of several
    datasets all must mean the same by it.
    """
    own = {fields.of_dataset(dataset, name) for dataset in datasets} - ({None} if len(datasets) == 1 else set())
    if len(own) == 1 and (found := own.pop()) is not None:
        return found
    if "." in name and name in fields:
        return name
    if windows:
        return _WINDOWS.get(name) or f"winlog.event_data.{renamed.get(name, name).replace(' ', '')}"
    mapped = renamed.get(name) or _GENERAL.get(name, name)
    return mapped if mapped in fields else None
