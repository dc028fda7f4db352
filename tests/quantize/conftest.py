from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def block_llama(tmp_path_factory: pytest.TempPathFactory, embedded_model: Path) -> Path:
    """Folder of a random two-layer Llama (BF16) whose widths blocks of 128 divide, with weights large enough to matter."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("block-llama")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=64, max_position_embeddings=256, tie_word_embeddings=True, initializer_range=0.1,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(embedded_model).save_pretrained(folder)
    (folder / "LICENSE").write_text("a license\n")
    return folder
