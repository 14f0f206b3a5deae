"""Batches of datagrams are what recvfrom would have given, one by one; compiled and in pure Python."""

import random
import socket
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.collectors import datagram_batch
from soc.collectors.datagram_batch import Datagrams, Inbox
from soc.model import kernel
from tests.parsers.conftest import way, without_kernel

__all__ = ["way"]

MOST = 32
LARGEST = 65507
SENDERS = {"127.7.0.1": ["127.7.0.7", "127.7.0.8"], "::1": ["::1"], "::": ["::1", "127.7.0.7", "127.7.0.8"]}
"""Who can reach a socket that is bound like this; `::` hears IPv4 too."""


@pytest.fixture(scope="module", params=SENDERS)
def door(request, way):
    """A bound socket, room for a batch, and senders of the addresses that reach it."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        sock.bind((request.param, 0))
        sock.setblocking(False)
        port = sock.getsockname()[1]
        senders = []
        for source in SENDERS[request.param]:
            peer = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM)
            peer.bind((source, 0))
            peer.connect(("::1" if ":" in source else "127.7.0.1", port))
            senders.append(peer)
        yield sock, Inbox(MOST), senders
        for peer in senders:
            peer.close()


SIZES = st.one_of(st.integers(0, 300), st.sampled_from([2047, 2048, 2049, 9000, LARGEST]))


@given(sizes=st.lists(SIZES, min_size=1, max_size=MOST + 8), seed=st.integers(0, 2**32))
def test_what_was_sent_is_received(door, sizes, seed):
    """Bytes, order, senders and the bound of a batch; empty datagrams and the largest too."""
    sock, inbox, senders = door
    dice, sent = random.Random(seed), []
    for size in sizes:
        peer = dice.choice(senders)
        sent.append((dice.randbytes(size), _seen(sock, peer)))
        peer.send(sent[-1][0])
    found, hosts = [], {}
    while (batch := inbox.receive(sock, MOST)) is not None:
        assert len(batch) <= MOST
        assert len(batch) == sum(batch.hosts().values())
        for host, records in batch.by_host().items():
            assert batch.hosts()[host] == len(records)
            hosts.setdefault(host, []).extend(records)
        found += batch
    assert found == sent
    assert hosts == {host: [data for data, address in sent if address[0] == host] for host in hosts}
    assert sum(map(len, hosts.values())) == len(sent)


def _seen(sock, peer):
    """The sender's address as this socket sees it."""
    host, port = peer.getsockname()[:2]
    if sock.family == socket.AF_INET:
        return host, port
    return (host if ":" in host else f"::ffff:{host}"), port, 0, 0


def test_a_batch_outlives_the_next(door):
    """It is a copy; the room is used again."""
    sock, inbox, senders = door
    senders[0].send(b"first")
    first = inbox.receive(sock, MOST)
    senders[0].send(b"again")
    assert inbox.receive(sock, MOST) is not None
    assert [data for data, _ in first] == [b"first"]
    assert inbox.receive(sock, MOST) is None


# --- both ways ------------------------------------------------------------------------------------------------------

FOUR = [
    struct.pack("=H", socket.AF_INET) + struct.pack(">H4s20x", port, bytes([10, 0, 0, host]))
    for host in (1, 2, 3) for port in (1, 2)
]  # fmt: skip
SIX = [
    struct.pack("=H", socket.AF_INET6) + struct.pack(">HI16s", port, flow, bytes([*bytes(15), host])) + scope
    for host in (1, 2) for port in (1, 2) for flow in (0, 9) for scope in (bytes(4), b"\xff\xff\xff\xee")
]  # fmt: skip


def pieces(batch):
    """What stands in memory for each sender, in order."""
    return [
        (host, several.data, bytes(several.sizes), [most for most in range(10) if several.has_longer(most)])
        for host, several in batch.by_host().items()
    ]


@given(
    st.sampled_from([FOUR, SIX]).flatmap(
        lambda who: st.lists(st.tuples(st.binary(max_size=9), st.sampled_from(who)), min_size=1)
    )
)
def test_both_tell_whose_they_are(several):
    """Any senders in any order, one alone and many, of both families: the same octets, sizes and order."""
    sizes = np.array([len(data) for data, _ in several], np.uintc).tobytes()
    batch = Datagrams(b"".join(data for data, _ in several), sizes, b"".join(name for _, name in several))
    told = pieces(batch)
    with without_kernel():
        assert pieces(batch) == told
    assert sum(len(sizes) for _, _, sizes, _ in told) == len(sizes)


@pytest.mark.parametrize("at", [None, 0, 1, 6])
def test_the_odd_one_is_seen(way, at):
    """One datagram to another destination among seven: they are not told alike, wherever it stands."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, socket.socket(sock.family, sock.type) as peer:
        sock.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
        sock.bind(("", 0))
        port, inbox = sock.getsockname()[1], Inbox(MOST)
        for i in range(7):
            peer.sendto(b"x", ("127.7.0.2" if i == at else "127.7.0.1", port))
        assert len(inbox.receive(sock, MOST)) == 7
        assert inbox.are_told_alike(7) == (at is None)
        assert inbox.are_told_alike(1)


def test_where_it_fails_the_pure_code_receives(monkeypatch):
    """And it is counted; what is in the socket is not lost."""

    class Broken:
        def __init__(self, most):
            pass

        def receive(self, fd, most):
            raise RuntimeError("the kernel panicked")

    monkeypatch.setattr(kernel, "kernel", SimpleNamespace(Inbox=Broken, datagrams_of_each=datagram_batch._of_each))
    counted = kernel.failures["receive"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, socket.socket(sock.family, sock.type) as peer:
        sock.bind(("127.7.0.1", 0))
        peer.connect(sock.getsockname())
        inbox = Inbox(MOST)
        peer.send(b"kept")
        assert [data for data, _ in inbox.receive(sock, MOST)] == [b"kept"]
    assert kernel.failures["receive"] == counted + 1
