"""A `LanguageModel` over transformers, one request at a time: slow, plain, and independent of the engines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from whichbits.core.errors import UserError
from whichbits.models.configuration import read_configuration

if TYPE_CHECKING:
    from whichbits.engines.vllm.server import Server


@dataclass(frozen=True)
class Generation:
    text: str
    tokens: int
    finish_reason: str


class PlainModel:
    """The protocol's meaning, written out without batching or a cache of keys and values."""

    def __init__(self, folder: Path, max_length: int = 512, dtype: str = "bfloat16") -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch = torch
        self.max_length = max_length
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.network = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
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
        top_p: float = 1.0,
        seed: int | Sequence[int] = 0,
        special_tokens: bool = False,
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
def exact_tiny(tiny_llama: Path) -> PlainModel:
    """The tiny model in float32: with random weights in BF16 two tokens are often as likely, and any of them is greedy."""
    return PlainModel(tiny_llama, dtype="float32")


@pytest.fixture(scope="session")
def plain_tiny(tiny_llama: Path) -> PlainModel:
    return PlainModel(tiny_llama)


@pytest.fixture(scope="session")
def vllm_server(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The embedded model served as a study serves it."""
    from whichbits.engines.vllm.command import find_vllm
    from whichbits.engines.vllm.server import Server
    from whichbits.engines.vllm.server_arguments import serving_settings
    from whichbits.hardware.this_machine import describe, processors

    try:
        command = find_vllm()
    except UserError as error:
        pytest.skip(f"no vLLM here: {error}")
    settings = serving_settings(describe(), read_configuration(embedded_model).kv_bytes_per_token, max_length=1024)
    with Server(
        command,
        embedded_model,
        arguments=settings.arguments,
        environment=settings.environment,
        cpus=processors(settings.server_cpus) or None,
        log=tmp_path_factory.mktemp("server") / "log.txt",
    ) as server:
        yield server
