"""What each kind of device says on an ordinary day: one speaker per device, harmless at any rate."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from soc.simulate import wire
from soc.simulate.province import Device

LISTENER = {
    "sshd": "syslog-udp", "asa": "syslog-udp", "fortigate": "syslog-udp", "nginx": "syslog-tcp",
    "windows": "syslog-tcp", "netflow": "netflow", "snmp": "snmp-trap",
}  # fmt: skip
"""Which listener a role sends to, always the same one: a source is (site, listener, peer)."""
OCTET_COUNTED = frozenset({"windows"})
"""Roles whose TCP stream is octet-counted (RFC 6587 section 3.4.1); the others end a message with LF."""
SECOND_NS = 1_000_000_000
_NAMES = ("lan", "minh", "hoa", "tuan", "huong", "dung", "mai", "phuc", "thao", "khanh", "linh", "son", "yen", "quang")
_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Android 14; SM-A155F) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Mobile",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5",
)
_PAGES = (
    "/", "/tin-tuc", "/thu-tuc?trang=2", "/thu-tuc/chi-tiet?ma=1.004227", "/tra-cuu?hoso=H40.01-{n}", "/dang-nhap",
    "/static/app.css", "/static/app.js", "/api/hoso/{n}", "/lien-he", "/van-ban?nam=2026",
)  # fmt: skip
_COMMANDS = (
    "/usr/bin/systemctl status nginx", "/usr/bin/apt-get update", "/usr/bin/journalctl -u sshd", "/usr/bin/df -h",
    "/usr/bin/tail -n 100 /var/log/syslog", "/usr/sbin/service cron restart",
)  # fmt: skip
_PROGRAMS = (
    (r"C:\Windows\System32\svchost.exe", r"C:\Windows\System32\svchost.exe -k netsvcs -p"),
    (r"C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE", r'"WINWORD.EXE" /n "D:\CongVan\CV-{n}.docx"'),
    (r"C:\Windows\System32\taskhostw.exe", r"taskhostw.exe Install"),
)


def ephemeral(rng: Random) -> int:
    """A client's port (RFC 6335 section 6)."""
    return rng.randrange(49152, 65536)


def visitor(rng: Random) -> str:
    """An outside address of ordinary use: TEST-NET-1 (RFC 5737). Attacks come from the other two."""
    return f"192.0.2.{rng.randrange(1, 255)}"


class Speaker(Protocol):
    """Makes one message of ordinary use; times are ns since the epoch and never go back."""

    def say(self, at_ns: int) -> bytes: ...


class Seldom:
    """Lets a thing happen again only after a while: ordinary mistakes do not multiply with the rate of the traffic."""

    def __init__(self, every_s: int) -> None:
        self._every_ns = every_s * SECOND_NS
        self._last: dict[str, int] = {}

    def allows(self, key: str, at_ns: int) -> bool:
        """Whether it may happen now; if so it did."""
        last = self._last.get(key)
        if last is not None and at_ns - last < self._every_ns:
            return False
        self._last[key] = at_ns
        return True


def _people(device: Device, rng: Random) -> list[tuple[str, str]]:
    """Who works on it, each from a workstation of their own: (user, address)."""
    network, _, host = device.inside.rpartition(".")
    first = 100 + 20 * (int(host) - 10)
    return [(name, f"{network}.{first + i}") for i, name in enumerate(rng.sample(_NAMES, 5))]


class Sshd:
    """OpenSSH and sudo. A person mistypes a password at most twice in ten minutes."""

    def __init__(self, device: Device, rng: Random) -> None:
        self.device, self.rng = device, rng
        self.people = _people(device, rng)
        self._mistakes = Seldom(301)

    def say(self, at_ns: int) -> bytes:
        rng = self.rng
        user, address = rng.choice(self.people)
        dice = rng.random()
        if dice < 0.1 and self._mistakes.allows(address, at_ns):
            return self.line(at_ns, f"Failed password for {user} from {address} port {ephemeral(rng)} ssh2")
        if dice < 0.35:
            text = f"{user} : TTY=pts/0 ; PWD=/home/{user} ; USER=root ; COMMAND={rng.choice(_COMMANDS)}"
            return wire.rfc3164(at_ns, 85, self.device.hostname, "sudo", text)
        if dice < 0.65:
            return self.line(at_ns, f"Accepted password for {user} from {address} port {ephemeral(rng)} ssh2")
        if dice < 0.85:
            return self.line(at_ns, f"pam_unix(sshd:session): session closed for user {user}")
        return self.line(at_ns, f"Disconnected from user {user} {address} port {ephemeral(rng)}")

    def line(self, at_ns: int, text: str) -> bytes:
        """One line of sshd (facility auth)."""
        return wire.rfc3164(at_ns, 38, self.device.hostname, f"sshd[{self.rng.randrange(900, 32000)}]", text)


class Nginx:
    """People who read and fill in forms."""

    def __init__(self, device: Device, rng: Random) -> None:
        self.device, self.rng = device, rng

    def say(self, at_ns: int) -> bytes:
        rng = self.rng
        path = rng.choice(_PAGES).format(n=rng.randrange(1000, 9999))
        status = rng.choices((200, 304, 302, 404), (80, 10, 6, 4))[0]
        return self.request(at_ns, visitor(rng), f"GET {path} HTTP/1.1", status)

    def request(self, at_ns: int, client: str, request: str, status: int, agent: str = "") -> bytes:
        """One request as nginx writes it to syslog (facility local7)."""
        rng = self.rng
        size = rng.randrange(400, 40_000)
        line = wire.nginx_line(
            at_ns, client, request, status, size=size, referer="-", agent=agent or rng.choice(_AGENTS)
        )
        return wire.rfc3164(at_ns, 190, self.device.hostname, "nginx", line)


class Asa:
    """Connections built and torn down, and now and then a stray packet denied."""

    OPEN = 40

    def __init__(self, device: Device, rng: Random) -> None:
        self.device, self.rng = device, rng
        self._next = rng.randrange(100_000, 900_000)
        self._open: deque[tuple[int, str, int, str, int, int]] = deque()
        self._strays = Seldom(30)

    def say(self, at_ns: int) -> bytes:
        rng, source = self.rng, visitor(self.rng)
        if rng.random() < 0.1 and self._strays.allows(source, at_ns):
            return self.deny(at_ns, source, rng.choice((23, 445, 1433, 8080)))
        if self._open and (len(self._open) >= self.OPEN or rng.random() < 0.45):
            return self._teardown(at_ns)
        return self._built(at_ns, source)

    def deny(self, at_ns: int, source: str, port: int) -> bytes:
        """One TCP connection refused by the access list of the outside."""
        inside = f"{self.device.inside.rpartition('.')[0]}.{self.rng.randrange(10, 30)}"
        text = (
            f'Deny tcp src outside:{source}/{ephemeral(self.rng)} dst dmz:{inside}/{port} by access-group "outside_in"'
        )
        return wire.asa(at_ns, self.device.hostname, 4, 106023, f"{text} [0x8ed66b60, 0xf8852875]")

    def _built(self, at_ns: int, source: str) -> bytes:
        self._next += 1
        port, inside = ephemeral(self.rng), f"{self.device.inside.rpartition('.')[0]}.20"
        self._open.append((self._next, source, port, inside, 443, at_ns))
        text = f"Built inbound TCP connection {self._next} for outside:{source}/{port} ({source}/{port}) "
        return wire.asa(at_ns, self.device.hostname, 6, 302013, f"{text}to dmz:{inside}/443 (198.51.100.130/443)")

    def _teardown(self, at_ns: int) -> bytes:
        number, source, port, inside, target, since = self._open.popleft()
        seconds = min((at_ns - since) // SECOND_NS, 359_999)
        lasted = f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        text = f"Teardown TCP connection {number} for outside:{source}/{port} to dmz:{inside}/{target} "
        text += f"duration {lasted} bytes {self.rng.randrange(300, 90_000)} TCP FINs"
        return wire.asa(at_ns, self.device.hostname, 6, 302014, text)


class Fortigate:
    """Forward traffic of an office."""

    def __init__(self, device: Device, rng: Random) -> None:
        self.device, self.rng = device, rng
        self._session = rng.randrange(10_000, 90_000)
        self._strays = Seldom(30)

    def say(self, at_ns: int) -> bytes:
        rng = self.rng
        network = self.device.inside.rpartition(".")[0]
        client = f"{network}.{rng.randrange(100, 200)}"
        is_stray = rng.random() < 0.05 and self._strays.allows(client, at_ns)
        port, service = rng.choice(((443, "HTTPS"), (53, "DNS"), (80, "HTTP")))
        self._session += 1
        fields: dict[str, str | int] = {
            "devname": f'"{self.device.hostname}"', "devid": '"FG100FTK20000001"', "logid": '"0000000013"',
            "type": '"traffic"', "subtype": '"forward"', "level": '"notice"', "vd": '"root"', "srcip": client,
            "srcport": ephemeral(rng), "srcintf": '"lan"', "dstip": visitor(rng), "dstport": port,
            "dstintf": '"wan1"', "sessionid": self._session, "proto": 17 if port == 53 else 6,
            "action": '"deny"' if is_stray else '"close"', "policyid": 0 if is_stray else 1,
            "service": f'"{service}"', "duration": rng.randrange(1, 180), "sentbyte": rng.randrange(100, 20_000),
            "rcvdbyte": rng.randrange(100, 200_000), "sentpkt": rng.randrange(1, 40),
            "rcvdpkt": rng.randrange(1, 160),
        }  # fmt: skip
        return wire.fortigate(at_ns, fields)


class Windows:
    """Logons, logoffs, processes and DNS questions of a server's Security log and Sysmon."""

    def __init__(self, device: Device, rng: Random) -> None:
        self.device, self.rng = device, rng
        self.people = _people(device, rng)
        self._mistakes = Seldom(301)

    def say(self, at_ns: int) -> bytes:
        rng = self.rng
        user, address = rng.choice(self.people)
        dice = rng.random()
        if dice < 0.05 and self._mistakes.allows(address, at_ns):
            reason = {"Status": "0xc000006d", "SubStatus": "0xc000006a", "FailureReason": "%%2313"}
            return self._security(at_ns, 4625, {**self._logon(user, address), **reason})
        if dice < 0.4:
            return self._security(at_ns, 4624, {**self._logon(user, address), "TargetLogonId": self._logon_id()})
        if dice < 0.6:
            data = {"TargetUserName": user, "TargetDomainName": "VBDH", "LogonType": "3"}
            return self._security(at_ns, 4634, {**data, "TargetLogonId": self._logon_id()})
        return self._process(at_ns, user) if dice < 0.85 else self._question(at_ns)

    def _logon(self, user: str, address: str) -> dict[str, str]:
        return {
            "TargetUserName": user, "TargetDomainName": "VBDH", "LogonType": "3", "LogonProcessName": "NtLmSsp ",
            "AuthenticationPackageName": "NTLM", "WorkstationName": f"PC-{user.upper()}", "IpAddress": address,
            "IpPort": str(ephemeral(self.rng)),
        }  # fmt: skip

    def _logon_id(self) -> str:
        return hex(self.rng.randrange(0x10000, 0xFFFFFF))

    def _security(self, at_ns: int, event_id: int, data: dict[str, Any]) -> bytes:
        provider = "Microsoft-Windows-Security-Auditing"
        return wire.windows(at_ns, self.device.hostname, "Security", provider=provider, event_id=event_id, data=data)

    def _process(self, at_ns: int, user: str) -> bytes:
        image, command = self.rng.choice(_PROGRAMS)
        data = {
            "Image": image, "CommandLine": command.format(n=self.rng.randrange(100, 999)), "User": f"VBDH\\{user}",
            "ProcessId": str(self.rng.randrange(500, 9000)), "ParentImage": r"C:\Windows\explorer.exe",
        }  # fmt: skip
        return self._sysmon(at_ns, 1, data)

    def _question(self, at_ns: int) -> bytes:
        data = {
            "Image": r"C:\Windows\System32\svchost.exe",
            "QueryStatus": "0",
            "QueryResults": f"{visitor(self.rng)};",
        }
        return self._sysmon(at_ns, 22, {"QueryName": "capnhat.kontum.example", **data})

    def _sysmon(self, at_ns: int, event_id: int, data: dict[str, Any]) -> bytes:
        channel, provider = "Microsoft-Windows-Sysmon/Operational", "Microsoft-Windows-Sysmon"
        return wire.windows(at_ns, self.device.hostname, channel, provider=provider, event_id=event_id, data=data)


class Netflow:
    """One export datagram of a few flows."""

    def __init__(self, device: Device, rng: Random) -> None:
        self.device, self.rng = device, rng
        self._sequence = 0
        self._boot_ns: int | None = None

    def say(self, at_ns: int) -> bytes:
        self._boot_ns = self._boot_ns or at_ns - 86_400 * SECOND_NS
        flows = [self._flow() for _ in range(self.rng.randrange(2, 12))]
        datagram = wire.netflow_v5(at_ns, self._boot_ns, self._sequence, flows)
        self._sequence += len(flows)
        return datagram

    def _flow(self) -> wire.Flow:
        rng = self.rng
        inside = f"{self.device.inside.rpartition('.')[0]}.{rng.randrange(10, 200)}"
        packets = rng.randrange(1, 80)
        size, lasted = packets * rng.randrange(60, 1400), rng.randrange(10, 30_000)
        return inside, visitor(rng), ephemeral(rng), 443, 6, packets, size, lasted, 0x1B


class Snmp:
    """A switch whose ports come up; a link that goes down would be worth an alert, so that none does here."""

    def __init__(self, device: Device, rng: Random) -> None:
        self.device, self.rng = device, rng
        self._boot_ns: int | None = None

    def say(self, at_ns: int) -> bytes:
        self._boot_ns = self._boot_ns or at_ns - 3_600 * SECOND_NS
        # TimeTicks are hundredths of a second and wrap at 2^32 (RFC 2578 section 7.1.8).
        ticks = (at_ns - self._boot_ns) // 10_000_000 % (1 << 32)
        return wire.snmp_trap("linkUp", self.rng.randrange(1, 1 << 31), ticks, self.rng.randrange(1, 49))


_SPEAKERS: dict[str, Callable[[Device, Random], Speaker]] = {
    "sshd": Sshd, "nginx": Nginx, "asa": Asa, "fortigate": Fortigate, "windows": Windows, "netflow": Netflow,
    "snmp": Snmp,
}  # fmt: skip


def speaker(device: Device, rng: Random) -> Speaker:
    """Who speaks for this device."""
    return _SPEAKERS[device.role](device, rng)
