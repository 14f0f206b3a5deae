"""What leaves the house: no internal address, nothing classified, no report without its person."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.connectors.national.message import Privacy, alert_message, classified_mark, gate
from soc.errors import PermissionRefused
from soc.model.message import Message
from tests.connectors.fakes import SENDER, message, system

KEYED = Privacy(key=b"k" * 32)
ENVELOPE = {"id": "1", "destination": "centre", "created_us": 1, "sender": SENDER, "system": system()}
ALERT = {
    "title": "SSH brute force",
    "kind": "correlation",
    "level": "high",
    "dataset": "linux.sshd",
    "why": [{"selection": "s", "field": "message", "value": "from 203.0.113.9 to 10.1.2.3:22", "pattern": "x"}],
    "observables": [{"field": "destination.ip", "value": "10.1.2.3"}],
    "entity": "source.ip=203.0.113.9",
    "count": 7,
    "first_us": 1_000_000,
    "last_us": 2_000_000,
    "tags": ["attack.credential_access", "attack.t1110.001"],
}


def test_an_alert_says_what_regulation_asks():
    """Name, severity, times, count, technique, source, evidence."""
    payload = alert_message(ALERT, privacy=KEYED, **ENVELOPE).payload
    assert payload["techniques"] == ["T1110.001"]
    assert payload["source"] == {"ip": "203.0.113.9"}
    assert payload["first"] == "1970-01-01T00:00:01.000000Z"
    assert (payload["title"], payload["severity"], payload["count"]) == ("SSH brute force", "high", 7)


def test_internal_addresses_get_one_keyed_stand_in_everywhere():
    """The same host keeps one name, so that the centre can still correlate; the public attacker stays."""
    payload = alert_message(ALERT, privacy=KEYED, **ENVELOPE).payload
    name = payload["destination"]["ip"]
    assert name.startswith("host-")
    assert payload["evidence"] == [f"message: from 203.0.113.9 to {name}:22"]


def test_another_key_gives_another_stand_in():
    """Nobody without the key can list the names of all private addresses."""
    assert KEYED.scrub("10.1.2.3") != Privacy(key=b"j" * 32).scrub("10.1.2.3")


def test_without_a_key_addresses_are_removed():
    """The default never sends an unkeyed hash."""
    assert Privacy().scrub(["10.1.2.3", {"172.16.0.9": 5}]) == ["[internal]", {"[internal]": 5}]


@pytest.mark.parametrize(
    "text",
    ["10.0.0.1", "192.168.1.1", "172.31.255.254", "100.64.0.1", "169.254.3.4", "127.0.0.1", "010.000.000.001",
     "fd00::1", "fe80::1", "::1", "::ffff:10.0.0.1", "FD12:3456:789A:0001:0000:0000:0000:0001"],
)  # fmt: skip
@pytest.mark.parametrize("around", ["{}", "src={} dst", "[{}]:443", "({}),", "user@{}", "{}/24", '"{}"'])
def test_every_form_of_an_internal_address_is_found(text, around):
    """Inside whatever punctuation."""
    assert Privacy().scrub(around.format(text)) == around.format("[internal]")


@pytest.mark.parametrize("text", ["203.0.113.9", "8.8.8.8", "2001:db8::7", "12:30:45", "00:1a:2b:3c:4d:5e", "a::b c"])
def test_public_addresses_times_and_hardware_addresses_stay(text):
    """Only what is inside is hidden."""
    assert Privacy().scrub(text) == text


def test_public_addresses_of_the_house_are_internal_when_named():
    """A province has public networks of its own."""
    assert Privacy(internal=("203.0.113.0/24",)).scrub("203.0.113.9 8.8.8.8") == "[internal] 8.8.8.8"


@given(st.ip_addresses(v=4, network="10.0.0.0/8"), st.text(alphabet=" abc,;()[]=/\"'<>", max_size=5))
def test_no_private_address_ever_passes(address, around):
    """Whatever stands around it."""
    assert str(address) not in Privacy().scrub(f"{around}{address}{around}")


@pytest.mark.parametrize(
    "payload",
    [
        {"classification": "Mật"},
        {"note": {"do_mat": "mật"}},
        {"độ mật": "[MẬT]"},
        {"text": "văn bản Tối mật số 3"},
        {"text": "TUYỆT MẬT"},
        {"text": ["a", {"b": "Công văn MẬT"}]},
        {"text": "To\u0302\u0301i ma\u0323\u0302t"},
        {"text": "TỐI\u200b  MẬT"},
    ],
)
def test_ac10_a_marked_payload_cannot_leave(payload):
    """AC10: composed or decomposed, in capitals or not, spread over white space."""
    with pytest.raises(PermissionRefused, match="cannot leave"):
        message(1, payload=payload)


@pytest.mark.parametrize("text", ["đổi mật khẩu", "BẢO MẬT HỆ THỐNG", "MẬT KHẨU yếu", "bí mật kinh doanh", "mật độ"])
def test_everyday_words_with_the_syllable_pass(text):
    """Passwords and security are what alerts speak of."""
    assert classified_mark({"text": text}) is None


def test_a_mark_in_a_note_binds_the_alert():
    """The note is not sent, and still refuses the alert."""
    with pytest.raises(PermissionRefused):
        alert_message({**ALERT, "notes": [{"text": "nguồn: công văn tối mật"}]}, privacy=KEYED, **ENVELOPE)


@pytest.mark.parametrize("approver", [None, "", "  "])
def test_ac10_an_incident_report_without_a_person_cannot_leave(approver):
    """AC10."""
    with pytest.raises(PermissionRefused, match="approved"):
        message(1, kind="incident_report", approved_by=approver)


def test_an_incident_report_with_a_person_leaves():
    """The approver is in the message."""
    assert message(1, kind="incident_report", approved_by="binh").approved_by == "binh"


def test_tlp_is_amber_unless_said():
    """Regulation.md, section 10."""
    assert message(1).tlp == "AMBER"


JSON = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(st.dictionaries(st.text(), JSON))
def test_any_payload_is_scrubbed_and_gated_without_a_crash(payload):
    """Shapes stay; the only error is the refusal."""
    scrubbed = KEYED.scrub(payload)
    assert json.loads(json.dumps(scrubbed)).keys() == scrubbed.keys()
    sent = Message("1", "alert", "centre", 1, {}, None, {}, scrubbed)
    if classified_mark(scrubbed) is None:
        gate(sent)
    else:
        with pytest.raises(PermissionRefused):
            gate(sent)
