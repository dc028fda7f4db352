from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from whichbits.quantization.model import decoder as decoders  # noqa: E402
from whichbits.quantization.model.decoder import empty_model  # noqa: E402
from whichbits.quantization.model.tensors import StoredTensors  # noqa: E402
from whichbits.quantization.passes.layer_store import FisherStore  # noqa: E402
from whichbits.quantization.statistics.backward import EVERY, gradients_of_loss, observe_backwards  # noqa: E402

LINEARS = [
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
]  # fmt: skip


VOCABULARY, SEED = 64, 7


@pytest.fixture(scope="module")
def exact_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama in float32, so that the walk and the whole model agree closely, of few tokens (see `draw`)."""
    folder = tmp_path_factory.mktemp("exact-llama")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=64, max_position_embeddings=256, tie_word_embeddings=True, initializer_range=0.1,
        bos_token_id=1, eos_token_id=2, dtype="float32",
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def draw(log_p: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """Next tokens [tokens, 1], where the cumulated p of `log_p` [tokens, vocabulary] goes beyond `number` [tokens, 1].

    Summed in float64. No number may be so near to a border that sums in float32 would give another token, and with it
    another gradient.
    """
    cumulative = log_p.detach().double().exp().cumsum(dim=1)
    assert float((cumulative - number).abs().min()) > 5e-6, "choose another seed"
    return (cumulative < number).sum(dim=1, keepdim=True)


def whole_model(
    base: Path, tokens: torch.Tensor, draws: int, seed: int
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """By linear layer its inputs [samples, length, columns], and gradients of -log p(y) at its output.

    The gradients are [samples, draws, length, rows], by autograd through the whole model at once.
    """
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    inputs: dict[str, list[torch.Tensor]] = {}
    slopes: dict[str, list[torch.Tensor]] = {}
    for name, module in model.model.named_modules():
        if isinstance(module, torch.nn.Linear):
            inputs[name], slopes[name] = [], []
            module.register_forward_hook(lambda _, args, __, name=name: inputs[name].append(args[0][0].detach()))
            module.register_full_backward_hook(lambda _, __, out, name=name: slopes[name].append(out[0][0]))
    generator = torch.Generator().manual_seed(seed)
    for sample in tokens:
        log_p = torch.log_softmax(model(sample.unsqueeze(0)).logits[0].float(), dim=1)
        for _ in range(draws):
            y = draw(log_p, torch.rand(len(sample), 1, generator=generator))
            (-log_p.gather(1, y).sum()).backward(retain_graph=True)
    found = {name: torch.stack(each).unflatten(0, (len(tokens), draws)) for name, each in slopes.items()}
    return {name: torch.stack(each) for name, each in inputs.items()}, found


@pytest.mark.parametrize(("draws", "replicas"), [(1, 1), (2, 1), (1, 2)])
def test_squared_gradients_weigh_tokens_and_their_products_are_the_curvature(
    exact_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draws: int, replicas: int
) -> None:
    """Also where two replicas of a layer have taken the samples in turn."""
    if replicas > 1:
        monkeypatch.setattr(decoders, "TOKENS_AT_A_TIME", 16)
    tokens = torch.randint(VOCABULARY, (3, 16), generator=torch.Generator().manual_seed(1))
    inputs, slopes = whole_model(exact_llama, tokens, draws, SEED)
    decoder, tensors = empty_model(exact_llama), StoredTensors(exact_llama)
    numbers = []
    devices = ["cpu"] * replicas
    store = FisherStore(tmp_path / "kept")
    told: list[tuple[int, int]] = []
    for observed in observe_backwards(
        decoder, tensors, [LINEARS, LINEARS], tokens, draws, SEED, tmp_path, devices, on_layer=lambda *count: told.append(count)
    ):
        assert not store.has_all(2)
        numbers.append(observed.number)
        store.put(observed)
        kept, curvature = store.weights(observed.number), store.curvature(observed.number)
        assert len(observed.replicas) == replicas
        assert [[name.rpartition(".")[2] for name in fed.modules] for fed in observed.statistics] == [
            ["q_proj", "k_proj", "v_proj"], ["o_proj"], ["gate_proj", "up_proj"], ["down_proj"],
        ]  # fmt: skip
        assert [fed.norm for fed in observed.statistics] == ["input_layernorm", None, "post_attention_layernorm", None]
        for fed in observed.statistics:
            full = [f"layers.{observed.number}.{name}" for name in fed.modules]
            x = inputs[full[0]].flatten(0, 1)
            weights = sum(slopes[name].square().sum(dim=(1, 3)) for name in full).flatten()
            hessian = x.T @ (weights.unsqueeze(1) * x)
            torch.testing.assert_close(fed.hessian, hessian, rtol=5e-3, atol=1e-4 * float(hessian.diagonal().max()))
            torch.testing.assert_close(fed.fourth, weights @ x**4, rtol=5e-3, atol=1e-5 * float((weights @ x**4).max()))
            assert float(weights.max() / weights.min()) > 2
            torch.testing.assert_close(kept[fed.modules[0]], weights, rtol=5e-3, atol=1e-5 * float(weights.max()))
            for name, module in zip(full, fed.modules, strict=True):
                some = slopes[name][:, :, ::EVERY].flatten(0, 2)
                expected = some.T @ some
                atol = 1e-4 * float(expected.diagonal().max())
                torch.testing.assert_close(fed.curvature[module], expected, rtol=5e-3, atol=atol)
                assert torch.equal(curvature[module], fed.curvature[module])
    assert numbers == [1, 0]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert store.has_all(2)
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize(("cap", "scaling"), [(None, 1.0), (2.0, 1.0), (None, 3.0), (2.0, 3.0)])
def test_the_losss_gradients_with_capped_and_scaled_logits(cap: float | None, scaling: float) -> None:
    torch.manual_seed(0)
    norm, head, hidden = torch.nn.RMSNorm(8), torch.randn(50, 8), torch.randn(2, 3, 8, requires_grad=True)
    config = SimpleNamespace(final_logit_softcapping=cap, logits_scaling=scaling)
    drawn = torch.rand(4, 2, 3)
    found = gradients_of_loss(hidden, norm, head, config, drawn)
    logits = norm(hidden) @ head.T / scaling
    log_p = torch.log_softmax(logits if cap is None else cap * torch.tanh(logits / cap), dim=2)
    assert len(found) == 4
    for gradient, each in zip(found, drawn, strict=True):
        y = (log_p.exp().cumsum(dim=2) < each.unsqueeze(2)).sum(dim=2, keepdim=True)
        (expected,) = torch.autograd.grad(-log_p.gather(2, y).sum(), hidden, retain_graph=True)
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
