"""The compiled kernel receives what the pure code receives, and refuses what would lead it astray."""

import random
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.collectors.datagram_batch import Inbox
from soc.model import kernel
from tests.collectors.test_datagram_batch import MOST, SIZES
from tests.parsers.conftest import without_kernel


@given(sizes=st.lists(SIZES, min_size=1, max_size=MOST + 8), seed=st.integers(0, 2**32))
def test_both_receive_the_same(doors, sizes, seed):
    """Octets, sizes, names and what the kernel told beside each, of the same datagrams sent to two sockets."""
    dice = random.Random(seed)
    for size in sizes:
        data = dice.randbytes(size)
        for _, _, peer in doors:
            peer.send(data)
    while True:
        found = [inbox.receive(sock, MOST) for sock, inbox, _ in doors]
        if found[0] is None:
            assert found[1] is None
            return
        one, other = ((batch._data, batch._sizes, _addresses(batch)) for batch in found)
        assert one == other
        n = len(found[0])
        told = [[inbox.controls(i) for i in range(n)] for _, inbox, _ in doors]
        assert told[0] == told[1]
        assert all(told[0]), "the kernel was asked to tell the destination"
        assert [inbox.are_told_alike(n) for _, inbox, _ in doors] == [True, True]


def _addresses(batch):
    return [address[0] for _, address in batch]


@pytest.fixture(scope="module")
def doors():
    """Two sockets that are told the same, read by the compiled kernel and by pure Python."""
    opened = []
    for is_pure in (False, True):
        sock, peer = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        sock.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
        sock.bind(("127.7.0.1", 0))
        sock.setblocking(False)
        peer.bind(("127.7.0.9", 0))
        peer.connect(sock.getsockname())
        if is_pure:
            with without_kernel():
                opened.append((sock, Inbox(MOST), peer))
        else:
            opened.append((sock, Inbox(MOST), peer))
    yield opened
    for sock, _, peer in opened:
        sock.close()
        peer.close()


@pytest.mark.parametrize(
    ("sizes", "names", "start", "stop"),
    [(b"\3\0\0\0", bytes(27), 4, 8), (b"\4\0\0\0", bytes(28), 4, 8), (b"\3\0\0\0\0", bytes(28), 4, 8), (b"", b"", 4, 8),
     (b"\3\0\0\0", bytes(28), 8, 4), (b"\3\0\0\0", bytes(28), 4, 29), (b"\3\0\0\0" * 2, bytes(28), 4, 8)],
)  # fmt: skip
def test_what_does_not_fit_is_refused(sizes, names, start, stop):
    """Nothing is read beside the memory it was given."""
    with pytest.raises(ValueError, match="not of these octets"):
        kernel.kernel.datagrams_of_each(b"abc", sizes, names, start, stop)
