"""SNMP listeners: net-snmp's own clients, vectors of the RFCs, hostile bytes, and engines that are killed."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.collectors import snmp as receiver
from soc.collectors import snmp_engine, snmp_users, snmp_usm
from soc.collectors import snmp_keys as keys
from soc.collectors.listeners import ListenerSpec
from soc.collectors.snmp_engine import Engine
from soc.collectors.snmp_usm import NOT_TIMELY, UNDECIPHERED, UNKNOWN_ENGINE, UNKNOWN_USER, WRONG_DIGEST, Usm
from soc.errors import ConfigError, StoreError
from soc.model.ber import tlv, write_integer, write_oid
from soc.model.clock import FixedClock, SystemClock
from soc.model.snmp_record import unpack
from soc.parsers.decoders.snmp import decode, decode_verified
from soc.store.queue import LogReader
from tests import programs
from tests.collectors.running import MemoryQueue, balances, running, total, until

TOP = Path(__file__).parents[2]
NOW_NS = 1_795_143_600_000_000_000
LINK_DOWN = ("100", "1.3.6.1.6.3.1.1.5.3", "1.3.6.1.2.1.2.2.1.1.7", "i", "7")


def users_text():
    """A user of every authentication alone, and with every privacy: `SHA-256`, `SHA-256.AES`, …"""
    text = ""
    for auth in keys.AUTHENTICATIONS:
        table = f'[[user]]\nname = "{auth}%s"\nauth = "{auth}"\nauth_passphrase = "authpass {auth}"\n'
        text += table % ""
        for privacy in keys.PRIVACIES:
            text += table % f".{privacy}" + f'privacy = "{privacy}"\nprivacy_passphrase = "privpass {privacy}"\n'
    return text


def users_file(folder, text=None, mode=0o600):
    path = folder / "users.toml"
    path.write_text(users_text() if text is None else text)
    path.chmod(mode)
    return path


def spec(users=None, **options):
    return ListenerSpec("traps", "snmp-trap", "127.0.0.1", 0, "s", users=users, **options)


def client(folder, tool, port, *options, body=LINK_DOWN):
    """Run one of net-snmp's clients without any configuration of this machine."""
    path = programs.program(tool, "snmp")
    environment = {
        "PATH": os.environ["PATH"],
        "SNMP_PERSISTENT_DIR": str(folder / "snmp"),
        "SNMPCONFPATH": "/-",
        "MIBS": "",
    }
    tries = () if tool == "snmptrap" else ("-r", "1", "-t", "3")
    command = [path, *options, *tries, f"127.0.0.1:{port}", *body]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


def security(user, **changed):
    """The options that make net-snmp one of our users."""
    auth, _, privacy = user.partition(".")
    chosen = {
        "-v": "3",
        "-u": user,
        "-l": "authPriv" if privacy else "authNoPriv",
        "-a": auth,
        "-A": f"authpass {auth}",
    }
    chosen |= {"-x": privacy, "-X": f"privpass {privacy}"} if privacy else {}
    return [word for pair in (chosen | changed).items() for word in pair]


def events(queue):
    """What the parser makes of each record: values, or why there are none."""
    found = []
    for block in queue.blocks:
        for record in block.records():
            if block.format == "snmp":
                found.append(decode(record))
            else:
                _, values, why = decode_verified(record)
                found.append(values or why)
    return found


# net-snmp ------------------------------------------------------------------------------------------------------------


def test_traps_and_informs_of_v1_and_v2c(tmp_path):
    """A v1 trap, a v2c trap and a v2c inform; the inform is answered."""
    queue = MemoryQueue()
    with running([spec()], queue, tmp_path / "c.json") as (collector, ports):
        first = ("1.3.6.1.4.1.9.1", "10.1.2.3", "6", "17", "55")
        assert client(tmp_path, "snmptrap", ports["traps"], "-v1", "-cpublic", body=first).returncode == 0
        assert client(tmp_path, "snmptrap", ports["traps"], "-v2c", "-cpublic").returncode == 0
        assert client(tmp_path, "snmpinform", ports["traps"], "-v2c", "-cpublic").returncode == 0
        assert until(lambda: total(collector, "queued") == 3)
    assert [(e["version"], e["pdu_type"], e["trap_oid"]) for e in events(queue)] == [
        ("1", "trap", "1.3.6.1.4.1.9.1.0.17"),
        ("2c", "trap", "1.3.6.1.6.3.1.1.5.3"),
        ("2c", "inform", "1.3.6.1.6.3.1.1.5.3"),
    ]


@pytest.mark.parametrize("auth", list(keys.AUTHENTICATIONS))
def test_net_snmp_is_understood_with_every_algorithm(tmp_path, auth):
    """Traps of an engine of its own and informs to ours, which are answered so that net-snmp believes it."""
    queue = MemoryQueue()
    names = [auth, *(f"{auth}.{privacy}" for privacy in keys.PRIVACIES)]
    with running([spec(users_file(tmp_path))], queue, tmp_path / "c.json") as (collector, ports):
        for name in names:
            trap = client(tmp_path, "snmptrap", ports["traps"], "-e", "0x8000000001020304", *security(name))
            inform = client(tmp_path, "snmpinform", ports["traps"], *security(name))
            assert (trap.returncode, inform.returncode) == (0, 0), inform.stderr
        assert until(lambda: total(collector, "queued") == 2 * len(names))
        assert total(collector, "flagged") == 0
    found = events(queue)
    assert [(e["user"], e["pdu_type"]) for e in found] == [(n, p) for n in names for p in ("trap", "inform")]
    assert {e["trap_oid"] for e in found} == {"1.3.6.1.6.3.1.1.5.3"}
    assert {e["engine_id"] for e in found if e["pdu_type"] == "trap"} == {"8000000001020304"}


@pytest.mark.parametrize(
    ("changed", "told", "why"),
    [
        ({"-A": "wrong passphrase"}, "Authentication failure", WRONG_DIGEST),
        ({"-X": "wrong passphrase"}, "Decryption error", UNDECIPHERED),
        ({"-u": "nobody"}, "Unknown user name", UNKNOWN_USER),
    ],
)
def test_net_snmp_is_told_why_it_is_not_believed(tmp_path, changed, told, why):
    """A report goes back; the message is queued as it came, flagged and counted under its reason."""
    queue = MemoryQueue()
    with running([spec(users_file(tmp_path))], queue, tmp_path / "c.json") as (collector, ports):
        failed = client(tmp_path, "snmpinform", ports["traps"], *security("SHA-256.AES", **changed))
        assert until(lambda: total(collector, "queued") >= 1)
        assert total(collector, "flagged") == total(collector, "queued")
    assert (failed.returncode, told in failed.stderr) == (1, True), failed.stderr
    assert why.reason in events(queue)[0]
    assert all(b"authpass" not in block.data for block in queue.blocks)


# answers only when durable -------------------------------------------------------------------------------------------


def pdu(tag=0xA7, request=5):
    binds = tlv(0x30, write_oid("1.3.6.1.6.3.1.1.4.1.0"), write_oid("1.3.6.1.6.3.1.1.5.4"))
    return tlv(tag, write_integer(request), write_integer(0), write_integer(0), tlv(0x30, binds))


def inform(request=5):
    return tlv(0x30, write_integer(1), tlv(4, b"public"), pdu(0xA6, request))


def asking(port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(30)
    sock.connect(("127.0.0.1", port))
    return sock


def test_an_inform_is_answered_only_when_it_is_durable(tmp_path):
    """While the queue is full there is no answer; the response then has the same request and variables."""
    queue = MemoryQueue()
    queue.is_full.set()
    with running([spec()], queue, tmp_path / "c.json") as (_, ports), asking(ports["traps"]) as sock:
        sock.send(inform())
        sock.settimeout(0.4)
        with pytest.raises(TimeoutError):
            sock.recv(65536)
        queue.is_full.clear()
        sock.settimeout(30)
        answer = sock.recv(65536)
        assert queue.records == [inform()]
    assert answer == inform().replace(b"\xa6", b"\xa2", 1)


def test_an_inform_that_is_lost_is_not_answered(tmp_path):
    """What found no room is counted as dropped, and its sender keeps trying."""
    queue = MemoryQueue()
    with running([spec()], queue, tmp_path / "c.json", max_waiting=10) as (collector, ports):
        with asking(ports["traps"]) as sock:
            sock.send(inform())
            assert until(lambda: total(collector, "queue_full") == 1)
            sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                sock.recv(65536)
        assert balances(collector.counters())


def test_an_inform_that_is_sent_again_is_one_record(tmp_path):
    """Before it is durable and after; each try after is answered."""
    queue = MemoryQueue()
    with running([spec()], queue, tmp_path / "c.json") as (_, ports), asking(ports["traps"]) as sock:
        for _ in range(3):
            sock.send(inform(1))
        first = sock.recv(65536)
        sock.send(inform(1))
        sock.send(inform(2))
        assert {sock.recv(65536) for _ in range(2)} == {first, inform(2).replace(b"\xa6", b"\xa2", 1)}
    assert queue.records == [inform(1), inform(2)]


def test_informs_of_the_last_moment_are_answered(tmp_path):
    """What is taken at the end is made durable and answered before the socket goes."""
    queue = MemoryQueue()
    with running([spec()], queue, tmp_path / "c.json") as (_, ports):
        sock = asking(ports["traps"])
        for request in range(50):
            sock.send(inform(request))
    with sock:
        assert len({sock.recv(65536) for _ in range(50)}) == len(queue.records) == 50


def test_remembered_informs_are_bounded(tmp_path, monkeypatch):
    """The oldest goes."""
    monkeypatch.setattr(receiver, "MAX_INFORMS", 8)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        listener = receiver._Listener(spec(), sock, None, None, SystemClock(), None)
        for i in range(20):
            listener._confirmed(b"%d" % i, b"", bytes, ("127.0.0.1", 9), receiver._Batch())
        assert len(listener._informs) == 8


def test_reports_are_no_flood(tmp_path, monkeypatch):
    """Forged senders get so many a second and no more; the rest is counted."""
    monkeypatch.setattr(receiver, "MAX_REPORTS_S", 3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        listener = receiver._Listener(spec(), sock, None, None, FixedClock(NOW_NS), None)
        for _ in range(10):
            listener._send_report(b"", ("127.0.0.1", 9))
    assert listener.counts["reports_withheld"] == 7


def test_damaged_and_oversize_datagrams_are_records(tmp_path):
    """Nothing is dropped for what it holds; what is longer than the limit is cut and flagged."""
    queue, users = MemoryQueue(), users_file(tmp_path)
    sent = [b"", b"\x30", b"no SNMP", tlv(0x30, write_integer(3)), b"\x30" * 300]
    with running([spec(users, max_bytes=200)], queue, tmp_path / "c.json") as (collector, ports):
        with asking(ports["traps"]) as sock:
            for data in sent:
                sock.send(data)
        assert until(lambda: total(collector, "queued") == len(sent))
        assert total(collector, "flagged") == 2
    plain = [r for b in queue.blocks if b.format == "snmp" for r in b.records()]
    secured = [unpack(r).original for b in queue.blocks if b.format == "snmp-v3" for r in b.records()]
    assert plain == [b"", b"\x30", b"no SNMP", b"\x30" * 200]
    assert secured == [sent[3]]


def test_no_answered_inform_is_lost_by_kill_9(tmp_path):
    """Killed at once after an answer, the record is in the queue: the answer is the sender's receipt."""
    answered = set()
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.collectors.collect_program", str(tmp_path), "snmp-trap", "127.0.0.1"],
            stdout=subprocess.PIPE, text=True, cwd=TOP,
        )  # fmt: skip
        with asking(int(process.stdout.readline())) as sock:
            for request in range(len(answered), len(answered) + 200):
                sock.send(inform(request))
            for _ in range(100):
                answered.add(sock.recv(65536).replace(b"\xa2", b"\xa6", 1))
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    kept = {r for block in LogReader(tmp_path, "raw").read({}, None, 1_000_000) for r in block.records()}
    assert len(answered) >= 300
    assert answered <= kept


# the engine ----------------------------------------------------------------------------------------------------------


def usm(folder, name="ours", clock=None, text=None):
    users = snmp_users.load(users_file(folder, text))
    return Usm(users, Engine(folder / f"{name}.engine.json", clock or FixedClock(NOW_NS)))


def message(sender, user="SHA.AES", level=2, tag=0xA7, *, to=None):
    """A message of `sender`'s engine, or with `to` an inform to that engine, as a client that knows it makes one."""
    authoritative = to or sender
    body = tlv(0x30, tlv(4, authoritative.engine.engine_id), tlv(4), pdu(tag))
    return authoritative.message(7, sender.users.get(user.encode()), level, body)


def test_the_time_window_holds_for_informs(tmp_path):
    """We are authoritative: within 150 s of our time and in our boots, else a report that is authenticated."""
    clock = FixedClock(NOW_NS)
    ours = usm(tmp_path, clock=clock)
    old = message(ours, tag=0xA6, to=ours)
    assert ours.receive(old).record.reason == ""
    clock.advance(150)
    assert ours.receive(old).answer is not None
    clock.advance(1)
    late = ours.receive(old)
    assert (late.record.reason, late.answer) == (NOT_TIMELY.reason, None)
    again = usm(tmp_path, clock=clock)
    assert again.receive(message(ours, tag=0xA6, to=ours)).record.reason == NOT_TIMELY.reason


def test_the_time_window_holds_for_traps(tmp_path):
    """The sender is authoritative: its boots and time are followed, and what is older is a replay."""
    clock = FixedClock(NOW_NS)
    ours, theirs = usm(tmp_path, clock=clock), usm(tmp_path, "theirs", clock)
    first = message(theirs)
    assert ours.receive(first).record.reason == ""
    clock.advance(151)
    assert ours.receive(first).record.reason == NOT_TIMELY.reason
    assert ours.receive(message(theirs)).record.reason == ""
    later = usm(tmp_path, "theirs", clock)  # it started again: more boots
    assert ours.receive(message(later)).record.reason == ""
    assert ours.receive(message(theirs)).record.reason == NOT_TIMELY.reason


def test_what_senders_clocks_said_survives_a_restart(tmp_path):
    """A trap of earlier boots is a replay for the engine that starts anew, too."""
    clock = FixedClock(NOW_NS)
    ours, theirs = usm(tmp_path, clock=clock), usm(tmp_path, "theirs", clock)
    old = message(theirs)
    ours.receive(message(usm(tmp_path, "theirs", clock)))
    ours.engine.save()
    assert usm(tmp_path, clock=clock).receive(old).record.reason == NOT_TIMELY.reason


def test_only_messages_that_are_authentic_move_a_clock(tmp_path):
    """A forged trap of a later time would shut the real sender out."""
    ours, theirs = usm(tmp_path), usm(tmp_path, "theirs")
    forged = bytearray(message(theirs))
    forged[-1] ^= 1
    assert ours.receive(bytes(forged)).record.reason == WRONG_DIGEST.reason
    assert ours.engine.known == 0


def test_known_engines_are_bounded(tmp_path, monkeypatch):
    """The one that was silent longest is forgotten."""
    monkeypatch.setattr(snmp_engine, "MAX_ENGINES", 4)
    engine = Engine(tmp_path / "e.json", FixedClock(NOW_NS))
    assert all(engine.hears(bytes((i,)), 1, 1) for i in range(9))
    assert engine.known == 4


def test_localised_keys_are_bounded_and_private_ones_are_apart(tmp_path, monkeypatch):
    """Strangers who try engine ids fill one cache, and only up to its bound."""
    monkeypatch.setattr(snmp_users, "MAX_KEYS", 4)
    users = snmp_users.load(users_file(tmp_path))
    user = users.get(b"SHA.AES")
    for i in range(9):
        users.mac(user, bytes((i,)))
    users.seal(user, b"e")
    assert users.cached == 5


def test_a_level_below_the_users_minimum_is_not_believed(tmp_path):
    """By default the minimum is all that a user has keys for."""
    ours = usm(tmp_path)
    theirs = usm(tmp_path, "theirs")
    assert "level" in ours.receive(message(theirs, level=1)).record.reason
    lenient = users_text().replace('name = "SHA.AES"', 'name = "SHA.AES"\nminimum = "authNoPriv"')
    assert usm(tmp_path, text=lenient).receive(message(theirs, level=1)).record.reason == ""


def discovery(flags=4):
    """What a client asks first (RFC 3414 section 4): no engine id, no user."""
    head = tlv(0x30, write_integer(9), write_integer(65507), tlv(4, bytes((flags,))), write_integer(3))
    security = tlv(0x30, tlv(4), write_integer(0), write_integer(0), tlv(4), tlv(4), tlv(4))
    body = tlv(0x30, tlv(4), tlv(4), tlv(0xA0, write_integer(1), write_integer(0), write_integer(0), tlv(0x30)))
    return tlv(0x30, write_integer(3), head, tlv(4, security), body)


def test_discovery_is_answered_and_is_no_record(tmp_path):
    """The report has our engine id and usmStatsUnknownEngineIDs."""
    ours = usm(tmp_path)
    found = ours.receive(discovery())
    assert found.record is None
    assert ours.engine.engine_id in found.report
    assert write_oid(UNKNOWN_ENGINE.oid) in found.report
    assert ours.counts[UNKNOWN_ENGINE.oid] == 1


def test_who_asks_for_no_report_gets_none_and_is_a_record(tmp_path):
    """Without the reportable flag nobody is answered, and nothing is lost silently."""
    found = usm(tmp_path).receive(discovery(flags=0))
    assert found.report is None
    assert found.record.reason


@given(st.data())
def test_any_change_of_a_message_is_noticed(tmp_path_factory, data):
    """Whatever byte is changed: never believed, never raised, always a record that has the bytes."""
    ours, whole = damaged_world(tmp_path_factory)
    changed = bytearray(whole)
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] ^= data.draw(st.integers(1, 255))
    found = ours.receive(bytes(changed))
    assert found.record is None or (found.record.reason and found.record.original == bytes(changed))
    assert found.answer is None


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record(tmp_path_factory, data):
    """Nothing raises."""
    ours, _ = damaged_world(tmp_path_factory)
    assert ours.receive(data).record.original == data


_WORLD = []


def damaged_world(factory):
    """One pair of engines for all examples."""
    if not _WORLD:
        folder = factory.mktemp("usm")
        theirs = usm(folder, "theirs")
        _WORLD.extend((usm(folder), message(theirs)))
        for _ in range(2):  # the second is read by what the first taught
            assert _WORLD[0].receive(message(theirs)).record.reason == ""
    return _WORLD


@pytest.mark.parametrize("user", ["MD5", "SHA.DES", "SHA-256.AES", "SHA-512.AES-256-C", "open"])
@pytest.mark.parametrize("mood", ["same", "late", "digest", "salt", "inform", "number"])
def test_a_sender_that_is_known_is_judged_as_a_stranger_is(tmp_path, user, mood):
    """Reading by what an earlier message taught is nothing but faster: same records, refusals and counts."""
    clock = FixedClock(NOW_NS)
    text = users_text() + '[[user]]\nname = "open"\n'
    theirs = usm(tmp_path, "theirs", clock, text)
    knows, plain = usm(tmp_path, "knows", clock, text), usm(tmp_path, "plain", clock, text)
    plain._known.learn = lambda *_: None
    level = theirs.users.get(user.encode()).level
    first = message(theirs, user, level)
    assert knows.receive(first) == plain.receive(first)
    assert len(knows._known) == 1
    clock.advance(151 if mood == "late" else 1)
    second = bytearray(first if mood == "late" else message(theirs, user, level, 0xA6 if mood == "inform" else 0xA7))
    found = snmp_usm.parse(bytes(second))
    if mood in ("digest", "salt", "number"):
        at = {"digest": found.auth[0], "salt": found.salt[1] - 1, "number": found.numbers[0][0]}[mood]
        second[at] ^= 0x80
    for ours in (knows, plain):
        ours.engine.engine_id = b"ours"
    assert knows.receive(bytes(second)) == plain.receive(bytes(second))
    assert knows.counts == plain.counts


def test_a_known_sender_is_not_parsed_again(tmp_path, monkeypatch):
    """Its next trap of this length is sliced, verified and decrypted."""
    ours, theirs = usm(tmp_path), usm(tmp_path, "theirs")
    ours.receive(message(theirs))
    monkeypatch.setattr(snmp_usm, "parse", None)
    assert ours.receive(message(theirs)).record.reason == ""


def test_known_senders_are_bounded(tmp_path, monkeypatch):
    """When there are too many, all are forgotten, and each is read as a stranger once more."""
    ours = usm(tmp_path)
    ours._known._most = 3
    for i in range(8):
        assert ours.receive(message(usm(tmp_path, f"theirs{i}"))).record.reason == ""
        assert len(ours._known) <= 3


def test_boots_rise_with_every_kill(tmp_path):
    """Killed again and again right after it was ready: the identity stays, the boots never come twice."""
    program = (
        "import sys, time; from pathlib import Path; from soc.collectors.snmp_engine import Engine\n"
        "from soc.model.clock import SystemClock\n"
        "e = Engine(Path(sys.argv[1]), SystemClock()); print(e.engine_id.hex(), e.boots, flush=True); time.sleep(60)"
    )
    seen = []
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "e.json")], stdout=subprocess.PIPE, text=True, cwd=TOP
        )
        seen.append(process.stdout.readline().split())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert [boots for _, boots in seen] == ["1", "2", "3"]
    assert len({identity for identity, _ in seen}) == 1
    assert (tmp_path / "e.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"version": 1, "engine_id": "zz", "boots": 1, "heard": []}'])
def test_a_damaged_engine_file_is_an_error_with_a_way_out(tmp_path, content):
    """Starting from zero would make old informs good again."""
    (tmp_path / "e.json").write_bytes(content)
    with pytest.raises(StoreError) as caught:
        Engine(tmp_path / "e.json", SystemClock())
    assert "new engine id" in caught.value.hint


# users and keys ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ku", "kul"),
    [
        ("md5", "9faf3283884e92834ebc9847d8edd963", "526f5eed9fcce26f8964c2930787d82b"),
        ("sha1", "9fb5cc0381497b3793528939ff788d5d79145211", "6695febc9288e36282235fc7151f128497b38f3f"),
    ],
)
def test_keys_are_those_of_rfc_3414(name, ku, kul):
    """Appendix A.3: the passphrase "maplesyrup" at engine 00…02."""
    key = keys.passphrase_key(b"maplesyrup", name)
    assert key.hex() == ku
    assert keys.localised(key, bytes(11) + b"\2", name).hex() == kul


def test_key_change_extensions_are_told_apart():
    """The two ways to make a long key out of a short digest begin alike and differ behind it."""
    made = {
        name: keys.privacy_key(b"k" * 16, b"e", "md5", keys.PRIVACIES[name]) for name in ("AES-256", "AES-256-C")
    }  # fmt: skip
    assert {len(key) for key in made.values()} == {32}
    assert made["AES-256"][:16] == made["AES-256-C"][:16]
    assert made["AES-256"][16:] != made["AES-256-C"][16:]


@pytest.mark.parametrize("name", list(keys.PRIVACIES))
def test_what_is_encrypted_decrypts(name):
    """DES pads to whole blocks."""
    privacy, key = keys.PRIVACIES[name], bytes(range(keys.PRIVACIES[name].key_bytes))
    options = {"boots": 3, "time": 77, "salt": b"12345678"}
    seal = keys.Seal(privacy, key)
    for n in (0, 1, 7, 8, 13, 16, 32, 300):
        plain = bytes(i % 251 for i in range(n))
        secret = seal.encrypt(data=plain, **options)
        assert seal.decrypt(data=secret, **options)[:n] == plain
        assert n < 8 or plain not in secret


def user_table(**changed):
    table = {"name": "noc", "auth": "SHA", "auth_passphrase": "long enough"} | changed
    return "[[user]]\n" + "".join(f'{key} = "{value}"\n' for key, value in table.items())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (user_table(auth="SHA256"), "SHA-256"),
        (user_table(auth_passphrase="short"), "8 bytes"),
        (user_table(name=""), "1 to 32"),
        (user_table(minimum="authPriv"), "minimum"),
        (user_table(privacy="AES"), "privacy_passphrase"),
        (user_table(secret="x"), "unknown key 'secret'"),
        (user_table() * 2, "already"),
        ('[[user]]\nname = "n"\nprivacy = "AES"\nprivacy_passphrase = "long enough"', "needs authentication"),
        ('user = "noc"', "[[user]]"),
        ('[[user]]\nauth_passphrase = "hunter2hunter2" oops', "no TOML"),
    ],
)
def test_a_wrong_users_file_says_what_is_wrong_and_no_secret(tmp_path, text, said):
    """With its place; the passphrase is never in it."""
    with pytest.raises(ConfigError) as caught:
        snmp_users.load(users_file(tmp_path, text))
    assert said in str(caught.value)
    assert not any(secret in str(caught.value) for secret in ("short", "hunter2", "long enough"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_secrets_that_others_may_read_are_refused(tmp_path, mode):
    """With the command that mends it."""
    with pytest.raises(ConfigError, match="other people") as caught:
        snmp_users.load(users_file(tmp_path, mode=mode))
    assert caught.value.hint.startswith("chmod 600")


def test_a_user_never_shows_its_passphrases(tmp_path):
    """Not in a traceback or a log."""
    assert "pass" not in repr(snmp_users.load(users_file(tmp_path)).get(b"SHA.AES")).replace("_passphrase", "")
