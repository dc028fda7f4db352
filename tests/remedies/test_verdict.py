"""Remedies of whichbits.verdict."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from whichbits.schema.deployment import Deployment
from whichbits.schema.generate import GenerateSummary
from whichbits.schema.inputs import Inputs
from whichbits.schema.provenance import Provenance
from whichbits.schema.step import Step
from whichbits.studies.store.store import Store
from whichbits.verdict.collect import collect
from whichbits.verdict.pairing import read_columns


class Given(Inputs, extra="allow"):
    """Inputs of a kind of step that only tests know."""


def test_a_price_that_is_none(follow: Any):
    def priced(**deployment: Any):
        collect([], "bf16", {"bf16": "bf16"}, deployments={"one": Deployment(hardware="h100", **deployment)})

    for price in (0, -1.0, float("nan")):
        for told in ({"price_per_hour": 2.1}, {}):
            follow(
                "price_per_hour = {price} is not a finite number above 0",
                mistake=lambda price=price: priced(price_per_hour=price),
                remedy=lambda told=told: priced(**told),
            )


def test_items_that_cannot_be_read(follow: Any, tmp_path: Path):
    pytest.importorskip("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as parquet

    store = Store(tmp_path)
    spoiled, other = (Step("generate", 1, Given(task=name)) for name in ("a", "b"))

    def measure(step: Step) -> Path:
        if not store.done(step):
            partial = store.partial(step)
            parquet.write_table(pa.table({"score": [1.0]}), partial / "items.parquet")
            store.finish(step, partial, GenerateSummary(n=1, tokens=1), Provenance())
        return store.record(step).items

    path = measure(spoiled)
    measure(other)
    path.write_bytes(b"PAR1")

    def delete_and_run_again() -> None:
        shutil.rmtree(path.parent)
        assert not store.done(spoiled)
        assert store.done(other)
        assert read_columns(measure(spoiled), ("score",)).to_pydict() == {"score": [1.0]}

    error = follow("store: {path} cannot be read", mistake=lambda: read_columns(path, ("score",)), remedy=delete_and_run_again)
    assert f"delete the folder {path.parent} " in error.remedy
