"""What Slicer's build and catalogue need; a file not listed in CMake is not packaged, and nobody notices."""

import ast
import json
import re
import struct
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = set(sys.stdlib_module_names) | {
    *("slicer", "vtk", "numpy", "qt", "ctk"),  # scipy and SimpleITK would slow down every start of Slicer
    *("DiffSegLungLib", "DiffSegLungPanel"),
}


def listed(cmake: Path) -> list[str]:
    """The files between the parentheses of the two set() commands of a module's CMakeLists.txt."""
    blocks = re.findall(r"set\(\w+_(?:SCRIPTS|RESOURCES)\n(.*?)\)", cmake.read_text(), re.DOTALL)
    assert len(blocks) == 2
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def present(folder: Path) -> list[str]:
    """Every file of a folder that belongs into a package."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [path.relative_to(folder).as_posix() for path in files if path.name != "CMakeLists.txt"]


@pytest.mark.parametrize("folder", ["DiffSegLung", "DiffSegLungLib"])
def test_every_file_is_listed_once_and_every_listed_file_exists(folder):
    """Once: CMake refuses a second rule for the same copy."""
    assert sorted(listed(ROOT / folder / "CMakeLists.txt")) == sorted(present(ROOT / folder))


def test_extension_metadata_stands_on_one_line_each():
    text = (ROOT / "CMakeLists.txt").read_text()
    entries = dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"\n]+)"\)$', text, re.MULTILINE))
    assert set(entries) == {
        *("HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS")
    }
    assert entries["DEPENDS"] == "PyTorch"
    for url in [entries["ICONURL"], *entries["SCREENSHOTURLS"].split()]:
        assert (ROOT / url.split("/main/")[1]).is_file(), url


def test_catalogue_entry_agrees_with_the_extension():
    entry = json.loads((ROOT / "DiffSegLung.json").read_text())
    assert entry["category"] == "Segmentation"
    assert entry["build_dependencies"] == ["PyTorch"]
    assert entry["scm_url"].endswith("/SlicerDiffSegLung.git")


@pytest.mark.parametrize("icon", ["Resources/DiffSegLung.png", "DiffSegLung/Resources/Icons/DiffSegLung.png"])
def test_icon_is_a_png_of_128_pixels(icon):
    head = (ROOT / icon).read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:24]) == (128, 128)


def test_requirements_neither_pin_nor_name_torch():
    lines = (ROOT / "DiffSegLung/Resources/requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line.strip() and not line.startswith("#")]
    assert wanted
    assert not [line for line in wanted if "==" in line or line.lower().startswith("torch")]


@pytest.mark.parametrize("path", sorted((ROOT / "DiffSegLung").rglob("*.py")), ids=lambda path: path.name)
def test_file_scope_imports_are_what_slicer_always_has(path):
    tree = ast.parse(path.read_text())
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    assert names <= ALLOWED


@pytest.mark.parametrize("path", sorted((ROOT / "DiffSegLung").rglob("*.py")), ids=lambda path: path.name)
def test_translated_strings_are_literals(path):
    """lupdate finds only literal strings: `_(f"…")` would never be translated."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
            assert all(isinstance(argument, ast.Constant) for argument in node.args), ast.unparse(node)
