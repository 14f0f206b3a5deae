"""Messages told from others by all their bytes but the free ones."""

from hypothesis import given
from hypothesis import strategies as st

from soc.model import alike
from soc.model.alike import Alike


@given(st.binary(min_size=1, max_size=40), st.binary(min_size=1, max_size=40), st.data())
def test_it_finds_what_differs_in_free_bytes_only(first, second, data):
    """Equal length, and equal everywhere else."""
    start = data.draw(st.integers(0, len(first)))
    stop = data.draw(st.integers(start, len(first)))
    known: Alike[str] = Alike(10)
    known.learn(first, [(start, stop)], "first")
    same = len(first) == len(second) and first[:start] + first[stop:] == second[:start] + second[stop:]
    assert known.find(first) == "first"
    assert known.find(second) == ("first" if same else None)


def test_different_free_bytes_of_one_length():
    """A message is compared with each set, and bytes that are zero under one mask are none under another."""
    known: Alike[str] = Alike(10)
    known.learn(b"a\0", [(1, 2)], "any second")
    known.learn(b"\0b", [(0, 1)], "any first")
    assert [known.find(data) for data in (b"ax", b"xb", b"xx", b"a\0", b"\0b", b"\0\0")] == [
        "any second", "any first", None, "any second", "any first", None,
    ]  # fmt: skip


def test_it_is_bounded(monkeypatch):
    """Beyond its bound it starts anew; of one length the oldest set of free bytes goes."""
    known: Alike[int] = Alike(100)
    for i in range(250):
        known.learn(bytes((i, 0)), [(1, 2)], i)
        assert len(known) <= 100
    assert known.find(bytes((249, 7))) == 249
    monkeypatch.setattr(alike, "MAX_MASKS", 4)
    many: Alike[int] = Alike(100)
    for i in range(9):
        many.learn(bytes(20), [(i, i + 1)], i)
    assert len(many) == 4


def test_what_is_learned_again_takes_no_room():
    """An engine that says the same thing over and over must not push out what others said."""
    known: Alike[int] = Alike(2)
    known.learn(b"a\0", [(1, 2)], 1)
    for i in range(5):
        known.learn(bytes((98, i)), [(1, 2)], i)
    assert (len(known), known.find(b"ax"), known.find(b"bx")) == (2, 1, 4)
