"""Playbooks as data: the shipped five, which fits what, and the words for a wrong one."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from soc.alerts import AlertDesk
from soc.content import shipped
from soc.errors import ContentError, NotFound
from soc.model.alert import Alert
from soc.model.clock import FixedClock
from soc.playbooks import PlaybookSet, check
from tests.fakes import T0_US, FakeCases, FakeSystems, a_finding

SHIPPED = PlaybookSet.load([shipped("playbooks")])


def _alert(**changes: object) -> Alert:
    desk = AlertDesk(FakeCases(), FixedClock(T0_US * 1000), FakeSystems())
    return desk.take([a_finding(**changes)])[0]


def test_five_playbooks_ship() -> None:
    """The names that rules refer to."""
    names = {"ssh-brute-force", "web-attack", "port-scan", "source-silent", "windows-account"}
    assert set(SHIPPED.playbooks) == names
    assert all(result.ok for result in check([shipped("playbooks")]))


@pytest.mark.parametrize("name", sorted(SHIPPED.playbooks))
def test_every_playbook_speaks_vietnamese_and_guides_the_owner_unit(name: str) -> None:
    """Each has a step for tier 2 with guidance in both languages, in NFC."""
    playbook = SHIPPED.get(name)
    second = [step for step in playbook.steps if step.tier == 2]
    assert second
    texts = [playbook.title_vi, playbook.description_vi, *(s.title_vi for s in playbook.steps)]
    texts += [text for step in second for text in (step.guidance, step.guidance_vi)]
    assert all(text and unicodedata.is_normalized("NFC", text) for text in texts)


def test_the_rule_names_its_playbook() -> None:
    """That name beats every tag."""
    found = SHIPPED.match(_alert(playbook="port-scan", tags=("attack.t1110",)))
    assert found is not None
    assert found.id == "port-scan"


def test_without_a_name_the_tags_decide() -> None:
    """An alert of somebody else's rule still finds what to do."""
    found = SHIPPED.match(_alert(playbook="", tags=("attack.t1190",)))
    assert found is not None
    assert found.id == "web-attack"


def test_what_fits_nothing_has_no_playbook() -> None:
    """Better none than a wrong one."""
    assert SHIPPED.match(_alert(playbook="", tags=("attack.t9999",))) is None


def test_an_unknown_name_suggests_the_nearest() -> None:
    """A slip is recognised."""
    with pytest.raises(NotFound, match="did you mean 'port-scan'"):
        SHIPPED.get("port-scn")


WRONG = """\
id: x
kind: playbook
title: X
description: X
colour: red
i18n: {vi: {title: X, description: X}}
steps:
  - id: a
    tier: 4
    kind: manaul
    title: A
    i18n: {vi: {title: A}}
  - id: a
    tier: 2
    kind: action
    title: A
    action: {actuator: nftables, verb: block_addres, params: {address: source.ip}, ttl_hours: 0}
    i18n: {vi: {title: A}}
"""


def test_all_faults_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    """One look at the list mends the file."""
    (tmp_path / "x.yml").write_text(WRONG)
    with pytest.raises(ContentError) as caught:
        PlaybookSet.load([tmp_path])
    text = str(caught.value)
    for words in (
        "x.yml:5: unknown key 'colour'", "x.yml:9: 'tier' is 1, 2 or 3", "x.yml:10: unknown kind 'manaul'",
        "x.yml:13: step 'a' stands twice", "'guidance' is missing", "did you mean 'block_address'", "'ttl_hours' is 1",
    ):  # fmt: skip
        assert words in text
    assert [result.ok for result in check([tmp_path])] == [False] * len(caught.value.faults)


def test_a_site_replaces_a_playbook_by_its_id(tmp_path: Path) -> None:
    """The later root wins."""
    text = (shipped("playbooks") / "port-scan.yml").read_text().replace("Scan of ports or hosts", "Ours")
    (tmp_path / "mine.yml").write_text(text)
    assert PlaybookSet.load([shipped("playbooks"), tmp_path]).get("port-scan").title == "Ours"
