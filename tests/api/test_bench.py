"""`whichbits.bench`: which loads are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import whichbits
from whichbits.core.errors import UserError
from whichbits.schema.workload import Workload
from whichbits.studies.specification.schema import Specification


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The workload that a call measures; nothing is run."""
    parts: list[Specification] = []

    def run_part(part: Specification, *_: object, **__: object) -> list[object]:
        parts.append(part)
        return []

    monkeypatch.setattr("whichbits.api.bench.run_part", run_part)

    def call(**loads: object) -> Workload:
        assert whichbits.bench("base/model", ["rag"], store=tmp_path, **loads) == ()
        return Workload.model_validate(parts[-1].workloads[0])

    return call


def test_a_workload_has_its_own_loads_where_none_are_given(asked: Any):
    workload = asked()
    assert (workload.synchronous, workload.concurrency, workload.rate) == (True, "auto", None)


def test_loads_that_are_given_take_their_place_and_one_is_one_at_a_time(asked: Any):
    several = asked(concurrency=[16, 1, 4, 16])
    assert (several.synchronous, several.concurrency, several.rate) == (True, (4, 16), None)
    rate = asked(rate=2.5)
    assert (rate.synchronous, rate.concurrency, rate.rate) == (False, (), 2.5)
    assert (rate.prompt_tokens, rate.output_tokens) == (1024, 128)


@pytest.mark.parametrize("loads", [{"concurrency": [0]}, {"rate": -1.0}, {"rate": float("nan")}])
def test_a_load_that_is_none_is_refused(asked: Any, loads: dict[str, object]):
    with pytest.raises(UserError, match="workload"):
        asked(**loads)
