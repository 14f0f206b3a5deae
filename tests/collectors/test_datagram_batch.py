"""Batches of datagrams are what recvfrom would have given, one by one."""

import random
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.collectors.datagram_batch import Inbox

MOST = 32
LARGEST = 65507
SENDERS = {"127.7.0.1": ["127.7.0.7", "127.7.0.8"], "::1": ["::1"], "::": ["::1", "127.7.0.7", "127.7.0.8"]}
"""Who can reach a socket that is bound like this; `::` hears IPv4 too."""


@pytest.fixture(scope="module", params=SENDERS)
def door(request):
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
