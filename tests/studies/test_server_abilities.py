"""What servers at addresses cannot do is said before a run asks them for it."""

from __future__ import annotations

import json
import runpy
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("lm_eval")
pytest.importorskip("aiohttp", reason="aiohttp, of the extra 'measure', is not installed")

import whichbits
from whichbits.schema.serve import ServeSummary
from whichbits.schema.server_abilities import AS_TEXT, BY_MIN_TOKENS, ServerAbilities
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.server_abilities import lacking
from whichbits.studies.specification.schema import parse


@pytest.fixture
def fake() -> Iterator[Callable[..., Any]]:
    """Starts a completions server with oddities; see `engines/fake_server.py`."""
    script = runpy.run_path(str(Path(__file__).parents[1] / "engines" / "fake_server.py"))
    running: list[Any] = []

    def start(**options: Any) -> Any:
        server = script["FakeServer"](**options)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def said(model: Path, url: str, kinds: tuple[str, ...], tasks: str = "recall, choice") -> list[str]:
    text = (
        f"version: 1\nname: s\nmodel: {model}\ncandidates: []\nbase_repeats: 1\nrounds: 1\n"
        f"tasks: [{', '.join(f'{{name: {name}, limit: 4}}' for name in tasks.split(', '))}]\n"
        f"workloads: [{{name: w, prompt_tokens: 32, output_tokens: 8, concurrency: [2]}}]\n"
        f'engine: {{kind: url, urls: {{bf16: "{url}"}}}}\n'
    )
    expansion = Expansion(*parse(text, "s.yaml"))
    return list(lacking(expansion, [one.step for one in expansion.plan().steps if one.step.kind in kinds]))


BOTH = ("serve", "evaluate")


def test_a_server_that_lacks_nothing_is_not_spoken_of(tiny_llama: Path, fake: Any) -> None:
    assert said(tiny_llama, fake().url, BOTH) == []


def test_nothing_is_asked_where_nothing_is_missing(tiny_llama: Path, fake: Any) -> None:
    server = fake(token_ids=False)
    assert said(tiny_llama, server.url, ()) == [] and server.received == []


def test_texts_in_place_of_token_ids_are_said_and_that_nothing_is_scored(tiny_llama: Path, fake: Any) -> None:
    server = fake(token_ids=False, unknown=frozenset({"ignore_eos"}))
    speeds = [f"bf16: the server {AS_TEXT}", f"bf16: the server {BY_MIN_TOKENS}"]
    assert said(tiny_llama, server.url, ("serve",)) == speeds
    scores = said(tiny_llama, server.url, BOTH)[2:]
    assert len(scores) == 1 and scores[0].startswith("bf16: nothing is scored or generated there: ")
    assert {one["max_tokens"] for one in server.received} <= {1, 2}, "no load was begun, and no item asked"


def test_a_server_that_cannot_be_measured_is_named_with_what_can_be(tiny_llama: Path, fake: Any) -> None:
    (line,) = said(tiny_llama, fake(unknown=frozenset({"ignore_eos", "min_tokens"})).url, BOTH)
    assert line.startswith("bf16: no speeds are measured: ") and "evaluate accuracy alone" in line


def test_tasks_that_need_log_probabilities_are_named_with_those_that_need_none(tiny_llama: Path, fake: Any) -> None:
    server = fake(unknown=frozenset({"logprobs"}))
    (line,) = said(tiny_llama, server.url, BOTH)
    before, instead = line.split("; ")
    assert "choice" in before and "recall" not in before
    assert all(name in instead for name in ("recall", "needle", "copy", "order")) and "choice" not in instead
    assert said(tiny_llama, server.url, BOTH, tasks="recall, needle") == []


def test_a_bench_says_it_before_the_loads_and_keeps_it_with_them(
    tiny_llama: Path, start_engine: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = start_engine(ttft=0.05, itl=0.01, token_ids=False)
    (load,) = whichbits.bench(str(tiny_llama), ["64/8"], url=url, concurrency=[1], store=tmp_path)
    assert not [reason for reason in load.reasons if "lengths" in reason]
    assert f"bf16: the server {AS_TEXT}" in " ".join(capsys.readouterr().err.split())
    (result,) = tmp_path.glob("steps/serve/*/result.json")
    (level,) = ServeSummary.model_validate(json.loads(result.read_text())["summary"]).load_levels
    assert level.evidence is not None and level.evidence.abilities == ServerAbilities(token_ids=False)


def test_doctor_says_it_of_an_address(fake: Any) -> None:
    def found(**oddity: Any) -> dict[str, Any]:
        return {one.name: one for one in whichbits.doctor(url=fake(**oddity).url) if one.name.startswith("server")}

    able = found()
    assert [one.status for one in able.values()] == ["ok"] * 3
    lacks = found(token_ids=False)
    assert AS_TEXT in lacks["server: speeds"].detail
    assert [(one.status, bool(one.remedy)) for one in lacks.values()] == [("ok", False), ("warn", True), ("warn", True)]
    assert found(unknown=frozenset({"ignore_eos", "min_tokens"}))["server: speeds"].status == "fail"
    (gone,) = [one for one in whichbits.doctor(url="http://127.0.0.1:9") if one.name == "server"]
    assert gone.status == "fail" and gone.remedy
