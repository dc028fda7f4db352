"""Token ids, log-likelihoods and greedy texts of twelve architectures: ours, transformers' by hand, lm-evaluation-harness's.

Models are tiny and random, of the real classes, in float32, so that what differs is not rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402

from whichbits.accuracy.lm_eval_model import LmEvalModel  # noqa: E402
from whichbits.accuracy.tokens import PromptTokenizer  # noqa: E402
from whichbits.engines.emulation.model import Emulated  # noqa: E402
from whichbits.similarity.generate import chat_ids, generate_texts  # noqa: E402
from whichbits.similarity.prompts import Message, Prompt  # noqa: E402

SHAPE: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
SLIDING = {"sliding_window": 16, "query_pre_attn_scalar": 8, "head_dim": 8}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "mistral": {"sliding_window": 16},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "gemma2": SLIDING,
    "gemma3_text": SLIDING,
    "phi3": {},
    "gpt2": {"n_positions": 256},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "gpt_neox": {},
    "falcon": {"new_decoder_architecture": True},
    "granite": {"logits_scaling": 0.5, "embedding_multiplier": 3.0, "residual_multiplier": 0.7},
    "olmo2": {},
}
# A template writes BOS where the tokenizer has one, as Llama's do.
TEMPLATE = (
    "{% if bos_token %}{{ bos_token }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {{ strftime_now('%Y') }}\n{% endif %}"
)
PAIRS = [
    ("the cat sat on", " the mat"),
    ("the dog ran to ", "the house"),  # the space goes to the continuation
    ("", "the river"),
    ("the old ho", "use near the bank"),
    ("Größe — 数字\n", "the ☕ end\n"),
]
PROMPTS = ["the cat sat on the", "near the river bank and the dog ran to the old house near", "\nÄ"]
NEW_TOKENS, VOCABULARY = 8, 300


def random_model(family: str, vocabulary: int) -> Any:
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, vocab_size=vocabulary, **{**SHAPE, **FAMILIES[family]})
    # transformers' other ways of attention leave the cap on its scores out.
    attention = {"attn_implementation": "eager"} if getattr(config, "attn_logit_softcapping", None) else {}
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, **attention).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3)
    return model


@torch.no_grad()
def score_by_hand(model: Any, context: list[int], continuation: list[int]) -> float:
    rows = model(torch.tensor([context + continuation])).logits[0, len(context) - 1 : -1].log_softmax(-1)
    return sum(float(rows[place, token]) for place, token in enumerate(continuation))


@torch.no_grad()
def continue_by_hand(model: Any, prompt: list[int], end: int) -> list[int]:
    made: list[int] = []
    while len(made) < NEW_TOKENS and made[-1:] != [end]:
        made.append(int(model(torch.tensor([prompt + made])).logits[0, -1].argmax()))
    return made


def asked(kind: str, *arguments: Any) -> Instance:
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_ours_equals_transformers_and_lm_eval(family: str, save_tokenizer: Callable[..., int], tmp_path: Path) -> None:
    model = random_model(family, VOCABULARY)
    model.save_pretrained(tmp_path)
    for with_bos in (True, False):
        before, bos = (("<s>",), "<s>") if with_bos else ((), None)
        assert save_tokenizer(tmp_path, before=before, bos=bos, template=TEMPLATE) == VOCABULARY
        check_all(model, tmp_path, with_bos=with_bos)


def check_all(model: Any, folder: Path, *, with_bos: bool) -> None:
    ours, tokenizer = Emulated(folder, threads=1, dtype=torch.float32), PromptTokenizer(folder)
    hf = tokenizer.hf
    theirs = HFLM(pretrained=model, tokenizer=hf, batch_size=1, device="cpu", max_length=256)

    def adapter(*, templated: bool = False) -> LmEvalModel:
        return LmEvalModel(ours, tokenizer, max_gen_toks=NEW_TOKENS, seed=0, task="t", templated=templated)

    # Token ids: of texts, and of messages in the template.
    texts = [context + continuation for context, continuation in PAIRS]
    for text in [*texts, *PROMPTS, "<s>the cat"]:
        assert tokenizer.encode(text) == theirs.tok_encode(text), text
        if not text.startswith("<s>"):
            assert tokenizer.encode(text) == hf(text).input_ids
    turns = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "sat"}, {"role": "user", "content": "on"}]
    prompt = Prompt(id="a", messages=tuple(Message.model_validate(turn) for turn in turns))
    this_year = {"strftime_now": lambda _: "2024"}
    templated = hf.apply_chat_template(turns, add_generation_prompt=True, return_dict=False, **this_year)
    assert chat_ids(hf, prompt) == templated
    assert templated.count(0) == int(with_bos)
    theirs.chat_template_args = this_year
    chat = adapter(templated=True).apply_chat_template(turns)
    assert chat == theirs.apply_chat_template(turns)
    assert adapter(templated=True).tok_encode(chat) == theirs.tok_encode(chat) == templated

    # Log-likelihoods.
    for pairs, one in ((PAIRS, adapter()), ([(chat, "the mat"), (chat, " the ☕")], adapter(templated=True))):
        requests = [asked("loglikelihood", *pair) for pair in pairs]
        mine, its = one.loglikelihood(requests), theirs.loglikelihood(requests)
        for (context, continuation), (score, greedy), (its_score, its_greedy) in zip(pairs, mine, its, strict=True):
            ids = (
                one._encode_pair(context, continuation)
                if context
                else ([one.prefix_token_id], hf.encode(continuation, add_special_tokens=False))
            )
            assert score == pytest.approx(score_by_hand(model, *ids), abs=1e-4)
            assert score == pytest.approx(its_score, abs=1e-4)
            assert greedy == its_greedy

    # Greedy texts: as a task generates them, and as similarity does.
    limits = {"until": ["\n\n\n"], "max_gen_toks": NEW_TOKENS, "do_sample": False}
    requests = [asked("generate_until", text, limits) for text in [*PROMPTS]]
    by_hand = [hf.decode(continue_by_hand(model, tokenizer.encode(text), 1), skip_special_tokens=True) for text in PROMPTS]
    assert adapter().generate_until(requests) == theirs.generate_until(requests) == by_hand
    answer = hf.decode(continue_by_hand(model, templated, 1), skip_special_tokens=True)
    assert adapter(templated=True).generate_until([asked("generate_until", chat, limits)]) == [answer]
    assert theirs.generate_until([asked("generate_until", chat, limits)]) == [answer]
    assert generate_texts(ours, hf, [prompt], max_tokens=NEW_TOKENS)[0].text == answer
