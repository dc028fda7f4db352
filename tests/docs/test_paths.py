"""Every path that CONTRIBUTING.md and docs/architecture.md name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASES = tuple(ROOT / folder for folder in ("", "src/whichbits", "src/whichbits/studies", "src/whichbits/quantization"))
PATH = re.compile(r"`([\w.-]+(?:/[\w.-]+)+/?|[\w.-]+(?:/|\.(?:py|yaml|md|toml|json|lock)))`")
"""With a folder in it, or with an ending."""

OF_OTHERS = {
    "config.json", "site/", "study.json", "verdict.json",
    "failed/", "partial/", "unfinished/", "shared/", "servers/", "leases/",
}  # fmt: skip
"""What lies in a checkpoint or in a store, or is made."""


def blocks(page: str) -> list[str]:
    """The paragraphs of a page, and the rows of its tables."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [block for paragraph in text.split("\n\n") for block in re.split(r"\n(?=\|)", paragraph)]


def missing(block: str) -> list[str]:
    """Paths that are not there. One without a folder may lie in a folder that the block has named before."""
    bases, lost = list(BASES), []
    for name in PATH.findall(block):
        found = [base / name for base in bases if (base / name).exists()]
        bases += [path if path.is_dir() else path.parent for path in found]
        if not found and name not in OF_OTHERS:
            lost.append(name)
    return lost


@pytest.mark.parametrize(("page", "least"), [("CONTRIBUTING.md", 60), ("docs/architecture.md", 120)])
def test_paths_are_there(page: str, least: int) -> None:
    found = blocks(page)
    assert sum(len(PATH.findall(block)) for block in found) >= least
    assert [(name, block[:60]) for block in found for name in missing(block)] == []


def test_a_path_that_is_not_there_is_found() -> None:
    assert missing("`formats/grid/` has `grid.py`, `e4m3.py` and `no_such_grid.py`; `no_such_folder/`") == [
        "no_such_grid.py",
        "no_such_folder/",
    ]
