"""docs/errors.md is what the code says."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def test_the_page_is_the_code_s(catalogue: ModuleType):
    assert PAGE.read_text(encoding="utf-8") == catalogue.page(catalogue.sites()), "run: python tools/errors.py > docs/errors.md"
