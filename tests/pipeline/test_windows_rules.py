"""One Windows event in the shapes that people have, against rules of the right and of the wrong log source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.test_files import soc

SYSMON, DEFENDER = "Microsoft-Windows-Sysmon/Operational", "Microsoft-Windows-Windows Defender/Operational"
RULES = """
title: registry
name: registry
logsource: {category: registry_set, product: windows}
detection:
  s: {EventType: SetValue, Details: 'DWORD*'}
  condition: s
---
title: defender
name: defender
logsource: {product: windows, service: windefend}
detection:
  s: {EventID: 5007, NewValue|contains: 'exclusions', ProductName: Defender}
  condition: s
---
title: with the spaces of the event
name: spaces
logsource: {product: windows, service: windefend}
detection:
  s: {New Value|endswith: x}
  condition: s
---
title: any channel
name: any
logsource: {product: windows}
detection:
  s: {Provider_Name: Microsoft-Windows-Sysmon, Initiated: true}
  condition: s
---
title: another service
name: wrong-service
logsource: {product: windows, service: security}
detection:
  s: {EventID: [13, 5007]}
  condition: s
---
title: another category
name: wrong-category
logsource: {category: registry_add, product: windows}
detection:
  s: {EventType: SetValue}
  condition: s
---
title: another product
name: wrong-product
logsource: {product: linux}
detection:
  n: {message: never}
  condition: not n
"""


def shape(kind: str, channel: str, provider: str, event_id: int, data: dict[str, Any]) -> dict[str, Any]:
    """The event as evtx_dump, Winlogbeat or a flattening tool writes it."""
    if kind == "tree":
        system = {"Provider": {"#attributes": {"Name": provider}}, "EventID": event_id, "Channel": channel,
                  "TimeCreated": {"#attributes": {"SystemTime": "2026-11-20T01:00:00Z"}}}  # fmt: skip
        return {"Event": {"System": system, "EventData": data}}
    if kind == "winlogbeat":
        winlog = {"provider_name": provider, "event_id": str(event_id), "channel": channel, "event_data": data}
        return {"@timestamp": "2026-11-20T01:00:00Z", "winlog": winlog}
    return {"SourceName": provider, "EventID": event_id, "Channel": channel, "EventTime": "2026-11-20 01:00:00", **data}


@pytest.mark.parametrize("kind", ["tree", "winlogbeat", "flat"])
def test_each_shape_gives_the_same_hits(tmp_path: Path, kind: str) -> None:
    """Names with spaces are squeezed, `EventType` and truth values arrive; rules of another log source stay silent."""
    (tmp_path / "rules.yml").write_text(RULES)
    events = [
        shape(kind, SYSMON, "Microsoft-Windows-Sysmon", 13,
              {"EventType": "SetValue", "Details": "DWORD (0x1)", "Initiated": True}),
        shape(kind, DEFENDER, "Microsoft-Windows-Windows Defender", 5007,
              {"New Value": r"HKLM\Exclusions\x", "Product Name": "Defender"}),
    ]  # fmt: skip
    log = tmp_path / "events.json"
    log.write_text("".join(json.dumps(event) + "\n" for event in events))
    result = soc("detect", "--no-cache", "--rules", str(tmp_path / "rules.yml"), str(log))
    hits = [json.loads(line) for line in result.stdout.splitlines()]
    assert {(hit["rule"], hit["record"]) for hit in hits} == {
        ("registry", 1), ("any", 1), ("defender", 2), ("spaces", 2),
    }, result.stderr.decode()  # fmt: skip


ELEMENTS = """
title: equals
name: equals
logsource: {product: windows, service: sysmon}
detection: {s: {Hashes: sha256=2}, condition: s}
---
title: begins
name: begins
logsource: {product: windows, service: sysmon}
detection: {s: {Hashes|startswith: sha, Hashes|endswith: '1'}, condition: s}
---
title: whole
name: whole
logsource: {product: windows, service: sysmon}
detection: {s: {Hashes|re: '^md5=.$'}, condition: s}
---
title: negated
name: negated
logsource: {product: windows, service: sysmon}
detection: {s: {Hashes|neq: md5=1}, condition: s}
---
title: number
name: number
logsource: {product: windows, service: sysmon}
detection: {s: {Size: 5}, condition: s}
---
title: larger
name: larger
logsource: {product: windows, service: sysmon}
detection: {s: {Size|gt: 6}, condition: s}
"""


@pytest.mark.parametrize("kind", ["tree", "winlogbeat", "flat"])
def test_any_element_of_a_list_is_enough(tmp_path: Path, kind: str) -> None:
    """Each element is compared by itself, beside events of the same name without a list; JSON's 5.0 is 5."""
    (tmp_path / "rules.yml").write_text(ELEMENTS)
    values: list[dict[str, Any]] = [
        {"Hashes": ["md5=1", "sha256=2"], "Size": 5.0}, {"Hashes": "md5=9", "Size": [4, 7]}, {"Hashes": ["sha1=1"]},
        {"Hashes": [None]},
    ]  # fmt: skip
    log = tmp_path / "events.json"
    log.write_text("".join(json.dumps(shape(kind, SYSMON, "p", 1, data)) + "\n" for data in values))
    result = soc("detect", "--no-cache", "--rules", str(tmp_path / "rules.yml"), str(log))
    hits = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted((hit["rule"], hit["record"]) for hit in hits) == [
        ("begins", 1), ("begins", 3), ("equals", 1), ("larger", 2), ("negated", 2), ("negated", 3), ("negated", 4),
        ("number", 1),
        ("whole", 1), ("whole", 2),
    ], result.stderr.decode()  # fmt: skip
    shown = [json.loads(line) for line in soc("parse", str(log)).stdout.splitlines()]
    assert [event.get("winlog.event_data.Hashes") for event in shown] == [
        ["md5=1", "sha256=2"], ["md5=9"], ["sha1=1"], None,
    ]  # fmt: skip
