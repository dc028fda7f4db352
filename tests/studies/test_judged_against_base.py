"""Candidates' answers judged directly against the base's, in one study that is killed meanwhile and goes on."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("lm_eval")

SCRIPT = Path(__file__).parents[1] / "engines" / "judge_server.py"

SPECIFICATION = """\
version: 1
name: direct
model: {model}
judge: {{url: "{url}", model: m, rounds: 2, against_base: true, concurrency: 1, prompt_price: 10, output_price: 20}}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: emulated}}
  - {{checkpoint: {other}, name: other, run: emulated}}
tasks:
  - {{name: open, kind: arena-hard, source: v0.1, max_tokens: 12, chat_template: true, limit: 5}}
base_repeats: 1
max_length: 256
"""
HELD = 50
"""Judgments until the study is killed: of 60 against the baseline and 20 against the base, in the midst of a step."""

QUESTIONS = ["A longer why?", "A longer how?", "A biased one?", "A silent one?", "A longer when?", "Not asked?"]


@dataclass(frozen=True)
class Ran:
    """Two runs of a study: killed while it was judged, and gone on."""

    store: Path
    printed: str
    before: int
    """Judgments that were asked for until it was killed."""
    received: list[dict[str, Any]]
    dry_run: str
    """What a third run would do."""


def of_other_weights(model: Path) -> Path:
    """A model of the same shapes whose answers are others; a format's of random weights are those of the base."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

    folder = model.parent / "other"
    torch.manual_seed(1)
    made = LlamaForCausalLM(AutoConfig.from_pretrained(model))
    with torch.no_grad():  # with layers of so little weight as in the base a tied head says the last token again
        for weight in made.model.layers.parameters():
            weight *= 30
    made.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("direct")
    server = runpy.run_path(str(SCRIPT))["JudgeServer"](hold_after=HELD)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    data = folder / "data" / "arena-hard-v0.1"
    (data / "model_answer").mkdir(parents=True)
    asked = [{"uid": str(n), "category": "arena-hard-v0.1", "prompt": text} for n, text in enumerate(QUESTIONS)]
    answers = [{"uid": str(n), "messages": [{"role": "assistant", "content": "So."}]} for n in range(len(QUESTIONS))]
    (data / "question.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    (data / "model_answer" / "gpt-4-0314.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    (folder / "spec.yaml").write_text(
        SPECIFICATION.format(model=tiny_llama, other=of_other_weights(tiny_llama), url=server.url)
    )
    path = os.pathsep.join(str(Path(entry).resolve()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry)
    command = [sys.executable, "-m", "whichbits", "study", "spec.yaml", "--data-dir", "data"]
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "120"}
    first = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 900
    while len(server.received) <= HELD:
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = len(server.received)
    server.go.set()
    runs = [
        subprocess.run([*command, *more], cwd=folder, capture_output=True, text=True, timeout=900, check=False, env=environment)
        for more in ([], ["--dry-run"])
    ]
    server.shutdown()
    server.server_close()
    assert [one.returncode for one in runs] == [0, 0], [one.stderr for one in runs]
    yield Ran(folder / "studies/direct", runs[0].stdout, before, server.received, runs[1].stdout)


def results(ran: Ran, kind: str) -> dict[str, Any]:
    found = [json.loads(file.read_text()) for file in ran.store.glob(f"steps/{kind}/*/5/result.json")]
    return {one["labels"]["candidate"]: one for one in found}


def rows(ran: Ran, kind: str, key: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as parquet

    return parquet.read_table(ran.store / "steps" / kind / key / "5" / "items.parquet").to_pylist()


def test_answers_that_are_there_are_judged_against_the_bases(ran: Ran) -> None:
    evaluated, compared = results(ran, "evaluate"), results(ran, "judge")
    assert set(evaluated) == {"bf16", "w8a8-int", "other"}
    assert set(compared) == {"w8a8-int", "other"}
    base = {row["item"]: row["prediction"] for row in rows(ran, "evaluate", evaluated["bf16"]["key"])}
    assert list(base) == ["0", "1", "2", "3", "4"]
    scores = list[float]()
    for candidate, step in compared.items():
        own = evaluated[candidate]["key"]
        assert step["reads"] == {"base": evaluated["bf16"]["key"], "candidate": own}
        answers = {row["item"]: row["prediction"] for row in rows(ran, "evaluate", own)}
        found = rows(ran, "judge", step["key"])
        for row in found:
            item = row["item"]
            longer = (len(answers[item]) > len(base[item])) - (len(answers[item]) < len(base[item]))
            # A judge who always says A, or nothing, tells no answer from another.
            expected = 0.5 if "longer" not in QUESTIONS[int(item)] else (1 + longer) / 2
            assert row["score"] == expected
            assert row["identical"] == (answers[item] == base[item])
        judged, asked = step["summary"]["judged"], sum(not row["identical"] for row in found)
        assert (judged["identical"], judged["requests"]) == (5 - asked, 4 * asked)
        assert judged["dollars"] == pytest.approx(4 * asked * (100 * 10 + 10 * 20) / 1e6)
        assert step["summary"]["score"] == pytest.approx(sum(row["score"] for row in found) / 5)
        scores += [row["score"] for row in found]
    assert set(scores) - {0.5}, "some answers of a candidate differ in length from the base's"


def test_judgments_of_a_killed_run_are_not_asked_for_again(ran: Ran) -> None:
    assert ran.before < len(ran.received)
    every = [*results(ran, "evaluate").values(), *results(ran, "judge").values()]
    needed = sum(step["summary"]["judged"]["requests"] for step in every)
    # Each step that was killed had one judgment under way.
    assert needed <= len(ran.received) <= needed + 3
    again = Counter(json.dumps(request, sort_keys=True) for request in ran.received)
    assert len(again) <= needed
    assert not list((ran.store / "unfinished").glob("*"))


def test_verdict_terminal_and_report_say_what_the_judge_said(ran: Ran) -> None:
    verdict = json.loads((ran.store / "verdict.json").read_text())
    by_place = {(one["candidate"], one["against"]): one for one in verdict["judged"]}
    assert set(by_place) == {
        ("bf16", "baseline"), ("w8a8-int", "baseline"), ("other", "baseline"), ("w8a8-int", "base"), ("other", "base")
    }  # fmt: skip
    for (candidate, against), found in by_place.items():
        step = results(ran, "judge" if against == "base" else "evaluate")[candidate]
        assert (found["score"], found["steps"]) == (step["summary"]["score"], [step["key"]])
        assert found["win_rate"]["value"] == step["summary"]["judged"]["win_rate"]["rate"]
        assert found["provenance"] == "emulated"
    # The judging is no task of the suite.
    assert {one["task"] for one in verdict["tasks"]} == {"open"}
    assert "Answers judged by m: open" in ran.printed
    page = (ran.store / "report.html").read_text()
    assert page.count('<h3 id="judged">') == 1
    assert "swayed by the order" in page


def test_what_judging_takes_is_said_before_a_run_and_not_of_what_is_done(ran: Ran) -> None:
    log = ran.printed
    assert "w8a8-int against the base, open: 20 judgments by m" in log or "judgments by m" not in log
    assert "0 of" in ran.dry_run and "judgments" not in ran.dry_run
