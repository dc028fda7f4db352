"""A `LanguageModel` over transformers, one request at a time: slow, plain, and independent of the engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Generation:
    text: str
    tokens: int
    finish_reason: str


class PlainModel:
    """The protocol's meaning, written out without batching or a cache of keys and values."""

    def __init__(self, folder: Path, max_length: int = 512) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch = torch
        self.max_length = max_length
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
        self.requests: list[dict[str, object]] = []

    def _logits(self, tokens: Sequence[int]):
        with self.torch.no_grad():
            return self.network(self.torch.tensor([list(tokens)])).logits[0].float()

    def loglikelihood(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, bool]]:
        results = []
        for context, continuation in pairs:
            assert context
            rows = self._logits([*context, *continuation])[len(context) - 1 : -1].log_softmax(-1)
            total = sum(rows[index, token].item() for index, token in enumerate(continuation))
            results.append((total, rows.argmax(-1).tolist() == list(continuation)))
        return results

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[Generation]:
        self.requests.append({"max_tokens": max_tokens, "stop": tuple(stop), "temperature": temperature, "seed": seed})
        assert temperature == 0
        return [self._continue(list(prompt), max_tokens, stop) for prompt in prompts]

    def _continue(self, prompt: list[int], max_tokens: int, stop: Sequence[str]) -> Generation:
        new: list[int] = []
        while len(new) < max_tokens:
            token = int(self._logits(prompt + new)[-1].argmax())
            if token == self.tokenizer.eos_token_id:
                return Generation(self.tokenizer.decode(new), len(new), "stop")
            new.append(token)
            text = self.tokenizer.decode(new)
            ends = [text.index(one) for one in stop if one in text]
            if ends:
                return Generation(text[: min(ends)], len(new), "stop")
        return Generation(self.tokenizer.decode(new), len(new), "length")


@pytest.fixture(scope="session")
def plain_tiny(tiny_llama: Path) -> PlainModel:
    return PlainModel(tiny_llama)
