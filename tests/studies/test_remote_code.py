"""A model with Python code of its own, through every step that runs it on this machine: only with trust_remote_code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("lm_eval")

from whichbits.core.errors import UserError
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.specification.schema import parse
from whichbits.studies.steps import registry
from whichbits.studies.steps.step import Job

TEXT = """\
version: 1
name: own
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{rounding: gptq, calibration: {{samples: 2, length: 16}}}}, run: both}}
tasks:
  - {{name: recall, limit: 2}}
similarity: {{limit: 2, max_tokens: 8, windows: 1, window_tokens: 16}}
workloads:
  - {{name: mine, prompt_tokens: 32, output_tokens: 8, concurrency: [2]}}
trust_remote_code: {trusted}
max_length: 128
{engine}
"""

URLS = 'engine: {kind: url, urls: {bf16: "http://127.0.0.1:9", w8a8-int: "http://127.0.0.1:9"}}'

OWN = """\
from transformers import LlamaConfig, LlamaForCausalLM, {tokenizer}

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig

class OwnTokenizer({tokenizer}):
    pass
"""


class Context:
    """Hears progress, and has no servers."""

    def progress(self, text: str) -> None:
        """Nobody listens."""

    def server(self, name: str) -> str:
        raise AssertionError("no server is needed")


@pytest.fixture
def own(tiny_llama: Path, tmp_path: Path) -> Path:
    """The tiny Llama as a model type, and with a tokenizer, that transformers does not know."""
    folder = tmp_path / "own"
    folder.mkdir()
    for file in tiny_llama.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "architectures": ["OwnForCausalLM"]}
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    (folder / "config.json").write_text(json.dumps(config))
    named = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "own.py").write_text(OWN.format(tokenizer="PreTrainedTokenizerFast"))
    named |= {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": [None, "own.OwnTokenizer"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return folder


def test_every_local_step_runs_the_models_code_with_trusted(own: Path, tmp_path: Path):
    text = TEXT.format(model=own, trusted="true", engine=URLS)
    done: dict[str, Path] = {}
    kinds = []
    for planned in Expansion(*parse(text, "own.yaml"), ask_servers=False).plan().steps:
        step = planned.step
        if planned.needs.servers or any(read.key not in done for read in planned.reads.values()):
            continue  # it asks a server, or reads what a server said
        folder = tmp_path / step.key
        folder.mkdir()
        job = Job(step, folder, {role: done[read.key] for role, read in planned.reads.items()})
        ((_, result),) = registry.KINDS[step.kind].run([job], Context())
        assert not isinstance(result, Exception)
        done[step.key] = folder
        kinds.append(step.kind)
    assert sorted(kinds) == ["distribution", "evaluate", "evaluate", "quantize"], "the base is evaluated in emulation too"


def test_without_trusted_there_is_no_plan(own: Path):
    with pytest.raises(UserError, match="comes with Python code of its own"):
        Expansion(*parse(TEXT.format(model=own, trusted="false", engine=URLS), "own.yaml"), ask_servers=False).plan()


def test_the_engine_is_told_of_the_trusted(tiny_llama: Path):
    def arguments(trusted: str) -> dict[str, object]:
        return dict(
            Expansion(
                *parse(TEXT.format(model=tiny_llama, trusted=trusted, engine=""), "own.yaml"), ask_servers=False
            ).settings.arguments
        )

    assert arguments("true")["trust-remote-code"] is True
    assert "trust-remote-code" not in arguments("false")
