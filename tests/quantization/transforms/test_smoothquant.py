from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.quantization.model.decoder import Call, empty_model, fill, first_inputs  # noqa: E402
from whichbits.quantization.model.replicas import Replica  # noqa: E402
from whichbits.quantization.model.tensors import StoredTensors  # noqa: E402
from whichbits.quantization.statistics.forward import InputStatistics, norm_offsets, observe  # noqa: E402
from whichbits.quantization.statistics.hessian import accumulate  # noqa: E402
from whichbits.quantization.transforms.balancing import balance, balancing_scale  # noqa: E402
from whichbits.quantization.transforms.smoothquant import smooth, smoothing_scale  # noqa: E402

SIZES: dict[str, Any] = {
    "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
}  # fmt: skip
CLASSES = ["Llama", "Qwen2", "Qwen3", "Phi3", "Gemma"]


def random_model(name: str, **changes: Any) -> torch.nn.Module:
    """A random float32 model with norms that are not 1 and a few large channels."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**{**SIZES, **changes})
    model = getattr(transformers, f"{name.removesuffix('Text')}ForCausalLM")(config).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "norm" in key:
                parameter.add_(torch.rand_like(parameter) * torch.logspace(-1, 1, len(parameter)))
            elif key.endswith("bias"):
                parameter.normal_()
    return model


def smooth_model(model: torch.nn.Module, strength: float, balanced: bool = False) -> list[list[InputStatistics]]:
    """Smooth or balance each layer of `model` in place; returns the statistics of each layer's inputs afterwards."""
    tokens = torch.randint(1, 100, (4, 16), generator=torch.Generator().manual_seed(1))
    statistics = []
    for layer in model.model.layers:
        seen: list[tuple[torch.Tensor, Call]] = []
        handle = layer.register_forward_pre_hook(
            lambda _, args, kwargs, seen=seen: seen.append((args[0], Call(args[1:], kwargs))), with_kwargs=True
        )
        model(tokens, use_cache=False)
        handle.remove()
        linears = [name for name, module in layer.named_modules() if isinstance(module, torch.nn.Linear)]
        observed = observe([Replica(layer, seen[0][1])], linears, [seen[0][0]]).statistics
        for fed in observed:
            fed.curvature = {name: torch.eye(layer.get_submodule(name).weight.shape[0]) for name in fed.modules}
        if balanced:
            head = layer.self_attn.head_dim
            tensors, smoothed = balance(layer.state_dict(), observed, strength, norm_offsets(layer), head)
        else:
            tensors, smoothed = smooth(layer.state_dict(), observed, strength, norm_offsets(layer))
        layer.load_state_dict(tensors)
        statistics.append(smoothed)
    return statistics


OTHERS: dict[str, dict[str, Any]] = {
    "Mistral": {},
    "Gemma2": {},
    "Gemma3Text": {},
    "Granite": {"embedding_multiplier": 6.0, "residual_multiplier": 0.5, "attention_multiplier": 0.3, "logits_scaling": 2.0},
    "Mixtral": {"num_local_experts": 4},
    "Qwen3Moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48},
}  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("name", OTHERS)
def test_logits_stay_when_the_layers_of_a_checkpoint_are_smoothed(name: str, tmp_path: Path) -> None:
    """As the calibrated pass does it. In a mixture, what the router reads too is left alone; down_proj is not."""
    model = random_model(name, **OTHERS[name])
    model.save_pretrained(tmp_path)
    tokens = torch.randint(1, 100, (2, 16), generator=torch.Generator().manual_seed(2))
    before = model(tokens).logits
    stored = StoredTensors(tmp_path)
    decoder = empty_model(tmp_path)
    layers = list(decoder.layers)
    outside = {n.removeprefix("model."): stored[n] for n in stored if n.startswith("model.") and ".layers." not in n}
    inputs, calls = first_inputs(decoder, outside, tokens)
    tensors = {key: stored[key] for key in stored}
    smoothed = set()
    for number, (layer, call) in enumerate(zip(layers, calls, strict=True)):
        prefix = f"model.layers.{number}."
        own = {key.removeprefix(prefix): tensors[key] for key in tensors if key.startswith(prefix)}
        fill(layer, own)
        linears = [name for name, module in layer.named_modules() if isinstance(module, torch.nn.Linear)]
        observation = observe([Replica(layer, call)], linears, inputs)
        after, _ = smooth(own, observation.statistics, 0.8, norm_offsets(layer))
        smoothed |= {key for key in own if not torch.equal(own[key], after[key])}
        tensors |= {prefix + key: value for key, value in after.items()}
        inputs = observation.outputs
    safetensors.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    found = type(model).from_pretrained(tmp_path, dtype=torch.float32).eval()(tokens).logits
    assert float((found - before).abs().max()) <= 1e-4 * float(before.abs().max())
    assert "input_layernorm.weight" in smoothed
    assert any(key.endswith(("down_proj.weight", "w2.weight")) for key in smoothed)


def test_scale_by_hand() -> None:
    scale = smoothing_scale(torch.tensor([16.0, 4.0, 0.0, 1.0]), torch.tensor([4.0, 1.0, 1.0, 0.0]), 0.5)
    assert scale.tolist() == [2.0, 2.0, 1.0, 1.0]
    assert smoothing_scale(torch.tensor([16.0]), torch.tensor([4.0]), 1.0).tolist() == [16.0]
    assert smoothing_scale(torch.tensor([16.0]), torch.tensor([4.0]), 0.0).tolist() == [0.25]


@torch.no_grad()
@pytest.mark.parametrize("name", CLASSES)
def test_logits_stay_and_inputs_become_smoother(name: str) -> None:
    model = random_model(name)
    tokens = torch.randint(1, 100, (2, 16), generator=torch.Generator().manual_seed(2))
    before = model(tokens).logits
    norm = model.model.layers[0].input_layernorm
    outputs: list[torch.Tensor] = []
    norm.register_forward_hook(lambda _, args, output: outputs.append(output))
    model(tokens)
    smooth_model(model, 0.8)
    after = model(tokens).logits
    assert float((after - before).abs().max()) <= 1e-4 * float(before.abs().max())

    def unevenness(x: torch.Tensor) -> float:
        channels = x.abs().amax(dim=(0, 1))
        return float(channels.max() / channels.median())

    assert unevenness(outputs[-1]) < 0.7 * unevenness(outputs[0])


@torch.no_grad()
def test_the_statistics_are_those_of_the_smoothed_layer() -> None:
    """Against what the smoothed model's own linear layers are fed; q, k and v share theirs, o_proj's is left alone."""
    model = random_model("Llama")
    before = {key: tensor.clone() for key, tensor in model.model.layers[0].state_dict().items()}
    statistics = smooth_model(model, 0.5)[0]
    assert [fed.modules for fed in statistics] == [
        ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], ["self_attn.o_proj"],
        ["mlp.gate_proj", "mlp.up_proj"], ["mlp.down_proj"],
    ]  # fmt: skip
    assert [fed.norm for fed in statistics] == ["input_layernorm", None, "post_attention_layernorm", None]
    layer = model.model.layers[0]
    inputs: dict[str, torch.Tensor] = {}
    for fed in statistics:
        layer.get_submodule(fed.modules[0]).register_forward_pre_hook(
            lambda _, args, name=fed.modules[0]: inputs.update({name: args[0]})
        )
    model(torch.randint(1, 100, (4, 16), generator=torch.Generator().manual_seed(1)))
    for fed in statistics:
        hessian = torch.zeros_like(fed.hessian)
        accumulate(hessian, inputs[fed.modules[0]])
        torch.testing.assert_close(fed.hessian, hessian, rtol=1e-3, atol=1e-4 * float(hessian.abs().max()))
        torch.testing.assert_close(fed.largest, inputs[fed.modules[0]].abs().amax(dim=(0, 1)), rtol=1e-4, atol=1e-6)
    after = layer.state_dict()
    assert torch.equal(after["self_attn.o_proj.weight"], before["self_attn.o_proj.weight"])
    assert not torch.equal(after["mlp.down_proj.weight"], before["mlp.down_proj.weight"])


@torch.no_grad()
def test_a_16_bit_norm_is_matched_by_the_weights() -> None:
    """The rounded norm times the weight is the old product, though the norm was rounded to 16 bit."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "norm.weight": (torch.rand(16, generator=generator) + 0.5).to(torch.bfloat16),
        "q.weight": torch.randn(4, 16, generator=generator),
    }
    fed = InputStatistics(torch.eye(16), torch.rand(16, generator=generator) * 9, ["q"], "norm")
    fed.residual = {"q": torch.randn(4, 16, generator=generator)}
    after, (new,) = smooth(tensors, [fed], 0.7, {"norm": 0.0})
    scale = after["q.weight"] / tensors["q.weight"]
    torch.testing.assert_close(new.residual["q"], fed.residual["q"] / scale, rtol=1e-5, atol=0)
    assert after["norm.weight"].dtype == torch.bfloat16
    product = after["norm.weight"].to(torch.float32) * after["q.weight"]
    torch.testing.assert_close(product, tensors["norm.weight"].to(torch.float32) * tensors["q.weight"], rtol=1e-6, atol=1e-7)


def test_a_layer_without_norms_is_refused() -> None:
    fed = InputStatistics(torch.eye(4), torch.ones(4), ["q"])
    with pytest.raises(UserError, match="no norm"):
        smooth({"q.weight": torch.ones(4, 4)}, [fed], 0.5, {})


def test_offsets_are_found_by_what_norms_do() -> None:
    assert set(norm_offsets(random_model("Gemma").model.layers[0]).values()) == {1.0}
    assert set(norm_offsets(random_model("Llama").model.layers[0]).values()) == {0.0}


def test_balancing_scale_by_hand() -> None:
    """Inputs of (16, 1, 0) and weights of (1, 4, 1): roots of ratios 16 and 1/4, the smaller of which is the median of both."""
    fourth, energy = torch.tensor([16.0**4, 1.0, 0.0]), torch.tensor([1.0, 16.0, 1.0])
    assert balancing_scale(fourth, energy, 1.0).tolist() == pytest.approx([8.0, 1.0, 1.0])
    assert balancing_scale(fourth, energy, 0.5).tolist() == pytest.approx([8.0**0.5, 1.0, 1.0])
    assert balancing_scale(fourth, energy, 0.0).tolist() == [1.0, 1.0, 1.0]


@torch.no_grad()
@pytest.mark.parametrize("name", CLASSES)
def test_logits_stay_when_balanced_and_statistics_are_those_of_the_new_layer(name: str) -> None:
    """The input of o_proj too; what v_proj and up_proj put out is divided, so their errors matter more by that factor."""
    model = random_model(name)
    tokens = torch.randint(1, 100, (2, 16), generator=torch.Generator().manual_seed(2))
    before = model(tokens).logits
    old = {key: tensor.clone() for key, tensor in model.model.layers[0].state_dict().items()}
    statistics = smooth_model(model, 1.0, balanced=True)[0]
    after = model(tokens).logits
    assert float((after - before).abs().max()) <= 1e-4 * float(before.abs().max())
    layer = model.model.layers[0]
    inputs: dict[str, torch.Tensor] = {}
    for fed in statistics:
        layer.get_submodule(fed.modules[0]).register_forward_pre_hook(
            lambda _, args, name=fed.modules[0]: inputs.update({name: args[0]})
        )
    model(torch.randint(1, 100, (4, 16), generator=torch.Generator().manual_seed(1)))
    for fed in statistics:
        fourth = inputs[fed.modules[0]].flatten(0, 1).pow(4).sum(dim=0)
        torch.testing.assert_close(fed.fourth, fourth, rtol=2e-3, atol=1e-5 * float(fourth.max()))
        for module, curvature in fed.curvature.items():
            own = module.rpartition(".")[2]
            if own in ("v_proj", "up_proj"):
                ratio = (old[f"{module}.weight"] / layer.get_submodule(module).weight).median(dim=1).values
                torch.testing.assert_close(
                    curvature.diagonal().sqrt() / curvature[0, 0].sqrt(), ratio / ratio[0], rtol=0.05, atol=0
                )
            elif own in ("q_proj", "o_proj", "down_proj"):
                assert torch.equal(curvature, torch.eye(len(curvature)))
