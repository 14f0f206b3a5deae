"""The documentation tells the truth: links lead somewhere, commands exist, the tree is the tree."""

from __future__ import annotations

import re
import shlex
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import typer

from soc.config import load
from soc.console.cli import app

TOP = Path(__file__).resolve().parents[1]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
CONTENT = ("parsers", "detections", "playbooks", "retention", "connectors")
BESIDE = ("tests", "benchmarks", "native", "docs", "soc")

_FENCE = re.compile(r"^```.*?\n(.*?)^```", re.S | re.M)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_INLINE = re.compile(r"`(soc [a-z][^`]*)`")
_IN_BLOCK = re.compile(r"^\s*(?:\$ )?(?:\.venv/bin/)?(soc [a-z].*)$", re.M)
_pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def _headings(page: Path) -> set[str]:
    """The anchors that a forge makes of the headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@_pages
def test_every_link_leads_somewhere(page: Path) -> None:
    """A relative link names a file that exists, and a heading of it where it has an anchor."""
    broken = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in _headings(target)):
            broken.append(link)
    assert broken == []


@_pages
def test_every_page_is_composed(page: Path) -> None:
    """Vietnamese text is NFC, so that a search in the page finds it."""
    text = page.read_text("utf-8")
    assert unicodedata.is_normalized("NFC", text)


def _commands(text: str) -> list[str]:
    """What a page tells the reader to type: lines of its blocks, and `soc …` in its sentences."""
    blocks = "\n".join(_FENCE.findall(text))
    return _IN_BLOCK.findall(blocks) + _INLINE.findall(_FENCE.sub("", text))


def _fault(command: str) -> str:
    """Why the command line would refuse it; empty when it would not."""
    words = shlex.split(command.replace("│", " "), comments=True)[1:]
    node: Any = typer.main.get_command(app)
    options = _options(node)
    while words and hasattr(node, "commands") and not words[0].startswith("-"):
        if words[0] not in node.commands:
            return f"no command '{words[0]}'; one of {', '.join(sorted(node.commands))}"
        node = node.commands[words.pop(0)]
        options |= _options(node)
    known = options | {"--help"}
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    return f"no option {unknown[0]}; one of {', '.join(sorted(known))}" if unknown else ""


def _options(node: Any) -> set[str]:
    return {name for param in node.params for name in (*param.opts, *param.secondary_opts) if name.startswith("-")}


@_pages
def test_every_command_exists(page: Path) -> None:
    """A page names only commands and options that the program has."""
    faults = {command: fault for command in _commands(page.read_text("utf-8")) if (fault := _fault(command))}
    assert faults == {}


def test_the_checker_sees_a_wrong_command() -> None:
    """A command or an option that does not exist is found, in blocks and in sentences."""
    text = "Say `soc nonsense`.\n```\n.venv/bin/soc check --nonsense   # or not\nsoc check\n```\n"
    found = _commands(text)
    assert found == ["soc check --nonsense   # or not", "soc check", "soc nonsense"]
    assert [bool(_fault(command)) for command in found] == [True, False, True]


def _leaves(node: Any, name: str = "soc") -> list[tuple[str, Any]]:
    """Every command that does something, with its whole name."""
    if not hasattr(node, "commands"):
        return [(name, node)]
    return [leaf for word, child in node.commands.items() for leaf in _leaves(child, f"{name} {word}")]


def test_every_command_shows_how_it_is_used() -> None:
    """The help of each command has an example of that very command, and its examples hold."""
    faults = {}
    for name, node in _leaves(typer.main.get_command(app)):
        examples = re.findall(r"(?:^|[:;] ?)\s*(soc [a-z].*)$", f"{node.help}\n{node.epilog or ''}", re.M)
        wrong = [fault for example in examples if (fault := _fault(example))]
        if wrong or not any(f"{example} ".startswith(f"{name} ") for example in examples):
            faults[name] = wrong or "no example"
    assert faults == {}


def test_every_command_is_listed() -> None:
    """docs/commands.md has a row for every command, and for no other."""
    rows = re.findall(r"^\| `(soc [a-z -]+?)`", (TOP / "docs" / "commands.md").read_text("utf-8"), re.M)
    assert sorted(rows) == sorted(name for name, _ in _leaves(typer.main.get_command(app)))


def _packages() -> set[str]:
    found = {path.name for path in (TOP / "soc").iterdir() if path.is_dir() and any(path.glob("*.py"))}
    return found | {path.stem for path in (TOP / "soc").glob("*.py") if not path.stem.startswith("__")}


def test_the_tree_is_the_tree() -> None:
    """docs/tree.md names every room of soc/ and every content folder, once, and nothing else."""
    tree = _FENCE.findall((TOP / "docs" / "tree.md").read_text("utf-8"))[0]
    rooms = re.findall(r"^  (\w+) ", tree, re.M)
    folders = re.findall(r"^(\w+)/ ", tree, re.M)
    assert sorted(rooms) == sorted(_packages())
    assert sorted(folders) == sorted((*CONTENT, *BESIDE))
    assert all((TOP / folder).is_dir() for folder in folders)


def test_the_index_knows_every_page() -> None:
    """docs/README.md links every page beside it."""
    linked = set(_LINK.findall((TOP / "docs" / "README.md").read_text("utf-8")))
    assert {page.name for page in (TOP / "docs").glob("*.md")} - {"README.md"} <= linked


_TOML = re.compile(r"^```toml\n(.*?)^```", re.S | re.M)


@_pages
def test_every_setting_that_a_page_shows_is_read(page: Path, tmp_path: Path) -> None:
    """What a reader copies into soc.toml loads; lists of people (`[[user]]`, `[[token]]`) are files of their own."""
    blocks = _TOML.findall(page.read_text("utf-8"))
    for number, block in enumerate(block for block in blocks if not block.startswith("[[")):
        path = tmp_path / f"{number}.toml"
        path.write_text(block, "utf-8")
        settings = load(path, environ={}, home=tmp_path)
        assert any(path.name in origin for origin in settings.origins.values()), block
