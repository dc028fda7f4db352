"""A task whose answers are judged, through a whole study: base and candidate have judgments of their own, and are paired."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("lm_eval")

SCRIPT = Path(__file__).parents[1] / "engines" / "judge_server.py"

SPECIFICATION = """\
version: 1
name: judged
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: emulated}}
tasks:
  - name: open
    kind: arena-hard
    source: v0.1
    max_tokens: 6
    chat_template: true
    judge: {{url: "{url}", model: m, rounds: 1}}
base_repeats: 1
max_length: 256
"""


def test_a_study_with_a_judge(tmp_path: Path, tiny_llama: Path) -> None:
    server = runpy.run_path(str(SCRIPT))["JudgeServer"](key="secret")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    folder = tmp_path / "data" / "arena-hard-v0.1"
    (folder / "model_answer").mkdir(parents=True)
    asked = [{"uid": str(n), "category": "arena-hard-v0.1", "prompt": f"Why {n}?"} for n in range(6)]
    answers = [{"uid": str(n), "messages": [{"role": "assistant", "content": "good" if n else "So."}]} for n in range(6)]
    (folder / "question.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    (folder / "model_answer" / "gpt-4-0314.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    (tmp_path / "spec.yaml").write_text(SPECIFICATION.format(model=tiny_llama, url=server.url))
    path = os.pathsep.join(str(Path(entry).resolve()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry)
    done = subprocess.run(
        [sys.executable, "-m", "whichbits", "study", "spec.yaml", "--data-dir", "data", "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "PYTHONPATH": path, "OPENAI_API_KEY": "secret"},
    )  # fmt: skip
    server.shutdown()
    server.server_close()
    assert done.returncode == 0, done.stderr
    store = tmp_path / "studies/judged"
    found = [json.loads(file.read_text()) for file in store.glob("steps/evaluate/*/*/result.json")]
    assert {one["labels"]["candidate"] for one in found} == {"bf16", "w8a8-int"}
    for one in found:
        # A random model's words are never good: it ties where the baseline's are not either, and loses elsewhere.
        assert one["summary"]["score"] == pytest.approx(0.5 / 6)
        assert one["summary"]["judged"]["requests"] == 12
        assert one["inputs"]["task"]["judging"] == {"model": "m", "rounds": 1, "max_tokens": 4096, "temperature": 0.0}
        assert "secret" not in json.dumps(one) and server.url not in json.dumps(one)
    assert len(server.received) == 24
    assert "12 judgments by m: about" in (store / "run.log").read_text()
