"""The error family: what the docstring draws is what there is, and each kind has its exit code."""

from __future__ import annotations

import inspect
import re

import pytest

from soc import errors
from soc.errors import ContentError, Fault, QueryError, SocError, nearest

FAMILY = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SocError)]
CONTRACT = {
    "EXIT_OK": 0, "EXIT_RUNTIME": 1, "EXIT_USAGE": 2, "EXIT_FINDINGS": 3, "EXIT_PARTIAL": 4, "EXIT_PERMISSION": 5,
    "EXIT_TRY_AGAIN": 75, "EXIT_INTERRUPTED": 130,
}  # fmt: skip


def drawn() -> list[tuple[int, str, int]]:
    """Depth, name and exit code of each line of the tree in the docstring."""
    lines = re.findall(r"^( +[│ ]*(?:[├└]── )?)(\w+) +exit +(\d+) ", errors.__doc__ or "", re.M)
    return [(len(lead) // 4, name, int(code)) for lead, name, code in lines]


def test_the_exit_codes_are_those_of_the_contract():
    """Scripts rely on them."""
    assert {name: value for name, value in vars(errors).items() if name.startswith("EXIT_")} == CONTRACT


def test_the_drawn_tree_is_the_real_one():
    """Every class once, with its exit code, below its parent."""
    parents: dict[int, str] = {}
    found = {}
    for depth, name, code in drawn():
        parents[depth] = name
        found[name] = (code, parents.get(depth - 1))
    real = {kind.__name__: (kind.exit_code, kind.__mro__[1].__name__) for kind in FAMILY}
    real["SocError"] = (1, None)
    assert found == real


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_every_kind_says_what_it_is_for(kind):
    """A docstring of its own; the API and the client name kinds by their class."""
    assert kind.__doc__
    assert kind.__doc__ != (kind.__mro__[1].__doc__ or "")


@pytest.mark.parametrize("kind", [kind for kind in FAMILY if kind is not ContentError], ids=lambda kind: kind.__name__)
def test_every_kind_carries_a_sentence_and_the_way_out(kind):
    """Made from a message and a hint alone, so that a client can raise it again."""
    error = kind("what happened", hint="what to do")
    assert (str(error), error.hint) == ("what happened", "what to do")
    assert kind("what happened").hint is None


def test_a_search_text_error_knows_its_column():
    """1-based, 1 when nobody knows better."""
    assert (QueryError("x").column, QueryError("x", column=7).column) == (1, 7)


def test_a_definition_error_tells_all_faults_in_file_and_line_order():
    """Whatever order they were found in; line 10 comes after line 9."""
    faults = [Fault("b.yml", 1, "x"), Fault("a.yml", 10, "y"), Fault("a.yml", 9, "z")]
    error = ContentError(faults)
    assert str(error) == "a.yml:9: z\na.yml:10: y\nb.yml:1: x"
    assert list(error.faults) == sorted(faults)


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("prot", ["host", "port"], " (did you mean 'port'?)"),
        ("xyz", ["host", "port"], ""),
        ("port", [], ""),
        ("hihg", iter(("low", "high")), " (did you mean 'high'?)"),
    ],
)
def test_the_nearest_name_is_suggested_or_nothing(name, known, said):
    """Ready to stand behind a sentence."""
    assert nearest(name, known) == said
