"""Bars of text: one line a row, as long as its number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(value: float, most: float, width: int) -> str:
    """A bar of at most `width` cells, in eighths; what is above zero is seen, however little it is."""
    if value <= 0 or most <= 0:
        return ""
    eighths = max(1, round(value / most * width * 8))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def bars(rows: Sequence[tuple[str, float, str]], width: int) -> Iterator[str]:
    """`label  bar  words` for each row; all fits into `width` cells where that is possible at all."""
    most = max((value for _, value, _ in rows), default=0)
    label = max((len(text) for text, _, _ in rows), default=0)
    words = max((len(text) for _, _, text in rows), default=0)
    room = max(4, width - label - words - 4)
    for text, value, said in rows:
        yield f"{text:<{label}}  {bar(value, most, room):<{room}}  {said:>{words}}".rstrip()
