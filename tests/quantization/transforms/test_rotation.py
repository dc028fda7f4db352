from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
scipy = pytest.importorskip("scipy.linalg")
safetensors = pytest.importorskip("safetensors.torch")

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.models.configuration import Configuration, read_configuration  # noqa: E402
from whichbits.quantization.model.tensors import StoredTensors  # noqa: E402
from whichbits.quantization.transforms.rotation import RotatedTensors, hadamard, largest_power_of_two  # noqa: E402

SIZES: dict[str, Any] = {
    "vocab_size": 100, "hidden_size": 72, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 6,
    "num_key_value_heads": 3, "head_dim": 12, "pad_token_id": 0,
}  # fmt: skip

FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Mistral": {},
    "Qwen2": {},
    "Qwen3": {},
    "Phi3": {},
    "Gemma": {},
    "Granite": {"embedding_multiplier": 6.0, "residual_multiplier": 0.5, "attention_multiplier": 0.3, "logits_scaling": 2.0},
    "Mixtral": {"num_local_experts": 4},
    "Qwen3Moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48},
    "Qwen2Moe": {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "shared_expert_intermediate_size": 96,
    },
}  # fmt: skip

PLAIN = Configuration(
    model_type="llama", architecture=None, dtype=None, max_positions=64, layers=2, hidden=8, heads=2, kv_heads=2, head_dim=4,
    vocabulary=100, tied=False,
)  # fmt: skip


def random_model(name: str, **changes: Any) -> torch.nn.Module:
    """A random float32 model with norms that are not 1, one outlying channel, and widths that are no powers of two."""
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**{**SIZES, **changes})).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "norm" in key:
                parameter.add_(torch.rand_like(parameter))
            elif key.endswith("bias"):
                parameter.normal_()
        model.model.embed_tokens.weight[:, 5] *= 50
    return model


def rotated(model: torch.nn.Module, folder: Path, seed: int = 0) -> torch.nn.Module:
    """The model that the rotated tensors of its checkpoint make (a mixture's experts are apart only there)."""
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    tensors = dict(RotatedTensors(StoredTensors(folder), read_configuration(folder), seed))
    safetensors.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    return type(model).from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.parametrize(("columns", "size"), [(8, 8), (24, 8), (3, 1), (64, 64), (384, 128), (512, 512)])
def test_hadamard_against_scipy(columns: int, size: int) -> None:
    x = torch.randn(4, columns, generator=torch.Generator().manual_seed(0))
    matrix = torch.block_diag(*[torch.from_numpy(scipy.hadamard(size)).to(torch.float32)] * (columns // size)) / size**0.5
    torch.testing.assert_close(hadamard(x, size), x @ matrix)


def test_blocks_of_known_widths() -> None:
    assert [largest_power_of_two(width) for width in (576, 4096, 3584, 7)] == [64, 4096, 512, 1]


@torch.no_grad()
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_logits_stay(name: str, tied: bool, tmp_path: Path) -> None:
    model = random_model(name, tie_word_embeddings=tied, **FAMILIES[name])
    tokens = torch.randint(1, 100, (2, 16), generator=torch.Generator().manual_seed(2))
    before, after = model(tokens).logits, rotated(model, tmp_path)(tokens).logits
    assert float((after - before).abs().max()) <= 1e-4 * float(before.abs().max())


@torch.no_grad()
def test_biases_of_every_projection_are_turned_along(tmp_path: Path) -> None:
    model = random_model("Llama", attention_bias=True, mlp_bias=True)
    tokens = torch.arange(1, 17).reshape(1, -1)
    before, after = model(tokens).logits, rotated(model, tmp_path)(tokens).logits
    assert float((after - before).abs().max()) <= 1e-4 * float(before.abs().max())


@torch.no_grad()
def test_an_outlying_channel_is_spread_and_signs_follow_the_seed(tmp_path: Path) -> None:
    model = random_model("Llama")
    before = model.model.embed_tokens.weight
    one, other = (rotated(model, tmp_path / str(seed), seed).model.embed_tokens.weight for seed in (0, 1))

    def unevenness(embeddings: torch.Tensor) -> float:
        energy = embeddings[:, :8].square().mean(dim=0)  # the block of the outlying channel
        return float(energy.max() / energy.min())

    assert unevenness(before) > 1000
    assert unevenness(one) < 2
    assert not torch.equal(one, other)
    torch.testing.assert_close(one.norm(dim=1), before.norm(dim=1))


@pytest.mark.parametrize("name", ["Gemma2", "Gemma3"])
def test_norms_behind_attention_and_mlp_are_refused_with_the_reason(name: str) -> None:
    config = getattr(transformers, f"{name}TextConfig" if name == "Gemma3" else f"{name}Config")(**SIZES)
    tensors = getattr(transformers, f"{name}ForCausalLM")(config).state_dict()
    with pytest.raises(UserError, match="norms behind attention and MLP, which scale each channel"):
        RotatedTensors(tensors, replace(PLAIN, model_type=config.model_type), 0)


def test_other_models_are_refused() -> None:
    with pytest.raises(UserError, match="model type cohere is not one of"):
        RotatedTensors({}, replace(PLAIN, model_type="cohere"), 0)
    tensors = {"model.layers.0.mlp.router.weight": torch.ones(1, 8)}
    with pytest.raises(UserError, match=r"router\.weight is not understood"):
        RotatedTensors(tensors, PLAIN, 0)["model.layers.0.mlp.router.weight"]
