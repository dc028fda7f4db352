"""A Llama model in a GGUF file as a BF16 Hugging Face checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gguf
    import numpy as np
    import torch

CONTROL_TOKEN = 3
"""The GGUF's token type of special tokens."""

NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}


def convert_gguf(path: Path, out: Path) -> None:
    """Write the Llama in the GGUF file `path` into the folder `out` as a checkpoint that vLLM and transformers load.

    Tensors are dequantized by the gguf library in float32 and rounded to BF16 once. The vocabulary must be a byte-level BPE
    split as SmolLM's (each digit alone). The file is parsed once, which is what takes the time.
    """
    from gguf import GGUFReader
    from safetensors.torch import save_file

    reader = GGUFReader(path)
    fields = {name: _value(reader, name) for name in reader.fields}
    if (fields["general.architecture"], fields["tokenizer.ggml.pre"]) != ("llama", "smollm"):
        raise ValueError(f"{path}: only a Llama with SmolLM's tokenizer is converted")
    tensors = {
        hugging_face_name(entry.name): _tensor(
            entry, fields["llama.attention.head_count"], fields["llama.attention.head_count_kv"]
        )
        for entry in reader.tensors
    }
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    _write_json(out / "config.json", llama_config(fields, tied="lm_head.weight" not in tensors))
    _write_json(out / "generation_config.json", {key: fields[name] for key, name in TOKEN_IDS.items()})
    _save_tokenizer(fields, out)


TOKEN_IDS = {
    "bos_token_id": "tokenizer.ggml.bos_token_id",
    "eos_token_id": "tokenizer.ggml.eos_token_id",
    "pad_token_id": "tokenizer.ggml.padding_token_id",
}


def llama_config(fields: dict[str, Any], *, tied: bool) -> dict[str, Any]:
    """The config.json of a Llama whose GGUF metadata are `fields`."""
    hidden, heads = fields["llama.embedding_length"], fields["llama.attention.head_count"]
    theta = fields["llama.rope.freq_base"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "vocab_size": fields["llama.vocab_size"],
        "hidden_size": hidden,
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "max_position_embeddings": fields["llama.context_length"],
        # The GGUF holds it as float32; the shortest decimal that rounds to it is what the model was trained with.
        "rms_norm_eps": float(f"{fields['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_parameters": {"rope_theta": theta, "rope_type": "default"},
        "rope_theta": theta,  # for readers older than rope_parameters
        "tie_word_embeddings": tied,
        **{key: fields[name] for key, name in TOKEN_IDS.items()},
    }


def hugging_face_name(name: str) -> str:
    """Hugging Face's name of the tensor that a GGUF calls `name`."""
    *block, module, kind = name.split(".")
    return f"model.layers.{block[1]}.{NAMES[module]}.{kind}" if block else f"{NAMES[module]}.{kind}"


def unpermute_rotary(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Undo llama.cpp's row order of a query or key weight [heads x head size, columns].

    llama.cpp rotates pairs of neighbouring rows, Hugging Face's Llama the two halves of a head.
    """
    pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def _value(reader: gguf.GGUFReader, name: str) -> Any:
    return reader.fields[name].contents()


def _tensor(entry: gguf.ReaderTensor, heads: int, kv_heads: int) -> torch.Tensor:
    import numpy as np
    import torch
    from gguf.quants import dequantize

    values = dequantize(entry.data, entry.tensor_type).astype(np.float32)  # a copy: what is float32 already is a read-only map
    if entry.name.endswith("attn_q.weight"):
        values = unpermute_rotary(values, heads)
    elif entry.name.endswith("attn_k.weight"):
        values = unpermute_rotary(values, kv_heads)
    return torch.from_numpy(values).to(torch.bfloat16)


def _save_tokenizer(fields: dict[str, Any], out: Path) -> None:
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.decoders import ByteLevel as ByteLevelDecoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(BPE({token: index for index, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = ByteLevelDecoder()
    kinds = fields["tokenizer.ggml.token_type"]
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    tokenizer.save(str(out / "tokenizer.json"))
    _write_json(
        out / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_bos_token": fields["tokenizer.ggml.add_bos_token"],
            "bos_token": tokens[fields["tokenizer.ggml.bos_token_id"]],
            "eos_token": tokens[fields["tokenizer.ggml.eos_token_id"]],
            "pad_token": tokens[fields["tokenizer.ggml.padding_token_id"]],
            "unk_token": tokens[fields["tokenizer.ggml.unknown_token_id"]],
            "model_max_length": fields["llama.context_length"],
            "clean_up_tokenization_spaces": False,
        },
    )
    (out / "chat_template.jinja").write_text(fields["tokenizer.chat_template"], encoding="utf-8")


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
