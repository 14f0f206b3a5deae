"""A tap between a client and a collector: every byte goes through and is kept, so that a test knows what was sent."""

import contextlib
import socket
import threading

from soc.collectors.listeners import widen


@contextlib.contextmanager
def tap(kind, target):
    """`kind` tcp or udp. The port clients use, and what they sent: byte strings by connection, or datagrams."""
    seen = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as door:
        door.bind((target[0], 0))
        if kind == "udp":
            widen(door, 64 << 20)
        door.settimeout(0.1)
        is_over = threading.Event()
        if kind == "tcp":
            door.listen(16)
        thread = threading.Thread(target=_datagrams if kind == "udp" else _accept, args=(door, target, seen, is_over))
        thread.start()
        try:
            yield door.getsockname()[1], seen
        finally:
            is_over.set()
            thread.join(60)


def _datagrams(door, target, seen, is_over):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        while not is_over.is_set():
            try:
                data = door.recv(65536)
            except TimeoutError:
                continue
            seen.append(data)
            out.sendto(data, target)


def _accept(door, target, seen, is_over):
    threads = []
    while not is_over.is_set():
        try:
            client, _ = door.accept()
        except TimeoutError:
            continue
        client.settimeout(None)
        seen.append(bytearray())
        threads.append(threading.Thread(target=_stream, args=(client, target, seen[-1])))
        threads[-1].start()
    for thread in threads:
        thread.join(60)


def _stream(client, target, seen):
    with client, socket.create_connection(target) as out:
        back = threading.Thread(target=_answers, args=(out, client))
        back.start()
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                seen += data
                out.sendall(data)
        with contextlib.suppress(OSError):
            out.shutdown(socket.SHUT_WR)
        back.join(60)


def _answers(out, client):
    with contextlib.suppress(OSError):
        while data := out.recv(65536):
            client.sendall(data)
        client.shutdown(socket.SHUT_WR)
