"""What comes over HTTP and as GELF, received and made durable, for each second of CPU; next to a plain uvicorn app."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.entries import Cost, Entry, cpu, entry

TOP = Path(__file__).resolve().parents[1]
HOST = "127.7.1.2"
EVENTS = 200_000
BATCH = 500
"""Documents in a request; Filebeat's own is 1,600, Logstash's 125."""
SENDERS = 4
DOCUMENT = (
    b'{"@timestamp":"2026-11-20T03:00:%02d.%03dZ","message":"Failed password for invalid user admin from 203.0.113.9 '
    b'port %05d ssh2","agent":{"type":"filebeat","version":"8.19.0"},"host":{"name":"web1"},"log":{"file":{"path":'
    b'"/var/log/auth.log"},"offset":%d},"event":{"dataset":"system.auth","module":"system"},"input":{"type":"log"}}'
)
ACTION = b'{"create":{"_index":"logs-system.auth-default"}}\n'


def run(quick: bool = False) -> list[Entry]:
    """Each dialect, until durable; the reference of each gets the same bytes and parses and syncs them too."""
    events = EVENTS // (20 if quick else 1)
    rows = []
    for name, path, record in (
        ("http_bulk", b"/_bulk", lambda i: ACTION + document(i) + b"\n"),
        ("http_json", b"/v1/logs", lambda i: document(i) + b"\n"),
        ("hec", b"/services/collector/event", lambda i: b'{"event":%s,"sourcetype":"a"}\n' % document(i)),
    ):
        requests = _requests(path, record, events)
        own, plain = _collector("http", lambda port, r=requests: _post(port, r), events), _uvicorn(requests, events)
        reference = "uvicorn app: orjson a line, write, fdatasync a request"
        rows.append(entry(name, own.rate, "durable events/CPU-second", reference, plain.rate))
        rows.append(cpu(name, own, reference, plain))
    own, plain = _collector("gelf-udp", lambda port: _datagrams(port, events), events), _loop(events)
    rows.append(entry("gelf_udp", own.rate, "durable events/CPU-second", "recv loop to a file, one sync", plain.rate))
    rows.append(cpu("gelf_udp", own, "recv loop to a file, one sync", plain))
    return rows


def document(i: int) -> bytes:
    """A document as Filebeat sends it."""
    return DOCUMENT % (i // 1000 % 60, i % 1000, i % 65536, i * 97)


def _requests(path: bytes, record: Callable[[int], bytes], events: int) -> list[bytes]:
    found = []
    for start in range(0, events, BATCH):
        body = b"".join(map(record, range(start, start + BATCH)))
        head = b"POST %s HTTP/1.1\r\nHost: x\r\nUser-Agent: bench\r\nContent-Type: application/x-ndjson\r\n" % path
        found.append(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    return found


def _post(port: int, requests: list[bytes]) -> None:
    faults: list[BaseException] = []
    threads = [threading.Thread(target=_sender, args=(port, requests[i::SENDERS], faults)) for i in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


def _sender(port: int, requests: list[bytes], faults: list[BaseException]) -> None:
    try:
        with socket.create_connection((HOST, port)) as sock:
            for request in requests:
                sock.sendall(request)
                _answered(sock)
    except BaseException as error:
        faults.append(error)


def _answered(sock: socket.socket) -> None:
    got = b""
    while b"\r\n\r\n" not in got:
        got += sock.recv(65536)
    head, _, body = got.partition(b"\r\n\r\n")
    if b" 200 " not in head[:20]:
        raise RuntimeError(head[:200])
    length = next(int(h[15:]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:"))
    while len(body) < length:
        body += sock.recv(1 << 20)


def _datagrams(port: int, events: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((HOST, port))
        for start in range(0, events, 100):
            for i in range(start, start + 100):
                sock.send(b'{"version":"1.1","host":"web1","level":4,"short_message":"connection %d closed"}' % i)
            time.sleep(0.002)


def _collector(protocol: str, send: Callable[[int], None], events: int) -> Cost:
    with tempfile.TemporaryDirectory() as root:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.collectors.collect_program", root, protocol, HOST],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=TOP,
        )  # fmt: skip
        assert process.stdout is not None
        send(int(process.stdout.readline()))
        time.sleep(0.3)
        process.terminate()
        queued, dropped, seconds = process.stdout.read().split()
        process.wait()
    if int(queued) != events:
        raise RuntimeError(f"{protocol}: {events} sent, {queued} queued, {dropped} dropped")
    return Cost(events, float(seconds), float(seconds))


_APP = """
import orjson, os, sys, time, socket, uvicorn
file = open(sys.argv[2], "wb", buffering=0)
async def app(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    for line in body.split(b"\\n"):
        if line:
            orjson.loads(line)
    file.write(body)
    os.fdatasync(file.fileno())
    answer = b'{"errors":false}'
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
server = socket.create_server((sys.argv[1], 0))
print(server.getsockname()[1], flush=True)
config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off")
began = time.process_time()
try:
    uvicorn.Server(config).run([server])
except KeyboardInterrupt:
    print(time.process_time() - began)
"""
_DATAGRAMS = """
import orjson, os, socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
sock.bind((sys.argv[1], 0))
print(sock.getsockname()[1], flush=True)
began = time.process_time()
with open(sys.argv[2], "wb") as file:
    for _ in range(int(sys.argv[3])):
        data = sock.recv(65536)
        orjson.loads(data)
        file.write(data + b"\\n")
    file.flush()
    os.fdatasync(file.fileno())
print(time.process_time() - began)
"""


def _uvicorn(requests: list[bytes], events: int) -> Cost:
    with tempfile.TemporaryDirectory() as root:
        process = subprocess.Popen(
            [sys.executable, "-c", _APP, HOST, f"{root}/out"], stdout=subprocess.PIPE, text=True, cwd=TOP
        )
        assert process.stdout is not None
        _post(int(process.stdout.readline()), requests)
        process.send_signal(signal.SIGINT)
        seconds = float(process.stdout.read())
        process.wait()
    return Cost(events, seconds, seconds)


def _loop(events: int) -> Cost:
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, "-c", _DATAGRAMS, HOST, f"{root}/out", str(events)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        _datagrams(int(process.stdout.readline()), events)
        try:
            seconds = float(process.communicate(timeout=20)[0])
        except subprocess.TimeoutExpired:
            process.kill()
            raise RuntimeError("the plain loop lost datagrams") from None
    return Cost(events, seconds, seconds)


if __name__ == "__main__":
    for result in run():
        print(result)
