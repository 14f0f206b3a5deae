"""MIBs are compiled beside net-snmp's own reader of MIBs, and what is wrong with one is told with its line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from soc.errors import UsageError
from soc.parsers.mibs import compile as compiler
from soc.parsers.mibs.compile import compiled, modules_in
from soc.parsers.mibs.standard import MODULES
from tests import programs

HERE = Path(__file__).parent
NET_SNMP = Path("/usr/share/snmp/mibs")
ACME = (HERE / "ACME-ALARM-MIB.mib").read_text()
OLD = (HERE / "ACME-OLD-MIB.mib").read_text()


def texts(*whole: str) -> dict[str, str]:
    """By the modules they hold."""
    return {module: text for text in whole for module in modules_in(text)}


def test_a_vendors_mib_is_a_table() -> None:
    """Names, words of values also through textual conventions, severities out of comments."""
    tables, faults = compiled(texts(ACME), ["ACME-ALARM-MIB"])
    table = tables["ACME-ALARM-MIB"]
    root = "1.3.6.1.4.1.32473"
    assert not faults
    assert table["objects"][f"{root}.1.3.1.2"] == "acmePortFlapping"
    assert table["labels"] == {
        f"{root}.1.1": {"1": "running", "2": "stopped"},
        f"{root}.1.2": {"1": "ok", "2": "warning", "3": "critical"},
        f"{root}.1.3.1.2": {"1": "true", "2": "false"},
    }
    assert table["notifications"] == {
        f"{root}.0.1": {
            "name": "acmeFanFailed", "severity": "critical", "description": "A fan stopped, and nobody turns it.",
        },
        f"{root}.0.2": {"name": "acmePortUnstable", "severity": "", "description": "A port goes up and down."},
    }  # fmt: skip


def test_a_trap_of_smiv1_has_its_v2_identifier() -> None:
    """RFC 3584 section 3.1 rule 3: enterprise, 0, number."""
    tables, faults = compiled(texts(OLD), ["ACME-OLD-MIB"])
    assert not faults
    assert tables["ACME-OLD-MIB"]["notifications"] == {
        "1.3.6.1.4.1.32473.9.0.7": {"name": "acmeTrap", "severity": "minor", "description": "old trap"}
    }


def snmptranslate(folder: Path, module: str, symbol: str) -> str:
    """What net-snmp reads out of the same files."""
    path = programs.program("snmptranslate", "snmp")
    environment = {"PATH": os.environ["PATH"], "SNMPCONFPATH": "/-", "SNMP_PERSISTENT_DIR": str(folder / "state")}
    command = [path, "-M", str(folder), "-m", module, "-Td", "-On", f"{module}::{symbol}"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False).stdout


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with our stand-ins for the standard modules, our vendor's MIBs, and those of net-snmp itself."""
    folder = tmp_path_factory.mktemp("mibs")
    for name, module in MODULES.items():
        (folder / f"{name}.txt").write_text(module.text(name))
    for file in (*HERE.glob("*.mib"), *NET_SNMP.glob("*.txt")):
        shutil.copy(file, folder / f"{file.stem}.txt")
    return folder


REAL = ("ACME-ALARM-MIB", "ACME-OLD-MIB", "NET-SNMP-AGENT-MIB", "NET-SNMP-EXAMPLES-MIB", "UCD-SNMP-MIB")


def test_names_and_words_are_those_of_snmptranslate(oracle: Path) -> None:
    """Every notification and every object with words, of our MIBs and of three that net-snmp ships."""
    assert NET_SNMP.is_dir(), "net-snmp's MIBs are missing: apt-get install libsnmp-base"
    whole = {name: (oracle / f"{name}.txt").read_text() for name in [p.stem for p in oracle.glob("*.txt")]}
    given = {name: text for name, text in whole.items() if name not in MODULES and name != "NET-SNMP-VACM-MIB"}
    tables, faults = compiled(given, REAL)
    assert not faults
    checked = 0
    for module in REAL:
        table = tables[module]
        for oid, note in table["notifications"].items():
            said = snmptranslate(oracle, module, note["name"])
            assert said.startswith(f".{oid}\n"), (module, note["name"], said)
            checked += 1
        for oid, words in table["labels"].items():
            said = snmptranslate(oracle, module, table["objects"][oid])
            assert said.startswith(f".{oid}\n"), (module, table["objects"][oid], said)
            listed = re.search(r"SYNTAX\s+INTEGER \{(.*?)\}", said)
            assert listed, said
            pairs = dict(re.findall(r"([\w-]+)\((-?\d+)\)", listed[1]))
            assert {number: word for word, number in pairs.items()} == words
            checked += 1
    assert checked > 30


@pytest.mark.parametrize(
    ("was", "becomes", "line", "said"),
    [
        ("SYNTAX AcmeLevel\n", "SYNTAX {{ AcmeLevel\n", 32, "grammar"),
        ("SYNTAX AcmeLevel\n", "SYNTAX NoSuchType\n", 31, "'acmeLevel' cannot be resolved"),
        ("ifIndex FROM IF-MIB;", "ifIndex FROM IF-MIB\n  acmeRoot FROM ACME-ROOT-MIB;", 8, "imports 'ACME-ROOT-MIB'"),
    ],
)
def test_a_fault_has_its_line(was: str, becomes: str, line: int, said: str) -> None:
    """Grammar, an unknown type, a module that is missing; whoever is whole is compiled all the same."""
    broken = ACME.replace(was, becomes).replace("ACME-ALARM-MIB DEFINITIONS", "BROKEN-MIB DEFINITIONS")
    assert broken != ACME
    tables, faults = compiled(texts(broken, OLD), ["BROKEN-MIB", "ACME-OLD-MIB"])
    [fault] = faults
    assert (fault["module"], fault["line"]) == ("BROKEN-MIB", line)
    assert said in fault["message"]
    assert list(tables) == ["ACME-OLD-MIB"]


def test_who_imports_a_broken_module_says_so() -> None:
    """Its own text is right, and it cannot be used."""
    user = OLD.replace("ACME-OLD-MIB", "USER-MIB").replace(
        "DisplayString FROM RFC1213-MIB", "DisplayString FROM RFC1213-MIB acmeLevel FROM ACME-ALARM-MIB"
    )
    broken = ACME.replace("SYNTAX AcmeLevel\n", "SYNTAX }\n")
    tables, faults = compiled(texts(broken, user), ["ACME-ALARM-MIB", "USER-MIB"])
    assert not tables
    assert {fault["module"] for fault in faults} == {"ACME-ALARM-MIB", "USER-MIB"}


def test_the_compiler_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time and memory: it is stopped, and says what it was given."""
    monkeypatch.setattr(compiler, "MEMORY_BYTES", 24 << 20)
    with pytest.raises(UsageError, match="gave up"):
        compiled(texts(ACME), ["ACME-ALARM-MIB"])
    monkeypatch.undo()
    monkeypatch.setattr(compiler, "WALL_S", 0.05)
    with pytest.raises(UsageError, match="stopped"):
        compiled(texts(ACME), ["ACME-ALARM-MIB"])


@pytest.mark.parametrize("text", ["", "{" * 500, "BIG-MIB DEFINITIONS ::= BEGIN " + "x ::= { y 1 } " * 50 + "END"])
def test_any_text_is_answered(text: str) -> None:
    """Nothing is raised for what a file holds."""
    given = texts(text) or {"X-MIB": text}
    tables, faults = compiled(given, list(given))
    assert tables or faults
