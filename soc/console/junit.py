"""Test results as JUnit XML, which every CI server reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from soc.console.text import clean
from soc.detections.results import REFUSED, UNTESTED, RuleResult


def write(path: Path, results: Iterable[RuleResult]) -> None:
    """One `testsuite` with a `testcase` for each test; what is untested or cannot run is `skipped`. Raises OSError."""
    suite = ElementTree.Element("testsuite", name="soc rule test")
    tests = failures = skipped = 0
    for rule in results:
        if rule.state in (UNTESTED, REFUSED):
            case = _case(suite, rule, "tests", rule.path, rule.line)
            ElementTree.SubElement(case, "skipped", message=clean(rule.reason or rule.state))
            tests, skipped = tests + 1, skipped + 1
        for each in rule.outcomes:
            case = _case(suite, rule, each.name, each.path, each.line)
            tests += 1
            if each.fault:
                ElementTree.SubElement(case, "failure", message=clean(each.fault))
                failures += 1
    suite.attrib |= {"tests": str(tests), "failures": str(failures), "skipped": str(skipped), "errors": "0"}
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def _case(suite: ElementTree.Element, rule: RuleResult, name: str, path: str, line: int) -> ElementTree.Element:
    title = f"{clean(rule.title)}: {clean(name)}"
    return ElementTree.SubElement(
        suite, "testcase", classname=clean(rule.id), name=title, file=clean(path), line=str(line)
    )
