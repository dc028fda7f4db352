"""Remedies of costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import whichbits


@pytest.fixture
def store(written: Any, tmp_path: Path) -> Path:
    """A study of two models' speeds without a price."""
    for name in ("base", "other"):
        written.WRITERS["aiperf"](tmp_path / name, written.kept_in_flight(4, 8), streams=4, model=name)
    whichbits.bench_from(tmp_path / "base", tmp_path / "other", store=tmp_path / "store")
    whichbits.bench_from(tmp_path / "base", tmp_path / "other", hardware="l4", store=tmp_path / "priced")
    whichbits.bench_from(tmp_path / "other", tmp_path / "base", hardware="l4", store=tmp_path / "turned")
    return tmp_path / "store"


def test_costs(follow: Any, store: Path, tmp_path: Path):
    priced, turned = tmp_path / "priced", tmp_path / "turned"

    def costs(*stores: Path, **options: Any) -> Any:
        return lambda: whichbits.list_costs(stores, **options)

    follow("it has no speed with a price", mistake=costs(store), remedy=costs(priced))
    follow("is of {model}, {study}", mistake=costs(priced, turned), remedy=costs(priced))
    follow("is out of range", mistake=costs(priced, utilisation=2.0), remedy=costs(priced, utilisation=0.5))
    weighed = costs(priced, weight=["imported=3"])
    follow("is not WORKLOAD=WEIGHT", mistake=costs(priced, weight=["rag"]), remedy=weighed)
    follow("is no workload that was measured", mistake=costs(priced, weight=["rag=3"]), remedy=weighed)
