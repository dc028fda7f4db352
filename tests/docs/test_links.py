"""What the documentation points at exists: paths of the repository, modules and names of the package, and relative links."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

import whichbits

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md")])
PATH = re.compile(r"(?<![\w/.-])(?:src|tests|benchmarks|tools|docs|examples|requirements)/[\w./-]*\w/?")
MODULE = re.compile(r"(?<![\w/.-])whichbits(?:\.[A-Za-z_]\w*)+")
GROUP = re.compile(r'^(?:\w+_)?GROUP = "(.+)"$', re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def groups() -> set[str]:
    """The groups of entry points that the package reads."""
    return {name for file in (ROOT / "src").rglob("*.py") for name in GROUP.findall(file.read_text(encoding="utf-8"))}


def known(dotted: str) -> bool:
    """Whether a module of that name is there, or one that holds the rest of the name, or a group of entry points."""
    if dotted in groups():
        return True
    parts = dotted.split(".")
    for length in range(len(parts), 1, -1):
        place = ROOT / "src" / Path(*parts[:length])
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if length == len(parts) and (place.is_dir() or file.is_file()):
            return True
        if file.is_file():
            return re.search(rf"\b{parts[length]}\b", file.read_text(encoding="utf-8")) is not None
    file = ROOT / "src" / "whichbits" / "__init__.py"
    return re.search(rf"\b{parts[1]}\b", file.read_text(encoding="utf-8")) is not None


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_exist(page):
    found = set(PATH.findall(page.read_text(encoding="utf-8")))
    missing = [path for path in found if not (ROOT / path).exists() and not (ROOT / f"{path}.py").exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_modules_and_names_exist(page):
    assert not [name for name in set(MODULE.findall(page.read_text(encoding="utf-8"))) if not known(name)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page):
    links = {link.split("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link}
    assert not [link for link in links if link and not (page.parent / link).exists()]


def test_a_name_that_is_not_there_is_found_missing():
    assert known("whichbits.core.errors.UserError")
    assert not known("whichbits.core.errors.Unheard")
    assert known("whichbits.task_kinds")
    assert not known("whichbits.quantise")


def test_the_api_page_has_every_public_function() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert {name for name in whichbits.__all__ if not re.search(rf"^::: [a-z_.]+\.{name}$", page, re.MULTILINE)} == set()
