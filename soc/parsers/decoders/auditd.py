"""Records of the Linux audit system (auditd's log, its dispatcher's lines, the kernel's own) to named values.

A value in double quotes is as it stands; what the kernel does not trust (names, arguments, titles) it writes in
hexadecimal digits without quotes when it holds blanks, quotes or bytes outside ASCII. The records of one event share
time and serial number.
"""

from __future__ import annotations

import re
from typing import Any

Pairs = dict[str, Any]
MAX_ARGS = 4096
"""So many arguments of a command are taken; the text of the record has them all."""
_HEAD = re.compile(
    r"(?:audit: )?(?:node=(\S{1,255}) )?type=([A-Z0-9_]{1,40}|UNKNOWN\[\d{1,5}\]) (?:msg=)?audit\((\d{1,12}\.\d{1,9}):"
    r"(\d{1,20})\) ?:",
    re.ASCII,
)
_PAIR = re.compile(r'([A-Za-z_][\w-]{0,39}(?:\[\d{1,6}\])?)=("[^"]*"|[^\s"]\S*)', re.ASCII)
_OPERATION = re.compile(r"\bop=([^=\"']{1,200}) [\w-]{1,40}=", re.ASCII)
_ARGUMENT = re.compile(r"a(\d{1,6})(?:\[\d{1,6}\])?", re.ASCII)
_HEX = re.compile(r"(?:[0-9A-F]{2})+", re.ASCII)
_ENCODED = frozenset({"comm", "exe", "cwd", "name", "proctitle", "acct", "cmd", "data", "path", "key", "dir", "file"})
_ENRICHED = "\x1d"
"""Before the names that auditd adds with `log_format = ENRICHED`; an id without a name is `unknown(4242)`."""
_ABSENT = ("(null)", "?", "(none)")
# Numbers of linux/audit.h, as the kernel writes them when no auditd has read them.
_TYPES = {
    "1100": "USER_AUTH", "1101": "USER_ACCT", "1105": "USER_START", "1106": "USER_END", "1112": "USER_LOGIN",
    "1130": "SERVICE_START", "1131": "SERVICE_STOP", "1300": "SYSCALL", "1302": "PATH", "1305": "CONFIG_CHANGE",
    "1306": "SOCKADDR", "1307": "CWD", "1309": "EXECVE", "1319": "TTY", "1320": "EOE", "1326": "SECCOMP",
    "1327": "PROCTITLE", "1334": "BPF", "1400": "AVC", "1700": "ANOM_PROMISCUOUS", "1701": "ANOM_ABEND",
}  # fmt: skip


def decode(text: str) -> Pairs | None:
    """The values of a record, `type` among them, or None when it is none.

    `@node`, `@time` (epoch seconds), `@serial`; of a system call `@call` (architecture and number), of EXECVE `@args`.
    """
    head = _HEAD.match(text)
    if head is None:
        return None
    node, kind, when, serial = head.groups()
    kind = _TYPES.get(kind, kind)
    pairs: Pairs = {"type": kind, "@node": node, "@time": when, "@serial": serial}
    body = text[head.end() :].replace(_ENRICHED, " ")
    is_nested = " msg='" in body
    if is_nested:  # what a program said, inside the record
        body = body.replace(" msg='", " ", 1)
    found = _PAIR.findall(body)
    if kind == "EXECVE":
        found = _arguments(found, pairs)
    for name, value in found:
        if name in pairs:  # what stands first cannot be overruled
            continue
        if value[0] == '"':
            pairs[name] = None if value.startswith('"unknown(') else value[1:-1]
        else:
            pairs[name] = _bare(name, value.rstrip("'") if is_nested else value)
    if kind == "SYSCALL":
        pairs["@call"] = f"{pairs.get('arch')}:{pairs.get('syscall')}"
    elif is_nested and (operation := _OPERATION.search(body)) is not None:
        pairs["op"] = operation[1]
    return pairs


def _bare(name: str, value: str) -> str | None:
    if value in _ABSENT:
        return None
    return _unhexed(value) if name in _ENCODED else value


def _unhexed(value: str) -> str:
    if _HEX.fullmatch(value) is None:
        return value
    return bytes.fromhex(value).rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "backslashreplace")


def _arguments(found: list[tuple[str, str]], pairs: Pairs) -> list[tuple[str, str]]:
    """Takes the arguments out; those that were too long for one value (`a1[0]`, `a1[1]`) are joined before they are
    read, for a character may lie across two of them."""
    pieces: dict[int, str] = {}
    others = []
    for name, value in found:
        number = _ARGUMENT.fullmatch(name)
        if number is None:
            others.append((name, value))
        elif len(pieces) < MAX_ARGS or int(number[1]) in pieces:
            before = pieces.get(int(number[1]), "")
            pieces[int(number[1])] = before[:-1] + value[1:] if before[:1] == value[:1] == '"' else before + value
    for at, value in pieces.items():
        pairs[f"a{at}"] = value[1:-1] if value[0] == '"' else _unhexed(value)
    pairs["@args"] = [pairs[f"a{at}"] for at in sorted(pieces)]
    return others
