"""Sigma's log sources reach the events of our parsers: a rule in Sigma's words, a record as it comes, a hit."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from soc.content import shipped
from soc.detections import DetectionSet, Detector
from soc.detections.detect import detect
from soc.detections.sigma import routing
from soc.model.batch import EventBatch
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState

RECEIPT_NS = 1_795_143_600_000_000_000


class Reach(NamedTuple):
    """A log source, a selection, a record that it hits, and one of the same source that it does not."""

    source: str
    selection: str
    hit: str
    miss: str


SYSCALL = (
    "type=SYSCALL msg=audit(1795143600.1:7): arch=c000003e syscall=59 success=yes ppid=1 pid=2 uid=0 "
    'comm="cat" exe="/usr/bin/cat" key="x"\n'
)
SYSMON = (
    "<14>Nov 20 10:00:00 web01 sysmon: <Event><System><EventID>{}</EventID><Channel>Linux-Sysmon/Operational</Channel>"
    '</System><EventData><Data Name="Image">/usr/bin/nc</Data><Data Name="ParentImage">/bin/sh</Data>'
    '<Data Name="{}">{}</Data></EventData></Event>'
)
ZEEK = '{"ts":1.5,"uid":"C","id.orig_h":"10.0.0.1","id.orig_p":1,"id.resp_h":"203.0.113.9","id.resp_p":53,'
DEFENDER = (
    '{"winlog":{"event_id":"1116","channel":"Microsoft-Windows-Windows Defender/Operational",'
    '"event_data":{"Threat Name":"%s","Path":"C:\\\\x.exe"}}}'
)
SQUID = "1795143600.123    100 10.1.2.3 TCP_MISS/200 5000 GET http://%s/x.exe?a=b - HIER_DIRECT/203.0.113.9 text/html"
FORTIGATE = 'date=2026-11-20 time=09:59:58 logid="0100044547" type="event" subtype="system" '
COMMAND = "<189>45: *Nov 20 10:00:00.123: %PARSER-5-CFGLOG_LOGGEDCMD: User:admin  logged command:"
REACHES = [
    Reach("{category: antivirus}", "{Signature|contains: Mimikatz}", DEFENDER % "HackTool:Mimikatz", DEFENDER % "x"),
    Reach(
        "{category: antivirus}",
        "{Signature|contains: Webshell, Filename|endswith: .php}",
        "<22>Nov 20 10:00:00 web01 clamd[9]: /srv/x.php: Php.Webshell-1 FOUND",
        "<22>Nov 20 10:00:00 web01 clamd[9]: /srv/x.php: OK",
    ),
    Reach(
        "{product: linux, service: cron}",
        "[REPLACE]",
        "<78>Nov 20 10:00:00 web01 crontab[9]: (root) REPLACE (an)",
        "<78>Nov 20 10:00:00 web01 crontab[9]: (root) LIST (an)",
    ),
    Reach(
        "{product: linux}",
        "['UID=0,']",
        "<86>Nov 20 10:00:00 web01 useradd[9]: new user: name=x, UID=0, GID=0, home=/x, shell=/bin/sh",
        "<86>Nov 20 10:00:00 web01 useradd[9]: new user: name=x, UID=1000, GID=0, home=/x, shell=/bin/sh",
    ),
    Reach("{product: cisco, service: aaa}", "[no logging]", COMMAND + "no logging", COMMAND + "logging"),
    Reach(
        "{category: proxy}", "{c-uri|endswith: 'x.exe?a=b', cs-host: a.example}", SQUID % "a.example", SQUID % "b.vn"
    ),
    Reach(
        "{category: webserver}",
        "{cs-uri-query|contains: UNION, sc-status: 200, cs-referer|contains: r}",
        r'10.0.0.1 - - [20/Nov/2026:10:00:00 +0700] "GET /a?x=UNION HTTP/1.1" 200 5 "r" "a\"b"',
        r'10.0.0.1 - - [20/Nov/2026:10:00:00 +0700] "GET /a?x=UNION HTTP/1.1" 404 5 "r" "a\"b"',
    ),
    Reach(
        "{service: apache}",
        "['exit signal Segmentation Fault']",
        "[Fri Nov 20 10:00:00.123456 2026] [core:notice] [pid 9] AH00051: child 1 exit signal Segmentation fault",
        "[Fri Nov 20 10:00:00.123456 2026] [core:notice] [pid 9] AH00051: child 1 exit signal Hangup",
    ),
    Reach(
        "{category: application, product: spring}",
        "[org.springframework.expression.ExpressionException]",
        "2026-11-20 10:00:00,123 ERROR [main] c.e.App - org.springframework.expression.ExpressionException: x",
        "2026-11-20 10:00:00,123 ERROR [main] c.e.App - fine",
    ),
    Reach(
        "{product: fortigate, service: event}",
        "{action: Add, cfgpath: system.admin}",
        FORTIGATE + 'action="Add" cfgpath="system.admin"',
        FORTIGATE + 'action="Edit" cfgpath="system.admin"',
    ),
    Reach(
        "{product: zeek, service: dns}",
        "{query|endswith: .example, id.resp_p: 53, answers|contains: 192.0, rejected: 'false'}",
        ZEEK + '"trans_id":1,"rejected":false,"query":"x.example","answers":["a","192.0.2.1"]}',
        ZEEK + '"trans_id":1,"rejected":true,"query":"x.example","answers":["a","192.0.2.1"]}',
    ),
    Reach(
        "{category: dns}",
        "{query|endswith: .example}",
        ZEEK + '"trans_id":1,"rejected":false,"query":"x.example"}',
        ZEEK + '"trans_id":1,"rejected":false,"query":"x.org"}',
    ),
    Reach(
        "{product: zeek, service: smb_files}",
        "{path|endswith: 'ADMIN$', name|endswith: .tmp}",
        ZEEK + r'"action":"SMB::FILE_OPEN","path":"\\\\h\\ADMIN$","name":"a.tmp"}',
        ZEEK + r'"action":"SMB::FILE_OPEN","path":"\\\\h\\C$","name":"a.tmp"}',
    ),
    Reach(
        "{product: zeek, service: http}",
        "{c-useragent|contains: WebDAV, c-uri|endswith: .exe}",
        ZEEK + '"trans_depth":1,"method":"GET","uri":"/x.exe","user_agent":"Microsoft-WebDAV"}',
        ZEEK + '"trans_depth":1,"method":"GET","uri":"/x.txt","user_agent":"Microsoft-WebDAV"}',
    ),
    Reach(
        "{product: linux, service: auditd}",
        "{type: execve, a0: cat, a1|endswith: .png}",
        SYSCALL + 'type=EXECVE msg=audit(1795143600.1:7): argc=2 a0="cat" a1="x.png"',
        SYSCALL + 'type=EXECVE msg=audit(1795143600.1:7): argc=2 a0="cat" a1="x"',
    ),
    Reach(
        "{product: linux, service: auditd}",
        "{type: SYSCALL, SYSCALL: [execve, execveat], exe: /usr/bin/cat}",
        SYSCALL,
        SYSCALL.replace("syscall=59", "syscall=2"),
    ),
    Reach(
        "{category: process_creation, product: linux}",
        "{Image: /usr/bin/cat, CommandLine|contains: '/etc/shadow'}",
        SYSCALL + 'type=EXECVE msg=audit(1795143600.1:7): argc=2 a0="cat" a1="/etc/shadow"',
        SYSCALL.replace("usr/bin", "opt") + 'type=EXECVE msg=audit(1795143600.1:7): argc=2 a0="cat" a1="/etc/shadow"',
    ),
    Reach(
        "{category: process_creation, product: linux}",
        "{Image|endswith: /nc, ParentImage: /bin/sh, CommandLine|contains: ' -e '}",
        SYSMON.format(1, "CommandLine", "nc -e /bin/sh"),
        SYSMON.format(5, "CommandLine", "nc -e /bin/sh"),
    ),
    Reach(
        "{category: file_event, product: linux}",
        "{TargetFilename|startswith: /etc/cron}",
        SYSMON.format(11, "TargetFilename", "/etc/cron.d/x"),
        SYSMON.format(11, "TargetFilename", "/tmp/x"),
    ),
    Reach(
        "{category: network_connection, product: linux}",
        "{DestinationHostname|contains: ngrok}",
        SYSMON.format(3, "DestinationHostname", "a.ngrok.io"),
        SYSMON.format(3, "DestinationHostname", "a.example"),
    ),
    Reach(
        "{product: aws, service: cloudtrail}",
        "{eventSource: s3.amazonaws.com, requestParameters|contains: Suspended, errorCode: null}",
        '{"eventVersion":"1","eventSource":"s3.amazonaws.com","eventName":"PutBucketVersioning","awsRegion":"x",'
        '"requestParameters":{"VersioningConfiguration":{"Status":"Suspended"}}}',
        '{"eventVersion":"1","eventSource":"s3.amazonaws.com","eventName":"PutBucketVersioning","awsRegion":"x",'
        '"requestParameters":{"VersioningConfiguration":{"Status":"Suspended"}},"errorCode":"AccessDenied"}',
    ),
    Reach(
        "{product: azure, service: auditlogs}",
        "{properties.message: Add user, Status: Success}",
        '{"operationName":"Add user","category":"AuditLogs","properties":{"result":"success"}}',
        '{"operationName":"Add user","category":"AuditLogs","properties":{"result":"failure"}}',
    ),
    Reach(
        "{product: azure, service: signinlogs}",
        "{ResultType: 50053}",
        '{"category":"SignInLogs","resultType":"50053","properties":{}}',
        '{"category":"SignInLogs","resultType":"0","properties":{}}',
    ),
    Reach(
        "{product: gcp, service: gcp.audit}",
        "{gcp.audit.method_name: v*.Compute.Firewalls.Delete}",
        '{"protoPayload":{"serviceName":"c","methodName":"v1.compute.firewalls.delete"},"logName":"x"}',
        '{"protoPayload":{"serviceName":"c","methodName":"v1.compute.firewalls.list"},"logName":"x"}',
    ),
    Reach(
        "{product: m365, service: threat_management}",
        "{eventSource: SecurityComplianceCenter, eventName: Impossible travel activity, status: success}",
        '{"Operation":"AlertTriggered","RecordType":40,"Workload":"SecurityComplianceCenter","CreationTime":"x",'
        '"Name":"Impossible travel activity","ResultStatus":"Succeeded"}',
        '{"Operation":"AlertTriggered","RecordType":40,"Workload":"SecurityComplianceCenter","CreationTime":"x",'
        '"Name":"Another","ResultStatus":"Succeeded"}',
    ),
    Reach(
        "{category: application, product: kubernetes, service: audit}",
        "{verb: create, objectRef.resource: pods, hostPath: '*'}",
        '{"kind":"Event","auditID":"a","verb":"create","requestURI":"/","objectRef":{"resource":"pods"},'
        '"requestObject":{"spec":{"volumes":[{"hostPath":{"path":"/"}}]}}}',
        '{"kind":"Event","auditID":"a","verb":"create","requestURI":"/","objectRef":{"resource":"pods"},'
        '"requestObject":{"spec":{"volumes":[{"emptyDir":{}}]}}}',
    ),
    Reach(
        "{category: application, product: opencanary}",
        "{logtype: 4002}",
        '{"logtype":4002,"dst_host":"10.0.0.1","node_id":"n"}',
        '{"logtype":4000,"dst_host":"10.0.0.1","node_id":"n"}',
    ),
    Reach(
        "{category: process_creation, product: macos}",
        "{Image|endswith: /osascript, CommandLine|contains: -e, ParentImage: /bin/zsh}",
        '{"process":{"executable":{"path":"/bin/zsh"}},"event":{"exec":{"target":{"executable":'
        '{"path":"/usr/bin/osascript"}},"args":["osascript","-e","x"]}}}',
        '{"process":{"executable":{"path":"/bin/bash"}},"event":{"exec":{"target":{"executable":'
        '{"path":"/usr/bin/osascript"}},"args":["osascript","-e","x"]}}}',
    ),
]


@pytest.fixture(scope="module")
def parsers() -> ParserSet:
    """What ships."""
    return ParserSet.load([shipped("parsers")])


def hits(parsers: ParserSet, folder: Path, reach: Reach, record: str, form: str = "lines") -> int:
    """How often the rule fires for one record."""
    path = folder / "rule.yml"
    path.write_text(
        f"title: t\nlogsource: {reach.source}\ndetection:\n  s: {reach.selection}\n  condition: s\n", "utf-8"
    )
    loaded = DetectionSet.load([path], fields=parsers.fields)
    assert not loaded.refused
    records = [line.encode() for line in record.splitlines()] if form == "lines" else [record.encode()]
    block = RawBlock.of(records, receipt_ns=RECEIPT_NS, format=form, origin={"log.file.path": "x", "first_record": "1"})
    batches, _ = parsers.parse(block, ParserState(), RECEIPT_NS)
    return sum(1 for _ in detect(loaded, batches, fields=parsers.fields))


@pytest.mark.parametrize("reach", REACHES, ids=lambda reach: reach.source + reach.selection)
def test_a_rule_reaches_its_source(parsers: ParserSet, tmp_path: Path, reach: Reach) -> None:
    """The record hits, its sibling does not."""
    assert (hits(parsers, tmp_path, reach, reach.hit), hits(parsers, tmp_path, reach, reach.miss)) == (1, 0)


@pytest.mark.parametrize("wrapped", ["{{}}\n{}", '{{}}\n{{"message":{}}}'])
def test_posted_documents_are_the_same_events(parsers: ParserSet, tmp_path: Path, wrapped: str) -> None:
    """As Fluent Bit posts the document, or Filebeat with the document in its message."""
    import orjson

    reach = next(reach for reach in REACHES if "cloudtrail" in reach.source)
    inner = reach.hit if "message" not in wrapped else orjson.dumps(reach.hit).decode()
    assert hits(parsers, tmp_path, reach, wrapped.format(inner), "elastic") == 1


def test_a_rule_for_any_windows_channel_sees_no_linux(parsers: ParserSet, tmp_path: Path) -> None:
    """Sysmon for Linux writes Windows' XML, and is Linux all the same."""
    windows = '{"winlog":{"event_id":"1","channel":"X","event_data":{"Image":"/usr/bin/nc"}}}'
    reach = Reach("{product: windows}", "{Image: /usr/bin/nc}", windows, SYSMON.format(1, "CommandLine", "x"))
    assert (hits(parsers, tmp_path, reach, reach.hit), hits(parsers, tmp_path, reach, reach.miss)) == (1, 0)


def test_every_log_source_is_one_that_somebody_writes(parsers: ParserSet) -> None:
    """A route to a dataset that no definition has would leave its rules deaf without a word."""
    written = {d.dataset_of(shape) for d in parsers.definitions.values() for shape in (None, *d.shapes)}
    for source, datasets in routing._DATASETS.items():
        for name in datasets:
            assert any(one == name or (name.endswith("*") and one.startswith(name[:-1])) for one in written), source


def test_a_name_that_no_parser_writes_is_refused(parsers: ParserSet, tmp_path: Path) -> None:
    """A misspelt field is not loaded deaf."""
    path = tmp_path / "rule.yml"
    path.write_text(
        "title: t\nlogsource: {product: azure, service: auditlogs}\n"
        "detection:\n  s: {Initiatied.By: x}\n  condition: s\n",
        "utf-8",
    )
    (refused,) = DetectionSet.load([path], fields=parsers.fields).refused
    assert "reads 'Initiatied.By', which no parser writes" in refused.reason


@pytest.mark.parametrize(("word", "hits"), [("whoami", True), ("từ chối", True), ("SubjectUserName", False)])
def test_keywords_search_the_same_in_files_as_live(parsers: ParserSet, tmp_path: Path, word: str, hits: bool) -> None:
    """Values, also of what became no field, but not the names around them; live all columns are made and joined."""
    path = tmp_path / "rule.yml"
    path.write_text(f"title: t\nlogsource: {{product: windows}}\ndetection:\n  k: [{word}]\n  condition: k\n", "utf-8")
    data = '{"SubjectUserName":"lan","CommandLine":"cmd /c whoami","Mã lỗi":"Từ chối"}'
    record = f'{{"Event":{{"System":{{"EventID":4688,"Channel":"Security"}},"EventData":{data}}}}}'
    block = RawBlock.of([record.encode()], receipt_ns=RECEIPT_NS, format="json")
    [lazy] = parsers.parse(block, ParserState(), RECEIPT_NS)[0]
    live = EventBatch.concat([lazy, lazy])
    rules = DetectionSet.load([path], fields=parsers.fields)
    assert [len(Detector(rules).match(batch)) for batch in (lazy, live)] == ([1, 2] if hits else [0, 0])
