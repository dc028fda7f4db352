"""Every remedy in the code is followed by a test of this folder, or is listed with the reason why none does."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def test_what_is_not_tried_is_in_the_code(catalogue: ModuleType) -> None:
    sites = catalogue.sites()
    for module, message in catalogue.NOT_TRIED:
        assert any(site.module == module and site.message.startswith(message) for site in sites), f"{module}: {message}"
    assert all(catalogue.NOT_TRIED.values())


def test_every_remedy_is_followed(catalogue: ModuleType, tried: set[Any]) -> None:
    untried = {site for site in catalogue.sites() if catalogue.not_tried(site) is None and not site.handed_on}
    assert not sorted(f"{site.module}:{site.first}: {site.message}" for site in untried - tried)
    twice = {site for site in tried if catalogue.not_tried(site) is not None}
    assert not sorted(f"{site.module}:{site.first} is followed after all" for site in twice)
