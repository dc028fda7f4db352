"""Every remedy in the code is followed by a test of this folder, or is listed with the reason why none does.

Which remedies the tests of a file follow is in `tests/golden/remedies`, and compared with what they do whenever they run.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

GOLDEN = Path(__file__).parents[1] / "golden" / "remedies"


def followed() -> set[tuple[str, str]]:
    """Module and message of all errors whose remedies some file's tests follow."""
    files = sorted(GOLDEN.glob("test_*.json"))
    assert all((Path(__file__).parent / f"{file.stem}.py").exists() for file in files), "tests that are there no more"
    return {(module, message) for file in files for module, message in json.loads(file.read_text(encoding="utf-8"))}


def test_what_is_not_tried_is_in_the_code(catalogue: ModuleType) -> None:
    sites = catalogue.sites()
    for module, message in catalogue.NOT_TRIED:
        assert any(site.module == module and site.message.startswith(message) for site in sites), f"{module}: {message}"
    assert all(catalogue.NOT_TRIED.values())


def test_every_remedy_is_followed(catalogue: ModuleType) -> None:
    sites = [site for site in catalogue.sites() if not site.handed_on]
    untried = {(site.module, site.message) for site in sites if catalogue.not_tried(site) is None}
    assert not sorted(untried - followed()), "write a test that follows the remedy, or give the reason in tools/errors.py"
    both = {(site.module, site.message) for site in sites if catalogue.not_tried(site) is not None} & followed()
    assert not sorted(both), "these are followed after all"


def test_what_is_followed_is_in_the_code(catalogue: ModuleType) -> None:
    assert followed() <= {(site.module, site.message) for site in catalogue.sites()}
