"""README and docs against the code: links, files, commands and examples are what there is."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from DiffSegLungLib.commands.cli import _parser
from DiffSegLungLib.commands.models import with_action

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "Testing" / "headless_slicer" / "README.md",
]
SOURCES = [
    path.relative_to(ROOT).as_posix()
    for folder in ("DiffSegLung", "DiffSegLungLib", "Testing")
    for path in (ROOT / folder).rglob("*.py")
]
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def blocks(document: Path, language: str) -> Iterator[str]:
    """Fenced blocks of a language; ``""`` stands for those without one."""
    yield from re.findall(rf"^ *```{language}\n(.*?)^ *```$", document.read_text(), re.MULTILINE | re.DOTALL)


def commands(document: Path, name: str) -> Iterator[list[str]]:
    """Arguments of every line of a block that calls a program."""
    for block in blocks(document, ""):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0].rpartition("/")[2] == name:
                yield words[1:]


def anchors(document: Path) -> set[str]:
    """What links may lead to within a document."""
    titles = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_every_document_is_in_the_index_of_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert [path.name for path in DOCUMENTS[1:-1] if f"(docs/{path.name})" not in text] == []


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if not target.startswith("http"):
            name, _, anchor = target.partition("#")
            path = document.parent / name if name else document
            assert path.exists(), target
            assert not anchor or anchor in anchors(path), target


@each_document
def test_files_that_are_named_exist(document: Path) -> None:
    for name in re.findall(r"`(?:python )?([\w/]+\.py)\b", document.read_text()):
        slicers_own = name.startswith("slicer/")
        assert slicers_own or any(f"/{source}".endswith(f"/{name}") for source in SOURCES), name


@each_document
def test_commands_are_understood(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for arguments in commands(document, "diffseglung"):
        _parser().parse_args(with_action(arguments))
    for target, *_ in commands(document, "make"):
        assert f"\n{target}:" in makefile, target
    for script, *_ in commands(document, "python"):
        assert script.startswith("-") or (ROOT / script).is_file(), script


@each_document
def test_python_examples_import_what_there_is(document: Path) -> None:
    for block in blocks(document, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("DiffSegLung"):
                assert {alias.name for alias in node.names} <= names_of(node.module or ""), node.module


def names_of(module: str) -> set[str]:
    """What a module of ours defines, imports or exports, without importing it."""
    path = f"{module.replace('.', '/')}"
    (source,) = (s for s in SOURCES if s.endswith((f"{path}.py", f"{path}/__init__.py")))
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / source).read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found
