"""soc.toml, the environment and the flags: who wins, and what is said of every mistake."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc import config
from soc.config import (
    DEFAULT_LISTEN,
    KNOBS,
    Listen,
    National,
    Settings,
    UnitRules,
    default_home,
    default_socket,
    knobs,
    load,
)
from soc.errors import EXIT_USAGE, ConfigError


def written(folder: Path, text: str, name: str = "soc.toml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def read(folder: Path, text: str, **options) -> Settings:
    return load(written(folder, text), environ=options.pop("environ", {}), home=folder, **options)


def said(folder: Path, text: str, **options) -> list[str]:
    """The lines of the error, the folder left out."""
    with pytest.raises(ConfigError) as caught:
        read(folder, text, **options)
    assert caught.value.exit_code == EXIT_USAGE
    return str(caught.value).replace(f"{folder}/", "").splitlines()


# who wins ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "environ", "overrides", "port", "origin"),
    [
        ("", {}, {}, 8600, "default"),
        ("[web]\nport = 1", {}, {}, 1, "soc.toml:2"),
        ("[web]\nport = 1", {"SOC_WEB_PORT": "2"}, {}, 2, "SOC_WEB_PORT"),
        ("[web]\nport = 1", {"SOC_WEB_PORT": "2"}, {"web_port": 3}, 3, "flag"),
        ("[web]\nport = 1", {"SOC_WEB_PORT": ""}, {"web_port": None}, 1, "soc.toml:2"),
    ],
)
def test_flags_beat_the_environment_beats_the_file_beats_the_default(tmp_path, text, environ, overrides, port, origin):
    """The last word wins, what was not said (an empty variable, no flag) does not count; the origin is known."""
    settings = read(tmp_path, text, environ=environ, overrides=overrides)
    (row,) = (row for row in settings.shown() if row.name == "web.port")
    assert (settings.web_port, row.value, Path(row.origin).name) == (port, port, origin)


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
def test_every_knob_is_heard_from_file_environment_and_flag(tmp_path, knob):
    """No key of the file is without its variable and its flag, and each gives the same value."""
    value, text = SAMPLES[knob.name]
    from_file = read(tmp_path, f"[{knob.section}]\n{knob.key} = {json.dumps(value)}\n")
    expected = getattr(from_file, knob.attribute)
    assert expected != getattr(load(environ={}, home=tmp_path / "other"), knob.attribute)
    for variable in knob.variables:
        assert getattr(load(environ={variable: text}, home=tmp_path), knob.attribute) == expected
    assert getattr(load(environ={}, home=tmp_path, overrides={knob.attribute: value}), knob.attribute) == expected


SAMPLES = {
    "site.id": ("hue", "hue"),
    "site.name": ("Trung tâm Huế", "Trung tâm Huế"),
    "site.simulated": (True, "true"),
    "content.roots": (["/srv/a", "/srv/b"], "/srv/a:/srv/b"),
    "content.rules": (["/srv/rules"], "/srv/rules"),
    "content.lists": (["/srv/lists"], "/srv/lists"),
    "content.trust": (["8a88"], "8a88"),
    "detections.shadow": (["status=test", "r1"], "status=test:r1"),
    "detections.disable": (["level=low"], "level=low"),
    "detections.enable": (["tag=attack.t1059*"], "tag=attack.t1059*"),
    "detections.exception_approval": (True, "true"),
    "detections.correlators": (3, "3"),
    "lookback.share": (20, "20"),
    "lookback.backfill_days": (30, "30"),
    "queue.max_bytes": (1 << 30, str(1 << 30)),
    "queue.high": (80, "80"),
    "queue.low": (60, "60"),
    "store.search_mib": (512, "512"),
    "store.workers": (4, "4"),
    "registry.files": (["/srv/systems.yml"], "/srv/systems.yml"),
    "retention.profile": ("legacy-2017", "legacy-2017"),
    "web.host": ("::1", "::1"),
    "web.port": (8700, "8700"),
    "web.names": (("soc.hue.example",), "soc.hue.example"),
    "web.certificate": ("web/server.pem", "web/server.pem"),
    "web.key": ("web/server.key", "web/server.key"),
    "relay.url": ("https://soc.example:8601", "https://soc.example:8601"),
    "relay.name": ("xa-dakbla", "xa-dakbla"),
    "relay.max_kib_s": (64, "64"),
    "relay.windows": (("22:00-05:00", "12:00-13:00"), "2200-0500:1200-1300"),
    "relay.zone": ("Asia/Tokyo", "Asia/Tokyo"),
    "relay.host": ("0.0.0.0", "0.0.0.0"),
    "relay.port": (8700, "8700"),
    "relay.names": (("soc.example", "10.0.0.1"), "soc.example:10.0.0.1"),
    "web.socket": ("/run/x.sock", "/run/x.sock"),
}


def test_no_setting_is_without_a_knob():
    """An attribute that no file can set would be a secret."""
    made = {"home", "origins", *knobs.TABLES}
    assert {f.name for f in dataclasses.fields(Settings)} - made == {knob.attribute for knob in KNOBS}
    for section, made_by in (("listen", Listen), ("national", National)):
        assert {f.name for f in dataclasses.fields(made_by)} - {"name"} == set(knobs.TABLES[section])


def test_without_a_file_everything_is_a_default(tmp_path):
    """No soc.toml is no mistake; the four listeners are there."""
    settings = load(environ={}, home=tmp_path)
    assert settings.listen == DEFAULT_LISTEN
    assert {row.origin for row in settings.shown()[1:]} == {"default"}


@pytest.mark.parametrize("how", ["path", "SOC_CONFIG"])
def test_a_file_that_was_named_must_be_there(tmp_path, how):
    """A typo in --config never means the defaults."""
    missing = tmp_path / "no.toml"
    options = {"environ": {"SOC_CONFIG": str(missing)}} if how == "SOC_CONFIG" else {"path": missing, "environ": {}}
    with pytest.raises(ConfigError, match=r"no\.toml: no such file"):
        load(home=tmp_path, **options)


def test_the_named_file_beats_the_one_of_the_home(tmp_path):
    """--config, then SOC_CONFIG, then SOC_HOME/soc.toml."""
    for name, port in (("soc.toml", 1), ("b.toml", 2), ("c.toml", 3)):
        written(tmp_path, f"[web]\nport = {port}", name)
    environ = {"SOC_HOME": str(tmp_path)}
    named = {**environ, "SOC_CONFIG": str(tmp_path / "b.toml")}
    found = [load(environ=environ), load(environ=named), load(tmp_path / "c.toml", environ=named)]
    assert [settings.web_port for settings in found] == [1, 2, 3]


def test_the_home_is_the_flag_the_variable_or_here(tmp_path, monkeypatch):
    """`.soc/` of the working folder when nobody says otherwise; always absolute."""
    monkeypatch.chdir(tmp_path)
    assert default_home({}) == tmp_path / ".soc"
    assert load(environ={"SOC_HOME": "data"}).home == tmp_path / "data"
    settings = load(environ={"SOC_HOME": "data"}, home=Path("mine"))
    assert (settings.home, settings.shown()[0].origin) == (tmp_path / "mine", "flag")


def test_the_socket_lies_outside_the_home_and_is_its_own(tmp_path):
    """A service has /run/soc; two homes of one person have two sockets."""
    assert default_socket(Path("/var/lib/soc"), {}) == Path("/run/soc/api.sock")
    one, other = (default_socket(tmp_path / name, {"XDG_RUNTIME_DIR": "/run/user/7"}) for name in ("a", "b"))
    assert one.parent == other.parent == Path("/run/user/7/soc")
    assert one != other
    assert default_socket(tmp_path, {}).parent.name.startswith("soc-")


def test_paths_in_the_file_are_relative_to_the_file(tmp_path, monkeypatch):
    """Whoever starts soc from elsewhere gets the same folders."""
    monkeypatch.chdir("/")
    text = '[content]\nroots = ["own"]\nrules = ["/srv/r"]\n[registry]\nfiles = ["s.yml"]\n[web]\nsocket = "x.sock"'
    settings = read(tmp_path, text)
    assert settings.content_roots == (tmp_path / "own",)
    assert settings.rules == (Path("/srv/r"),)
    assert settings.registry_files == (tmp_path / "s.yml",)
    assert settings.socket == tmp_path / "x.sock"


# listeners and destinations ------------------------------------------------------------------------------------------

NATIONAL = '[national.ncsc]\nurl = "https://127.0.0.1:9443/v1"\nsender_code = "H57"\n'


def test_listeners_of_the_file_replace_the_default_ones(tmp_path):
    """What is not in the file is not listened on; keys left out have their defaults and say so."""
    settings = read(tmp_path, '[listen."dmz tcp"]\nprotocol = "syslog-tcp"\nport = 6514\nallow = ["10.0.0.0/8"]\n')
    assert settings.listen == (Listen("dmz tcp", "syslog-tcp", 6514, allow=("10.0.0.0/8",)),)
    origins = {row.name: Path(row.origin).name for row in settings.shown() if row.name.startswith("listen")}
    assert origins["listen.dmz tcp.port"] == "soc.toml:3"
    assert origins["listen.dmz tcp.host"] == "default"


def test_a_destination_is_its_address_and_defaults(tmp_path):
    """Only the address is required."""
    (found,) = read(tmp_path, NATIONAL).national
    assert found == National("ncsc", "https://127.0.0.1:9443/v1", sender_code="H57")


def test_listeners_may_come_from_flags(tmp_path):
    """The simulated province chooses its own ports."""
    listen = (Listen("a", "netflow", 0),)
    settings = load(environ={}, home=tmp_path, overrides={"listen": listen})
    assert settings.listen == listen
    assert {row.origin for row in settings.shown() if row.name.startswith("listen.")} == {"flag"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("listen = 5", "soc.toml:1: [listen] should be a table, not 5"),
        ("[listen]\na = 5", "soc.toml:2: [listen.a] should be a table, not 5"),
        ('[listen.a]\nprotocol = "netflow"', "soc.toml:1: 'port' is missing in [listen.a]"),
        ("[listen.a]\nport = 5", "soc.toml:1: 'protocol' is missing in [listen.a]"),
        (
            '[listen.a]\nport = 5\nprotocol = "syslog-utp"',
            f"soc.toml:3: 'listen.a.protocol' should be one of {', '.join(config.PROTOCOLS)}"
            " (did you mean 'syslog-udp'?), not 'syslog-utp'",
        ),
        (
            '[listen.a]\nport = 65536\nprotocol = "netflow"',
            "soc.toml:2: 'listen.a.port' should be a port number from 0 to 65535, not 65536",
        ),
        (
            '[listen.a]\nport = 5\nprotocol = "netflow"\nprot = 1',
            "soc.toml:4: unknown key 'prot' in [listen.a] (did you mean 'port'?)",
        ),
        (
            '[listen.a]\nport = 5\nprotocol = "netflow"\nallow = ["10.0.0.300"]',
            "soc.toml:4: 'listen.a.allow' should be a list of addresses or CIDR networks ('10.0.0.300' is none),"
            " not ['10.0.0.300']",
        ),
        (
            '[listen.a]\nport = 5\nprotocol = "netflow"\n[listen.b]\nprotocol = "snmp-trap"\nport = 5',
            "soc.toml:6: [listen.a] has 127.0.0.1 port 5 already",
        ),
        (
            '[listen.a]\nport = 5\nprotocol = "syslog-tls"\nkey = "k.pem"',
            "soc.toml:3: 'certificate' is missing in [listen.a]: syslog-tls speaks TLS",
        ),
        (
            '[listen.a]\nport = 5\nprotocol = "relp"\ncertificate = "c.pem"',
            "soc.toml:3: [listen.a] relp does not speak TLS; did you mean 'relp-tls'?",
        ),
        (
            '[listen.a]\nport = 5\nprotocol = "relp-tls"\ncertificate = "c"\nkey = "k"\nclients = ["fw.example"]',
            "soc.toml:3: 'clients' in [listen.a] needs 'clients_ca', the CA that signed their certificates",
        ),
        (
            '[listen.a]\nport = 5\nprotocol = "syslog-tcp"\n[listen.b]\nprotocol = "relp"\nport = 5',
            "soc.toml:6: [listen.a] has 127.0.0.1 port 5 already",
        ),
        ('[listen.a]\nprotocol = "file"', "soc.toml:2: 'paths' is missing in [listen.a]: which files?"),
        (
            '[listen.a]\nprotocol = "file"\npaths = ["a"]\nport = 5',
            "soc.toml:2: 'port' has no meaning in [listen.a]: files are followed, nothing is listened to",
        ),
        (
            '[listen.a]\nport = 5\nprotocol = "netflow"\npaths = ["a"]',
            "soc.toml:3: 'paths' in [listen.a] goes with protocol = \"file\"",
        ),
        (
            '[listen.a]\nport = 5\nprotocol = "gelf-tcp"\nmultiline = "stack"',
            "soc.toml:3: 'multiline' in [listen.a] goes with files, syslog and RELP",
        ),
        ("[national.x]", "soc.toml:1: 'url' is missing in [national.x]"),
        ('[national.x]\nurl = "ftp://x"', "soc.toml:2: 'national.x.url' should be an https:// address, not 'ftp://x'"),
        (
            NATIONAL + 'minimum_level = "hihg"',
            "soc.toml:4: 'national.ncsc.minimum_level' should be one of informational, low, medium, high, critical"
            " (did you mean 'high'?), not 'hihg'",
        ),
        (
            NATIONAL + 'mimimum_level = "high"',
            "soc.toml:4: unknown key 'mimimum_level' in [national.ncsc] (did you mean 'minimum_level'?)",
        ),
    ],
)
def test_a_mistake_in_a_named_table_is_told_with_its_place(tmp_path, text, message):
    """One sentence: file, line, what stands there and what was expected."""
    assert said(tmp_path, text) == [message]


def test_tcp_and_udp_may_share_a_port(tmp_path):
    """As the defaults do with 5514."""
    text = "".join(f'[listen.{name}]\nprotocol = "syslog-{name}"\nport = 5514\n' for name in ("tcp", "udp"))
    assert len(read(tmp_path, text).listen) == 2


# mistakes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[wbe]\nport = 5", "soc.toml:1: unknown section [wbe] (did you mean 'web'?)"),
        ("port = 5", "soc.toml:1: unknown key 'port' outside of a section"),
        ("web = true", "soc.toml:1: [web] should be a table, not True"),
        ("[web]\nprot = 5", "soc.toml:2: unknown key 'prot' in [web] (did you mean 'port'?)"),
        ("[cases]\nx = 1", "soc.toml:2: unknown key 'x' in [cases]"),
        ("[web]\n\n  port = true", "soc.toml:3: 'port' should be a port number from 0 to 65535, not True"),
        ("[store]\nworkers = 0", "soc.toml:2: 'workers' should be a whole number from 1 to 64, not 0"),
        ("[store]\nworkers = 1.5", "soc.toml:2: 'workers' should be a whole number from 1 to 64, not 1.5"),
        ("[site]\nid = 7", "soc.toml:2: 'id' should be text that is not empty, not 7"),
        ("[site]\nid = ' '", "soc.toml:2: 'id' should be text that is not empty, not ' '"),
        ("[site]\nsimulated = 1", "soc.toml:2: 'simulated' should be true or false, not 1"),
        ("[content]\nroots = 'a'", "soc.toml:2: 'roots' should be a list of paths, not 'a'"),
        ("[content]\nroots = [1]", "soc.toml:2: 'roots' should be a list of paths, not [1]"),
        ("[queue]\nmax_bytes = 9", "soc.toml:2: 'max_bytes' should be 536870912 bytes (512 MiB) or more, not 9"),
        ("site.id = 'a'\nsite.nmae = 'b'", "soc.toml:2: unknown key 'nmae' in [site] (did you mean 'name'?)"),
        ("web = {port = 1, prot = 2}", "soc.toml:1: unknown key 'prot' in [web] (did you mean 'port'?)"),
        ("[ \"web\" ] # the API\n'prot' = 2", "soc.toml:2: unknown key 'prot' in [web] (did you mean 'port'?)"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_the_nearest_name(tmp_path, text, message):
    """However TOML lets it be written: tables, dotted keys, inline tables, quotes, indentation."""
    assert said(tmp_path, text) == [message]


def test_all_mistakes_are_told_at_once(tmp_path):
    """File, environment and flags in one error, one a line."""
    text = "[web]\nport = 'x'\nhots = 1\n[sit]\n[store]\nworkers = -1\n[national.a]\n"
    environ = {"SOC_WEB_PORT": "many", "SOC_SITE_SIMULATED": "maybe"}
    lines = said(tmp_path, text, environ=environ, overrides={"workers": 65, "web_prot": 1})
    assert [line.split(":")[0] + ":" + line.split(":")[1] for line in lines[:5]] == [
        "soc.toml:2", "soc.toml:3", "soc.toml:4", "soc.toml:6", "soc.toml:7",
    ]  # fmt: skip
    assert lines[5:] == [
        "SOC_SITE_SIMULATED: 'simulated' should be true or false, not 'maybe'",
        "SOC_WEB_PORT: 'port' should be a port number from 0 to 65535, not 'many'",
        "flag: 'workers' should be a whole number from 1 to 64, not 65",
        "flag: unknown setting 'web_prot' (did you mean 'web_port'?)",
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[web]\nport = = 5\n", "soc.toml:2:8: no TOML: Invalid value"),
        (b"[web]\nport = 5\nport = 6\n", "soc.toml:3:9: no TOML: Cannot overwrite a value"),
        (b"[web", "soc.toml:1: no TOML: Expected ']' at the end of a table declaration"),
        (b"[site]\nname = '\xff'\n", "soc.toml: no UTF-8 text: invalid start byte at byte 15"),
        (b"[web]\nport = 1\n[web]\n", "soc.toml:3:5: no TOML: Cannot declare ('web',) twice"),
    ],
)
def test_what_is_no_toml_is_told_with_its_place(tmp_path, data, message):
    """File, line and column as editors understand them; one sentence."""
    (tmp_path / "soc.toml").write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load(environ={}, home=tmp_path)
    assert str(caught.value) == f"{tmp_path}/{message}"


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    """Some editors write one."""
    (tmp_path / "soc.toml").write_bytes(b"\xef\xbb\xbf[web]\nport = 7\n")
    assert load(environ={}, home=tmp_path).web_port == 7


def test_a_folder_in_place_of_the_file_is_told(tmp_path):
    """An error of the system in our words."""
    (tmp_path / "soc.toml").mkdir()
    with pytest.raises(ConfigError, match=r"soc\.toml: cannot be read: Is a directory"):
        load(environ={}, home=tmp_path)


@given(st.binary(max_size=120))
def test_no_bytes_end_in_anything_but_settings_or_a_sentence(tmp_path_factory, data):
    """Whatever lies there: Settings or ConfigError."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(data)
    try:
        read_home = load(path, environ={}, home=path.parent).home
    except ConfigError:
        read_home = path.parent
    assert read_home == path.parent


# showing -------------------------------------------------------------------------------------------------------------


def test_every_knob_is_shown_with_value_origin_and_meaning(tmp_path):
    """What `soc config show --origin` prints; ready for JSON."""
    rows = read(tmp_path, NATIONAL).shown()
    names = [row.name for row in rows]
    assert len(names) == len(set(names))
    assert {knob.name for knob in KNOBS} <= set(names)
    assert "national.ncsc.minimum_level" in names
    assert all(row.meaning and row.origin for row in rows)
    assert json.loads(json.dumps([dataclasses.asdict(row) for row in rows]))


def test_watermarks_are_one_below_the_other(tmp_path):
    """What would never let go again is refused where it stands."""
    settings = read(tmp_path, "[queue]\nhigh = 80\nlow = 60\n")
    assert (settings.queue_high, settings.queue_low) == (80, 60)
    assert said(tmp_path, "[queue]\nhigh = 80\nlow = 80\n") == [
        "soc.toml:3: [queue] 'low' should be below 'high', not 80 and 80"
    ]
    [line] = said(tmp_path, "[queue]\nhigh = 60\n")
    assert line.startswith("soc.toml:2: [queue] 'low' should be below 'high', not 70 and 60")


def test_a_zone_that_does_not_exist(tmp_path):
    """With the nearest one."""
    text = '[listen.a]\nport = 1\nprotocol = "netflow"\nzone = "Asia/Ho_Chi_Min"\n'
    [line] = said(tmp_path, text)
    assert line.startswith("soc.toml:4: 'listen.a.zone' should be a time zone such as Asia/Ho_Chi_Minh")


def test_rates_by_network(tmp_path):
    """A number, or a number and a burst; they are written as a list of them and read again."""
    text = '[listen.a]\nport = 1\nprotocol = "netflow"\nrate = 9\n'
    text += 'rates = {"10.1.0.0/16" = 500, "2001:db8::1" = [5, 50]}\n'
    [listen] = read(tmp_path, text).listen
    assert (listen.rate, listen.burst) == (9, 0)
    assert listen.rates == (("10.1.0.0/16", 500, 0), ("2001:db8::1", 5, 50))
    document = read(tmp_path, text).to_document()
    document.pop("home")
    assert read(tmp_path, as_toml(document)).listen == (listen,)
    for wrong in ('{"10.1.0.300" = 5}', '{"10.1.0.1" = -1}', '{"10.1.0.1" = [1, 2, 3]}', '{"10.1.0.1" = true}', "5"):
        [line] = said(tmp_path, f'[listen.a]\nport = 1\nprotocol = "netflow"\nrates = {wrong}\n')
        assert line.startswith("soc.toml:4: 'listen.a.rates' should be "), line


def test_the_document_has_the_shape_of_the_file(tmp_path):
    """It can be written as soc.toml again and gives the same settings."""
    settings = read(tmp_path, NATIONAL + '[site]\nid = "hue"\n[listen."a.b"]\nport = 1\nprotocol = "netflow"\n')
    document = settings.to_document()
    assert document["site"] == {"id": "hue", "name": "", "simulated": False}
    assert document["national"]["ncsc"]["sender_code"] == "H57"
    assert document.pop("home") == str(tmp_path)
    again = read(tmp_path, as_toml(document))
    assert dataclasses.replace(again, origins={}) == dataclasses.replace(settings, origins={})


def as_toml(document: dict) -> str:
    lines = []
    for section, body in document.items():
        tables = body if section in knobs.TABLES else {None: body}
        for name, entry in tables.items():
            lines.append(f"[{section}]" if name is None else f"[{section}.{json.dumps(name)}]")
            lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in entry.items()]
    return "\n".join(lines)


def test_rule_sets_of_units_are_read_and_typing_errors_named(tmp_path):
    """A choice that chooses nothing would leave rules on in silence."""
    settings = read(tmp_path, '[unit_rules.xa-1]\ndisable = ["level=low"]\nenable = ["r1"]\n')
    assert settings.unit_rules == (UnitRules("xa-1", ("level=low",), ("r1",)),)
    [fault] = said(tmp_path, '[unit_rules.xa-1]\ndisable = ["colour=red"]\n')
    assert fault.startswith("soc.toml:2: 'unit_rules.xa-1.disable' should be a list of choices")
