"""Lengths at which prefill and decode are measured apart, where the specification leaves them open."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from whichbits.schema.prefill_decode import PrefillDecode
from whichbits.schema.workload import Workload
from whichbits.studies.specification.source import Source
from whichbits.studies.steps.prefill_decode import settled

RAG = Workload(name="rag", prompt_tokens=1024, output_tokens=128)
CHAT = Workload(name="chat", prompt_tokens=128, output_tokens=33)


def study(batches: PrefillDecode | None, *workloads: Workload) -> Any:
    return SimpleNamespace(
        specification=SimpleNamespace(prefill_decode=batches),
        workloads=workloads,
        model=SimpleNamespace(max_positions=4096),
        source=Source("", "mine"),
    )


@pytest.mark.parametrize(
    ("given", "prompts", "contexts"),
    [
        ({}, (128, 1024), (144, 1088)),
        ({"prompt_tokens": (512,)}, (512,), (144, 1088)),
        ({"context_tokens": (512,)}, (128, 1024), (512,)),
    ],
)
def test_lengths_are_those_of_the_workloads(given: dict[str, Any], prompts: tuple[int], contexts: tuple[int]) -> None:
    found = settled(study(PrefillDecode(**given), RAG, CHAT))
    assert found is not None and (found.prompt_tokens, found.context_tokens) == (prompts, contexts)


def test_without_workloads_one_length_stands_for_both() -> None:
    assert settled(study(None)) is None
    for given in ({"prompt_tokens": (64,)}, {"context_tokens": (64,)}):
        found = settled(study(PrefillDecode(**given)))  # type: ignore[arg-type]
        assert found is not None and found.prompt_tokens == found.context_tokens == (64,)
