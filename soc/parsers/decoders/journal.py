"""An entry of systemd's journal (export format) to its fields as text, and to a text that reads."""

from __future__ import annotations

from soc.model import journal_export

MAX_FIELDS = 1024
"""Fields of one entry, as journald itself bounds them; what is more stays in the original."""


def decode(entry: bytes) -> dict[str, str | list[str]]:
    """Values by name, a list where a name comes several times; bytes that are no text are escaped."""
    found: dict[str, str | list[str]] = {}
    for n, (name, value) in enumerate(journal_export.fields(entry)):
        if n >= MAX_FIELDS:
            break
        text = value.decode("utf-8", "backslashreplace")
        before = found.get(name)
        if before is None:
            found[name] = text
        elif isinstance(before, list):
            before.append(text)
        else:
            found[name] = [before, text]
    return found


def readable(entry: bytes) -> str | None:
    """The entry as it is when all of it is text; None when its lengths and bytes are not."""
    if not journal_export.is_text(entry):
        return None
    try:
        return entry.decode()
    except UnicodeDecodeError:
        return None


def is_utf8(entry: bytes) -> bool:
    """Whether all values are text, whatever their form."""
    try:
        for _, value in journal_export.fields(entry):
            value.decode()
    except UnicodeDecodeError:
        return False
    return True


def shown(fields: dict[str, str | list[str]]) -> str:
    """The fields one a line, as `journalctl -o export` writes those that are text."""
    lines = []
    for name, value in fields.items():
        lines += [f"{name}={one}" for one in (value if isinstance(value, list) else [value])]
    return "\n".join(lines) + "\n"
