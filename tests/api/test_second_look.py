"""A study whose speeds are open after the first look is measured in more rounds, once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import whichbits
from whichbits.studies import conclusion
from whichbits.studies.planning.resolve import Resolution

TEXT = """\
version: 1
name: small
model: {model}
candidates: [{{format: w8a8-int, recipe: {{scales: minmax}}, run: served}}]
workloads: [{{name: mine, prompt_tokens: 32, output_tokens: 8, concurrency: [2]}}]
engine: {{kind: url, urls: {{bf16: "http://a", w8a8-int: "http://b"}}}}
max_length: 256
rounds: 2
{more}"""


@pytest.mark.parametrize(
    ("more", "undecided", "rounds", "judged"),
    [("most_rounds: 5", {"mine"}, [2, 5], 2), ("most_rounds: 5", set(), [2], 2), ("", {"mine"}, [2], 1)],
)
def test_open_workloads_are_measured_in_most_rounds(
    more: str,
    undecided: set[str],
    rounds: list[int],
    judged: int,
    tiny_llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[int] = []
    looks: list[tuple[int, ...]] = []

    def run(plan: Any, *arguments: object, more: Any, **options: object) -> dict[str, str]:
        while plan is not None:
            ran.append(len({one.step.labels.repeat for one in plan.steps if one.step.kind == "serve"}))
            plan = more()
        return {}

    def judge(manifest: Any, records: object) -> str:
        looks.append(manifest.looks)
        return "verdict"

    monkeypatch.setattr(Resolution, "servers", {})
    monkeypatch.setattr("whichbits.api.study.run", run)
    monkeypatch.setattr(conclusion, "judge", judge)
    monkeypatch.setattr(conclusion, "write", lambda *arguments: SimpleNamespace(html=tmp_path / "report.html"))
    monkeypatch.setattr(conclusion, "serve_commands", lambda *arguments: {})
    monkeypatch.setattr("whichbits.studies.second_look.open_workloads", lambda verdict: frozenset(undecided))
    specification = tmp_path / "small.yaml"
    specification.write_text(TEXT.format(model=tiny_llama, more=more))
    whichbits.study(specification, store=tmp_path / "store", quiet=True)
    assert ran == rounds
    assert looks == [(2, 5) if more else ()] * judged
