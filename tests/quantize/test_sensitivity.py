from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from whichbits.quantize.decoder import empty_model  # noqa: E402
from whichbits.quantize.sensitivity import kept_token_weights  # noqa: E402

LAYERS = [
    [
        f"model.layers.{number}.{module}.weight"
        for module in (
            "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
            "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
        )
    ]
    for number in range(2)
]  # fmt: skip


@pytest.fixture(scope="module")
def exact_llama(block_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random Llama in float32, so that the walk and the whole model agree closely."""
    folder = tmp_path_factory.mktemp("exact-llama")
    transformers.AutoModelForCausalLM.from_pretrained(block_llama, dtype=torch.float32).save_pretrained(folder)
    return folder


def whole_model(base: Path, tokens: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
    """Squared gradients of -log p(y) at the output of each linear layer by autograd through the whole model at once."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    slopes: dict[str, list[torch.Tensor]] = {}
    for name, module in model.model.named_modules():
        if isinstance(module, torch.nn.Linear):
            slopes[name] = []
            module.register_full_backward_hook(lambda _, __, out, name=name: slopes[name].append(out[0][0].square().sum(dim=1)))
    generator = torch.Generator().manual_seed(seed)
    for sample in tokens:
        log_p = torch.log_softmax(model(sample.unsqueeze(0)).logits[0].float(), dim=1)
        drawn = torch.rand(len(sample), 1, generator=generator)
        y = (log_p.detach().exp().cumsum(dim=1) < drawn).sum(dim=1, keepdim=True)
        (-log_p.gather(1, y).sum()).backward()
    return {name: torch.stack(found) for name, found in slopes.items()}


def test_weights_are_the_squared_gradients_at_the_outputs(exact_llama: Path, tmp_path: Path) -> None:
    tokens = torch.randint(100, 49000, (3, 16), generator=torch.Generator().manual_seed(1))
    found = kept_token_weights(empty_model(exact_llama), exact_llama, LAYERS, tokens, 7, tmp_path)
    expected = {name: squares / squares.mean() for name, squares in whole_model(exact_llama, tokens, 7).items()}
    for number, weights in enumerate(found):
        assert set(weights) == {name.removeprefix(f"model.layers.{number}.").removesuffix(".weight") for name in LAYERS[number]}
        for modules in (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",)):
            parent = "self_attn" if modules[0][0] in "qo" else "mlp"
            mean = sum(expected[f"layers.{number}.{parent}.{module}"] for module in modules) / len(modules)
            for module in modules:
                torch.testing.assert_close(weights[f"{parent}.{module}"], mean, rtol=2e-3, atol=1e-4)
    last = found[1]["self_attn.o_proj"]
    assert float(last.max() / last.min()) > 2


def test_kept_weights_are_read_again(exact_llama: Path, tmp_path: Path) -> None:
    tokens = torch.randint(100, 49000, (2, 8), generator=torch.Generator().manual_seed(1))
    first = kept_token_weights(empty_model(exact_llama), exact_llama, LAYERS, tokens, 7, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["sensitivity.safetensors"]
    again = kept_token_weights(None, exact_llama, LAYERS, tokens, 7, tmp_path)
    assert all(torch.equal(first[number][name], again[number][name]) for number in range(2) for name in first[number])
