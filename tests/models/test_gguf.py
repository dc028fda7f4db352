from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from whichbits.models.gguf import convert_gguf, hugging_face_name, unpermute_rotary  # noqa: E402


@pytest.fixture(scope="module")
def converted(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted")
    convert_gguf(tiny_gguf, out)
    return out


def test_weights_and_logits_are_those_of_transformers_own_conversion(tiny_gguf: Path, converted: Path) -> None:
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tiny_gguf.parent, gguf_file=tiny_gguf.name)
    ours = transformers.AutoModelForCausalLM.from_pretrained(converted)
    assert ours.dtype == torch.bfloat16
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor.to(torch.bfloat16)), name
    for parameter in theirs.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).to(torch.float32)
    ids = torch.tensor([[4, 5, 6, 3, 7]])
    torch.testing.assert_close(ours.to(torch.float32)(ids).logits, theirs(ids).logits, rtol=1e-4, atol=1e-4)


def test_rotary_rows_by_hand() -> None:
    # One head of four rows: llama.cpp stores the pairs (0, 2), (1, 3) of Hugging Face's halves side by side.
    stored = np.array([[0.0], [2.0], [1.0], [3.0]])
    assert unpermute_rotary(stored, heads=1).ravel().tolist() == [0, 1, 2, 3]
    two_heads = np.concatenate([stored, stored + 4])
    assert unpermute_rotary(two_heads, heads=2).ravel().tolist() == list(range(8))


def test_names() -> None:
    assert hugging_face_name("blk.7.attn_output.weight") == "model.layers.7.self_attn.o_proj.weight"
    assert hugging_face_name("output_norm.weight") == "model.norm.weight"


def test_configuration(converted: Path) -> None:
    config = json.loads((converted / "config.json").read_text())
    assert config["rms_norm_eps"] == 1e-5
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 100000.0
    assert config["tie_word_embeddings"] is True
    assert json.loads((converted / "generation_config.json").read_text()) == {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }


def test_tokenizer_merges_spaces_before_a_digit_and_keeps_digits_apart(converted: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(converted)
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("hi<|im_end|>  12")) == ["hi", "<|im_end|>", "ĠĠ", "1", "2"]
    assert tokenizer.decode(tokenizer.encode("hi  12")) == "hi  12"
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == 2
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"


def test_conversion_repeats_to_the_byte(tiny_gguf: Path, converted: Path, tmp_path: Path) -> None:
    convert_gguf(tiny_gguf, tmp_path)
    names = sorted(file.name for file in converted.iterdir())
    assert names == sorted(file.name for file in tmp_path.iterdir())
    assert all((converted / name).read_bytes() == (tmp_path / name).read_bytes() for name in names)
