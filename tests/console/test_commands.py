"""Every command against a service of canned answers: tables in both languages, envelopes, lines, exit codes."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from soc.console.cli import run
from soc.console.commands.call import World
from soc.errors import (
    Conflict,
    ContentError,
    Fault,
    NotFound,
    PermissionRefused,
    QueryError,
    SocError,
    TryAgain,
    UsageError,
)
from soc.model.clock import FixedClock
from soc.parsers.mibs import packed
from soc.store.events.rebuild import FoundFile, RebuildPlan
from tests.console.fake_client import ALERT, EVENT, HOLD_ID, NOW_US, PLAN_HASH, RUN, RUN_ID, SYSTEM, FakeClient

Soc = Callable[..., "Result"]
HIDDEN = ("Cc", "Cf", "Zl", "Zp")


class Result:
    """What one command line did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        """The only line of standard output."""
        (line,) = self.out.splitlines()
        return json.loads(line)


@pytest.fixture
def client() -> FakeClient:
    """The service."""
    return FakeClient()


@pytest.fixture
def soc(client: FakeClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Soc:
    """Runs a command line on a terminal of 120 columns, in English unless `lang` says otherwise."""
    for name in ("NO_COLOR", "SOC_TOKEN", "SOC_URL", "SOC_CONFIG", "SOC_SOCKET", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SOC_HOME", str(tmp_path / "home"))

    def call(*arguments: str, lang: str = "en", terminal: bool = True, answer: str = "", **world: Any) -> Result:
        monkeypatch.setenv("SOC_LANG", lang)
        made = World(
            connect=client.connect, clock=FixedClock(NOW_US * 1000), answer=lambda: answer, sleep=lambda _s: None,
            terminal=terminal, **{"width": 120, **world},
        )  # fmt: skip
        capsys.readouterr()
        code = run(["--no-color", *arguments], made)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return call


READS: list[tuple[str, int, str, str]] = [
    # command line, exit code, a word of its table in Vietnamese, and in English
    ("alert list", 0, "Trạng thái", "Status"),
    ("alert show 3f9a2c1b", 0, "Vì sao có cảnh báo", "Why it fired"),
    ("alert show 3f9a2c1b", 0, "hiển thị 1 trong 1.234", "showing 1 of 1,234"),
    ("alert show 3f9a2c1b", 0, "Tìm tất cả sự kiện", "Find all events"),
    ("alert events 3f9a2c1b", 0, "Nội dung", "Message"),
    ("alert ack 3f9a2c1b", 0, "Đã nhận cảnh báo 3f9a2c1b", "Alert 3f9a2c1b is yours"),
    ("alert close 3f9a2c1b --verdict test --reason drill", 0, "Đã đóng cảnh báo", "is closed"),
    ("alert note 3f9a2c1b called", 0, "Đã ghi chú vào cảnh báo", "Noted on alert"),
    ("alert ticket 3f9a2c1b", 0, "Các bước", "Steps"),
    ("backtest failed-login --against current", 0, "Độ chính xác", "Precision"),
    ("backtest failed-login", 0, "75,0 % (4)", "75.0 % (4)"),
    ("hunt user.name:root", 0, "Sự kiện cuối", "Last event"),
    ("coverage show", 3, "luật bị lỗi", "the rule broke"),
    ("coverage show --since 7d", 3, "Khoảng trống", "Gaps"),
    ("coverage backfill --rule r-1", 0, "Độ chính xác", "Precision"),
    ("job list", 0, "Đang chạy", "Running"),
    ("job show 77aa0b1c", 4, "Đã dừng", "Cancelled"),
    ("job hits 77aa0b1b", 0, "Đối tượng", "Entity"),
    ("job cancel 77aa0b1b", 0, "sẽ dừng", "ends with what it has"),
    ("ticket list", 0, "Đã giao", "Assigned"),
    ("ticket show KT-2026-000123", 0, "Thời hạn pháp lý", "Legal deadlines"),
    ("ticket move KT-2026-000123 contained", 0, "Phiếu KT-2026-000123", "Ticket KT-2026-000123"),
    ("ticket note KT-2026-000123 called", 0, "Đã ghi chú vào phiếu", "Noted on ticket"),
    ("ticket done KT-2026-000123 verify", 0, "Đã ghi nhận bước", "is done"),
    ("ticket classify KT-2026-000123 --serious --reason down", 0, "Đã phân loại sự cố", "is classified"),
    ("playbook list", 0, "Tiêu đề", "Title"),
    ("playbook show ssh-brute-force", 0, "Việc cần làm.", "What to do."),
    ("playbook plan KT-2026-000123 block", 0, "Cách hoàn tác", "Way back"),
    ("playbook approve 9c1e22f0 --hash 5f0c6b1d9a3e --yes", 0, "Đã phê duyệt lượt", "is approved"),
    ("playbook run 9c1e22f0", 0, "Đang có hiệu lực", "In effect"),
    ("playbook status", 0, "Chờ phê duyệt", "Waits for approval"),
    ("playbook status 9c1e22f0", 0, "Lệnh sẽ chạy", "Commands"),
    ("playbook revert 9c1e22f0", 0, "Đã hoàn tác", "Reverted"),
    ("playbook done 9c1e22f0 --note blocked", 0, "Đã ghi nhận lượt", "is recorded"),
    ("search source.ip:203.0.113.9", 0, "Loại nhật ký", "Dataset"),
    ("search --top user.name", 0, "Số lượng", "Count"),
    ("source list", 0, "Nhịp", "Cadence"),
    ("source list --unknown", 0, "Có lẽ là", "Probably"),
    ("source points", 0, "Thu từ", "Sees since"),
    ("source adopt 127.5.10.6 --system portal --yes", 0, "Đã thay đổi", "Changed"),
    ("source release 127.5.10.6 --system portal --dry-run", 0, "Chưa thay đổi gì", "Nothing was changed"),
    ("national status", 0, "Nơi nhận", "Destination"),
    ("national messages", 0, "Đang chờ", "Pending"),
    ("retention check", 3, "Chưa đạt", "Breach"),
    ("retention verify", 3, "Bị sửa đổi", "Altered"),
    ("retention plan", 0, "đã hết thời hạn lưu", "still owed"),
    ("retention plan --all", 0, "đã hết thời hạn lưu từ 2026-03-02", "due since 2026-03-02"),
    ("retention plans", 0, "Đã lập", "Planned"),
    ("retention plans 5f0c6b1d9a3e", 0, "Xóa", "Delete"),
    ("retention apply 5f0c6b1d9a3e --reason due --yes", 0, "Người duyệt", "Approved by"),
    ("retention certificates", 0, "Số tệp", "Files"),
    ("retention hold add --system portal --reason law", 0, "Lý do", "Reason"),
    ("retention hold list", 0, "Lý do", "Reason"),
    ("retention hold release 7d21c90e --reason over", 0, "Lý do", "Reason"),
    ("ledger list", 0, "Hành động", "Act"),
    ("ledger verify", 3, "entry 7", "entry 7"),
    ("system list", 0, "Đơn vị chủ quản", "Owner unit"),
    ("system show portal", 0, "Cấp độ theo thời gian", "Levels"),
    ("system set portal contact=0260", 0, "Đã ghi hệ thống portal", "System portal is kept"),
    ("person list", 0, "Vai trò", "Role"),
    ("person add lan --role tier1", 0, "Vai trò", "Role"),
    ("person token lan", 0, "t.s", "t.s"),
    ("status", 0, "Tiến trình", "Process"),
    ("me", 0, "Quyền", "Permissions"),
    ("config show --origin", 0, "Thiết lập", "Setting"),
]
ONLINE = [line for line, *_ in READS if not line.startswith("config")]


def is_safe(text: str) -> bool:
    """Whether nothing in it can steer a terminal or hide from a reader."""
    return not any(unicodedata.category(c) in HIDDEN for c in text.replace("\n", "").replace("\t", ""))


@pytest.mark.parametrize(("line", "code", "vi", "en"), READS, ids=[line for line, *_ in READS])
def test_on_a_terminal_every_command_speaks_both_languages(soc: Soc, line: str, code: int, vi: str, en: str) -> None:
    """The same command shows its table in Vietnamese or in English, with the same exit code."""
    for lang, word in (("vi", vi), ("en", en)):
        result = soc(*line.split(), lang=lang)
        assert result.code == code, result.err
        # A narrow column may fold a heading; the words of it are there all the same.
        assert word in result.out or all(part in result.out for part in word.split()), result.out


@pytest.mark.parametrize("line", ONLINE)
def test_nothing_that_a_log_says_steers_the_terminal(soc: Soc, line: str) -> None:
    """Escape sequences, C1 controls and direction marks are spelled out, in tables, lines, JSON and remarks."""
    for arguments in ([*line.split()], [*line.split(), "--json"]):
        for terminal in (True, False):
            result = soc(*arguments, terminal=terminal)
            assert is_safe(result.out), repr(result.out)
            assert is_safe(result.err), repr(result.err)


@pytest.mark.parametrize("line", ONLINE)
def test_json_is_the_envelope_of_the_api(soc: Soc, client: FakeClient, line: str) -> None:
    """One line with schema, data, truncated, warnings and cursor, wherever `--json` stands; nothing is lost in it."""
    client.truncated, client.cursor, client.warnings = True, "c1", ["some are gone"]
    client.answers[("GET", "/v1/events")] = lambda asked: [] if "cursor" in asked else [EVENT]
    before, after = soc("--json", *line.split()), soc(*line.split(), "--json")
    assert before.json == after.json
    assert before.json["schema"] == "soc.fake/v1"
    assert set(before.json) >= {"schema", "data", "truncated", "warnings", "cursor"}
    assert (before.json["truncated"], before.json["warnings"]) == (True, ["some are gone"])


def test_json_carries_hostile_text_unchanged(soc: Soc) -> None:
    """What is escaped for the terminal reads back as what the log said."""
    assert soc("alert", "list", "--json").json["data"][0]["title"] == ALERT["title"]


def test_in_a_pipe_lines_are_tab_separated_and_whole(soc: Soc) -> None:
    """No headings, no frames, stored words and whole ids."""
    result = soc("alert", "list", terminal=False)
    first = result.out.splitlines()[0].split("\t")
    assert (first[0], first[2], first[3]) == (ALERT["id"], "high", "new")
    assert len(result.out.splitlines()) == 2


def test_what_was_cut_is_said(soc: Soc, client: FakeClient) -> None:
    """Truncation and warnings go to standard error, with how to go on."""
    client.truncated, client.cursor, client.warnings = True, "c9", ["2 events are no longer here"]
    result = soc("alert", "list")
    assert "--before c9" in result.err
    assert "2 events are no longer here" in result.err


ERRORS: list[tuple[SocError, int]] = [
    (UsageError("a", hint="b"), 2), (PermissionRefused("a", hint="b"), 5), (NotFound("a", hint="b"), 1),
    (Conflict("a", hint="b"), 1), (TryAgain("a", hint="b"), 75), (SocError("a", hint="b"), 1),
]  # fmt: skip


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda e: type(e).__name__ if isinstance(e, SocError) else "")
def test_an_error_is_one_sentence_with_its_way_out(soc: Soc, client: FakeClient, error: SocError, code: int) -> None:
    """The exit code is the error's, nothing goes to standard output, and there is no traceback."""
    client.answers[("GET", "/v1/alerts")] = error
    result = soc("alert", "list")
    assert (result.code, result.out, result.err) == (code, "", "soc: a\n  b\n")
    assert client.is_closed


def test_a_wrong_query_is_pointed_at(soc: Soc, client: FakeClient) -> None:
    """The column of a QueryError becomes a mark under the text."""
    client.answers[("GET", "/v1/events")] = QueryError("')' is missing", column=4)
    result = soc("search", "a:(b")
    assert result.code == 2
    assert "  a:(b\n     ^\n" in result.err


def test_ctrl_c_is_130(soc: Soc, client: FakeClient) -> None:
    """An interrupted command ends quietly with 130."""

    def interrupted(_asked: Any) -> Any:
        raise KeyboardInterrupt

    client.answers[("GET", "/v1/alerts")] = interrupted
    result = soc("alert", "list")
    assert (result.code, result.out, result.err) == (130, "", "")


def test_the_caller_may_act_as_another_person(soc: Soc, client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--as` before or after the command, `--url` and SOC_TOKEN reach the client."""
    soc("--as", "lan", "me")
    assert client.options["acting"] == "lan"
    monkeypatch.setenv("SOC_TOKEN", "secret")
    soc("--url", "http://localhost:8600", "alert", "list", "--as", "minh")
    assert (client.options["acting"], client.options["url"]) == ("minh", "http://localhost:8600")
    assert client.options["token"] == "secret"


def test_an_id_may_be_its_end(soc: Soc, client: FakeClient) -> None:
    """The eight characters that a table shows name the alert; an end that fits none or several is refused."""
    assert soc("alert", "show", "3f9a2c1b").code == 0
    assert soc("alert", "show", "0000aaaa").code == 1
    client.answers[("GET", "/v1/alerts")] = [ALERT, {**ALERT, "id": "9" + str(ALERT["id"])[1:]}]
    result = soc("alert", "show", "3f9a2c1b")
    assert (result.code, "several" in result.err) == (2, True)


def test_search_goes_over_pages(soc: Soc, client: FakeClient) -> None:
    """A limit above a page asks on with the cursor, until enough came."""
    client.answers[("GET", "/v1/events")] = lambda asked: [EVENT] * min(asked["limit"], 1000)
    client.cursor = "c1"
    result = soc("search", "", "--limit", "1500", terminal=False)
    assert len(result.out.splitlines()) == 1500
    assert [call[2].get("cursor") for call in client.calls] == [None, "c1"]


def test_a_day_is_vietnams(soc: Soc, client: FakeClient) -> None:
    """A time without a zone is of Asia/Ho_Chi_Minh; so long ago stays as it is; what is no time is refused."""
    soc("search", "--since", "2026-11-20", "--until", "1h")
    asked = client.asked("GET", "/v1/events")
    assert (asked["since"], asked["until"]) == ("2026-11-19T17:00:00Z", "1h")
    assert soc("search", "--since", "yesterday").code == 2


def test_search_shows_the_fields_asked_for(soc: Soc) -> None:
    """`--fields` heads columns with the fields' names; `--full` shows every field."""
    result = soc("search", "--fields", "@timestamp,source.ip")
    assert "source.ip" in result.out
    assert "2026-11-26 01:00:00" in result.out
    assert "event.dataset" in soc("search", "--full").out


def test_search_counts(soc: Soc, client: FakeClient) -> None:
    """`--count` says how many match in all."""
    client.total = 12345
    assert "12,345 events match" in soc("search", "--count").err
    assert client.asked("GET", "/v1/events")["count"] is True


def test_tail_goes_on_where_it_broke(soc: Soc, client: FakeClient) -> None:
    """A broken stream is opened again after the last position; what was skipped is counted; JSON is a line each."""
    client.streamed = [
        [{"event": EVENT}, {"position": "7", "skipped": 3}, TryAgain("gone")],
        [{"event": {**EVENT, "host.name": "web02"}}],
    ]
    result = soc("tail", "event.dataset:linux.sshd", "--json")
    assert [json.loads(line)["host.name"] for line in result.out.splitlines()] == ["web01", "web02"]
    assert [call[2].get("after") for call in client.calls] == [None, "7"]
    assert "3 events were skipped" in result.err
    assert is_safe(result.out)


def test_tail_without_a_service_does_not_wait(soc: Soc, client: FakeClient) -> None:
    """The first failure is the command's."""
    client.streamed = [[TryAgain("the service is not running here", hint="soc up starts it")]]
    assert soc("tail").code == 75


def test_tail_stops_after_so_many(soc: Soc, client: FakeClient) -> None:
    """`--limit` ends it, and its lines are safe."""
    client.streamed = [[{"event": EVENT}] * 5]
    result = soc("tail", "--limit", "2")
    assert len(result.out.splitlines()) == 2
    assert is_safe(result.out)


def test_approval_shows_the_plan_and_asks(soc: Soc, client: FakeClient) -> None:
    """The exact commands, the way back and the expiry are shown before the question; no answer is no approval."""
    result = soc("playbook", "approve", "9c1e22f0", "--hash", "5f0c6b1d9a3e", answer="n\n")
    assert (result.code, "nothing was done" in result.err) == (2, True)
    assert "nft add element inet soc blocked '{ 203.0.113.9 timeout 24h }'" in result.err
    assert "nft delete element" in result.err
    assert "24 h after it is applied (if now: 2026-11-27 01:00)" in result.err
    assert ("POST", f"/v1/runs/{RUN_ID}/approve") not in [call[:2] for call in client.calls]
    assert soc("playbook", "approve", "9c1e22f0", "--hash", "5f0c6b1d9a3e", answer="").code == 2
    assert soc("--no-input", "playbook", "approve", "9c1e22f0", "--hash", "5f0c6b1d9a3e", answer="y\n").code == 2


@pytest.mark.parametrize(("lang", "said"), [("en", "y\n"), ("vi", "có\n")])
def test_approval_is_bound_to_the_whole_hash(soc: Soc, client: FakeClient, lang: str, said: str) -> None:
    """The beginning of the hash is enough to name the plan; the whole one is what is sent."""
    assert soc("playbook", "approve", "9c1e22f0", "--hash", "5F0C6B1D9A3E", lang=lang, answer=said).code == 0
    assert client.asked("POST", f"/v1/runs/{RUN_ID}/approve") == {"plan_hash": PLAN_HASH}


def test_another_plan_is_not_approved(soc: Soc) -> None:
    """A hash that is too short, or of another plan, is refused even with `--yes`."""
    assert soc("playbook", "approve", "9c1e22f0", "--hash", "5f0c", "--yes").code == 2
    assert soc("playbook", "approve", "9c1e22f0", "--hash", "5f0c6b1d9a3f", "--yes").code == 1


def test_a_plan_takes_parameters(soc: Soc, client: FakeClient) -> None:
    """`--set k=v` is sent; what is no pair is refused."""
    soc("playbook", "plan", "KT-2026-000123", "block", "--set", "address=203.0.113.9")
    assert client.asked("POST", "/v1/runs")["params"] == {"address": "203.0.113.9"}
    assert soc("playbook", "plan", "KT-2026-000123", "block", "--set", "address").code == 2


def test_a_run_that_failed_is_no_success(soc: Soc, client: FakeClient) -> None:
    """Exit 1, with what went wrong."""
    client.answers[("POST", f"/v1/runs/{RUN_ID}/run")] = {**RUN, "state": "failed", "error": "no such table"}
    result = soc("playbook", "run", "9c1e22f0")
    assert (result.code, "no such table" in result.err) == (1, True)


def test_a_manual_task_says_so(soc: Soc, client: FakeClient) -> None:
    """Where no device can act, the plan says that a person must, and how to record it."""
    client.answers[("POST", "/v1/runs")] = {**RUN, "state": "manual"}
    result = soc("playbook", "plan", "KT-2026-000123", "block")
    assert "soc playbook done 9c1e22f0" in result.err


def test_compliant_is_exit_0(soc: Soc, client: FakeClient) -> None:
    """Only a breach makes `retention check` exit 3; a fault-free proof and ledger exit 0."""
    client.answers[("GET", "/v1/retention")] = {"standings": [], "compliant": True}
    client.answers[("GET", "/v1/ledger/verify")] = {"ok": True, "entries": 1, "faults": []}
    whole = {"ok": True, "faults": [], "segments": 1, "tombstones": 0, "certificates": 0,
             "ledger": {"ok": True, "entries": 1, "faults": []}}  # fmt: skip
    client.answers[("GET", "/v1/retention/verify")] = whole
    assert [soc(*line.split()).code for line in ("retention check", "ledger verify", "retention verify")] == [0, 0, 0]
    assert soc("retention", "verify", "--content").code == 0
    assert ("GET", "/v1/retention/verify", {"content": True}) in client.calls
    assert client.waits["/v1/retention/verify"] == 4 * 3600


def test_deletion_asks_first(soc: Soc, client: FakeClient) -> None:
    """Applying a plan shows it on stderr, asks, and sends the reason: who closes stdout early stops nothing halfway."""
    refused = soc("retention", "apply", "5f0c6b1d9a3e", "--reason", "due", answer="no\n")
    assert (refused.code, refused.out, PLAN_HASH[:12] in refused.err) == (2, "", True)
    assert not [call for call in client.calls if call[1].endswith("/apply")]
    assert soc("retention", "apply", "5f0c6b1d9a3e", "--reason", "due", answer="yes\n").code == 0
    assert client.asked("POST", f"/v1/retention/plans/{PLAN_HASH}/apply") == {"reason": "due"}


def test_pipes_get_times_that_say_their_zone(soc: Soc, client: FakeClient) -> None:
    """A tab-separated line has ISO 8601 with Vietnam's offset, not a number of microseconds."""
    client.answers[("GET", "/v1/alerts")] = [{"id": RUN_ID, "last_us": 1_795_627_303_000_000, "level": "high"}]
    assert "2026-11-26T00:21:43.000+07:00" in soc("alert", "list", terminal=False).out


def test_a_hold_speaks_of_local_days(soc: Soc, client: FakeClient) -> None:
    """The span of a hold is taken in Vietnam's zone, and a hold is released by the end of its id."""
    soc("retention", "hold", "add", "--since", "2026-11-20", "--reason", "law")
    assert client.asked("POST", "/v1/retention/holds")["since"] == "2026-11-19T17:00:00Z"
    soc("retention", "hold", "release", HOLD_ID[-8:], "--reason", "over")
    assert client.asked("POST", f"/v1/retention/holds/{HOLD_ID}/release") == {"reason": "over"}


def test_a_level_is_added_as_a_decision(soc: Soc, client: FakeClient) -> None:
    """`system set` keeps what it does not name, adds the decision, and refuses unknown keys with the nearest."""
    assert soc("system", "set", "portal", "level=4", "since=2026-12-01", "networks=10.1.0.0/24,10.2.0.0/24").code == 0
    kept = client.asked("PUT", "/v1/systems/portal")["document"]
    assert [level["level"] for level in kept["levels"]] == [3, 4]
    assert (kept["networks"], kept["code"]) == (["10.1.0.0/24", "10.2.0.0/24"], SYSTEM["code"])
    result = soc("system", "set", "portal", "contct=x")
    assert (result.code, "did you mean 'contact'?" in result.err) == (2, True)


def test_a_system_is_added_from_a_file(soc: Soc, client: FakeClient, tmp_path: Path) -> None:
    """The definition is sent with its reason, dates as text."""
    good = tmp_path / "good.yml"
    good.write_text("id: portal\nname: Portal\nregistered: 2026-01-01\n")
    assert soc("system", "add", str(good), "--reason", "15/QĐ").code == 0
    sent = client.asked("PUT", "/v1/systems/portal")
    assert sent["reason"] == "15/QĐ"
    assert str(sent["document"]["registered"]) == "2026-01-01"


def test_mibs_are_shown_as_a_plan_and_added_when_asked(soc: Soc, client: FakeClient, tmp_path: Path) -> None:
    """Every file of a folder is sent; the plan and its faults are shown, and a fault makes the whole partial."""
    (tmp_path / "a.mib").write_text("A-MIB DEFINITIONS ::= BEGIN END")
    row = {"module": "A-MIB", "state": "new", "objects": 2, "notifications": 1, "file": "a.mib"}
    fault = {"file": "b.mib", "line": 7, "message": "imports 'C-MIB', which nobody gave us", "hint": "add it"}

    def answer(asked: Mapping[str, Any]) -> dict[str, Any]:
        return {"modules": [row], "faults": [fault], "applied": bool(asked.get("apply"))}

    client.answers[("POST", "/v1/mibs")] = answer
    shown = soc("mib", "add", str(tmp_path), "--dry-run")
    assert "apply" not in client.asked("POST", "/v1/mibs")
    assert (shown.code, "b.mib:7: imports 'C-MIB'" in shown.err, "A-MIB" in shown.out) == (4, True, True)
    added = soc("mib", "add", str(tmp_path), "--yes", "--reason", "new")
    asked = client.asked("POST", "/v1/mibs")
    assert (asked["apply"], asked["reason"]) == (True, "new")
    assert packed.unpack(asked["files"]) == [(str(tmp_path / "a.mib"), "A-MIB DEFINITIONS ::= BEGIN END")]
    assert "in use within seconds" in added.out
    assert (client.waits["/v1/mibs"] or 0) > 120
    assert soc("mib", "add", str(tmp_path / "none")).code == 2


def test_a_mib_is_shown_removed_and_restored(soc: Soc, client: FakeClient) -> None:
    """Its notifications, its objects with the words of their values."""
    table = {
        "notifications": {"1.3.0.1": {"name": "fanFailed", "severity": "major", "description": "A fan stopped."}},
        "objects": {"1.3.1": "fanState"}, "labels": {"1.3.1": {"2": "stopped", "1": "running"}}, "imports": [],
    }  # fmt: skip
    client.answers[("GET", "/v1/mibs/A-MIB")] = {"module": "A-MIB", "table": table}
    shown = soc("mib", "show", "A-MIB").out
    assert "fanFailed" in shown
    assert "running(1), stopped(2)" in shown
    for act, said in (("remove", "undoes it"), ("restore", "as it was before")):
        client.answers[("POST", f"/v1/mibs/A-MIB/{act}")] = {"module": "A-MIB"}
        assert said in soc("mib", act, "A-MIB", "--reason", "x").out


def test_faults_of_a_system_have_their_lines(soc: Soc, client: FakeClient, tmp_path: Path) -> None:
    """What the service refuses, and what is no definition at all, is told with file and line; exit 2."""
    bad = tmp_path / "bad.yml"
    bad.write_text("id: portal\nname: Portal\nlevls: 3\n")
    client.answers[("PUT", "/v1/systems/portal")] = ContentError([Fault("system portal", 1, "unknown key 'levls'")])
    result = soc("system", "add", str(bad))
    assert (result.code, f"{bad}:3: unknown key 'levls'" in result.err) == (2, True)
    bad.write_text("name: nameless\n")
    assert f"{bad}:1: 'id' is missing" in soc("system", "add", str(bad)).err
    bad.write_text("id: [portal\n")
    assert soc("system", "add", str(bad)).code == 2
    bad.write_text("")
    assert soc("system", "add", str(bad)).code == 2


def test_columns_are_left_out_where_there_is_no_room(soc: Soc) -> None:
    """At 60 columns no line is longer, the id stays whole, and what was left out is named."""
    result = soc("ticket", "list", width=60)
    assert all(len(line) <= 60 for line in result.out.splitlines())
    assert "KT-2026-000123" in result.out
    assert "No room for: " in result.err


def test_a_plan_is_grouped_for_people(soc: Soc) -> None:
    """Files with the same fate and reason are one row; a pipe gets each file."""
    shown, piped = soc("retention", "plan"), soc("retention", "plan", terminal=False)
    assert "still owed" in shown.out
    assert [line.split("\t")[1] for line in piped.out.splitlines()] == ["2026-01-01", "2026-11-01"]


def test_import_ends_with_a_summary(soc: Soc, client: FakeClient, tmp_path: Path) -> None:
    """Datasets, the time span, parse failures and the top findings; exit 0."""
    log = tmp_path / "auth.log"
    log.write_text("x\n")
    result = soc("import", str(log))
    assert result.code == 0
    for word in ("linux.sshd", "2026-11-25 10:00:00", "SSH", "High"):
        assert word in result.out
    assert "1 files (4.0 KiB), 0 failed; 3 events, 1 of them unparsed" in result.err
    assert is_safe(result.out)
    assert soc("import", str(log), "--json").json["data"][0]["stored"] == 3


def test_an_archive_s_members_have_a_line_each(soc: Soc, client: FakeClient, tmp_path: Path) -> None:
    """Name, state, format, records and the reason; a file that is none has no such table. `--resume` is handed on."""
    log = tmp_path / "logs.zip"
    log.write_text("x\n")
    done = client.answers[("GET", "/v1/imports/imp-1")]
    one = {"name": "logs.zip!a.log", "format": "lines", "records": 3, "state": "read", "why": ""}
    two = {"name": "logs.zip!b\x1b[31m.gz", "format": "", "records": 0, "state": "failed", "why": "encrypted"}
    failed = {**done, "state": "failed", "error": "logs.zip!b.gz: encrypted", "members": [one, two], "members_total": 2}
    client.answers[("GET", "/v1/imports/imp-1")] = failed
    result = soc("import", "--resume", str(log))
    assert result.code == 4
    for word in ("logs.zip!a.log", "lines", "Read", "Failed", "encrypted"):
        assert word in result.out
    assert is_safe(result.out)
    assert client.asked("UPLOAD", str(log))["resume"] is True
    assert soc("import", str(log), "--json").json["data"][0]["members"][0] == one
    client.answers[("GET", "/v1/imports/imp-1")] = {**done, "members": [one], "members_total": 1}
    assert "logs.zip!a.log" not in soc("import", str(log)).out


def test_import_waits_until_everything_is_stored(soc: Soc, client: FakeClient, tmp_path: Path) -> None:
    """Read is not stored: the command stays while records are pending, and until nothing more is found."""
    log = tmp_path / "auth.log"
    log.write_text("x\n")
    done = client.answers[("GET", "/v1/imports/imp-1")]
    states = [{**done, "state": "reading"}, {**done, "pending": 2}, {**done, "findings": []}]
    client.answers[("GET", "/v1/imports/imp-1")] = lambda _asked: states.pop(0) if states else done
    result = soc("import", str(log), "--json")
    assert not states
    assert len(result.json["data"][0]["findings"]) == 1


def test_a_failed_import_is_exit_4(soc: Soc, client: FakeClient, tmp_path: Path) -> None:
    """One file that could not be taken does not stop the others; one that goes nowhere is given up, and said."""
    good, bad = tmp_path / "good.log", tmp_path / "bad.log"
    for path in (good, bad):
        path.write_text("x\n")
    client.answers[("UPLOAD", "bad.log")] = Conflict("the part is another one")
    result = soc("import", str(bad), str(good))
    assert (result.code, f"{bad}: the part is another one" in result.err) == (4, True)
    assert "2 files" in result.err
    client.answers[("GET", "/v1/imports/imp-1")] = {**client.answers[("GET", "/v1/imports/imp-1")], "pending": 2}
    result = soc("import", str(good))
    assert (result.code, "2 records are not stored" in result.err) == (4, True)


def test_import_refuses_what_is_no_file(soc: Soc, client: FakeClient, tmp_path: Path) -> None:
    """Missing files and folders are all told before anything is sent; exit 2."""
    result = soc("import", str(tmp_path), str(tmp_path / "none.log"))
    assert (result.code, client.calls) == (2, [])
    assert "no such file" in result.err
    assert "is a folder" in result.err


def test_sources_say_what_was_dropped_and_whether_it_balances(soc: Soc, client: FakeClient) -> None:
    """Drops by reason, and the equation; an owner unit's person sees no totals."""
    result = soc("source", "list")
    assert "10 records dropped (full)" in result.err
    assert "Balances: 1,000 received" in result.err
    accounts = client.answers[("GET", "/v1/sources")]
    accounts["sources"][0]["unbelieved"] = {"a wrong digest": 3}
    accounts["sources"][0] |= {"refused": {"vanished": 2}, "forgotten": {"exporter_forgotten": 4}}
    said = soc("source", "list").err
    assert "3 records kept but not believed (a wrong digest)" in said
    assert "2 connections turned away or given up (vanished)" in said
    assert "4 times a parser had no room and let something go (exporter_forgotten)" in said
    client.answers[("GET", "/v1/sources")] = {**accounts, "totals": {**accounts["totals"], "balanced": False}}
    assert "DOES NOT BALANCE" in soc("source", "list").err
    client.answers[("GET", "/v1/sources")] = {**accounts, "totals": None}
    assert soc("source", "list").code == 0


def test_a_polled_source_says_how_it_is_doing(soc: Soc, client: FakeClient) -> None:
    """State, last success, errors and how far behind stand below the table."""
    health = {
        "name": "cloud", "driver": "rest", "state": "failing", "fault": "cloud.example answers 500", "errors": 7,
        "errors_in_row": 3, "last_success_us": 1_795_600_000_000_000, "lag_records": 12, "lag_s": None,
        "counts": {"commit_failed": 2, "without_time": 1_400},
    }  # fmt: skip
    accounts = client.answers[("GET", "/v1/sources")]
    [row] = accounts["sources"]
    client.answers[("GET", "/v1/sources")] = {**accounts, "sources": [{**row, "poll": health}]}
    said = soc("source", "list").err
    assert "cloud (rest): FAILING; last success 2026" in said
    assert "3 errors in a row, 7 in all; 12 records behind; commits that failed: 2, " in said
    assert "records without a time: 1,400: cloud.example answers 500" in said


def test_habits_stand_in_the_list(soc: Soc, client: FakeClient) -> None:
    """Cadence or silence, the clock, and the part that no parser understood."""
    text = soc("source", "list").out
    assert "≤ 20 s" in text
    assert "-3 h" in text
    assert "0.1 %" in text
    client.answers[("GET", "/v1/sources")]["sources"][0]["silence"]["silent"] = True
    assert "SILENT" in soc("source", "list").out


def test_adoption_shows_its_plan_and_asks(soc: Soc, client: FakeClient) -> None:
    """Nothing is applied before a person said yes, or with --dry-run."""
    assert soc("source", "adopt", "127.5.10.6", "--system", "portal", "--dry-run").code == 0
    assert soc("source", "adopt", "127.5.10.6", "--system", "portal").code == 2
    sent = [asked.get("apply", False) for verb, path, asked in client.calls if path == "/v1/sources/adopt"]
    assert sent == [False, False]
    result = soc("source", "adopt", "127.5.10.6", "--system", "portal", "--reason", "r", "--yes")
    assert "would belong to system portal" in result.err
    assert client.asked("POST", "/v1/sources/adopt") == {
        "address": "127.5.10.6", "system": "portal", "site": client.answers[("GET", "/v1/systems/portal")]["site"],
        "reason": "r", "apply": True,
    }  # fmt: skip


def test_the_share_of_the_queue_is_shown(soc: Soc, client: FakeClient) -> None:
    """Between its watermarks, and whether senders wait."""
    counts = {"queue_used": 1 << 30, "queue_share": 8 << 30, "queue_high": 90, "queue_low": 70, "held_s": 0}
    process = {"name": "collect", "state": "running", "pid": 1, "at_us": NOW_US, "counts": counts}
    client.answers[("GET", "/v1/status")]["processes"] = [process]
    assert "1.0 GiB of 8.0 GiB (from 90 % on" in " ".join(soc("status").out.split())
    counts["held_s"] = 12
    assert "SENDERS WAIT since 12 s" in " ".join(soc("status").out.split())


def test_what_a_process_holds_stands_beside_its_budget(soc: Soc, client: FakeClient) -> None:
    """One that is above it is marked; one without a budget only says what it holds."""
    common = {"state": "running", "pid": 1, "at_us": NOW_US, "counts": {}}
    sizes = {"work0": (300 << 20, 400 << 20), "serve": (600 << 20, 500 << 20), "receiver": (90 << 20, 0)}
    client.answers[("GET", "/v1/status")]["processes"] = [
        {**common, "name": name, "memory": held, "memory_budget": budget} for name, (held, budget) in sizes.items()
    ]
    said = " ".join(soc("status").out.split())
    assert "300.0 MiB / 400.0 MiB" in said
    assert "600.0 MiB / 500.0 MiB !" in said
    assert "400.0 MiB !" not in said
    assert "90.0 MiB" in said


def test_what_was_pruned_is_said_in_words(soc: Soc, client: FakeClient) -> None:
    """By kind, since the beginning."""
    client.answers[("GET", "/v1/status")]["pruned"] = {"withheld": 1_200, "finding": 3}
    assert "withheld findings: 1,200, records of findings: 3" in " ".join(soc("status").out.split())
    assert ": 1.200, " in " ".join(soc("status", lang="vi").out.split())
    assert soc("status", "--json", lang="vi").json["data"]["pruned"] == {"withheld": 1_200, "finding": 3}


def test_what_correlations_left_out_is_said_in_words(soc: Soc, client: FakeClient) -> None:
    """Caps, late events and what lacks a field: a person sees how many."""
    counts = {"documents": 9, "groups": 2, "left_out": {"late": 1_200, "evicted_groups": 3}}
    process = {"name": "correlate", "state": "running", "pid": 1, "at_us": NOW_US, "counts": counts}
    client.answers[("GET", "/v1/status")]["processes"] = [process]
    said = " ".join(soc("status").out.split())
    assert "came too late: 1,200, groups put out, there were too many: 3" in said
    assert "documents=9 groups=2" in said


def test_no_wall_is_said(soc: Soc) -> None:
    """Where the service runs as the caller, `me` says that nothing keeps its files from them."""
    assert "nothing keeps its files from you" in soc("me").err


class FakeProcesses(SimpleNamespace):
    """`soc.processes` that only notes what was started."""

    def __init__(self) -> None:
        super().__init__(calls=[])

    def __getattr__(self, name: str) -> Any:
        def started(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, arguments, options))
            if name == "prepare_simulation":
                listen = (SimpleNamespace(name="syslog-udp", port=5514),)
                return SimpleNamespace(
                    home=arguments[0], socket="s", web_host="h", web_port=8600, web_certificate="", simulated=True,
                    listen=listen,
                )  # fmt: skip
            if name == "up":
                options["ready"]({"serve": {"port": 8601}, "collect": {"ports": {"syslog-udp": 5515}}}, Event())
            return SCORE if name == "score" else None

        return started


SCORE = {
    "caught": [{"id": "a", "name": "ssh_brute_force", "entity": ["203.0.113.9"], "alerts": [ALERT["id"]],
                "seconds": 4.5}],
    "missed": [{"id": "b", "name": "port_scan", "entity": ["198.51.100.7"], "technique": ["T1046"],
                "start_us": NOW_US, "why": "no_alert"}],
    "false": [], "pending": [], "outside": 0, "expected": 2, "recall": 0.5, "slowest_s": 4.5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "name", "options"),
    [
        ("collect", "collect", {}), ("work --index 2", "work", {}), ("correlate --index 2", "correlate", {}),
        ("lookback", "lookback", {}),
        ("serve", "serve", {}), ("compact", "compact", {}), ("simulate run --rate 5", "simulate", {"rate": 5.0}),
        ("national serve --port 1 --drop-replies 2", "receiver", {"port": 1, "drop_replies": 2}),
    ],
)  # fmt: skip
def test_each_process_has_its_command(soc: Soc, line: str, name: str, options: dict[str, Any]) -> None:
    """The command calls the process with the settings in use."""
    processes = FakeProcesses()
    assert soc(*line.split(), processes=lambda: processes).code == 0
    ((called, arguments, given),) = processes.calls
    assert (called, given) == (name, options)
    assert arguments[0].home.name == "home"
    if name == "collect":  # and how it reads its settings again
        assert arguments[1]() == arguments[0]
        return
    assert arguments[1:] == ((2,) if name in ("work", "correlate") else ())


def test_up_says_where_to_look(soc: Soc) -> None:
    """Ports that were really taken, the API, and that what is there is simulated."""
    processes = FakeProcesses()
    result = soc("up", "--simulate", "--no-console", processes=lambda: processes)
    assert [name for name, *_ in processes.calls] == ["prepare_simulation", "up"]
    for words in ("syslog-udp: 5515", "port 5514 is taken", "http://h:8601", "port 8600 is taken", "simulated"):
        assert words in result.err


def test_the_score_lists_what_was_missed(soc: Soc) -> None:
    """Caught, missed with the reason, and the figures."""
    processes = FakeProcesses()
    result = soc("simulate", "score", processes=lambda: processes)
    assert "port_scan" in result.out
    assert "no alert at all" in result.out
    assert "Caught 1/2 (50%), missed 1, false 0, under way 0; slowest 4.5 s." in result.err
    assert soc("simulate", "score", "--json", processes=lambda: processes).json["data"]["expected"] == 2


@pytest.mark.parametrize(
    ("line", "answer", "code", "applied"),
    [("", "no\n", 2, False), ("", "yes\n", 4, True), ("--yes", "", 4, True), ("--dry-run", "", 4, False)],
)
def test_a_lost_catalogue_is_made_anew_when_a_person_agrees(
    soc: Soc, line: str, answer: str, code: int, applied: bool
) -> None:
    """The plan first, by state, then what was refused and why; exit 4 for that. Without a yes nothing is done."""
    files = (
        FoundFile("seg/a.parquet", "sealed", 10, 1000), FoundFile("seg/b.parquet", "sealed", 5, 500),
        FoundFile("seg/c.parquet", "refused", why="torn \x1b[31m"),
    )  # fmt: skip
    agreed = []

    def rebuild_store(settings: Any, asked: Any, progress: Any) -> RebuildPlan:
        plan = RebuildPlan(files, ())
        agreed.append(asked(plan))
        progress(1, 2)
        return plan

    processes = SimpleNamespace(rebuild_store=rebuild_store)
    result = soc("store", "rebuild", *line.split(), processes=lambda: processes, answer=answer)
    assert (result.code, agreed) == (code, [applied] if code == 4 else [])
    shown = result.err if answer == "no\n" else result.out
    assert "refused" in shown.lower()
    assert "seg/c.parquet" in shown
    assert "\x1b[31m" not in shown
    assert ("soc retention verify --content" in result.err) == applied
    told = soc("store", "rebuild", "--dry-run", "--json", processes=lambda: processes).json
    assert (told["schema"], told["data"]["applied"]) == ("soc.store.rebuild/v1", False)
    assert [file["state"] for file in told["data"]["files"]] == ["sealed", "sealed", "refused"]


def test_packets_are_written_to_a_file_of_ones_own(soc: Soc, client: FakeClient, tmp_path: Path) -> None:
    """Mode 0600, never over a file that is there; exit 4 when the answer was cut."""
    out = tmp_path / "flow.pcapng"
    client.answers["FETCH", "/v1/packets"] = (b"octets", {"x-soc-packets": "12", "x-soc-truncated": "false"})
    line = ("packet", "get", "--community-id", "1:x", "-o", str(out), "--reason", "PH-12", "--since", "1h")
    assert soc(*line).code == 0
    assert (out.read_bytes(), out.stat().st_mode & 0o777) == (b"octets", 0o600)
    assert client.asked("FETCH", "/v1/packets") == {"community_id": "1:x", "since": "1h", "reason": "PH-12"}
    again = soc(*line)
    assert (again.code, "is there already" in again.err) == (2, True)
    out.unlink()
    client.answers["FETCH", "/v1/packets"] = (b"octets", {"x-soc-packets": "12", "x-soc-truncated": "true"})
    assert (soc(*line).code, out.exists()) == (4, True)


def test_packets_of_a_distant_unit_are_waited_for(soc: Soc, client: FakeClient, tmp_path: Path) -> None:
    """The unit answers when it calls; who does not want to wait is told how to go on (75), and goes on with that."""
    out, looks = tmp_path / "flow.pcapng", iter([0, 5, 9, 9, 9])

    def state(_asked: Any) -> dict[str, Any]:
        came = next(looks)
        row = {"unit": "xa-dakbla", "bytes": came, "size": 9, "is_done": came == 9, "packets": 3, "is_cut": False}
        return {"id": "abc", "is_done": came == 9, "units": [row]}

    client.answers["FETCH", "/v1/packets"] = {"id": "abc", "units": ["xa-dakbla"]}
    client.answers["GET", "/v1/packets/abc"] = state
    client.answers["FETCH", "/v1/packets/abc/file"] = (b"octets", {"x-soc-packets": "3", "x-soc-truncated": "false"})
    line = ("packet", "get", "-o", str(out))
    late = soc(*line, "--community-id", "1:x", "--reason", "PH-12", "--wait", "1")
    assert (late.code, out.exists(), "xa-dakbla" in late.err, "--request abc" in late.err) == (75, False, True, True)
    assert (soc(*line, "--request", "abc").code, out.read_bytes()) == (0, b"octets")
    out.unlink()
    assert (soc(*line).code, out.exists()) == (2, False)
