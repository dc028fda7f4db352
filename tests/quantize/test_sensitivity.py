from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from whichbits.quantize.decoder import empty_model  # noqa: E402
from whichbits.quantize.sensitivity import EVERY, measure, read  # noqa: E402
from whichbits.quantize.tensors import StoredTensors  # noqa: E402

LINEARS = [
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
]  # fmt: skip


@pytest.fixture(scope="module")
def exact_llama(block_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random Llama in float32, so that the walk and the whole model agree closely."""
    folder = tmp_path_factory.mktemp("exact-llama")
    transformers.AutoModelForCausalLM.from_pretrained(block_llama, dtype=torch.float32).save_pretrained(folder)
    return folder


def whole_model(base: Path, tokens: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
    """Gradients [samples, length, rows] of -log p(y) at the output of each linear layer, by autograd through all."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    slopes: dict[str, list[torch.Tensor]] = {}
    for name, module in model.model.named_modules():
        if isinstance(module, torch.nn.Linear):
            slopes[name] = []
            module.register_full_backward_hook(lambda _, __, out, name=name: slopes[name].append(out[0][0]))
    generator = torch.Generator().manual_seed(seed)
    for sample in tokens:
        log_p = torch.log_softmax(model(sample.unsqueeze(0)).logits[0].float(), dim=1)
        drawn = torch.rand(len(sample), 1, generator=generator)
        y = (log_p.detach().exp().cumsum(dim=1) < drawn).sum(dim=1, keepdim=True)
        (-log_p.gather(1, y).sum()).backward()
    return {name: torch.stack(found) for name, found in slopes.items()}


def test_squared_gradients_weigh_tokens_and_their_products_are_the_curvature(exact_llama: Path, tmp_path: Path) -> None:
    tokens = torch.randint(100, 49000, (3, 16), generator=torch.Generator().manual_seed(1))
    folder = tmp_path / "sensitivity"
    measure(empty_model(exact_llama), StoredTensors(exact_llama), [LINEARS, LINEARS], tokens, 7, folder)
    slopes = whole_model(exact_llama, tokens, 7)
    for number in range(2):
        found = read(folder, number)
        assert set(found.weights) == set(found.curvature) == set(LINEARS)
        for modules in (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",)):
            parent = "self_attn" if modules[0][0] in "qo" else "mlp"
            squares = [slopes[f"layers.{number}.{parent}.{module}"].square().sum(dim=2) for module in modules]
            mean = sum(each / each.mean() for each in squares) / len(modules)
            for module in modules:
                name = f"{parent}.{module}"
                torch.testing.assert_close(found.weights[name], mean, rtol=2e-3, atol=1e-4)
                some = slopes[f"layers.{number}.{name}"][:, ::EVERY].flatten(0, 1)
                largest = float(some.square().sum())
                torch.testing.assert_close(found.curvature[name], some.T @ some, rtol=2e-3, atol=1e-5 * largest)
    last = read(folder, 1).weights["self_attn.o_proj"]
    assert float(last.max() / last.min()) > 2


def test_what_is_there_is_not_measured_again(exact_llama: Path, tmp_path: Path) -> None:
    tokens = torch.randint(100, 49000, (2, 8), generator=torch.Generator().manual_seed(1))
    folder = tmp_path / "sensitivity"
    measure(empty_model(exact_llama), StoredTensors(exact_llama), [LINEARS, LINEARS], tokens, 7, folder)
    assert [file.name for file in tmp_path.iterdir()] == ["sensitivity"]
    measure(None, {}, [], tokens, 7, folder)
