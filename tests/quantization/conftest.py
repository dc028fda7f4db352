from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in one order, so that the same pass ends in the same bytes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def block_llama(tmp_path_factory: pytest.TempPathFactory, save_tokenizer: Callable[..., int]) -> Path:
    """Folder of a random two-layer Llama (BF16) whose widths blocks of 128 divide, with weights large enough to matter."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("block-llama")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=save_tokenizer(folder), hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=64, max_position_embeddings=256, tie_word_embeddings=True, initializer_range=0.1,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    (folder / "LICENSE").write_text("a license\n")
    return folder


FAMILIES: dict[str, dict[str, object]] = {
    "Llama": {},
    "Qwen2": {},
    "Qwen3": {},
    "Mistral": {"sliding_window": 8},
    "Gemma": {},
    "Gemma2": {"sliding_window": 8},
    "Gemma3Text": {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "Phi3": {},
    "Granite": {
        "embedding_multiplier": 6.0, "residual_multiplier": 0.5, "attention_multiplier": 0.1, "logits_scaling": 2.0,
    },
    "Mixtral": {"num_local_experts": 4},
    "Qwen3Moe": {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64},
    "Qwen2Moe": {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "shared_expert_intermediate_size": 128,
    },
}  # fmt: skip
"""Model classes of transformers, and what a small model of each is told beside the sizes that all share."""


@pytest.fixture(scope="session")
def random_base(tmp_path_factory: pytest.TempPathFactory, save_tokenizer: Callable[..., int]) -> Callable[[str], Path]:
    """Folder of a random two-layer model (BF16, width 128) of a family, made once: its norms are not one, some biases large."""
    import torch
    import transformers

    root = tmp_path_factory.mktemp("families")

    def make(family: str) -> Path:
        folder = root / family
        if folder.exists():
            return folder
        torch.manual_seed(0)
        sizes: dict[str, Any] = {
            "vocab_size": save_tokenizer(folder), "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 256,
            "initializer_range": 0.08, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "query_pre_attn_scalar": 32,
        }  # fmt: skip
        model_class = getattr(transformers, family.removesuffix("Text") + "ForCausalLM")
        model = model_class(getattr(transformers, family + "Config")(**sizes, **FAMILIES[family]))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() == 1 and "norm" in name:
                    parameter.add_(0.3 * torch.randn_like(parameter))
                elif name.endswith("bias"):
                    parameter.normal_(std=0.3)
        model.to(torch.bfloat16).save_pretrained(folder)
        return folder

    return make
