"""Contexts, continuations and templates with tokenizers of several kinds, ours beside those of lm-evaluation-harness's `hf`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("lm_eval")
transformers = pytest.importorskip("transformers")

from lm_eval.models.huggingface import HFLM  # noqa: E402

from whichbits.accuracy.lm_eval_model import LmEvalModel  # noqa: E402
from whichbits.accuracy.tokens import PromptTokenizer  # noqa: E402

PAIRS = [
    ("the cat sat on", " the mat"),
    ("the cat sat on", "the mat"),
    ("the dog ran to ", "the house"),
    ("the dog ran to \n ", "the house"),
    ("the old ho", "use near the bank"),
    (" the river", ":"),
    ("Größe — 数字\n", "the ☕ end\n"),
    ("<s>the cat", " sat"),
    ("the <|im_end|>", " cat"),
]


class NoModel:
    """Keeps the token ids that it is asked to score."""

    max_length = 512

    def loglikelihood(self, pairs: Any) -> list[tuple[float, bool]]:
        self.pairs = [(list(context), list(continuation)) for context, continuation in pairs]
        return [(0.0, False)] * len(self.pairs)


def sentencepiece_like(folder: Path, scheme: str) -> None:
    """A BPE with byte fallback and a mark in place of spaces, as Llama 2's (`scheme` first: before the first word alone)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme=scheme)])
    special = ["<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    backend.train_from_iterator(["the cat sat on the mat and the dog ran to the old house near the river"] * 4, trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.add_tokens(["the mat"])  # an added token across a space
    fast.save_pretrained(folder)


def their_pairs(tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    model = HFLM.__new__(HFLM)
    model.tokenizer, model.add_bos_token, model.custom_prefix_token_id, model.backend = tokenizer, None, None, "causal"
    return [model._encode_pair(context, continuation) for context, continuation in PAIRS]


def our_pairs(folder: Path, *, templated: bool = False) -> list[tuple[list[int], list[int]]]:
    from lm_eval.api.instance import Instance

    model = NoModel()
    adapter = LmEvalModel(model, PromptTokenizer(folder), max_gen_toks=1, seed=0, task="t", templated=templated)
    adapter.loglikelihood([Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0) for pair in PAIRS])
    return model.pairs


@pytest.mark.parametrize("scheme", ["first", "always", "never"])
def test_sentencepiece_like(scheme: str, tmp_path: Path) -> None:
    sentencepiece_like(tmp_path, scheme)
    tokenizer = PromptTokenizer(tmp_path)
    assert our_pairs(tmp_path) == their_pairs(tokenizer.hf)
    assert all(context[0] == 0 and context.count(0) == 1 for context, _ in our_pairs(tmp_path))


@pytest.mark.parametrize("fields", [{}, {"before": (), "bos": None}, {"prefix_space": True}])
def test_byte_level(fields: dict[str, Any], save_tokenizer: Callable[..., int], tmp_path: Path) -> None:
    save_tokenizer(tmp_path, **fields)
    assert our_pairs(tmp_path) == their_pairs(PromptTokenizer(tmp_path).hf)


def test_a_tokenizer_that_appends_its_end(save_tokenizer: Callable[..., int], tmp_path: Path) -> None:
    """lm-evaluation-harness scores the end of the text there, and not the continuation's first token."""
    save_tokenizer(tmp_path)
    plain = our_pairs(tmp_path)
    save_tokenizer(tmp_path, after=("</s>",))
    assert our_pairs(tmp_path) == plain
    assert their_pairs(PromptTokenizer(tmp_path).hf)[0][1][-1] == 1


def test_a_slow_tokenizer_that_appends_its_end(tmp_path: Path) -> None:
    transformers.ByT5Tokenizer().save_pretrained(tmp_path)
    tokenizer = PromptTokenizer(tmp_path)
    assert not tokenizer.hf.is_fast
    assert tokenizer.encode("ab") == [ord("a") + 3, ord("b") + 3]
    context, continuation = our_pairs(tmp_path)[0]
    assert bytes(token - 3 for token in context + continuation) == b"the cat sat on the mat"


def test_a_template_without_bos_gets_none(save_tokenizer: Callable[..., int], tmp_path: Path) -> None:
    """As transformers' and vLLM's chat; lm-evaluation-harness adds one where the tokenizer begins texts with it."""
    save_tokenizer(tmp_path)
    tokenizer = PromptTokenizer(tmp_path)
    messages = [{"role": "user", "content": "the cat"}]
    adapter = LmEvalModel(NoModel(), tokenizer, max_gen_toks=1, seed=0, task="t", templated=True)
    by_hand = tokenizer.hf.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert adapter.tok_encode(adapter.apply_chat_template(messages)) == by_hand
    assert 0 not in by_hand
