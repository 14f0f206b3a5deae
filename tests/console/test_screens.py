"""The console's three screens, driven by keys at 80×24 against the real desks in memory."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from soc.console.screens.app import ConsoleApp
from soc.console.screens.queue import QueueScreen
from soc.console.screens.ticket import TicketScreen
from soc.model.run import Capability
from tests.console.screens_seat import Seat, seat
from tests.console.screens_world import HOSTILE, NOW_US, FakeService, Person, a_day

VI, EN = "vi", "en"


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    """English unless a test says otherwise."""
    monkeypatch.setenv("SOC_LANG", EN)
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def service() -> FakeService:
    """A service with a day's alerts, somebody of tier 1 asking."""
    service = FakeService()
    a_day(service)
    return service


# The queue


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        (VI, ("Hàng đợi cảnh báo", "[MÔ PHỎNG]", "lan · Tier 1 · đã kết nối 14:03:05", "Nguy cấp 1 Cao 3",
              "Dò mật khẩu SSH", "rủi ro 45", "203.0.113.9", "CĐ3 Cổng dịch vụ công", "Sở Nội vụ", "Mới ×1")),
        (EN, ("Alert queue", "[SIMULATED]", "lan · Tier 1 · connected 14:03:05", "Critical 1 High 3",
              "SSH password guessing", "risk 45", "203.0.113.9", "L3 Cổng dịch vụ công", "Sở Nội vụ", "New ×1")),
    ],
)  # fmt: skip
async def test_the_queue_fills(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, language: str, texts: tuple[str, ...]
) -> None:
    """All that a row says stands at 80 columns, in both languages, with person, link, badge and clock above."""
    monkeypatch.setenv("SOC_LANG", language)
    async with seat(service, service.clock) as at:
        await at.sees(*texts)


@pytest.mark.parametrize(("language", "text"), [("vi", "CHƯA ĐÁNH GIÁ 36"), ("en", "GAPS 36")])
async def test_what_no_rule_saw_stands_in_the_header(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, language: str, text: str
) -> None:
    """An analyst who sees no alert knows whether anything looked."""
    monkeypatch.setenv("SOC_LANG", language)
    service.gaps = 36
    async with seat(service, service.clock) as at:
        await at.sees(text)


async def test_a_wide_terminal_has_one_line_an_alert(service: FakeService) -> None:
    """From 120 columns on an alert takes one line with every column."""
    async with seat(service, service.clock, (160, 30)) as at:
        await at.sees("SSH login after many failures")
        line = next(line for line in at.lines() if "SSH login after many failures" in line)
        assert "14:02:07" in line
        assert "Critical" in line
        assert "203.0.113.10" in line
        assert "Sở Nội vụ" in line


async def test_what_does_not_fit_is_cut_with_an_ellipsis(service: FakeService) -> None:
    """No line is wider than the screen, and a title that is cut says so."""
    service.raise_alert(99, title="A title that goes on and on and never seems to come to any end at all, ever")
    async with seat(service, service.clock) as at:
        await at.sees("A title that goes on and on and never seems…")
        assert all(len(line) <= 80 for line in at.lines())


async def test_a_new_alert_appears_by_itself_and_the_cursor_stays_on_its_row(service: FakeService) -> None:
    """A live change puts a row on top; the row under the cursor remains the same one."""
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        await at.press("down", "down")
        before = at.rows.key
        service.raise_alert(120, title="Something new")
        await at.sees("Something new", "8/8 alerts")
        assert at.rows.key == before
        assert at.rows.cursor_row == 3


async def test_who_has_scrolled_away_is_not_moved(service: FakeService) -> None:
    """Far down in a long list the row under the cursor stays where it is on the screen when alerts come in."""
    for number in range(100, 140):
        service.raise_alert(number, minutes_ago=number)
    async with seat(service, service.clock) as at:
        await at.sees("47/47 alerts")
        await at.press("pagedown", "pagedown", "up")
        await at.until(lambda: at.rows.scroll_y > 0)
        key = at.rows.key
        place = at.rows.cursor_row * 2 - at.rows.scroll_y
        service.raise_alert(200)
        service.raise_alert(201)
        await at.sees("49/49 alerts")
        await at.until(lambda: at.rows.cursor_row * 2 - at.rows.scroll_y == place)
        assert at.rows.key == key


async def test_another_width_keeps_the_row(service: FakeService) -> None:
    """Resizing the terminal changes the columns, not the row one is on."""
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        await at.press("down", "down", "down")
        key = at.rows.key
        await at.pilot.resize_terminal(140, 30)
        await at.until(lambda: at.rows.row_height == 1 and at.rows.key == key)
        await at.pilot.resize_terminal(80, 24)
        await at.until(lambda: at.rows.row_height == 2 and at.rows.key == key)


async def test_a_grown_alert_changes_in_place(service: FakeService) -> None:
    """One more finding of the same alert raises its count; no row is added."""
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        service.raise_alert(9, minutes_ago=2, id="another-finding", events=12)
        await at.sees("New ×2")
        assert "7/7 alerts" in at.text()


async def test_an_empty_queue_says_what_happens_and_what_to_do() -> None:
    """Without alerts the screen names the way to find out why."""
    service = FakeService()
    async with seat(service, service.clock) as at:
        await at.sees("No alerts yet", "soc source list", "soc import FILE")


async def test_filters_by_status_level_and_text(service: FakeService) -> None:
    """s and l and / narrow the list; Esc drops all of it; a filter that hides everything says so."""
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        await at.press("l", "l", "l")
        await at.sees("high and above", "4/7 alerts")
        await at.press("slash")
        await at.write("injection")
        await at.sees("search “injection”", "1/7 alerts")
        await at.press("s", "s")
        await at.sees("taken", "No alert fits the filter (7 are hidden)")
        await at.press("escape")
        await at.sees("not closed · every level", "7/7 alerts")


async def test_a_acknowledges(service: FakeService) -> None:
    """The alert under the cursor is taken by the person, and the row shows it."""
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        alert_id = at.rows.key
        await at.press("a")
        await at.sees("The alert is yours", "Taken")
        alert, _ = _alert(service, alert_id)
        assert (alert.status, alert.owner) == ("acknowledged", "lan")


async def test_the_services_refusal_is_one_sentence(service: FakeService) -> None:
    """What the service refuses is shown on the message line, and the console goes on."""
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        await at.press("a")
        await at.sees("The alert is yours")
        await at.press("a")
        await at.sees("Not possible: alert", "is acknowledged by lan")


async def test_who_may_not_is_told_why(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person of an owner unit cannot take alerts; the sentence is in the chosen language and nothing is sent."""
    monkeypatch.setenv("SOC_LANG", VI)
    service.person = Person("minh", "tier2-unit")
    async with seat(service, service.clock) as at:
        await at.sees("7/7 cảnh báo")
        alert_id = at.rows.key
        await at.press("a")
        await at.sees("Vai trò Tier 2 đơn vị không có quyền này (alert.acknowledge)")
        assert _alert(service, alert_id)[0].status == "new"


async def test_c_closes_with_verdict_and_reason(service: FakeService) -> None:
    """Closing asks for both and insists on the reason; the closed alert leaves the list."""
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        alert_id = at.rows.key
        await at.press("c", "3", "enter")
        await at.sees("A reason is needed")
        await at.write("rule too wide")
        await at.sees("The alert is closed: False: the rule is wrong", "6/7 alerts")
        alert, _ = _alert(service, alert_id)
        assert (alert.verdict, alert.reason) == ("false_positive_logic", "rule too wide")


async def test_a_dialog_that_is_left_does_nothing(service: FakeService) -> None:
    """Esc in a dialog changes nothing."""
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        await at.press("c", "1", "x", "escape")
        await at.press("n", "x", "escape")
        await at.sees("7/7 alerts")
        assert "alert.close" not in service.cases.acts
        assert "alert.note" not in service.cases.acts


async def test_help_names_every_key(service: FakeService) -> None:
    """? shows the keys; the key line itself fits at 80 columns and always ends with help and the way out."""
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        assert at.lines()[-1].rstrip().endswith("? keys  q quit")
        await at.press("question_mark")
        await at.sees("Help", "make a ticket with the matching playbook")


# The link


async def test_a_lost_connection_is_shown_and_comes_back(service: FakeService) -> None:
    """The rows stay, a line says so; afterwards what happened meanwhile is there without a key."""
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        service.down = True
        await at.sees("CONNECTION LOST at 14:03:05", "DISCONNECTED", "SSH password guessing")
        await at.press("a")
        await at.sees("The service cannot be reached")
        service.raise_alert(120, title="Raised meanwhile")
        service.down = False
        await at.sees("Raised meanwhile", "connected 14:03:05", "8/8 alerts")
        assert "CONNECTION LOST" not in at.text()


async def test_a_service_that_is_not_running_yet(service: FakeService) -> None:
    """The console can be opened first: it says what to start, and fills when the service is there."""
    service.down = True
    async with seat(service, service.clock) as at:
        await at.sees("If it is not running: soc up")
        service.down = False
        await at.sees("7/7 alerts")


async def test_leaving_while_the_service_is_away(service: FakeService) -> None:
    """What is heard of the link while the console closes is not drawn any more."""
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        service.down = True
        await at.until(lambda: at.app.session.lost_us is not None)
        await at.press("q")
        for _ in range(20):
            at.app.changed({"seq": 1, "kind": "alert", "id": "x", "what": "update"})
            at.app.lost()
            at.app.connected()
            await asyncio.sleep(0)
        await asyncio.wait_for(_ended(at.app), 60)


async def test_a_missing_wall_is_said(service: FakeService) -> None:
    """Where the service runs under the person's own login the console says what that means."""
    service.wall = False
    async with seat(service, service.clock) as at:
        await at.sees("no real wall stands between people and data", "7/7 alerts")


async def test_leaving_does_not_wait_for_a_hanging_service(service: FakeService) -> None:
    """q ends the console although a request never comes back."""
    hangs, is_held = threading.Event(), threading.Event()
    service.post = lambda *_a, **_k: is_held.set() or hangs.wait(120)  # type: ignore[method-assign, assignment, func-returns-value, return-value]
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        await at.press("a")
        await at.press("q")
        await asyncio.wait_for(_ended(at.app), 60)
        assert is_held.is_set()
        assert not hangs.is_set()
    hangs.set()


async def test_nothing_is_said_after_the_end(service: FakeService, capfd: pytest.CaptureFixture[str]) -> None:
    """A client that is closed behind the console's back leaves no traceback on the terminal."""
    goes_on = threading.Event()

    def closed(*_args: Any, **_named: Any) -> Any:
        goes_on.wait(60)
        raise RuntimeError("the client has been closed")

    service.post = closed  # type: ignore[method-assign]
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        await at.press("a")
        await at.press("q")
        await asyncio.wait_for(_ended(at.app), 60)
    goes_on.set()
    await asyncio.sleep(0.2)
    assert "Traceback" not in capfd.readouterr().err


async def test_a_fault_of_ours_is_not_hidden(service: FakeService) -> None:
    """An error that is no `SocError` ends the console instead of a thread."""
    service.post = lambda *_a, **_k: 1 / 0  # type: ignore[method-assign, assignment, return-value]

    async def take_one() -> None:
        async with seat(service, service.clock) as at:
            await at.sees("7/7 alerts")
            await at.press("a")
            await asyncio.wait_for(_ended(at.app), 60)

    with pytest.raises(ZeroDivisionError):
        await take_one()


# One alert


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        (VI, ("[1 Tổng quan]", "Vì sao có cảnh báo", "248f0d90-e4c3-55b0-bf46-2d6158f13c2f",
              "12 sự kiện trong 5 phút; ngưỡng là 10.", "Điều kiện Trường Giá trị Mẫu",
              "ssh_failed_password event.outcome failure failure", "Cổng dịch vụ công trực tuyến (cấp độ 3)",
              "Sở Nội vụ tỉnh Quảng Ngãi", "Nguyễn Thị Lan, 0255 000 000", "Kịch bản gợi ý Dò mật khẩu SSH")),
        (EN, ("[1 Overview]", "Why it fired", "12 events within 5 min; the threshold is 10.",
              "Selection Field Value Pattern", "ssh_failed_password event.outcome failure failure",
              "Cổng dịch vụ công trực tuyến (level 3)", "Suggested playbook SSH password guessing")),
    ],
)  # fmt: skip
async def test_enter_opens_why_it_fired(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, language: str, texts: tuple[str, ...]
) -> None:
    """Rule, selection, field, value and pattern, the system with its level and owner unit: on one screen."""
    monkeypatch.setenv("SOC_LANG", language)
    async with seat(service, service.clock) as at:
        await at.sees("7/7")
        await at.press("down", "enter")
        await at.sees(*texts)


async def test_a_model_says_what_it_saw_and_what_is_usual(service: FakeService) -> None:
    """A finding without a single event explains itself by observed, usual and limit."""
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        await at.press("down", "down", "down", "down", "enter")
        await at.sees("127.10.0.7 has been silent for 6 min; it usually sends every 10.0 s", "372 / 10.0")


async def test_the_events_behind_it_and_one_of_them_whole(service: FakeService) -> None:
    """Page 2 lists the events newest first; Enter shows every field of one."""
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        await at.press("down", "enter", "2")
        await at.sees("12 of 12 events are shown", "2026-11-25 14:00:05", "linux.sshd")
        await at.press("enter")
        await at.sees("event.original Failed password for invalid user admin", "user.name admin", "source.port 50000")
        await at.press("escape")
        await at.sees("12 of 12 events are shown")


async def test_a_note_shows_in_the_history(service: FakeService) -> None:
    """n writes a note; page 3 has it with its author, beside what happened to the alert."""
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        await at.press("enter", "a")
        await at.sees("The alert is yours")
        await at.press("n")
        await at.write("asked the owner")
        await at.press("3")
        await at.sees("lan: asked the owner", "lan took it", "the alert was raised")


async def test_an_open_alert_follows_what_others_do(service: FakeService) -> None:
    """A colleague takes the alert that is on the screen: it shows without a key."""
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        alert_id = at.rows.key
        await at.press("enter")
        await at.sees("Why it fired", "· New ·")
        with service._lock, service.cases.begin("minh") as tx:
            service.alerts.acknowledge(tx, str(alert_id), Person("minh", "tier1"))
        await at.sees("· Taken · minh ·")


@pytest.mark.parametrize("keys", [(), ("enter",), ("enter", "2"), ("enter", "3"), ("e",)])
async def test_a_hostile_title_stands_there_literally(service: FakeService, keys: tuple[str, ...]) -> None:
    """Markup is not read and no control character reaches the terminal, on any screen."""
    alert = service.raise_alert(99, title=HOSTILE, title_vi=HOSTILE, entity=f"user.name={HOSTILE}")
    service.events[alert.id][0]["event.original"] = HOSTILE
    async with seat(service, service.clock) as at:
        await at.sees(r"[red]x[/red]\x1b]0;pwn\x07")
        await at.press(*keys)
        await at.until(lambda: not keys or not isinstance(at.app.screen, QueueScreen))
        await at.sees(r"[red]x[/red]\x1b]0;pwn\x07")
        assert all(line.isprintable() for line in at.lines())


# Tickets


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        (VI, ("Phiếu KT-2026-000001", "Đã lập phiếu KT-2026-000001.", "[1 Các bước (0/4)]", "Chặn địa chỉ nguồn",
              "hạn 2026-11-25 14:18", "còn 15 phút", "Tìm theo địa chỉ nguồn", "(cấp độ 3)")),
        (EN, ("Ticket KT-2026-000001", "Ticket KT-2026-000001 was made.", "[1 Steps (0/4)]", "Block the source",
              "due 2026-11-25 14:18", "15 min left", "Search the source address", "(level 3)")),
    ],
)  # fmt: skip
async def test_e_makes_a_ticket_with_its_steps(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, language: str, texts: tuple[str, ...]
) -> None:
    """The ticket of the matching playbook opens: steps with tier and due time, guidance below."""
    monkeypatch.setenv("SOC_LANG", language)
    async with seat(service, service.clock) as at:
        await at.sees("7/7")
        await at.press("down", "e")
        await at.sees(*texts)


async def test_e_on_an_escalated_alert_opens_its_ticket(service: FakeService) -> None:
    """There is one ticket an alert: the second e shows it, the first made it."""
    async with seat(service, service.clock) as at:
        await _ticket(at)
        await at.press("escape")
        await at.sees("Alert queue", "Ticket ×1")
        await at.press("e")
        await at.sees("Ticket KT-2026-000001", "Steps (0/4)")
        assert service.cases.acts.count("ticket.create") == 1


async def test_d_marks_a_step_done_with_its_result(service: FakeService) -> None:
    """The step is ticked, and who did it stands beside it with what came of it."""
    async with seat(service, service.clock) as at:
        await _ticket(at)
        await at.press("d")
        await at.write("not ours")
        await at.sees("[1 Steps (1/4)]", "[x]", "done 2026-11-25 14:03", "Result not ours")
        await at.press("d")
        await at.sees("This step is done already")


async def test_enter_on_a_step_shows_its_guidance_whole(service: FakeService) -> None:
    """The guidance of tier 2 is long: Enter opens it."""
    async with seat(service, service.clock) as at:
        await _ticket(at)
        await at.press("down", "down", "enter")
        await at.sees("Owner unit: lock the account", "reachable from the Internet on purpose.")


async def test_plan_approve_run_and_revert(service: FakeService) -> None:
    """Every step shows the exact plan first; who asked cannot approve; the world changes and changes back."""
    async with seat(service, service.clock) as at:
        await _ticket(at)
        await at.press("down", "p")
        await at.sees("Plan this step?", "address=203.0.113.9", "nothing is changed")
        await at.press("y")
        await at.sees("Waits for approval", "nft add element inet soc blocked4 '{ 203.0.113.9", "Way back")
        await at.press("escape")
        service.person = Person("hoa", "manager")
        await _as(at, service, "hoa", "manager")
        await at.press("g")
        await at.sees("Approve exactly this plan?", "timeout 86400s", "nft delete element", "24 h after it is applied")
        await at.press("y")
        await at.sees("Action: Approved")
        await _as(at, service, "tuan", "tier3")
        await at.press("r")
        await at.sees("Run this approved plan?", "Approved by hoa")
        await at.press("y")
        await at.sees("Action: In effect")
        assert service.nft.blocked == {"203.0.113.9"}
        await at.press("2")
        await at.sees("[2 Actions (1)]", "Expiry 2026-11-26 14:03:05")
        await at.press("v")
        await at.sees("Revert this action?")
        await at.press("y")
        await at.sees("Action: Reverted")
        assert service.nft.blocked == set()


async def test_the_requester_cannot_approve(service: FakeService) -> None:
    """The service's refusal stands on the message line."""
    service.person = Person("hoa", "manager")
    async with seat(service, service.clock) as at:
        await _ticket(at)
        await at.press("down", "p", "y")
        await at.sees("Waits for approval")
        await at.press("escape", "g")
        await at.sees("Approve exactly this plan?")
        await at.press("y")
        await at.sees("Not permitted: who asked for an action cannot approve it")


async def test_a_confirmation_that_is_refused_changes_nothing(service: FakeService) -> None:
    """Esc on the question leaves everything as it is."""
    async with seat(service, service.clock) as at:
        await _ticket(at)
        await at.press("down", "p")
        await at.sees("Plan this step?")
        await at.press("escape")
        await at.sees("Ticket KT-2026-000001")
        assert "playbook.plan" not in service.cases.acts


async def test_a_step_of_people_has_nothing_to_plan(service: FakeService) -> None:
    """p on a manual step says what to press instead."""
    async with seat(service, service.clock) as at:
        await _ticket(at)
        await at.press("p")
        await at.sees("there is nothing to run; press d when it is done")
        await at.press("g")
        await at.sees("This step has no plan yet")


async def test_where_it_cannot_run_it_is_recorded_as_done_by_hand(service: FakeService) -> None:
    """Without nftables the plan is a task for people, and r records who did it."""
    service.person = Person("tuan", "tier3")
    service.nft.available = Capability(False, "nft is not installed")
    async with seat(service, service.clock) as at:
        await _ticket(at)
        await at.press("down", "p", "y")
        await at.sees("By hand", "It cannot be run from here", "nft is not installed")
        await at.press("escape", "r")
        await at.sees("What was done and where")
        await at.write("blocked on the border firewall")
        await at.sees("By hand (done by tuan)")


async def test_legal_deadlines_stand_with_their_citation(service: FakeService) -> None:
    """Once judged serious the next deadline is in the head, all of them on page 3 with recipient and citation."""
    async with seat(service, service.clock) as at:
        await _ticket(at)
        await at.sees("Legal deadline: none yet")
        service.classify("KT-2026-000001", serious=True)
        await at.sees("Legal deadline: 2026-11-26 14:0", "23 h 5", "(+1, see page 3)", "NĐ 331/2026 Đ31.2.d")
        await at.press("3")
        await at.sees("NW2", "NW3", "Citation NĐ 331/2026 Đ31.2.d; Luật 116/2025/QH15 Đ40.1.c [F]", "Recipient")


async def test_a_late_step_says_so(service: FakeService) -> None:
    """Past its due time a step is late in words, not only in colour."""
    async with seat(service, service.clock) as at:
        await _ticket(at)
        service.clock.set((NOW_US + 20 * 60 * 1_000_000) * 1000)
        await at.press("f5")
        await at.sees("LATE by 5 min")


async def test_the_list_of_tickets(service: FakeService) -> None:
    """t lists the tickets with steps and what is due next; Enter opens one; without any it says what to do."""
    async with seat(service, service.clock) as at:
        await at.sees("7/7 alerts")
        await at.press("t")
        await at.sees("No tickets yet", "Press e on an alert")
        await at.press("escape")
        await at.sees("7/7 alerts")
        await _ticket(at)
        await at.press("escape")
        await at.press("t")
        await at.sees("KT-2026-000001", "0/4", "15 min left", "1/1 tickets · open")
        await at.press("enter")
        await at.sees("Ticket KT-2026-000001")


def _source(peer: str, **more: Any) -> dict[str, Any]:
    return {
        "site": "kontum", "listener": "syslog-udp", "peer": peer, "system_id": "", "system_name": "", "known": True,
        "datasets": ["linux.sshd"], "guess": None, "last_seen_us": NOW_US - 5_000_000, "received": 1234, "dropped": {},
        "unparsed_share": 0.0, "drift_us": None, "silence": None, **more,
    }  # fmt: skip


async def test_the_list_of_sources(service: FakeService) -> None:
    """o lists the sources with cadence, clock and losses; u only those nobody owns, p the monitoring points."""
    habit = {"last_us": NOW_US, "cadence_us": 20_000_000, "limit_us": 300_000_000, "silent": False}
    async with seat(service, service.clock) as at:
        await at.press("o")
        await at.sees("No source has sent anything yet")
        service.sources = [
            _source("127.1.0.1", system_id="portal", system_name="Portal", silence=habit, drift_us=10_800_000_000),
            _source("127.1.0.2", silence={**habit, "silent": True}, dropped={"kernel": 7}, unparsed_share=0.125),
            _source("127.1.0.3\x1b[2J", known=False, guess={"product": "cisco.asa\x1b[2J", "share": 0.9}),
        ]
        service.points = [{
            "kind": "edge", "unit": "xa-dakbla", "site": "dakbla", "listener": "", "protocol": "relay", "received": 9,
            "since_us": NOW_US - 86_400_000_000, "last_seen_us": NOW_US, "sources": 2, "systems": ["portal"],
            "dropped": {"kernel": 3}, "datasets": ["cisco.asa"],
        }]  # fmt: skip
        await at.press("f5")
        await at.sees("silent: 1", "nobody's: 1", "127.1.0.1", "≤ 20 s", "clock +3 h", "5 s ago")
        await at.sees("SILENT", "7 dropped", "unread 12.5 %", "NOBODY'S · probably cisco.asa")
        await at.press("u")
        await at.sees("Sources that no system owns: 1", "soc source adopt")
        assert "127.1.0.1" not in at.text()
        assert "\x1b" not in at.text()
        await at.press("p")
        await at.sees("xa-dakbla", "unit relay", "sources 2, systems 1", "3 dropped")
        await at.press("p", "escape")
        await at.sees("7/7 alerts")


async def test_without_colour_every_meaning_is_a_word(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR sends the terminal's own colours only; level, badge and link are words."""
    monkeypatch.setenv("NO_COLOR", "1")
    async with seat(service, service.clock) as at:
        await at.sees("Critical", "High", "[SIMULATED]", "connected")
        assert at.app.no_color
        assert at.app.native_ansi_color


# Helpers


def _alert(service: FakeService, id: str | None) -> tuple[Any, int]:
    with service._lock, service.cases.begin("test") as tx:
        return service.alerts.get(tx, str(id))


async def _ended(app: ConsoleApp) -> None:
    while app.is_running:
        await asyncio.sleep(0.02)


async def _ticket(at: Seat) -> None:
    """Make a ticket of the SSH brute force."""
    await at.sees("7/7 alerts")
    await at.press("down", "e")
    await at.sees("Ticket KT-2026-000001")
    await at.until(lambda: isinstance(at.app.screen, TicketScreen) and at.app.screen.ticket is not None)


async def _as(at: Seat, service: FakeService, name: str, role: str) -> None:
    """The same console for another person."""
    service.down = True
    await at.until(lambda: at.app.session.lost_us is not None)
    service.person = Person(name, role)
    service.down = False
    await at.until(lambda: at.app.session.me.get("name") == name)
