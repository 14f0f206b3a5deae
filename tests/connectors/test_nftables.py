"""The nftables actuator against the kernel's own: what is blocked, and what must never be touched."""

from __future__ import annotations

import os
import shutil
import traceback
from collections.abc import Iterator
from dataclasses import replace

import pytest

from soc.connectors.drivers.nftables import DemoWorld, Namespace, NamespaceError, NftActuator
from soc.errors import UsageError
from soc.model.clock import SystemClock

SYSTEM_PYTHON = shutil.which("python3", path="/usr/bin:/bin:/usr/local/bin")


@pytest.fixture
def world() -> Iterator[DemoWorld]:
    with DemoWorld() as opened:
        yield opened


def _block_and_lift(world: DemoWorld) -> list[object]:
    actuator = NftActuator(world.gateway, SystemClock())
    plan = actuator.plan({"address": world.attacker_address, "ttl_s": 86_400})
    seen: list[object] = [actuator.check().available, world.reaches(), actuator.verify(plan)]
    actuator.apply(plan, "key")
    seen += [world.reaches(0.5), actuator.verify(plan)]
    actuator.revert(plan)
    return [*seen, world.reaches(), actuator.verify(plan)]


STORY = [True, True, "absent", False, "verified", True, "absent"]


@pytest.mark.netns
def test_connection_works_before_fails_after_apply_and_works_after_revert(world: DemoWorld) -> None:
    """A TCP connection through the gateway is cut by the block and comes back with the revert."""
    assert _block_and_lift(world) == STORY


@pytest.mark.netns
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_the_same_as_an_ordinary_user() -> None:
    """Without any right on the machine, a user namespace does it too."""
    assert SYSTEM_PYTHON is not None
    child = os.fork()
    if child == 0:  # the child never returns into pytest
        code = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.chdir("/")
            with DemoWorld(SYSTEM_PYTHON) as world:
                code = 0 if world.gateway.user and _block_and_lift(world) == STORY else 2
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.netns
def test_list_tells_the_end_of_each_block(world: DemoWorld) -> None:
    """The kernel's own countdown is what is shown."""
    clock = SystemClock()
    actuator = NftActuator(world.gateway, clock)
    for address in ("198.51.100.7", "2001:db8::9"):
        actuator.apply(actuator.plan({"address": address, "ttl_s": 600}), address)
    found = {active.target: active.expires_us for active in actuator.list()}
    now_us = clock.now_ns() // 1000
    assert set(found) == {"198.51.100.7", "2001:db8::9"}
    assert all(end is not None and 500 < (end - now_us) / 1e6 <= 601 for end in found.values())


@pytest.mark.netns
def test_applying_twice_is_one_block(world: DemoWorld) -> None:
    """The set holds an address once, whatever is repeated."""
    actuator = NftActuator(world.gateway, SystemClock())
    plan = actuator.plan({"address": "198.51.100.7", "ttl_s": 600})
    actuator.apply(plan, "one")
    actuator.apply(plan, "one")
    assert [active.target for active in actuator.list()] == ["198.51.100.7"]


@pytest.mark.netns
def test_a_set_that_no_rule_reads_is_not_called_verified(world: DemoWorld) -> None:
    """An address in a set without its drop rules blocks nobody, and verify says so."""
    actuator = NftActuator(world.gateway, SystemClock())
    plan = actuator.plan({"address": world.attacker_address, "ttl_s": 600})
    actuator.apply(plan, "key")
    world.gateway.must("nft", "flush", "chain", "inet", "soc", "input")
    assert world.reaches()
    assert actuator.verify(plan) == "unknown"
    assert not actuator.check().available


@pytest.mark.netns
def test_reverting_what_is_gone_is_no_error(world: DemoWorld) -> None:
    """A block that ended by itself can still be reverted."""
    actuator = NftActuator(world.gateway, SystemClock())
    plan = actuator.plan({"address": "198.51.100.7", "ttl_s": 600})
    actuator.revert(plan)
    assert actuator.verify(plan) == "absent"


@pytest.mark.netns
def test_a_namespace_that_died_is_unknown_and_unavailable() -> None:
    """Where the world cannot be read nothing is claimed of it."""
    with DemoWorld() as world:
        actuator = NftActuator(world.gateway, SystemClock())
        plan = actuator.plan({"address": "198.51.100.7", "ttl_s": 600})
    assert actuator.verify(plan) == "unknown"
    assert "gone" in actuator.check().why


def test_the_machines_own_network_is_refused() -> None:
    """A namespace that is this process's own is never entered, whoever asks."""
    own = Namespace("host", os.getpid(), user=False)
    with pytest.raises(NamespaceError, match="machine's own"):
        own.run(("true",))
    assert NftActuator(own, SystemClock()).check().available is False


def test_the_plan_needs_no_namespace_and_shows_the_exact_commands() -> None:
    """Where nft cannot be had the plan is still complete, for a person to carry out."""
    actuator = NftActuator(None, SystemClock(), "no unshare")
    plan = actuator.plan({"address": "203.0.113.9", "ttl_s": 86_400})
    assert plan.commands == (("nft", "add", "element", "inet", "soc", "blocked4", "{ 203.0.113.9 timeout 86400s }"),)
    assert plan.revert == (("nft", "delete", "element", "inet", "soc", "blocked4", "{ 203.0.113.9 }"),)
    assert actuator.check().why == "no unshare"


@pytest.mark.parametrize(
    "address", ["", "10.0.0.0/8", "203.0.113.9; flush ruleset", "fe80::1%eth0", "example.vn", "203.0.113.9 }"]
)
def test_only_a_single_address_can_be_planned(address: str) -> None:
    """Nothing but one address reaches a command line."""
    with pytest.raises(UsageError):
        NftActuator(None, SystemClock()).plan({"address": address})


def test_an_ipv4_address_in_ipv6_dress_is_blocked_as_ipv4() -> None:
    """::ffff:a.b.c.d travels as IPv4, so that is the set it belongs to."""
    plan = NftActuator(None, SystemClock()).plan({"address": "::ffff:203.0.113.9", "ttl_s": 60})
    assert plan.target == "203.0.113.9"


@pytest.mark.netns
def test_a_tampered_command_is_never_run(world: DemoWorld) -> None:
    """A stored plan whose commands are not this actuator's own is refused."""
    actuator = NftActuator(world.gateway, SystemClock())
    plan = actuator.plan({"address": "198.51.100.7", "ttl_s": 600})
    with pytest.raises(UsageError):
        actuator.apply(replace(plan, commands=(("nft", "flush", "ruleset"),)), "key")
    assert list(actuator.list()) == []
