from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.formats.format import QuantizationArgs  # noqa: E402
from whichbits.quantization.model.decoder import Call  # noqa: E402
from whichbits.quantization.model.replicas import Replica  # noqa: E402
from whichbits.quantization.passes.direct import quantize_checkpoint  # noqa: E402
from whichbits.quantization.recipe.recipe import Calibration, Recipe  # noqa: E402
from whichbits.quantization.rounding.weight import round_weight  # noqa: E402
from whichbits.quantization.statistics.forward import InputStatistics, norm_offsets, observe  # noqa: E402
from whichbits.quantization.transforms.awq import STRENGTHS, awq_scale, clipped  # noqa: E402
from whichbits.quantization.transforms.rescale import rescale  # noqa: E402

CALIBRATION = Calibration(source="random", samples=8, length=64)


def grouped(size: int) -> QuantizationArgs:
    return QuantizationArgs(num_bits=4, type="int", symmetric=True, strategy="group", group_size=size, dynamic=False)


def rounding(args: QuantizationArgs):
    return lambda weight: round_weight(weight, args, Recipe(scales="minmax"), None, None).weight


def output_error(weight: torch.Tensor, other: torch.Tensor, inputs: torch.Tensor) -> float:
    """Squared error of the layer's output, computed from the inputs themselves."""
    return float(((other - weight) @ inputs.T).square().sum())


def test_scale_by_hand() -> None:
    """One row, one group. A rounding that loses all but the first column leaves only the error of the others; so whatever the
    scale, its error is the same, and no scaling, the first, is kept. A rounding that keeps what is large finds the large."""
    weight, hessian = torch.tensor([[1.0, 1.0]]), torch.diag(torch.tensor([1.0, 9.0]))
    args = grouped(2)
    lost = awq_scale([weight], hessian, args, [lambda scaled: torch.zeros_like(scaled)])
    assert lost.tolist() == [1.0, 1.0]
    # x = (1, 3) / 2 and w = (1, 1): for r = 0.5 s = (sqrt 0.5, sqrt 1.5) / 1.0001, divided by the root of their product, is
    # (3^-1/4, 3^1/4). A rounding whose result fits for that scale alone chooses it.
    wanted = torch.tensor([3**-0.25, 3**0.25])
    found = awq_scale([weight], hessian, args, [lambda scaled: scaled if torch.allclose(scaled, wanted) else 0 * scaled])
    assert torch.allclose(found, wanted)


def test_scaling_is_the_best_of_all_that_are_tried() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(16, 32, generator=generator)
    inputs = torch.randn(200, 32, generator=generator) * torch.logspace(-1, 1, 32)
    args = grouped(16)
    scale = awq_scale([weight], inputs.T @ inputs, args, [rounding(args)])
    plain = output_error(weight, rounding(args)(weight), inputs)
    scaled = output_error(weight, rounding(args)(weight * scale) / scale, inputs)
    assert scaled < 0.8 * plain
    assert len(STRENGTHS) == 20


def test_clip_by_hand() -> None:
    """The step of (7.5, 0.4) clipped to a share c is c, so the second weight's error is |round(0.4 / c) c - 0.4|: smallest,
    0.15, at c = 0.55. Where only the first column is fed, nothing is clipped."""
    weight, args = torch.tensor([[7.5, 0.4]]), grouped(2)
    first, second = torch.diag(torch.tensor([1.0, 0.0])), torch.diag(torch.tensor([0.0, 1.0]))
    assert clipped(weight, second, args, rounding(args)).tolist() == [[pytest.approx(7.5 * 0.55), pytest.approx(0.4)]]
    assert clipped(weight, first, args, rounding(args)).tolist() == [[7.5, pytest.approx(0.4)]]


def test_clipping_never_makes_a_groups_output_worse() -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(8, 32, generator=generator) ** 3
    inputs = torch.randn(100, 32, generator=generator)
    args = grouped(16)
    after = clipped(weight, inputs.T @ inputs, args, rounding(args))
    for group in (slice(0, 16), slice(16, 32)):
        for row in range(8):
            one = [each[row : row + 1, group] for each in (weight, rounding(args)(after), rounding(args)(weight))]
            assert output_error(one[0], one[1], inputs[:, group]) <= output_error(one[0], one[2], inputs[:, group]) + 1e-3


def test_logits_stay_when_columns_are_scaled() -> None:
    """The transformation alone, without clipping, in float32: the largest difference is at most 1e-4 of the largest logit."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.5,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    tokens = torch.randint(100, (2, 16))
    before = model(tokens).logits
    for layer in model.model.layers:
        calls: list[tuple[torch.Tensor, Call]] = []
        handle = layer.register_forward_pre_hook(
            lambda _, args, kwargs, calls=calls: calls.append((args[0], Call(args[1:], kwargs))), with_kwargs=True
        )
        model(tokens, use_cache=False)
        handle.remove()
        linears = [name for name, module in layer.named_modules() if isinstance(module, torch.nn.Linear)]
        statistics = observe([Replica(layer, calls[0][1])], linears, [calls[0][0]]).statistics
        scales = []

        def find(fed: InputStatistics, weights: Mapping[str, torch.Tensor], scales: list = scales) -> torch.Tensor:
            args = grouped(16)
            scales.append(awq_scale(list(weights.values()), fed.hessian, args, [rounding(args)] * len(weights)))
            return scales[-1]

        tensors, _ = rescale(layer.state_dict(), statistics, norm_offsets(layer), find)
        layer.load_state_dict(tensors)
        assert len(scales) == 3
        assert any((scale != 1).any() for scale in scales)
    assert float((model(tokens).logits - before).detach().abs().max() / before.detach().abs().max()) < 1e-4


def test_a_checkpoint_made_with_it_is_closer_to_the_base(block_llama: Path, tmp_path: Path) -> None:
    """Through the whole pass, at 4 bit: norms take the scales up, and the logits are nearer the base's than without."""
    transformers = pytest.importorskip("transformers")
    plain, scaled = Recipe(scales="minmax"), Recipe(scales="minmax", awq=True, calibration=CALIBRATION)
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(5, 256, (4, 32), generator=generator)
    errors, norms = [], []
    base = transformers.AutoModelForCausalLM.from_pretrained(block_llama)
    for name, recipe in (("plain", plain), ("awq", scaled)):
        quantize_checkpoint(block_llama, get("w4a16-int"), recipe, tmp_path / name)
        model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / name)
        with torch.no_grad():
            errors.append(float((model(tokens).logits - base(tokens).logits).float().square().mean()))
        norms.append(model.model.layers[1].post_attention_layernorm.weight)
    assert torch.equal(norms[0], base.model.layers[1].post_attention_layernorm.weight)
    assert not torch.equal(norms[1], norms[0])
    assert errors[1] < errors[0]
