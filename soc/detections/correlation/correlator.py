"""Runs the correlations over projected events, each behind those that it refers to."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

from soc.detections.correlation.closing import Closing
from soc.detections.correlation.condition import METRICS
from soc.detections.correlation.definition import Correlation
from soc.detections.correlation.excepting import Excepting
from soc.detections.correlation.late import Late, LateRule
from soc.detections.correlation.seen import ABOUT, AT, EVENT_ID, VALUE
from soc.detections.correlation.shard import Shard
from soc.detections.correlation.stage import EARLIER, MAX_GROUPS, Document, Fired, Key, Stage
from soc.detections.correlation.tally import observed
from soc.detections.rule_exception import RuleException
from soc.model.finding import Finding, finding_id

MAX_IDS = 1_000
"""Event ids that a finding carries; its count is exact all the same."""
MAX_CARRIED = 100
"""Event ids of a finding that one which builds on it repeats, the newest ones."""
END_US = 2**63 - 1
WHOLE = Shard()


class Correlations:
    """`feed` it documents of kind `event`; findings of a correlation are fed to those that refer to it."""

    def __init__(
        self, correlations: Sequence[Correlation], exceptions: Sequence[RuleException] = (), shard: Shard = WHOLE
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()
        self.late = Late()
        self.stages = {
            c.id: Stage(c, self.counters, self._schedule, Excepting(c, exceptions), self.late, shard)
            for c in shard.here(correlations)
        }
        self._numbers = {key: number for number, key in enumerate(self.stages)}
        self._by_rule: dict[str, list[Stage]] = {}
        for stage in self.stages.values():
            for rule in stage.correlation.rules:
                self._by_rule.setdefault(rule, []).append(stage)
        for key, stage in self.stages.items():
            stage.feeds = self._by_rule.get(key, [])
        # When a window will be over: by the clock of receipt, the number of its correlation, its group.
        self._due: list[tuple[int, int, Key]] = []
        self._clock_us = 0
        self._told_us = 0
        self._dropped: set[str] = set()  # of the state that was restored: correlations that were changed meanwhile
        self._above = {id: [c.id for c in correlations if id in c.rules] for id in (c.id for c in correlations)}
        referred = {rule for c in correlations for rule in c.rules}
        self._quiet = referred - {rule for c in correlations if c.generate for rule in c.rules}

    @property
    def groups(self) -> int:
        """Groups that are kept now, of all correlations."""
        return sum(len(stage.windows) for stage in self.stages.values())

    def feed(self, documents: Sequence[Document], now_us: int) -> list[Finding]:
        """Findings of windows that are over, then those that these documents complete, in their order.

        `now_us` is the clock of receipt: µs UTC, and what is before the greatest seen so far counts as that one.
        """
        self._clock_us = max(self._clock_us, now_us)
        findings = self._judge(self._clock_us)
        for place, document in enumerate(documents):
            for rule in document["rules"]:
                for stage in self._by_rule.get(rule, ()):
                    stage.inputs.append((place, rule, document))
        found: list[tuple[int, int, Finding]] = []
        for number, stage in enumerate(self.stages.values()):
            if stage.inputs:
                inputs, stage.inputs = stage.in_order(), []
                for fired in stage.run(inputs, self._clock_us):
                    finding = self._finding(stage, fired)
                    for upper in self._counting(stage, finding):
                        upper.inputs.append(_input(finding, fired))
                    if self._is_told(stage, finding, fired.key):
                        found.append((fired.place, number, finding))
        findings += [finding for _, _, finding in sorted(found, key=itemgetter(0, 1))]
        return findings

    def tick(self, now_us: int) -> list[Finding]:
        """What is found in windows that are over now; also forgets the groups that nothing touched for long.

        Everything received before `now_us` must have been fed; then it does not matter how often this is called.
        """
        findings = self._judge(now_us)
        for stage in self.stages.values():
            stage.forget(now_us)
        if len(self._due) > 2 * self.groups + MAX_GROUPS:
            self._reschedule()
        return findings

    def finish(self) -> list[Finding]:
        """What is found when nothing will come any more: every window is over."""
        return self._judge(END_US)

    def _judge(self, until_us: int) -> list[Finding]:
        """What is found in windows that are over, each at its moment, so that it does not matter who asks when."""
        findings: list[Finding] = []
        stages = list(self.stages.values())
        while self._due and self._due[0][0] <= until_us:
            due_us, number, key = heapq.heappop(self._due)
            stage = stages[number]
            window = stage.windows.get(key)
            if not isinstance(window, Closing) or window.scheduled_us != due_us:
                continue
            window.scheduled_us = None
            if window.due_us(stage.correlation) != due_us:  # it was heard since
                self._schedule(stage, key, window)
                continue
            self._clock_us = max(self._clock_us, due_us)
            for fired in stage.touch(window, key, due_us):
                findings.extend(self._rise(stage, fired, due_us))
        return findings

    def _rise(self, stage: Stage, fired: Fired, now_us: int) -> Iterator[Finding]:
        """A finding, and those that it completes in what refers to its correlation."""
        finding = self._finding(stage, fired)
        if self._is_told(stage, finding, fired.key):
            yield finding
        for upper in self._counting(stage, finding):
            for higher in upper.run([_input(finding, fired)], now_us):
                yield from self._rise(upper, higher, now_us)

    def _is_told(self, stage: Stage, finding: Finding, key: Key) -> bool:
        """What is excepted is never gone in silence; of a group that several shards keep, one speaks."""
        return (finding.rule_id not in self._quiet or bool(finding.exception)) and stage.owns(key)

    def _counting(self, stage: Stage, finding: Finding) -> Sequence[Stage]:
        """Those that a finding counts in."""
        return () if finding.exception else stage.feeds

    def _schedule(self, stage: Stage, key: Key, window: Closing) -> None:
        due_us = window.due_us(stage.correlation)
        if due_us is not None and (window.scheduled_us is None or due_us < window.scheduled_us):
            window.scheduled_us = due_us
            heapq.heappush(self._due, (due_us, self._numbers[stage.correlation.id], key))

    def _reschedule(self) -> None:
        """Leave out what groups that are gone have left behind."""
        self._due = [
            (window.scheduled_us, self._numbers[id], key)
            for id, stage in self.stages.items()
            for key, window in stage.windows.items()
            if isinstance(window, Closing) and window.scheduled_us is not None
        ]
        heapq.heapify(self._due)

    def _finding(self, stage: Stage, fired: Fired) -> Finding:
        correlation, events, document = stage.correlation, fired.events, fired.document
        named = dict(zip(correlation.group_by, fired.key[3:], strict=True))
        earlier = [seen[ABOUT][EARLIER] for seen in events if len(seen) > ABOUT and EARLIER in seen[ABOUT]]
        ids = dict.fromkeys(id for _, some in earlier for id in some)
        ids |= dict.fromkeys(seen[EVENT_ID] for seen in events)
        receipt_us = document.get("receipt_us") or document["at_us"]
        exception = stage.excepting.taking(named, events, receipt_us)
        if not exception and stage.owns(fired.key):
            self.fired[correlation.id] += 1
        count = len({seen[VALUE] for seen in events}) if correlation.type == "value_count" else len(events)
        return Finding(
            id=finding_id(correlation.id, *fired.key, events[-1][EVENT_ID]),
            rule_id=correlation.id,
            rule_version=correlation.version,
            title=correlation.title,
            level=correlation.level,
            kind="correlation",
            dataset=str(document.get("dataset") or ""),
            event_ids=tuple(ids)[-MAX_IDS:],
            first_us=min([*(first_us for first_us, _ in earlier), *(seen[AT] for seen in events)]),
            last_us=max(seen[AT] for seen in events),
            site=document["site"],
            system_id=document.get("system_id"),
            organization_id=document.get("organization_id"),
            entity=" ".join(f"{name}={value}" for name, value in named.items()),
            count=count,
            group=named,
            tags=correlation.tags,
            status=correlation.status,
            explain=_explained(correlation, fired, count),
            title_vi=correlation.title_vi,
            playbook=correlation.playbook,
            import_id=document.get("import_id"),
            simulated=bool(document.get("simulated")),
            position=document["position"],
            exception=exception,
        )

    def late_due(self, settled_us: int) -> Late | None:
        """What came too late, when it is time to look at it again; None before. What refers to one of its correlations
        comes with it, in all its groups: it may say more than it did. Everything received before `settled_us` is
        stored. Whoever keeps it calls `late.clear`.
        """
        if not self.late.is_due(settled_us):
            return None
        rules = dict(self.late.rules)
        for id in self.late.rules:
            for upper in self._all_above(id):
                rules[upper] = LateRule(None, rules[upper].received if upper in rules else Counter())
        return replace(self.late, rules=rules)

    def _all_above(self, id: str) -> Iterator[str]:
        for upper in self._above.get(id, ()):
            yield upper
            yield from self._all_above(upper)

    def snapshot(self) -> dict[str, Any]:
        """The whole state as plain data; the groups in the order in which they would be evicted."""
        for stage in self.stages.values():
            stage.forget(self._clock_us)
        self._told_us = self._clock_us
        return self._state(None)

    def changes(self) -> dict[str, Any]:
        """What was touched since the last call, or since `snapshot`: for `apply`."""
        since_us, self._told_us = self._told_us, self._clock_us
        return self._state(since_us)

    def _state(self, since_us: int | None) -> dict[str, Any]:
        return {
            "windows": {
                key: [stage.correlation.version, groups, len(stage.windows)]
                for key, stage in self.stages.items()
                if (groups := stage.to_json(since_us)) or since_us is None
            },
            "counters": dict(self.counters),
            "fired": dict(self.fired),
            "late": self.late.to_json(),
        }

    def restore(self, data: Mapping[str, Any], *, is_older: bool = False) -> None:
        """The inverse of `snapshot`; the state of a correlation that was changed meanwhile is dropped and counted.

        With `is_older` the state is of the time when every window was judged at each of its events.
        """
        for stage in self.stages.values():
            stage.windows.clear()
        self._due, self._clock_us, self._told_us = [], 0, 0
        self._dropped.clear()
        windows = data["windows"]
        if is_older:
            windows = {key: ["" if self._is_closing(key) else version, of] for key, (version, of) in windows.items()}
        self.apply({**data, "windows": windows})

    def _is_closing(self, key: str) -> bool:
        return key in self.stages and not self.stages[key].correlation.lasting

    def apply(self, data: Mapping[str, Any]) -> None:
        """Put what `changes` told over the state of before."""
        self.counters.clear()
        self.counters.update(data["counters"])
        self.fired = Counter(data["fired"])
        self.late.restore(data.get("late", {}))
        for key, (version, groups, *kept) in data["windows"].items():  # states of before do not say how many there were
            stage = self.stages.get(key)
            if stage is not None and stage.correlation.version == version:
                stage.restore(groups, *kept or (MAX_GROUPS,))
                self._clock_us = max([self._clock_us, *(window.touched_us for window in stage.windows.values())])
            elif groups:
                self._dropped.add(key)
        if self._dropped:
            self.counters["changed_definitions"] += len(self._dropped)


def _input(finding: Finding, fired: Fired) -> tuple[int, str, Document]:
    """A finding as an event for what refers to its rule: its group, its events, and fields of what completed it."""
    document = fired.document
    return fired.place, finding.rule_id, {
        **document,
        "fields": {**document["fields"], **finding.group},
        "position": f"{document['position']}#{finding.rule_id}",
        EARLIER: [finding.first_us, list(finding.event_ids[-MAX_CARRIED - 1 : -1])],
    }  # fmt: skip


def _explained(correlation: Correlation, fired: Fired, count: int) -> dict[str, Any]:
    """Observed, expected, and why as a message id with parameters."""
    condition = correlation.condition
    is_metric, is_one = correlation.type in METRICS, len(condition.limits) == 1
    params: dict[str, Any] = {"count": count, "seconds": correlation.span_us // 1_000_000}
    found: float = count
    if is_metric:
        found = observed(correlation, fired.events)
        sign, amount = str(condition).split(" ", 1)
        params |= {"value": found, "sign": sign, "amount": condition.limits[0][1] if is_one else amount}
        params |= {"percentile": condition.percentile} if correlation.type == "value_percentile" else {}
        expected = params["amount"]
    else:
        expected = correlation.at_least if correlation.lasting else str(condition)
        params["at_least"] = expected
    return {"why": f"correlation.{correlation.type}", "observed": found, "expected": expected, "params": params}
