"""SNMPv3 from pysnmp, which nobody here wrote and which shares no code with net-snmp: every algorithm that it knows."""

import asyncio

import pytest
from pysnmp.hlapi.v3arch import asyncio as pysnmp

from tests.collectors.running import MemoryQueue, running, total, until
from tests.collectors.test_snmp import events, spec, users_file

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pysnmp")
AUTHENTICATIONS = {
    "MD5": pysnmp.usmHMACMD5AuthProtocol, "SHA": pysnmp.usmHMACSHAAuthProtocol,
    "SHA-224": pysnmp.usmHMAC128SHA224AuthProtocol, "SHA-256": pysnmp.usmHMAC192SHA256AuthProtocol,
    "SHA-384": pysnmp.usmHMAC256SHA384AuthProtocol, "SHA-512": pysnmp.usmHMAC384SHA512AuthProtocol,
}  # fmt: skip
PRIVACIES = {
    "DES": pysnmp.usmDESPrivProtocol, "AES": pysnmp.usmAesCfb128Protocol,
    "AES-192": pysnmp.usmAesBlumenthalCfb192Protocol, "AES-256": pysnmp.usmAesBlumenthalCfb256Protocol,
    "AES-192-C": pysnmp.usmAesCfb192Protocol, "AES-256-C": pysnmp.usmAesCfb256Protocol,
}  # fmt: skip


def user(name):
    """One of `users_text`."""
    auth, _, privacy = name.partition(".")
    return pysnmp.UsmUserData(
        name, f"authpass {auth}", f"privpass {privacy}" if privacy else None, AUTHENTICATIONS[auth],
        PRIVACIES[privacy] if privacy else pysnmp.usmNoPrivProtocol,
    )  # fmt: skip


async def notify(port, *sent):
    """What pysnmp says of each linkDown it sent: (error, number of variables in the answer)."""
    engine = pysnmp.SnmpEngine()  # it sends to all users that it was ever given, so each has one
    target = await pysnmp.UdpTransportTarget.create(("127.0.0.1", port), timeout=3, retries=1)
    said = []
    for kind, who in sent:
        notification = pysnmp.NotificationType(pysnmp.ObjectIdentity("1.3.6.1.6.3.1.1.5.3")).add_varbinds(
            ("1.3.6.1.2.1.2.2.1.2.7", pysnmp.OctetString("cổng 7".encode()))
        )
        error, status, _, answer = await pysnmp.send_notification(
            engine, who, target, pysnmp.ContextData(), kind, notification
        )
        said.append((str(error or status or ""), len(answer)))
    engine.close_dispatcher()
    return said


def test_pysnmp_is_understood_with_every_algorithm(tmp_path):
    """Informs, answered so that pysnmp believes it, and traps of its own engine."""
    pairs = zip(AUTHENTICATIONS, PRIVACIES, strict=True)
    names = [*AUTHENTICATIONS, *(f"{auth}.{privacy}" for auth, privacy in pairs)]
    queue = MemoryQueue()
    with running([spec(users_file(tmp_path))], queue, tmp_path / "c.json") as (collector, ports):
        for name in names:
            said = asyncio.run(notify(ports["traps"], ("inform", user(name)), ("trap", user(name))))
            assert said == [("", 3), ("", 0)], name
        assert until(lambda: total(collector, "queued") == 2 * len(names))
        assert total(collector, "flagged") == 0
    found = [event for event in events(queue) if event["is_verified"]]
    assert [(e["user"], e["pdu_type"]) for e in found] == [(n, kind) for n in names for kind in ("inform", "trap")]
    assert {e["interface_description"] for e in found} == {"cổng 7"}


@pytest.mark.parametrize(
    ("changed", "error", "reason"),
    [
        ({"authKey": "wrong passphrase"}, "Wrong SNMP PDU digest", "a wrong digest"),
        ({"userName": "nobody"}, "Unknown USM user", "an unknown user"),
        ({"privKey": "wrong passphrase"}, "Ciphering services", "cipher text that does not decrypt"),
    ],
)
def test_pysnmp_is_told_why_it_is_not_believed(tmp_path, changed, error, reason):
    """The report is understood, and the source's count under this reason is in the collector's counters."""
    given = {"userName": "SHA.AES", "authKey": "authpass SHA", "privKey": "privpass AES"} | changed
    who = pysnmp.UsmUserData(
        given["userName"], given["authKey"], given["privKey"], AUTHENTICATIONS["SHA"], PRIVACIES["AES"]
    )
    queue = MemoryQueue()
    with running([spec(users_file(tmp_path))], queue, tmp_path / "c.json") as (collector, ports):
        [(said, _)] = asyncio.run(notify(ports["traps"], ("inform", who)))
        assert until(lambda: total(collector, "queued") > 0)
    [row] = collector.counters()
    assert error in said
    assert row["unbelieved"] == {reason: row["queued"]}
