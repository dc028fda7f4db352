"""The first layers of a random Llama of a well-known shape, for what costs depend on: widths, not weights.

    python benchmarks/quantizers/random_model.py SHAPE LAYERS OUT

SHAPE is 1b (Llama-3.2-1B) or 8b (Llama-3.1-8B), with the tokenizer and vocabulary of the embedded model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from whichbits.models.resolve import resolve

SHAPES = {
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "tie_word_embeddings": True},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "tie_word_embeddings": False},
}


def main() -> None:
    """Write the checkpoint (BF16)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("layers", type=int)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(resolve("smollm2-135m-instruct").path)
    config = LlamaConfig(
        **SHAPES[given.shape], num_hidden_layers=given.layers, num_key_value_heads=8, vocab_size=len(tokenizer),
        max_position_embeddings=8192, bos_token_id=1, eos_token_id=2, dtype="bfloat16",
    )  # fmt: skip
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    model = LlamaForCausalLM(config)
    torch.set_default_dtype(before)
    model.save_pretrained(given.out)
    tokenizer.save_pretrained(given.out)


if __name__ == "__main__":
    main()
