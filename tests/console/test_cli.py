"""The command line as a whole: help, examples, global options, words, and the commands that need no service."""

from __future__ import annotations

import json
import os
import re
import shlex
import string
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from soc.console.cli import app, run
from soc.console.commands.call import World
from soc.console.i18n import commands as words
from soc.errors import StoreError

LINES = (
    b"<38>Nov 25 10:00:00 h1 sshd[12]: Failed password for root from 203.0.113.9 port 22 ssh2\n"
    b"<38>Nov 25 10:00:01 h1 sshd[12]: Accepted password for lan from 192.0.2.7 port 4022 ssh2\n"
)
RULE = """
title: SSH login failed
id: 6d3f6b1e-5a5e-4a53-9d0e-1f6c8f0f1a11
status: experimental
level: low
logsource: {product: linux, service: sshd}
detection:
    selection:
        event.action: ssh_login
        event.outcome: failure
    condition: selection
"""


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    group = group or get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands())
PROMISED = """
parse detect check fields search tail import backtest hunt status me up collect
work correlate lookback serve compact console
source:list,points,adopt,release alert:list,show,events,ack,close,note,ticket ticket:list,show,move,note,done,classify
playbook:list,show,plan,approve,run,status,revert,done national:status,messages,serve
retention:check,plan,apply,verify,certificates ledger:list,verify system:list,show,add,set
job:list,show,hits,cancel coverage:show,backfill rule:status,lint,test
person:list,add,token config:show,reload simulate:run,score
"""


def test_every_promised_command_is_there() -> None:
    """The nouns and verbs of the design, section 5."""
    wanted = set()
    for word in PROMISED.split():
        noun, _, verbs = word.partition(":")
        wanted |= {(noun, verb) for verb in verbs.split(",")} if verbs else {(noun,)}
    wanted |= {("retention", "hold", verb) for verb in ("add", "list", "release")}
    assert wanted <= set(ALL)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    """`--help` says what it does and gives an example that begins with the command itself."""
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    assert re.search(rf"Examples?:\n.*soc {' '.join(path)}", result.output, re.S)
    assert ALL[path].help


def examples(command: Any) -> list[str]:
    """The lines of its epilog."""
    return [line.strip() for line in (command.epilog or "").splitlines() if line.startswith("  ")]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_example_can_be_typed(path: tuple[str, ...]) -> None:
    """The words of each example are read without a fault by the command they name."""
    for example in examples(ALL[path]):
        line = re.sub(r"^export \w+=\$\((.*)\)$", r"\1", example)
        arguments = shlex.split(line.split(" < ")[0])[1:]
        assert tuple(arguments[: len(path)]) == path, example
        with ALL[path].make_context(" ".join(path), arguments[len(path) :]) as context:
            assert not context.args


def test_a_mistyped_command_or_option_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest name is offered."""
    assert run(["alrt", "list"]) == 2
    assert "alert" in capsys.readouterr().err
    assert run(["alert", "list", "--levl", "high"]) == 2
    assert "--level" in capsys.readouterr().err
    assert run(["--lang", "fr", "me"]) == 2


def test_no_words_show_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`soc` alone and a noun alone list what there is."""
    run([])
    run(["alert"])
    shown = "".join(capsys.readouterr())
    assert "retention" in shown
    assert "acknowledge" in shown.lower()


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` needs no command."""
    assert run(["--version"]) == 0
    assert re.match(r"soc \d+\.\d+", capsys.readouterr().out)


@pytest.mark.parametrize("id", words.WORDS)
def test_every_word_is_there_in_both_languages(id: str) -> None:
    """Filled, NFC, and with the same parameters on both sides."""
    vi, en = words.WORDS[id]
    assert vi.strip()
    assert en.strip()
    assert unicodedata.is_normalized("NFC", vi)
    assert parameters(vi) == parameters(en)


def parameters(template: str) -> set[str]:
    """The names in braces."""
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def test_every_word_that_is_used_is_known() -> None:
    """Each `cmd.…` in the code of the commands stands in the catalogue."""
    folder = Path(words.__file__).parents[1]
    files = [*folder.glob("commands/*.py"), folder / "cli.py", folder / "render.py"]
    used = {id for path in files for id in re.findall(r'"(cmd\.[a-z_.]+[a-z])"', path.read_text("utf-8"))}
    assert used
    assert used <= set(words.WORDS)


def test_the_words_of_stored_states_are_complete() -> None:
    """Every state, level, verdict and role of the model has its word."""
    from soc.access.roles import ROLES
    from soc.model import alert, finding, message, run, ticket

    families = {
        "level": finding.LEVELS, "status": alert.STATUSES, "verdict": alert.VERDICTS, "state": ticket.STATES,
        "resolution": ticket.RESOLUTIONS, "run": run.STATES, "message": message.KINDS,
        "role": [role for role in ROLES if role != "engine"],
    }  # fmt: skip
    missing = {f"cmd.{f}.{word}" for f, all_words in families.items() for word in all_words} - set(words.WORDS)
    assert not missing


def test_the_words_of_retention_are_those_of_the_content() -> None:
    """Every message id of retention/messages.yml is said with the same parameters."""
    from soc.retention import ladder

    for id, texts in ladder.texts().items():
        if not id.startswith(("retention.verdict", "retention.gap")):
            assert parameters(words.WORDS[f"cmd.{id}"][1]) == parameters(texts["en"])


# --- without a service -----------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without soc.toml, a log and a rule."""
    monkeypatch.setenv("SOC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SOC_LANG", "en")
    (tmp_path / "auth.log").write_bytes(LINES)
    (tmp_path / "rule.yml").write_text(RULE)
    return tmp_path


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The JSON objects on standard output."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_parse_goes_on_after_a_broken_file(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged file is told and makes exit 4; the others are read whole; all broken is exit 1."""
    broken = site / "broken.gz"
    broken.write_bytes(b"\x1f\x8b\x08\x00broken")
    assert run(["parse", str(broken), str(site / "auth.log")]) == 4
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert "broken.gz" in err
    assert run(["parse", str(broken)]) == 1


def test_a_format_that_there_is_not_is_named(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2."""
    assert run(["parse", "--format", "nonsense", str(site / "auth.log")]) == 2
    assert "'nonsense'" in capsys.readouterr().err


def test_rules_are_linted_without_a_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 3 with the place and the reason of what cannot run; 0 when all can."""
    good = tmp_path / "good.yml"
    good.write_text(RULE, "utf-8")
    assert run(["rule", "lint", str(good)]) == 0
    bad = tmp_path / "bad.yml"
    bad.write_text(RULE.replace("event.outcome", "no.such.field").replace("title: ", "title: other "), "utf-8")
    assert run(["rule", "lint", str(tmp_path)]) == 3
    assert f"{bad}:" in capsys.readouterr().out


def test_a_missing_file_is_exit_2_before_anything_is_read(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All missing files in one go, nothing on standard output."""
    assert run(["parse", str(site / "auth.log"), str(site / "a"), str(site)]) == 2
    out, err = capsys.readouterr()
    assert (out, "no such file" in err, "is a folder" in err) == ("", True, True)


def test_an_unknown_product_is_named(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`parse --as` with the nearest product; exit 2."""
    assert run(["parse", "--as", "linux.sshdd", str(site / "auth.log")]) == 2
    assert "did you mean 'linux.sshd'?" in capsys.readouterr().err


def test_parse_uses_the_parsers_of_the_site(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Content roots of soc.toml count for files as well."""
    (site / "home").mkdir()
    (site / "home" / "soc.toml").write_text('[content]\nroots = ["../mine"]\n')
    (site / "mine" / "parsers").mkdir(parents=True)
    (site / "mine" / "parsers" / "thing.yml").write_text(
        "id: acme.thing\ntitle: Thing\nlayer: application\nrecognise: {program: thing}\n"
        "shapes:\n  - name: hello\n    pattern: 'hello (?P<user>\\w+)'\n    fields: {user.name: user}\n"
        "tests:\n  - {line: 'hello lan', expect: {user.name: lan}, origin: synthetic}\n"
        "  - {line: 'bye', expect: null, origin: synthetic}\n"
    )
    (site / "thing.log").write_text("<38>Nov 25 10:00:00 h1 thing[1]: hello lan\n")
    assert run(["parse", str(site / "thing.log")]) == 0
    assert [event["user.name"] for event in lines(capsys)] == ["lan"]


def test_a_faulty_setting_is_exit_2_with_its_place(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown key names file, line and the nearest key, also for commands without a service."""
    (site / "home").mkdir()
    (site / "home" / "soc.toml").write_text("[content]\nrotos = []\n")
    assert run(["parse", str(site / "auth.log")]) == 2
    assert "soc.toml:2" in capsys.readouterr().err


def test_detect_sums_up_and_profiles(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Events, rate, rules loaded and refused; with `--profile` what each part cost, and the hits."""
    (site / "bad.yml").write_text("title: no detection\nid: bad\nlogsource: {product: linux}\n")
    rules = ["--rules", str(site / "rule.yml"), "--rules", str(site / "bad.yml")]
    assert run(["detect", *rules, "--profile", str(site / "auth.log")]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["record"] for line in out.splitlines()] == [1]
    assert re.search(r"1 hits; 2 events, [\d,]+ events/s; 1 rules loaded, 1 refused", err)
    assert "bad is refused" in err
    assert re.search(r"match, write:\s+\d\.\d{3} s", err)
    assert re.search(r"ms +2 +1  linux\.sshd \(1 rules\)", err)
    assert re.search(r"ms +2 +2  event\.action", err)
    assert re.search(r"ms +2 +1  6d3f6b1e-5a5e-4a53-9d0e-1f6c8f0f1a11  SSH login failed", err)
    assert re.search(r"\n +1  6d3f6b1e-5a5e-4a53-9d0e-1f6c8f0f1a11  SSH login failed", err)


def test_detect_says_what_no_parser_understood(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half an EVTX file, a text that nobody knows: no hit in it means nothing."""
    (site / "b.txt").write_text("no parser knows this\n" * 3)
    assert run(["detect", "--rules", str(site / "rule.yml"), str(site / "auth.log"), str(site / "b.txt")]) == 0
    assert "\n3 of the events were understood by no parser" in capsys.readouterr().err


def test_detect_draws_what_matching_cost(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A flame graph, or folded stacks for other tools; a place that cannot be written is exit 1 with the reason."""
    arguments = ["detect", "--rules", str(site / "rule.yml"), str(site / "auth.log"), "--flame"]
    assert run([*arguments, str(site / "costs.svg")]) == 0
    assert "SSH login failed" in (site / "costs.svg").read_text()
    assert run([*arguments, str(site / "costs.txt")]) == 0
    assert re.search(r"^match.* \d+$", (site / "costs.txt").read_text(), re.MULTILINE)
    capsys.readouterr()
    assert run([*arguments, str(site / "nowhere" / "costs.svg")]) == 1
    assert "costs.svg" in capsys.readouterr().err


def test_detect_says_what_correlations_left_out(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An event that lacks the field to group by is no silent miss."""
    count = "{type: event_count, rules: [failed], group-by: [url.path], timespan: 1m, condition: {gte: 1}}"
    rule = RULE.replace("title:", "name: failed\ntitle:")
    (site / "count.yml").write_text(f"{rule}---\ntitle: count\ncorrelation: {count}\n")
    assert run(["detect", "--rules", str(site / "count.yml"), str(site / "auth.log")]) == 0
    assert "correlations left out: without a field to group by: 1" in capsys.readouterr().err


def test_detect_lists_refusals_only_so_far(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten are shown, the rest is counted, and `--refused` shows all."""
    for n in range(15):
        (site / f"bad{n}.yml").write_text(f"title: bad {n}\nid: bad{n}\nlogsource: {{product: linux}}\n")
    arguments = ["--rules", str(site), str(site / "auth.log")]
    assert run(["detect", *arguments]) == 0
    assert "and 5 more refused" in capsys.readouterr().err
    assert run(["detect", "--refused", *arguments]) == 0
    assert capsys.readouterr().err.count("is refused") == 15


def test_detect_with_pipelines(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--pipeline` may be given several times; a field mapping makes a foreign rule hit; a broken one is exit 2."""
    (site / "foreign.yml").write_text(RULE.replace("event.action", "act").replace("event.outcome", "result"))
    options = []
    for old, new in (("act", "event.action"), ("result", "event.outcome")):
        path = site / f"{old}.pipeline.yml"
        path.write_text(
            f"name: {old}\npriority: 10\ntransformations:\n"
            f"  - {{id: {old}, type: field_name_mapping, mapping: {{{old}: {new}}}}}\n"
        )
        options += ["--pipeline", str(path)]
    assert run(["detect", "--rules", str(site / "foreign.yml"), *options, str(site / "auth.log")]) == 0
    assert len(lines(capsys)) == 1
    (site / "broken.yml").write_text("transformations: 7\n")
    assert run(["detect", "-r", str(site / "rule.yml"), "-P", str(site / "broken.yml"), str(site / "auth.log")]) == 2


def test_detect_fails_on_a_hit_when_asked(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 3 with `--fail-on-hit`; without rules of one's own ours are used."""
    arguments = ["--rules", str(site / "rule.yml"), str(site / "auth.log")]
    assert run(["detect", "--fail-on-hit", *arguments]) == 3
    assert run(["detect", *arguments]) == 0
    capsys.readouterr()
    assert run(["detect", str(site / "auth.log")]) == 0
    assert "0 refused" in capsys.readouterr().err


def test_fields_lists_what_a_search_may_name(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names with their types, families with a star; a part narrows them."""
    assert run(["fields"], World(terminal=False)) == 0
    rows = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert (rows["source.ip"], rows["event.category"], rows["labels.*"]) == ("ip", "many keyword", "keyword")
    run(["fields", "source.nat"], World(terminal=False))
    names = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["source.nat.ip", "source.nat.port"]


def test_check_finds_the_faults_of_every_room(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Parsers, detections, playbooks, clocks, retention and connectors: each fault with file and line; exit 3."""
    faults = {
        "parsers/p.yml": "id: acme.p\ntitle: P\nlayer: nonsense\nrecognise: {program: p}\nshapes: []\n",
        "detections/sigma/d.yml": "title: D\nid: d\nlogsource: {product: linux}\n",
        "playbooks/b.yml": "id: b\nkind: playbook\ntitle: B\n",
        "playbooks/c.yml": "id: c\nkind: clocks\ntitle: C\ndescription: C\nclocks: [{id: X, when: [never]}]\n",
        "retention/r.yml": "id: r\ntitle: R\nkind: ladder\nprofile: x\n",
        "connectors/national/n.yml": "id: n\nadapter: nonsense\n",
    }
    for name, text in faults.items():
        path = site / "content" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert run(["check", str(site / "content")]) == 3
    out, err = capsys.readouterr()
    for name in faults:
        assert re.search(rf"{re.escape(name)}:\d+: ", out), f"{name} is not named in:\n{out}"
    assert re.search(r"\d+ held, \d+ failed", err)


def test_check_refuses_a_folder_without_content(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped path is no success; exit 2."""
    assert run(["check", str(site)]) == 2
    assert "holds no folder of content" in capsys.readouterr().err


def test_config_shows_where_a_value_came_from(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The default, the file with its line, and a flag."""
    (site / "home").mkdir()
    (site / "home" / "soc.toml").write_text('[site]\nid = "kontum"\n')
    world = World(terminal=False)
    assert run(["--socket", str(site / "s"), "config", "show", "--origin"], world) == 0
    rows = {row[0]: row for row in (line.split("\t") for line in capsys.readouterr().out.splitlines())}
    assert rows["site.id"][1] == "kontum"
    assert rows["site.id"][2].endswith("soc.toml:2")
    assert (rows["web.port"][1:3], rows["web.socket"][2]) == (["8600", "default"], "flag")


def test_an_error_speaks_the_reader_s_language(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its way out too; the exit code is the same in each."""
    monkeypatch.setenv("SOC_LANG", "vi")
    assert run(["me"]) == 75
    assert capsys.readouterr().err == "soc: dịch vụ không chạy ở đây\n  soc up khởi động dịch vụ, hoặc thêm --url\n"


def test_without_a_service_one_sentence_says_so(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 75 and the way out, through the real client."""
    assert run(["--socket", str(site / "none.sock"), "alert", "list"]) == 75
    out, err = capsys.readouterr()
    assert (out, err) == ("", "soc: the service is not running here\n  soc up starts it, or give --url\n")


def test_a_message_of_several_lines_is_safe(capsys: pytest.CaptureFixture[str]) -> None:
    """An error may carry what a stranger wrote; each line is cleaned by itself."""

    def broken(*_: Any, **__: Any) -> Any:
        raise StoreError("a\x1b[2J\nb\x9b", hint="c\x07")

    assert run(["me"], World(connect=broken)) == 1
    assert capsys.readouterr().err == "soc: a\\x1b[2J\n     b\\x9b\n  c\\x07\n"


def test_a_reader_that_stops_is_no_error(site: Path) -> None:
    """`soc parse … | head -1` ends quietly with 0."""
    (site / "auth.log").write_bytes(LINES * 20_000)
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    with subprocess.Popen(
        [sys.executable, "-m", "soc", "parse", str(site / "auth.log")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_vietnamese_goes_through_a_locale_without_it(site: Path) -> None:
    """Under ISO 8859-1 what cannot be written is spelled out, and the command still ends well."""
    environment = {**os.environ, "PYTHONIOENCODING": "iso8859-1", "SOC_LANG": "vi"}
    result = subprocess.run(
        [sys.executable, "-m", "soc", "detect", "-r", str(site / "rule.yml"), str(site / "auth.log")],
        capture_output=True, env=environment, check=False,
    )  # fmt: skip
    assert (result.returncode, b"k\\u1ebft" in result.stderr) == (0, True)


def test_help_is_quick_for_what_it_imports() -> None:
    """No engine is loaded to show help."""
    program = "import sys\nfrom soc.console import cli\nprint([m for m in sys.modules if m in set(sys.argv[1:])])"
    heavy = ["duckdb", "pyarrow", "sqlalchemy", "sigma", "textual", "fastapi", "httpx", "evtx"]
    result = subprocess.run([sys.executable, "-c", program, *heavy], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
