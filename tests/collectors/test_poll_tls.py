"""Polled sources over TLS: a real Kafka and a real PostgreSQL (verified: real), and what MISP and TAXII speak.

The right authority works; another one, none, an expired or foreign certificate is refused in a sentence that says why.
"""

from __future__ import annotations

import os
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from soc.errors import ConfigError, PermissionRefused, SocError, TryAgain
from soc.model.poll import OPTIONS
from tests.collectors.broker import Broker
from tests.collectors.certificates import DAY, Authority
from tests.collectors.polls import Api, driver, poll, serving, until
from tests.collectors.postgres import Server
from tests.collectors.test_poll_intelligence import attribute, indicator

pytestmark = pytest.mark.slow
SECRET = "not-in-the-log-1"
LONG_AGO: Any = {"since": -3 * DAY, "until": -DAY}


def secret(folder: Path, name: str, text: str = SECRET) -> str:
    """A reference to a file that only we read."""
    (folder / name).write_text(f"{text}\n", "utf-8")
    (folder / name).chmod(0o600)
    return f"file:{folder / name}"


def shown(pair: tuple[Path, Path]) -> dict[str, str]:
    """The options that show a certificate."""
    return {"certificate": str(pair[0]), "key_file": str(pair[1])}


def said(section: str, home: Path, **options: Any) -> SocError | None:
    """Why a source cannot be read; the sentence has no secret in it."""
    made, told = driver(poll(section, **options), home), None
    try:
        for _ in range(20):
            made.fetch(None)
    except SocError as error:
        told = error
    made.close()
    assert SECRET not in str(told)
    return told


# Kafka ---------------------------------------------------------------------------------------------------------------


class Bus:
    """A broker with a listener for each case, and a topic `log` with two messages."""

    def __init__(self, folder: Path) -> None:
        self.ca, self.foreign = Authority(folder), Authority(folder, "foreign")
        good = self._keys("good", dns=["localhost"])
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        self.broker = Broker(folder, {
            "MUTUAL": ("SSL", {**good, "ssl.client.auth": "required"}),
            "EXPIRED": ("SSL", self._keys("old", dns=["localhost"], **LONG_AGO)),
            "OTHER": ("SSL", self._keys("other", dns=["other.example"])),
            "SASL": ("SASL_SSL", {
                **good, "sasl.enabled.mechanisms": "PLAIN", "plain.sasl.jaas.config": f'{login} user_soc="{SECRET}";',
            }),
        })  # fmt: skip
        self.broker.start()
        self.broker.topic("log")
        self.broker.produce("log", [b"one", b"two"])

    def _keys(self, name: str, **options: Any) -> dict[str, str]:
        certificate, key = self.ca.pair(name, **options)
        store = certificate.with_suffix(".store")
        store.write_bytes(key.read_bytes() + certificate.read_bytes())
        places = {"keystore": store, "truststore": self.ca.path}
        return {f"ssl.{kind}.type": "PEM" for kind in places} | {
            f"ssl.{kind}.location": str(path) for kind, path in places.items()
        }

    def options(self, listener: str, **more: Any) -> dict[str, Any]:
        """Of a section that reads `log` over this listener."""
        trusted = {"security": "ssl", "ca": str(self.ca.path)}
        return {"brokers": (self.broker.others[listener],), "topics": ("log",), "group": listener, **trusted, **more}


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    """One broker for all tests of this module."""
    made = Bus(tmp_path_factory.mktemp("bus"))
    yield made
    made.broker.kill()


def read(made: Any) -> list[bytes]:
    """Both messages of `log`."""
    found: list[bytes] = []
    cursor: list[Any] = [None]

    def has_all() -> bool:
        page = made.fetch(cursor[0])
        found.extend(page.records)
        cursor[0] = page.cursor
        return len(found) == 2

    until(has_all)
    made.close()
    return sorted(found)


def test_kafka_with_a_certificate_of_ours(tmp_path: Path, bus: Bus) -> None:
    """Mutual TLS: the broker asks for one, ours is of an authority it trusts."""
    ours = shown(bus.ca.pair("soc"))
    assert read(driver(poll("kafka", **bus.options("MUTUAL", **ours)), tmp_path)) == [b"one", b"two"]


def test_kafka_with_a_password_by_reference(tmp_path: Path, bus: Bus) -> None:
    """SASL inside TLS; a wrong password is refused as such."""
    login = {"security": "sasl_ssl", "mechanism": "PLAIN", "user": "soc"}
    right = bus.options("SASL", **login, password=secret(tmp_path, "right"))
    assert read(driver(poll("kafka", **right), tmp_path)) == [b"one", b"two"]
    wrong = said("kafka", tmp_path, **{**right, "password": secret(tmp_path, "wrong", "not this one")})
    assert isinstance(wrong, PermissionRefused)
    assert "Authentication failed" in str(wrong)


def test_kafka_is_not_believed(tmp_path: Path, bus: Bus) -> None:
    """Another authority, that of the system, an expired certificate, one of another name: each says which it is."""
    for listener, more, why in (
        ("SASL", {"ca": str(bus.foreign.path)}, "unable to get local issuer certificate"),
        ("SASL", {"ca": ""}, "unable to get local issuer certificate"),
        ("EXPIRED", {}, "certificate has expired"),
        ("OTHER", {}, "Hostname mismatch"),
    ):
        told = said("kafka", tmp_path, **bus.options(listener, **more))
        assert isinstance(told, TryAgain)
        assert bus.broker.others[listener] in str(told)
        assert why in str(told)


def test_kafka_does_not_believe_us(tmp_path: Path, bus: Bus) -> None:
    """No certificate, an expired one, one of a foreign authority: what the broker says of it is told."""
    for more, why in (
        ({}, "certificate required"),
        (shown(bus.ca.pair("old-soc", **LONG_AGO)), "alert certificate"),
        (shown(bus.foreign.pair("soc")), "alert certificate"),
    ):
        assert why in str(said("kafka", tmp_path, **bus.options("MUTUAL", **more)))
    absent = said("kafka", tmp_path, **bus.options("MUTUAL", ca="poll/none.pem"))
    assert isinstance(absent, ConfigError)
    assert "ssl.ca.location" in str(absent)


# PostgreSQL ----------------------------------------------------------------------------------------------------------

RULES = "local all all trust\nhostssl all certified all cert\nhostssl all all all scram-sha-256\n"


class Database:
    """PostgreSQL over TLS alone, with a table `log`; `certified` shows a certificate, `reader` has a password."""

    def __init__(self, folder: Path) -> None:
        self.ca, self.foreign = Authority(folder), Authority(folder, "foreign")
        self.server = Server(folder / "data")
        files = [f"-c ssl_{kind}_file={folder}/data/{kind}.pem" for kind in ("cert", "key", "ca")]
        (folder / "data/db/pg_hba.conf").write_text(RULES)
        self.show(self.ca.pair("good", dns=["localhost"]))
        self.server.start(" ".join(["-c ssl=on", *files]))
        with psycopg.connect(f"postgresql://postgres@/postgres?host={folder}/data&port={self.server.port}") as owner:
            owner.execute("CREATE TABLE log (id bigserial PRIMARY KEY, text text)")
            owner.execute("INSERT INTO log (text) VALUES ('one')")
            owner.execute("CREATE ROLE certified LOGIN")
            owner.execute(psycopg.sql.SQL("CREATE ROLE reader LOGIN PASSWORD {}").format(SECRET))
            owner.execute("GRANT SELECT ON log TO certified, reader")

    def show(self, pair: tuple[Path, Path]) -> None:
        """What new connections are shown."""
        for kind, path in (("cert", pair[0]), ("key", pair[1]), ("ca", self.ca.path)):
            place = self.server.folder / f"{kind}.pem"
            shutil.copy(path, place)
            place.chmod(0o600)
            if os.getuid() == 0:
                shutil.chown(place, "postgres", "postgres")

    def options(self, user: str = "certified", **more: Any) -> dict[str, Any]:
        """Of a section that reads `log`."""
        url = f"postgresql://{user}@localhost:{self.server.port}/postgres"
        return {"url": url, "table": "log", "key": "id", "ca": str(self.ca.path), **more}


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """One server for this module; `postgres` may go to its folder."""
    root = Path(f"/tmp/pgtls{os.getpid()}")
    (root / "data").mkdir(parents=True)
    made = Database(root)
    yield made
    made.server.stop("immediate")
    shutil.rmtree(root)


def test_postgresql_with_a_password_and_with_a_certificate(tmp_path: Path, database: Database) -> None:
    """The password by reference; the certificate's common name is the role."""
    ours = shown(database.ca.pair("certified"))
    by_password = database.options("reader", password=secret(tmp_path, "pg"))
    for options in (by_password, database.options(**ours)):
        made = driver(poll("sql", **options), tmp_path)
        assert made.fetch(None).records == [b'{"id":1,"text":"one"}']
        made.close()
    wrong = said("sql", tmp_path, **{**by_password, "password": secret(tmp_path, "wrong", "not this one")})
    assert isinstance(wrong, PermissionRefused)


def test_postgresql_does_not_believe_us(tmp_path: Path, database: Database) -> None:
    """No certificate, one of a foreign authority, an expired one, and no TLS at all."""
    for more, why in (
        ({}, "connection requires a valid client certificate"),
        (shown(database.foreign.pair("certified")), "unknown ca"),
        (shown(database.ca.pair("certified", **LONG_AGO)), "certificate expired"),
        ({"tls": "none"}, "no encryption"),
    ):
        assert why in str(said("sql", tmp_path, **database.options(**more)))


def test_postgresql_is_not_believed(tmp_path: Path, database: Database) -> None:
    """Another authority, that of the system, an expired certificate, one of another name."""
    login = {"user": "reader", "password": secret(tmp_path, "pg")}
    verify = "certificate verify failed"
    assert verify in str(said("sql", tmp_path, **database.options(**login, ca=str(database.foreign.path))))
    assert verify in str(said("sql", tmp_path, **database.options(**login, ca="")))
    for pair, why in (
        (database.ca.pair("late", dns=["localhost"], **LONG_AGO), verify),
        (database.ca.pair("other", dns=["other.example"]), "does not match host name"),
    ):
        database.show(pair)
        database.server.run("pg_ctl", "-D", f"{database.server.folder}/db", "reload")
        until(lambda why=why: why in str(said("sql", tmp_path, **database.options(**login))))  # read in its own time


# MISP and TAXII ------------------------------------------------------------------------------------------------------


def _intelligence(_method: str, path: str, *_: Any) -> Any:
    if "restSearch" in path:
        return {"response": {"Attribute": [attribute(1)]}}
    return {"objects": [indicator(1)]}


@pytest.mark.parametrize(
    ("section", "needed"),
    [("misp", {"key": "env:SOC_SECRET"}), ("taxii", {"collection": "c", "user": "soc", "password": "env:SOC_SECRET"})],
)
def test_intelligence_over_https_of_a_sites_own_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, needed: dict[str, str]
) -> None:
    """With `ca` it is read; without, with another one, or an expired certificate nothing is sent, no secret either."""
    monkeypatch.setenv("SOC_SECRET", "key-1")
    ca, foreign = Authority(tmp_path), Authority(tmp_path, "foreign")

    def asked(pair: tuple[Path, Path], **more: str) -> tuple[Api, Any]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
        with serving(_intelligence, context) as api:
            made = driver(poll(section, url=api.url.removesuffix("/items"), **needed, **more), tmp_path)
            try:
                return api, made.fetch(None).records
            except TryAgain as error:
                return api, str(error)
            finally:
                made.close()

    good = ca.pair("good", dns=["localhost"])
    api, records = asked(good, ca=str(ca.path))
    assert (len(records), len(api.asked)) == (1, 1)
    for pair, more in (
        (good, {}),
        (good, {"ca": str(foreign.path)}),
        (ca.pair("late", dns=["localhost"], **LONG_AGO), {"ca": str(ca.path)}),
    ):
        api, why = asked(pair, **more)
        assert "CERTIFICATE_VERIFY_FAILED" in why
        assert api.asked == []


def test_every_source_that_speaks_tls_takes_an_authority_and_a_certificate() -> None:
    """What one driver can be told, the others can be, too."""
    for section in ("rest", "misp", "taxii", "sql", "kafka"):
        assert OPTIONS[section].keys() >= {"ca", "certificate", "key_file"}
